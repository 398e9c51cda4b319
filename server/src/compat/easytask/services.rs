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

/// Adds a node. The same again changes its settings and nothing else.
pub async fn add(service: &Service, asked: &Node, settings: &Easytask) -> Result<()> {
    let heartbeat_body = format!(r#"{{"cmd":{}}}"#, u8::from(settings.swap_cmd));
    service
        .change_record(KIND, &asked.service, |callee: Option<Callee>| {
            let mut callee = callee.unwrap_or_default();
            callee.name.clone_from(&asked.service);
            callee.heartbeat_body.clone_from(&heartbeat_body);
            callee.timeout_ms = asked.timeout_ms.unwrap_or(settings.callback_timeout_sec * 1_000);
            match callee.nodes.iter_mut().find(|node| node.url == asked.url) {
                Some(node) => node.health_check = asked.health_check,
                None => callee.nodes.push(CalleeNode {
                    url: asked.url.clone(),
                    health_check: asked.health_check,
                    rest: Map::new(),
                }),
            }
            Ok::<_, Refused>((Some((callee, None)), ()))
        })
        .await
}

/// Takes a node away, and with the last one the service.
pub async fn remove(service: &Service, asked: &Node) -> Result<()> {
    service
        .change_record(KIND, &asked.service, |callee: Option<Callee>| {
            let mut callee = callee.ok_or(Refused::NoServer)?;
            let before = callee.nodes.len();
            callee.nodes.retain(|node| node.url != asked.url);
            if callee.nodes.len() == before { Err(Refused::NoServer) } else { Ok((Some((callee, None)), ())) }
        })
        .await?;
    // Between the two steps somebody may have added a node: then the service stays.
    service.remove_record_if(KIND, &asked.service, |callee: &Callee| callee.nodes.is_empty()).await?;
    Ok(())
}
