//! The services that are called back: a record each, with their nodes. The workers look after their health.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Result;
use super::envelope::Refused;
use crate::compat::settings::Easytask;
use crate::engine::service::Service;

/// The records' kind; the callback worker reads it.
pub const KIND: &str = "service";
/// Marks the services of this front. It changes no others.
const FRONT: &str = "easytask";

/// A service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ServiceForm {
    /// Its name.
    pub name: String,
    /// Where it answers.
    #[serde(default)]
    pub nodes: Vec<NodeForm>,
    /// What a heartbeat sends.
    #[serde(default)]
    pub heartbeat_body: String,
    /// How long a callback may take, in milliseconds.
    #[serde(default)]
    pub timeout_ms: u64,
    /// Who keeps it. A service of the native API has nothing here, and may be signed: whoever could add a node to it would be sent its
    /// callbacks, signed.
    #[serde(default)]
    front: String,
    /// What others keep here.
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// A node of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeForm {
    /// `http://host:port`.
    pub url: String,
    /// Whether it is asked for its heartbeat.
    #[serde(default)]
    pub health_check: bool,
    /// What others keep here.
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

/// A service that has nodes.
pub async fn find(service: &Service, name: &str) -> Result<Option<ServiceForm>> {
    let form: Option<ServiceForm> = service.read_record(KIND, name).await?;
    Ok(form.filter(|form| !form.nodes.is_empty()))
}

impl ServiceForm {
    /// How long a callback may take.
    pub fn timeout_ms(&self, settings: &Easytask) -> u64 {
        if self.timeout_ms > 0 { self.timeout_ms } else { settings.callback_timeout_sec * 1_000 }
    }

    fn is_ours(&self) -> bool {
        self.front == FRONT
    }
}

/// Adds a node. The same again changes its settings and nothing else; what it does not say of the service's time-out stays.
pub async fn add(service: &Service, node: &NodeRegistration, settings: &Easytask) -> Result<()> {
    let heartbeat_body = format!(r#"{{"cmd":{}}}"#, u8::from(settings.swap_cmd));
    let fresh =
        || ServiceForm { name: node.service.clone(), front: FRONT.to_owned(), ..ServiceForm::default() };
    service
        .change_record(KIND, &node.service, |form: Option<ServiceForm>| {
            let mut form = form.unwrap_or_else(fresh);
            if !form.is_ours() {
                return Err(Refused::Argument("name is that of a service of /v1/services".to_owned()));
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

/// Takes a node away, and with the last one the service.
pub async fn remove(service: &Service, node: &NodeRegistration) -> Result<()> {
    service
        .change_record(KIND, &node.service, |form: Option<ServiceForm>| {
            let mut form = form.filter(ServiceForm::is_ours).ok_or(Refused::NoServer)?;
            let before = form.nodes.len();
            form.nodes.retain(|stored| stored.url != node.url);
            if form.nodes.len() == before { Err(Refused::NoServer) } else { Ok((Some((form, None)), ())) }
        })
        .await?;
    // Between the two steps somebody may have added a node, or have put another service in its place: then it stays.
    let is_over = |form: &ServiceForm| form.is_ours() && form.nodes.is_empty();
    service.remove_record_if(KIND, &node.service, is_over).await?;
    Ok(())
}
