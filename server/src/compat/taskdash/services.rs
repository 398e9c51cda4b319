//! Task services: which there are, and which of them live.

use serde::{Deserialize, Serialize};

use super::Result;
use super::answer::Refused;
use crate::core::Moment;
use crate::engine::service::{Service, ServiceError};

const SERVICE: &str = "taskdash.service";
const HEARTBEAT: &str = "taskdash.heartbeat";
/// Services beat every 30 seconds; three misses and they are down.
const SILENCE_MS: i64 = 3 * 30_000;
/// Services read at a time.
const PAGE: u32 = 1_000;

/// A task service, as kept under its address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskService {
    pub name: String,
    pub reserved: String,
    pub registered_at: Moment,
}

/// The last sign of life from an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Heartbeat {
    seen_at: Moment,
    /// When the service says it sent it.
    time: i64,
}

/// A task service as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Shown {
    #[serde(rename = "URL")]
    url: String,
    name: String,
    reserved: String,
    /// `up` or `down`.
    status: &'static str,
    /// Unix seconds of its last sign of life.
    time: i64,
}

/// Remembers a service.
pub async fn register(
    service: &Service,
    url: &str,
    name: &str,
    reserved: &str,
) -> std::result::Result<(), ServiceError> {
    let registered_at = service.now();
    let (name, reserved) = (name.to_owned(), reserved.to_owned());
    let stored = TaskService { name, reserved, registered_at };
    let put = |_: Option<TaskService>| Ok((Some((stored.clone(), None)), ()));
    service.change_record(SERVICE, url, put).await
}

/// Remembers a sign of life.
pub async fn beat(service: &Service, url: &str, time: i64) -> std::result::Result<(), ServiceError> {
    let seen_at = service.now();
    let put = |_: Option<Heartbeat>| Ok((Some((Heartbeat { seen_at, time }, None)), ()));
    service.change_record(HEARTBEAT, url, put).await
}

/// The addresses of all services.
pub async fn addresses(service: &Service) -> std::result::Result<Vec<String>, ServiceError> {
    let mut urls: Vec<String> = Vec::new();
    loop {
        let page =
            service.list_records::<TaskService>(SERVICE, None, urls.last().map(String::as_str), PAGE).await?;
        if page.is_empty() {
            return Ok(urls);
        }
        urls.extend(page.into_iter().map(|(url, _)| url));
    }
}

/// Every service, with whether it lives. A registration is a sign of life too.
pub async fn all(service: &Service) -> Result<Vec<Shown>> {
    let now = service.now();
    let mut shown = Vec::new();
    for url in addresses(service).await.map_err(Refused::query)? {
        let stored = service.read_record::<TaskService>(SERVICE, &url).await.map_err(Refused::query)?;
        let beat = service.read_record::<Heartbeat>(HEARTBEAT, &url).await.map_err(Refused::query)?;
        let Some(stored) = stored else { continue };
        let seen = beat.map_or(stored.registered_at, |beat| beat.seen_at.max(stored.registered_at));
        let status = if now.since(seen) < SILENCE_MS { "up" } else { "down" };
        shown.push(Shown { url, name: stored.name, reserved: stored.reserved, status, time: seen.sec() });
    }
    Ok(shown)
}
