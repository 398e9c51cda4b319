//! Task services and their heartbeats.

use serde::{Deserialize, Serialize};

use super::Result;
use super::responses::ApiError;
use crate::core::Moment;
use crate::engine::service::{RecordKind, Service, ServiceError};

const SERVICE: RecordKind = RecordKind::audited("taskdash.service");
const HEARTBEAT: RecordKind = RecordKind::internal("taskdash.heartbeat");
/// Services send a heartbeat every 30 seconds. After three missed ones a service is down.
const SILENCE_MS: i64 = 3 * 30_000;
/// Number of services read at a time.
const PAGE: u32 = 1_000;

/// A task service as stored. The key is its URL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskService {
    pub name: String,
    pub reserved: String,
    pub registered_at: Moment,
}

/// The last heartbeat of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Heartbeat {
    seen_at: Moment,
    /// Time in the heartbeat, set by the service.
    time: i64,
}

/// A task service as returned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ServiceView {
    #[serde(rename = "URL")]
    url: String,
    name: String,
    reserved: String,
    /// `up` or `down`.
    status: &'static str,
    /// Last heartbeat or registration, in Unix seconds.
    time: i64,
}

/// Stores a service.
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

/// Stores a heartbeat.
pub async fn beat(service: &Service, url: &str, time: i64) -> std::result::Result<(), ServiceError> {
    let seen_at = service.now();
    let put = |_: Option<Heartbeat>| Ok((Some((Heartbeat { seen_at, time }, None)), ()));
    service.change_record(HEARTBEAT, url, put).await
}

/// Returns the URLs of all services.
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

/// Returns every service with its status. A registration counts as a heartbeat.
pub async fn all(service: &Service) -> Result<Vec<ServiceView>> {
    let now = service.now();
    let mut all = Vec::new();
    for url in addresses(service).await.map_err(ApiError::query)? {
        let stored = service.read_record::<TaskService>(SERVICE, &url).await.map_err(ApiError::query)?;
        let beat = service.read_record::<Heartbeat>(HEARTBEAT, &url).await.map_err(ApiError::query)?;
        let Some(stored) = stored else { continue };
        let seen = beat.map_or(stored.registered_at, |beat| beat.seen_at.max(stored.registered_at));
        let status = if now.since(seen) < SILENCE_MS { "up" } else { "down" };
        all.push(ServiceView { url, name: stored.name, reserved: stored.reserved, status, time: seen.sec() });
    }
    Ok(all)
}
