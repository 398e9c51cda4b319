//! Routes of holds.

use axum::Json;
use axum::http::StatusCode;
use taskcenter_client::resources::{HoldList, HoldResource, HoldScope, NewHold};

use super::decode::Body;
use super::error::ApiError;
use super::query::HoldOf;
use crate::core::hold;
use crate::engine::service::{self, Service};
use crate::wire;

/// Pauses a queue or a tag, or changes reason and end of the pause.
///
/// Schedules keep firing; the runs wait until the hold ends, and then go on in order. Attempts in progress continue. A run
/// that is on the message bus already is not held. A repeated request changes nothing more.
#[utoipa::path(post, path = "/v1/holds", operation_id = "addHold", tag = "holds", request_body = NewHold,
    responses((status = 201, body = HoldResource, description = "The hold.")))]
pub async fn add(
    service: Service,
    Body(new): Body<NewHold>,
) -> Result<(StatusCode, Json<HoldResource>), ApiError> {
    let NewHold { scope, name, reason, until } = new;
    let new = service::NewHold { scope: read_scope(scope), name, reason, until: until.map(wire::moment) };
    Ok((StatusCode::CREATED, Json(shown(service.hold(new).await?))))
}

/// Lists the holds that have not ended, by scope and name.
///
/// A token that is limited to tags gets the holds of those tags and queues.
#[utoipa::path(get, path = "/v1/holds", operation_id = "listHolds", tag = "holds",
    responses((status = 200, body = HoldList, description = "The holds.")))]
pub async fn list(service: Service) -> Result<Json<HoldList>, ApiError> {
    Ok(Json(HoldList { holds: service.holds().await?.into_iter().map(shown).collect() }))
}

/// Ends a hold: the waiting runs go on, in order.
#[utoipa::path(delete, path = "/v1/holds/{scope}/{name}", operation_id = "removeHold", tag = "holds",
    params(
        ("scope" = HoldScope, Path, description = "What the hold pauses."),
        ("name" = String, Path, min_length = 1, max_length = 128, description = "Name of the queue, or the tag."),
    ),
    responses(
        (status = 200, body = HoldResource, description = "The ended hold."),
        (status = 404, description = "`not_found`: the hold does not exist or has ended."),
    ))]
pub async fn remove(service: Service, HoldOf(scope, name): HoldOf) -> Result<Json<HoldResource>, ApiError> {
    Ok(Json(shown(service.release_hold(scope, &name).await?)))
}

const fn read_scope(scope: HoldScope) -> hold::HoldScope {
    match scope {
        HoldScope::Queue => hold::HoldScope::Queue,
        HoldScope::Tag => hold::HoldScope::Tag,
    }
}

/// Converts a hold.
pub fn shown(hold: hold::Hold) -> HoldResource {
    HoldResource {
        scope: match hold.scope {
            hold::HoldScope::Queue => HoldScope::Queue,
            hold::HoldScope::Tag => HoldScope::Tag,
        },
        name: hold.name,
        reason: hold.reason,
        created_by: hold.created_by,
        created_at: wire::timestamp(hold.created_at),
        until: hold.until.map(wire::timestamp),
    }
}
