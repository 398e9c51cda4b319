//! Route of the audit log.

use axum::Json;
use taskcenter_client::resources::{AuditEntryResource, AuditList};

use super::error::ApiError;
use super::pages;
use super::query::Query;
use crate::core::Moment;
use crate::core::audit::{self, AuditEntry};
use crate::engine::service::{AuditAction, AuditFilter, Service};
use crate::wire::{self, timestamp};

const DEFAULT_LIMIT: u32 = 100;

/// Lists the audit log, newest first.
///
/// The log has the changes that callers requested: edits, pauses, triggers and so on, also refused ones. The server keeps
/// an entry for at least 90 days. `object`, `actor` and `action` must all match; the first one that is given, in this
/// order, selects the entries by an index. A page examines at most 5,000 entries, so it may be empty although
/// `next_cursor` leads to more.
#[utoipa::path(get, path = "/v1/audit", operation_id = "listAudit", tag = "audit",
    params(
        ("object" = Option<String>, Query,
            description = "Only changes of this object: the id of a task, a run, an operation or a token, or kind and key \
                of a document, such as `user ann`."),
        ("actor" = Option<String>, Query,
            description = "Only requests of this actor: the name of a token, or `loopback`, `trusted` or `configuration`."),
        ("action" = Option<String>, Query,
            pattern = "^(task.create|task.edit|task.pause|task.resume|task.cancel|task.delete|task.trigger|run.cancel|run.retry|run.confirm|token.issue|token.revoke|operation.create|operation.abort|operation.continue|operation.end|record.put|record.remove|alert.test|session.open|access.deny)?$",
            description = "Only this action, such as `task.edit`."),
        ("since" = Option<String>, Query, format = "date-time", description = "Only entries from this instant on."),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000,
            description = "Maximum number of entries in the page. Bounds: 1 to 1,000. Default: 100."),
        ("cursor" = Option<String>, Query, pattern = "^([0-9a-f]{32})?$",
            description = "`next_cursor` of the previous page. Default: the first page."),
    ),
    responses((status = 200, body = AuditList, description = "A page of entries.")))]
pub async fn list(service: Service, query: Query) -> Result<Json<AuditList>, ApiError> {
    let query = query.only(&["object", "actor", "action", "since", "limit", "cursor"])?;
    let filter = AuditFilter {
        object: query.text("object").map(str::to_owned),
        actor: query.text("actor").map(str::to_owned),
        action: query.one_of("action", &AuditAction::ALL)?,
        since: since(&query)?,
    };
    let limit = query.number("limit", DEFAULT_LIMIT, pages::MAX_LIMIT)?;
    let before = query.text("cursor");
    if before.is_some_and(|id| !audit::is_id(id)) {
        return Err(ApiError::field("cursor", "cursor is malformed"));
    }
    let (entries, next) = service.audit_log(&filter, before, limit).await?;
    let page = AuditList { entries: entries.into_iter().map(entry).collect(), next_cursor: next };
    Ok(Json(page))
}

fn since(query: &Query) -> Result<Option<Moment>, ApiError> {
    let malformed = || ApiError::field("since", "since should be an instant, such as 2026-05-04T09:30:00Z");
    let parse = |text: &str| text.parse().map(wire::moment).map_err(|_| malformed());
    query.text("since").map(parse).transpose()
}

fn entry(entry: AuditEntry) -> AuditEntryResource {
    let given = |text: String| (!text.is_empty()).then_some(text);
    AuditEntryResource {
        id: entry.id,
        at: timestamp(entry.at),
        actor: entry.actor,
        actor_id: entry.actor_id,
        front: entry.front,
        action: entry.action,
        object: given(entry.object),
        detail: given(entry.detail),
        outcome: entry.outcome,
        request_id: given(entry.request_id),
    }
}
