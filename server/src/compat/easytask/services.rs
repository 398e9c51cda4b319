//! Callback services: one record each, with their nodes. The callback worker checks their health.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Result;
use super::envelope::ApiError;
use crate::compat::settings::Easytask;
use crate::engine::service::{CALLBACK_SERVICES, Service};

/// Marks the services of this API. It changes no others.
const API_NAME: &str = "easytask";

/// A service as stored.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ServiceForm {
    pub name: String,
    #[serde(default)]
    pub nodes: Vec<NodeForm>,
    /// Body of a heartbeat request.
    #[serde(default)]
    pub heartbeat_body: String,
    /// Timeout of a callback in milliseconds. 0: the setting.
    #[serde(default)]
    pub timeout_ms: u64,
    /// Name of the API that owns the service. Empty for a service of the native API, which may be signed:
    /// a client that could add a node to such a service would receive signed callbacks.
    #[serde(default, rename = "front")]
    owner: String,
    /// Members that other APIs store.
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// A node of a service as stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeForm {
    /// `http://host:port`.
    pub url: String,
    /// Whether the server sends heartbeats to the node.
    #[serde(default)]
    pub health_check: bool,
    /// Members that other APIs store.
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// A node of a service, as a client registers it.
pub struct NodeRegistration {
    /// Name of the service.
    pub service: String,
    /// `http://host:port`.
    pub url: String,
    /// Timeout of a callback, in milliseconds. Default: the service's or the setting's.
    pub timeout_ms: Option<u64>,
    /// Whether the server sends heartbeats to the node.
    pub health_check: bool,
}

/// Returns a service if it has nodes.
pub async fn find(service: &Service, name: &str) -> Result<Option<ServiceForm>> {
    let form: Option<ServiceForm> = service.read_record(CALLBACK_SERVICES, name).await?;
    Ok(form.filter(|form| !form.nodes.is_empty()))
}

impl ServiceForm {
    /// Returns the timeout of a callback in milliseconds.
    pub fn timeout_ms(&self, settings: &Easytask) -> u64 {
        if self.timeout_ms > 0 { self.timeout_ms } else { settings.callback_timeout_sec * 1_000 }
    }

    fn is_own(&self) -> bool {
        self.owner == API_NAME
    }
}

/// Adds a node, or changes the settings of an existing one. Without a timeout the service keeps its own.
pub async fn add(service: &Service, node: &NodeRegistration, settings: &Easytask) -> Result<()> {
    let heartbeat_body = format!(r#"{{"cmd":{}}}"#, u8::from(settings.swap_cmd));
    let fresh =
        || ServiceForm { name: node.service.clone(), owner: API_NAME.to_owned(), ..ServiceForm::default() };
    service
        .change_record(CALLBACK_SERVICES, &node.service, |form: Option<ServiceForm>| {
            let mut form = form.unwrap_or_else(fresh);
            if !form.is_own() {
                return Err(ApiError::Argument("name is that of a service of /v1/services".to_owned()));
            }
            form.heartbeat_body.clone_from(&heartbeat_body);
            form.timeout_ms = node.timeout_ms.unwrap_or_else(|| form.timeout_ms(settings));
            match form.nodes.iter_mut().find(|stored| stored.url == node.url) {
                Some(stored) => stored.health_check = node.health_check,
                None => form.nodes.push(NodeForm {
                    url: node.url.clone(),
                    health_check: node.health_check,
                    rest: Map::new(),
                }),
            }
            Ok((Some((form, None)), ()))
        })
        .await
}

/// Removes a node. Removing the last node removes the service.
pub async fn remove(service: &Service, node: &NodeRegistration) -> Result<()> {
    service
        .change_record(CALLBACK_SERVICES, &node.service, |form: Option<ServiceForm>| {
            let mut form = form.filter(ServiceForm::is_own).ok_or(ApiError::NoServer)?;
            let before = form.nodes.len();
            form.nodes.retain(|stored| stored.url != node.url);
            if form.nodes.len() == before { Err(ApiError::NoServer) } else { Ok((Some((form, None)), ())) }
        })
        .await?;
    // Between the two steps another request may have added a node or replaced the service. Then the
    // service stays.
    let is_empty = |form: &ServiceForm| form.is_own() && form.nodes.is_empty();
    service.remove_record_if(CALLBACK_SERVICES, &node.service, is_empty).await?;
    Ok(())
}
