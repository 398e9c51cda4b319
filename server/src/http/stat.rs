//! Route of the current counts.

use std::collections::BTreeMap;

use axum::Json;
use taskcenter_client::resources::{Stat, TagStat};

use super::error::ApiError;
use super::queues;
use crate::core::zone;
use crate::engine::service::{BacklogRow, Service};

/// Shows the fires of the current minute and the backlog, by tag and by queue.
#[utoipa::path(get, path = "/v1/stat", operation_id = "stat", tag = "queues",
    responses((status = 200, body = Stat, description = "The current counts.")))]
pub async fn show(service: Service) -> Result<Json<Stat>, ApiError> {
    let (fires, backlog) = (service.fires_this_minute().await?, service.backlog().await?);
    let zone_database = zone::database_version().to_owned();
    Ok(Json(Stat { tags: by_tag(fires, backlog), queues: queues::all(&service).await?, zone_database }))
}

fn by_tag(fires: Vec<(String, u64)>, backlog: Vec<BacklogRow>) -> Vec<TagStat> {
    let mut tags: BTreeMap<String, TagStat> = BTreeMap::new();
    let mut of = |tag: String, count: &dyn Fn(&mut TagStat)| {
        let none = || TagStat { tag: tag.clone(), fires_this_minute: 0, due: 0, unreported: 0, held: 0 };
        count(tags.entry(tag.clone()).or_insert_with(none));
    };
    for (tag, fires) in fires {
        of(tag, &|stat| stat.fires_this_minute += fires);
    }
    for row in backlog.into_iter().filter(|row| row.due + row.unreported + row.held > 0) {
        of(row.tag, &|stat| {
            stat.due += row.due;
            stat.unreported += row.unreported;
            stat.held += row.held;
        });
    }
    tags.into_values().collect()
}
