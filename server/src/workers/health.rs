//! Health checks: a node that does not answer gets no calls until it answers again.

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
use crate::core::Moment;
use crate::core::callback_service::{CallbackService, ServiceNode};
use crate::engine::service::DownNode;

/// Maximum number of concurrent checks of nodes that are up, and of nodes that are down.
const MAX_CHECKS: [usize; 2] = [512, 64];
/// Timeout of a check.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Minimum pause between two reads of the services.
const MIN_PAUSE: Duration = Duration::from_millis(50);

/// The nodes that are down, by URL, with the time in milliseconds since when, and why.
#[derive(Default)]
pub struct Health(Mutex<HashMap<String, (i64, String)>>);

impl Health {
    /// Returns the nodes of a service that may be called.
    pub fn nodes_up<'a>(&self, service: &'a CallbackService) -> Vec<&'a ServiceNode> {
        let down = self.lock();
        service
            .nodes
            .iter()
            .filter(|node| !(service.is_health_checked(node) && down.contains_key(&node.url)))
            .collect()
    }

    /// Marks a node as down until its next successful check.
    pub fn mark_down(&self, url: &str, why: &str, now_ms: i64) {
        self.record(url, Err(why.to_owned()), now_ms);
    }

    /// Forgets nodes without a health check, and returns those that are down.
    fn down_of(&self, services: &[CallbackService]) -> Vec<DownNode> {
        let checked = |service: &'_ CallbackService| {
            let nodes = service.nodes.iter().filter(|node| service.is_health_checked(node));
            nodes.map(|node| node.url.clone()).collect::<Vec<_>>()
        };
        let checked: HashSet<String> = services.iter().flat_map(checked).collect();
        let mut down = self.lock();
        down.retain(|url, _| checked.contains(url));
        let report = |(url, (since, why)): (&String, &(i64, String))| DownNode {
            url: url.clone(),
            why: why.clone(),
            since: Moment::from_ms(*since),
        };
        down.iter().map(report).collect()
    }

    fn is_down(&self, url: &str) -> bool {
        self.lock().contains_key(url)
    }

    fn record(&self, url: &str, result: Result<(), String>, now_ms: i64) {
        let changed = match &result {
            Ok(()) => self.lock().remove(url).is_some(),
            Err(why) => {
                let mut down = self.lock();
                let since = down.get(url).map(|(since, _)| *since);
                down.insert(url.to_owned(), (since.unwrap_or(now_ms), why.clone()));
                since.is_none()
            }
        };
        match result {
            Ok(()) if changed => tracing::info!(url, "node is up again"),
            Err(why) if changed => {
                tracing::warn!(url, why, "node is down; it gets no calls until it answers");
            }
            _ => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, (i64, String)>> {
        // Every change is atomic, so a poisoned lock is consistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Limits of concurrent checks.
pub struct Slots {
    up: Semaphore,
    down: Semaphore,
}

impl Default for Slots {
    fn default() -> Self {
        let [up, down] = MAX_CHECKS.map(Semaphore::new);
        Self { up, down }
    }
}

/// The loop that checks the nodes.
pub struct Watch {
    pub health: Arc<Health>,
    pub directory: Arc<dyn Directory>,
    pub outbound: Outbound,
    /// Default interval between two passes over a service.
    pub interval: Duration,
    pub clock: Arc<dyn Clock>,
    pub slots: Slots,
}

impl Watch {
    /// Runs until dropped. Each service has passes of its own, so that a service whose nodes hang does not delay
    /// the others.
    pub async fn run(self) {
        let mut ended_at: HashMap<String, i64> = HashMap::new();
        let mut running: HashSet<String> = HashSet::new();
        let mut passes = FuturesUnordered::new();
        let mut services = Vec::new();
        loop {
            // Services that cannot be read are checked as before.
            services = self.services().await.unwrap_or(services);
            self.directory.report_down(self.health.down_of(&services));
            let now = self.clock.now_ms();
            for service in &services {
                if self.wait_ms(service, &ended_at, now) == 0 && running.insert(service.name.clone()) {
                    passes.push(self.pass(service.clone()));
                }
            }
            let pause = tokio::time::sleep(self.pause(&services, &ended_at, &running, now));
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    Some(name) = passes.next() => {
                        running.remove(&name);
                        // The interval begins at the end of a pass.
                        ended_at.insert(name, self.clock.now_ms());
                        self.directory.report_down(self.health.down_of(&services));
                    }
                    () = &mut pause => break,
                }
            }
        }
    }

    async fn services(&self) -> Option<Vec<CallbackService>> {
        let read = self.directory.all().await;
        read.inspect_err(|why| tracing::debug!(why, "cannot read the services; the last ones are checked"))
            .ok()
    }

    /// Checks every node of a service. Returns the name of the service.
    async fn pass(&self, service: CallbackService) -> String {
        let checked = service.nodes.iter().filter(|node| service.is_health_checked(node));
        join_all(checked.map(|node| self.check(&service, node))).await;
        service.name
    }

    fn interval_ms(&self, service: &CallbackService) -> u64 {
        let own = service.health.as_ref().and_then(|health| health.interval_ms);
        own.unwrap_or_else(|| u64::try_from(self.interval.as_millis()).unwrap_or(u64::MAX))
    }

    /// Returns the time until the next pass over a service in milliseconds.
    fn wait_ms(&self, service: &CallbackService, ended_at: &HashMap<String, i64>, now: i64) -> u64 {
        // A clock set back must not delay the pass.
        let waited = ended_at.get(&service.name).and_then(|at| u64::try_from(now.saturating_sub(*at)).ok());
        waited.map_or(0, |waited| self.interval_ms(service).saturating_sub(waited))
    }

    /// Returns the time until the next pass, or until the services are read again.
    fn pause(
        &self,
        services: &[CallbackService],
        ended_at: &HashMap<String, i64>,
        running: &HashSet<String>,
        now: i64,
    ) -> Duration {
        let wait = |service: &CallbackService| {
            if running.contains(&service.name) {
                self.interval_ms(service)
            } else {
                self.wait_ms(service, ended_at, now)
            }
        };
        let shortest = services.iter().map(|service| Duration::from_millis(wait(service))).min();
        shortest.unwrap_or(self.interval).min(self.interval).max(MIN_PAUSE)
    }

    /// Checks a node. Nodes that are down share limits of their own, so that they do not delay others.
    async fn check(&self, service: &CallbackService, node: &ServiceNode) {
        let slots = if self.health.is_down(&node.url) { &self.slots.down } else { &self.slots.up };
        // The semaphore is never closed.
        let _slot = slots.acquire().await;
        let result = self.call(service, node).await;
        self.health.record(&node.url, result, self.clock.now_ms());
    }

    async fn call(&self, service: &CallbackService, node: &ServiceNode) -> Result<(), String> {
        let base = node.url.trim_end_matches('/');
        let call = Call {
            method: Method::GET,
            url: base.to_owned(),
            headers: HeaderMap::new(),
            body: String::new(),
            timeout: TIMEOUT,
        };
        match &service.health {
            Some(health) => self.get(Call { url: format!("{base}{}", health.path), ..call }).await,
            None => self.send_heartbeat(call, &service.heartbeat_body).await,
        }
    }

    async fn get(&self, call: Call) -> Result<(), String> {
        let answer = self.outbound.make(call).await.map_err(|error| error.to_string())?;
        if (200..300).contains(&answer.status) { Ok(()) } else { Err(format!("answered {}", answer.status)) }
    }

    /// Sends the heartbeat of a legacy API, which a node answers with `{"pong": true}`.
    async fn send_heartbeat(&self, call: Call, body: &str) -> Result<(), String> {
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
        if reply["pong"] == true { Ok(()) } else { Err("the response is not a pong".to_owned()) }
    }
}
