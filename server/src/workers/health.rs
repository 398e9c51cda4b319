//! Looks after the nodes of services: one that does not answer is left out until it does.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::Value;
use taskcenter_client::clock::Clock;
use tokio::sync::Semaphore;

use super::directory::Directory;
use super::outbound::{Call, Outbound};
use crate::core::callback_service::{CallbackService, ServiceNode};

/// Nodes that are asked at the same time, of those that answered the last time and of those that did not.
const AT_ONCE: [usize; 2] = [512, 64];
/// How long a node may take to say that it is well.
const PATIENCE: Duration = Duration::from_secs(5);
/// The shortest pause between two passes over all services.
const TURN: Duration = Duration::from_millis(50);

/// Which nodes do not answer, by their URLs, and why.
#[derive(Default)]
pub struct Health(Mutex<HashMap<String, String>>);

impl Health {
    /// The nodes of a service that may be called.
    pub fn answering<'a>(&self, callee: &'a CallbackService) -> Vec<&'a ServiceNode> {
        let down = self.lock();
        callee
            .nodes
            .iter()
            .filter(|node| !(callee.is_health_checked(node) && down.contains_key(&node.url)))
            .collect()
    }

    /// A node that could not be reached stays out until the next look at it finds it well.
    pub fn suspect(&self, url: &str, why: &str) {
        self.say(url, Err(why.to_owned()));
    }

    fn is_down(&self, url: &str) -> bool {
        self.lock().contains_key(url)
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

/// Room for questions.
pub struct Room {
    up: Semaphore,
    down: Semaphore,
}

impl Default for Room {
    fn default() -> Self {
        let [up, down] = AT_ONCE.map(Semaphore::new);
        Self { up, down }
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
    /// How many are asked at the same time.
    pub room: Room,
}

impl Watch {
    /// Asks and asks. Each service has passes of its own, so that one whose nodes hang holds up no other. Ends only by being dropped.
    pub async fn run(self) {
        let mut ended_at: HashMap<String, i64> = HashMap::new();
        let mut under_way: HashSet<String> = HashSet::new();
        let mut passes = FuturesUnordered::new();
        loop {
            let services = self.services().await;
            let now = self.clock.now_ms();
            for callee in &services {
                if self.wait_ms(callee, &ended_at, now) == 0 && under_way.insert(callee.name.clone()) {
                    passes.push(self.pass(callee.clone()));
                }
            }
            let turn = tokio::time::sleep(self.pause(&services, &ended_at, &under_way, now));
            tokio::pin!(turn);
            loop {
                tokio::select! {
                    Some(name) = passes.next() => {
                        under_way.remove(&name);
                        // A pause begins when the pass has ended.
                        ended_at.insert(name, self.clock.now_ms());
                    }
                    () = &mut turn => break,
                }
            }
        }
    }

    async fn services(&self) -> Vec<CallbackService> {
        self.directory.all().await.unwrap_or_else(|why| {
            tracing::debug!(why, "the services cannot be read; their nodes stay as they are");
            Vec::new()
        })
    }

    /// Asks every node of a service; its name.
    async fn pass(&self, callee: CallbackService) -> String {
        let checked = callee.nodes.iter().filter(|node| callee.is_health_checked(node));
        join_all(checked.map(|node| self.look(&callee, node))).await;
        callee.name
    }

    fn interval_ms(&self, callee: &CallbackService) -> u64 {
        let own = callee.health.as_ref().and_then(|health| health.interval_ms);
        own.unwrap_or_else(|| u64::try_from(self.interval.as_millis()).unwrap_or(u64::MAX))
    }

    /// How long a service's next pass has to wait yet.
    fn wait_ms(&self, callee: &CallbackService, ended_at: &HashMap<String, i64>, now: i64) -> u64 {
        // A clock that was put back must not keep it waiting.
        let waited = ended_at.get(&callee.name).and_then(|at| u64::try_from(now.saturating_sub(*at)).ok());
        waited.map_or(0, |waited| self.interval_ms(callee).saturating_sub(waited))
    }

    /// Until the next pass may begin, or the services are read again to see what is new.
    fn pause(
        &self,
        services: &[CallbackService],
        ended_at: &HashMap<String, i64>,
        under_way: &HashSet<String>,
        now: i64,
    ) -> Duration {
        let wait = |callee: &CallbackService| {
            if under_way.contains(&callee.name) {
                self.interval_ms(callee)
            } else {
                self.wait_ms(callee, ended_at, now)
            }
        };
        let shortest = services.iter().map(|callee| Duration::from_millis(wait(callee))).min();
        shortest.unwrap_or(self.interval).min(self.interval).max(TURN)
    }

    /// Nodes that hung the last time wait for each other, and for nobody else.
    async fn look(&self, callee: &CallbackService, node: &ServiceNode) {
        let room = if self.health.is_down(&node.url) { &self.room.down } else { &self.room.up };
        // It is never closed.
        let _place = room.acquire().await;
        self.health.say(&node.url, self.ask(callee, node).await);
    }

    async fn ask(&self, callee: &CallbackService, node: &ServiceNode) -> Result<(), String> {
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
