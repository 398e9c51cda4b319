//! The services that are called back: a record each, with their nodes. The workers look after their health.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Result;
use super::asked::Node;
use super::envelope::Refused;
use crate::compat::settings::Easytask;
use crate::engine::service::Service;

/// The records' kind; the callback worker reads it.
pub const KIND: &str = "service";
/// Marks the services of this front. It changes no others.
const FRONT: &str = "easytask";

/// A service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Callee {
    /// Its name.
    pub name: String,
    /// Where it answers.
    #[serde(default)]
    pub nodes: Vec<CalleeNode>,
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
pub struct CalleeNode {
    /// `http://host:port`.
    pub url: String,
    /// Whether it is asked for its heartbeat.
    #[serde(default)]
    pub health_check: bool,
    /// What others keep here.
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// A service that has nodes.
pub async fn find(service: &Service, name: &str) -> Result<Option<Callee>> {
    let callee: Option<Callee> = service.read_record(KIND, name).await?;
    Ok(callee.filter(|callee| !callee.nodes.is_empty()))
}

impl Callee {
    /// How long a callback may take.
    pub fn timeout_ms(&self, settings: &Easytask) -> u64 {
        if self.timeout_ms > 0 { self.timeout_ms } else { settings.callback_timeout_sec * 1_000 }
    }

    fn is_ours(&self) -> bool {
        self.front == FRONT
    }
}

/// Adds a node. The same again changes its settings and nothing else; what it does not say of the service's time-out stays.
pub async fn add(service: &Service, asked: &Node, settings: &Easytask) -> Result<()> {
    let heartbeat_body = format!(r#"{{"cmd":{}}}"#, u8::from(settings.swap_cmd));
    let fresh = || Callee { name: asked.service.clone(), front: FRONT.to_owned(), ..Callee::default() };
    service
        .change_record(KIND, &asked.service, |callee: Option<Callee>| {
            let mut callee = callee.unwrap_or_else(fresh);
            if !callee.is_ours() {
                return Err(Refused::Argument("name is that of a service of /v1/services".to_owned()));
            }
            callee.heartbeat_body.clone_from(&heartbeat_body);
            callee.timeout_ms = asked.timeout_ms.unwrap_or_else(|| callee.timeout_ms(settings));
            match callee.nodes.iter_mut().find(|node| node.url == asked.url) {
                Some(node) => node.health_check = asked.health_check,
                None => callee.nodes.push(CalleeNode {
                    url: asked.url.clone(),
                    health_check: asked.health_check,
                    rest: Map::new(),
                }),
            }
            Ok((Some((callee, None)), ()))
        })
        .await
}

/// Takes a node away, and with the last one the service.
pub async fn remove(service: &Service, asked: &Node) -> Result<()> {
    service
        .change_record(KIND, &asked.service, |callee: Option<Callee>| {
            let mut callee = callee.filter(Callee::is_ours).ok_or(Refused::NoServer)?;
            let before = callee.nodes.len();
            callee.nodes.retain(|node| node.url != asked.url);
            if callee.nodes.len() == before { Err(Refused::NoServer) } else { Ok((Some((callee, None)), ())) }
        })
        .await?;
    // Between the two steps somebody may have added a node, or have put another service in its place: then it stays.
    let is_over = |callee: &Callee| callee.is_ours() && callee.nodes.is_empty();
    service.remove_record_if(KIND, &asked.service, is_over).await?;
    Ok(())
}
