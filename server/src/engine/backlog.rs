//! Counts the backlog, shows it as gauges, and raises alerts. One node of a cluster does this: the leader.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::metrics::Metrics;
use super::node::Node;
use super::pace::Pace;
use crate::core::Moment;
use crate::core::alert::{AlertEvent, AlertTransition, Alerts, Limits, Measure, Reading};
use crate::ports::{AlertSink, BacklogRow, Bus, PortError, QueueRow, Result, Store};

const MINUTE_MS: i64 = 60_000;
/// Longest wait for the lag of the consumer groups.
const LAG_TIMEOUT: Duration = Duration::from_secs(5);

/// Counts the backlog, and keeps the raised alerts.
pub struct Backlog {
    store: Arc<dyn Store>,
    bus: Arc<dyn Bus>,
    metrics: Arc<Metrics>,
    sinks: Vec<Arc<dyn AlertSink>>,
    alerts: Mutex<Alerts>,
    last: Mutex<ConsumerLag>,
}

/// The last known counts of runs and messages that wait for consumers.
#[derive(Default)]
struct ConsumerLag {
    groups: Vec<(String, u64)>,
    queues: Vec<(String, u64)>,
}

/// Counts until the node stops.
pub async fn run(node: &Node, backlog: &Backlog) {
    let mut pace = Pace::new("backlog", Duration::from_secs(node.settings.backlog_sec));
    while !node.shutdown.is_cancelled() {
        let now = node.clock.now();
        match backlog.run_once(now, node.shards.leads(node.clock.steady_ms())).await {
            Ok(()) => pace.pause(&node.shutdown).await,
            Err(error) => pace.failed(&error, &node.shutdown).await,
        }
    }
}

impl Backlog {
    /// Returns a counter without raised alerts. Alerts go to the log and to `sinks`.
    pub fn new(
        store: Arc<dyn Store>,
        bus: Arc<dyn Bus>,
        metrics: Arc<Metrics>,
        limits: Limits,
        sinks: Vec<Arc<dyn AlertSink>>,
    ) -> Self {
        Self { store, bus, metrics, sinks, alerts: Mutex::new(Alerts::new(limits)), last: Mutex::default() }
    }

    /// Counts once, if this node leads. A count that fails leaves its alerts as they are, and does not
    /// affect the other counts.
    ///
    /// # Errors
    /// The error of the first port that failed.
    pub async fn run_once(&self, now: Moment, leads: bool) -> Result<()> {
        if !leads {
            self.reset();
            return Ok(());
        }
        let (fires, backlog, lag, queues) =
            tokio::join!(self.fires(now), self.store.backlog(now), self.lag(), self.store.queues());
        let mut readings = Vec::new();
        let fires = fires.map(|rows| readings.push(Reading { measure: Measure::Fires, rows }));
        let backlog = backlog.map(|rows| {
            self.metrics.backlog(&rows);
            readings.extend(backlog_readings(&rows));
        });
        readings.extend(self.consumer_lag(lag.as_ref().ok(), queues.as_ref().ok()));
        self.raise_alerts(&readings, now);
        fires.and(backlog).and(lag.map(drop)).and(queues.map(drop))
    }

    /// Returns what waits for consumers: messages by consumer group and runs by queue. If one of the two
    /// could not be counted, its last count is used.
    fn consumer_lag(
        &self,
        groups: Option<&Vec<(String, u64)>>,
        queues: Option<&Vec<QueueRow>>,
    ) -> Option<Reading> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(groups) = groups {
            self.metrics.lag(groups);
            last.groups.clone_from(groups);
        }
        if let Some(queues) = queues {
            self.metrics.queues(queues);
            last.queues = queues.iter().map(|row| (row.queue.clone(), row.ready)).collect();
        }
        groups.map(drop).or(queues.map(drop))?;
        Some(Reading {
            measure: Measure::Lag,
            rows: last.groups.iter().chain(&last.queues).cloned().collect(),
        })
    }

    /// Returns the messages that wait for consumers. A broker that does not answer must not delay the other
    /// counts.
    async fn lag(&self) -> Result<Vec<(String, u64)>> {
        let no_answer =
            |_| Err(PortError::Unavailable("the broker", "it did not return the lag in time".into()));
        tokio::time::timeout(LAG_TIMEOUT, self.bus.lag()).await.unwrap_or_else(no_answer)
    }

    /// Returns fires by tag in the current minute or in the previous one, whichever has more. So an alert is
    /// raised at once, and is cleared after a whole minute below the threshold.
    async fn fires(&self, now: Moment) -> Result<Vec<(String, u64)>> {
        let mut rows = self.store.fires_in_minute(now).await?;
        for (tag, before) in self.store.fires_in_minute(now.plus_ms(-MINUTE_MS)).await? {
            match rows.iter_mut().find(|(known, _)| *known == tag) {
                Some((_, fires)) => *fires = before.max(*fires),
                None => rows.push((tag, before)),
            }
        }
        Ok(rows)
    }

    fn raise_alerts(&self, readings: &[Reading], now: Moment) {
        let mut alerts = self.alerts.lock().unwrap_or_else(PoisonError::into_inner);
        let events = alerts.evaluate(readings, now);
        let raised = alerts.raised().map(|key| (key.kind(), key.subject.as_deref().unwrap_or_default()));
        self.metrics.alerts(raised);
        drop(alerts);
        if events.is_empty() {
            return;
        }
        events.iter().for_each(log);
        for sink in &self.sinks {
            sink.send(&events);
        }
    }

    /// Forgets all counts and alerts, because another node counts now.
    fn reset(&self) {
        self.alerts.lock().unwrap_or_else(PoisonError::into_inner).clear();
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = ConsumerLag::default();
        self.metrics.backlog(&[]);
        self.metrics.lag(&[]);
        self.metrics.queues(&[]);
        self.metrics.alerts([]);
    }
}

fn backlog_readings(rows: &[BacklogRow]) -> [Reading; 2] {
    let by = |count: fn(&BacklogRow) -> u64| rows.iter().map(|row| (row.tag.clone(), count(row))).collect();
    [
        Reading { measure: Measure::Due, rows: by(|row| row.due) },
        Reading { measure: Measure::Unreported, rows: by(|row| row.unreported) },
    ]
}

fn log(event: &AlertEvent) {
    let (code, kind) = (event.key.code(), event.key.kind());
    let subject = event.key.subject.as_deref().unwrap_or_default();
    let (value, threshold, since) = (event.value, event.threshold, event.since.to_string());
    match event.change {
        AlertTransition::Raised | AlertTransition::Reminder => {
            tracing::warn!(
                code,
                kind,
                subject,
                value,
                threshold,
                since,
                "alert {code}: {value} is above {threshold}"
            );
        }
        AlertTransition::Cleared => {
            tracing::info!(
                code,
                kind,
                subject,
                value,
                threshold,
                since,
                "alert {code} cleared: {value} is within {threshold}"
            );
        }
    }
}
