//! Looks after the nodes of services: one that does not answer is left out until it does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::Value;
use taskcenter_client::clock::Clock;

use super::directory::Directory;
use super::outbound::{Call, Outbound};
use crate::core::callee::{Callee, CalleeNode};

/// Nodes that are asked at the same time.
const AT_ONCE: usize = 32;
/// How long a node may take to say that it is well.
const PATIENCE: Duration = Duration::from_secs(5);
/// The shortest pause between two passes over all services.
const TURN: Duration = Duration::from_millis(50);

/// Which nodes do not answer, by their URLs, and why.
#[derive(Default)]
pub struct Health(Mutex<HashMap<String, String>>);

impl Health {
    /// The nodes of a service that may be called.
    pub fn answering<'a>(&self, callee: &'a Callee) -> Vec<&'a CalleeNode> {
        let down = self.lock();
        callee
            .nodes
            .iter()
            .filter(|node| !(callee.is_checked(node) && down.contains_key(&node.url)))
            .collect()
    }

    /// A node that could not be reached stays out until the next look at it finds it well.
    pub fn suspect(&self, url: &str, why: &str) {
        self.say(url, Err(why.to_owned()));
    }

    fn say(&self, url: &str, found: Result<(), String>) {
        let changed = match &found {
            Ok(()) => self.lock().remove(url).is_some(),
            Err(why) => self.lock().insert(url.to_owned(), why.clone()).is_none(),
        };
        match found {
            Ok(()) if changed => tracing::info!(url, "a node answers again"),
            Err(why) if changed => {
                tracing::warn!(url, why, "a node does not answer; it is left out until it does");
            }
            _ => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, String>> {
        // Every step leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The loop that asks the nodes.
pub struct Watch {
    /// What it finds.
    pub health: Arc<Health>,
    /// The services.
    pub directory: Arc<dyn Directory>,
    /// Asks.
    pub outbound: Outbound,
    /// Pause between two looks at a service that does not say.
    pub interval: Duration,
    /// Tells when the last one was.
    pub clock: Arc<dyn Clock>,
}

impl Watch {
    /// Asks and asks. Ends only by being dropped.
    pub async fn run(self) {
        let mut ended_at: HashMap<String, i64> = HashMap::new();
        loop {
            let services = match self.directory.all().await {
                Ok(services) => services,
                Err(why) => {
                    tracing::debug!(why, "the services cannot be read; their nodes stay as they are");
                    Vec::new()
                }
            };
            let now = self.clock.now_ms();
            let due: Vec<_> = services.iter().filter(|callee| self.is_due(callee, &ended_at, now)).collect();
            self.ask_all(&due).await;
            // A pause begins when the pass has ended.
            let now = self.clock.now_ms();
            ended_at.extend(due.iter().map(|callee| (callee.name.clone(), now)));
            tokio::time::sleep(self.pause(&services)).await;
        }
    }

    fn interval_ms(&self, callee: &Callee) -> u64 {
        let own = callee.health.as_ref().and_then(|health| health.interval_ms);
        own.unwrap_or_else(|| u64::try_from(self.interval.as_millis()).unwrap_or(u64::MAX))
    }

    fn is_due(&self, callee: &Callee, ended_at: &HashMap<String, i64>, now: i64) -> bool {
        let waited = ended_at.get(&callee.name).map(|at| now.saturating_sub(*at));
        // A clock that was put back must not keep it waiting.
        waited.is_none_or(|ms| ms < 0 || ms as u64 >= self.interval_ms(callee))
    }

    fn pause(&self, services: &[Callee]) -> Duration {
        let shortest = services.iter().map(|callee| Duration::from_millis(self.interval_ms(callee))).min();
        shortest.unwrap_or(self.interval).min(self.interval).max(TURN)
    }

    async fn ask_all(&self, services: &[&Callee]) {
        let mut asked = Vec::new();
        for callee in services {
            let checked = callee.nodes.iter().filter(|node| callee.is_checked(node));
            asked.extend(checked.map(|node| self.look(callee, node)));
        }
        while !asked.is_empty() {
            join_all(asked.drain(..asked.len().min(AT_ONCE))).await;
        }
    }

    async fn look(&self, callee: &Callee, node: &CalleeNode) {
        self.health.say(&node.url, self.ask(callee, node).await);
    }

    async fn ask(&self, callee: &Callee, node: &CalleeNode) -> Result<(), String> {
        let base = node.url.trim_end_matches('/');
        let call = Call {
            method: Method::GET,
            url: base.to_owned(),
            headers: HeaderMap::new(),
            body: String::new(),
            timeout: PATIENCE,
        };
        match &callee.health {
            Some(health) => self.ask_plainly(Call { url: format!("{base}{}", health.path), ..call }).await,
            None => self.ask_for_pong(call, &callee.heartbeat_body).await,
        }
    }

    async fn ask_plainly(&self, call: Call) -> Result<(), String> {
        let answer = self.outbound.make(call).await.map_err(|error| error.to_string())?;
        if (200..300).contains(&answer.status) { Ok(()) } else { Err(format!("answered {}", answer.status)) }
    }

    /// easytask's heartbeat.
    async fn ask_for_pong(&self, call: Call, body: &str) -> Result<(), String> {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        let call = Call {
            method: Method::POST,
            url: format!("{}/", call.url),
            headers,
            body: body.to_owned(),
            ..call
        };
        let answer = self.outbound.make(call).await.map_err(|error| error.to_string())?;
        let reply: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        if reply["pong"] == true { Ok(()) } else { Err("answered no pong".to_owned()) }
    }
}
