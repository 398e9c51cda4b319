//! Counts the backlog, shows it as gauges, and raises alerts. One node of a cluster does this: the leader.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::alerting::Alerting;
use super::dead_runs::DeadRuns;
use super::limits;
use super::metrics::Metrics;
use super::node::Node;
use super::pace::Pace;
use super::settings::AlertWindows;
use super::stuck;
use crate::core::Moment;
use crate::core::alert::{Measure, Reading, Rules};
use crate::ports::{AlertSink, BacklogRow, Bus, PortError, QueueRow, Result, Store};

const MINUTE_MS: i64 = 60_000;
/// The measures of this loop.
const MEASURES: [Measure; 9] = [
    Measure::Fires,
    Measure::Due,
    Measure::Unreported,
    Measure::Lag,
    Measure::DeadRuns,
    Measure::FirstDead,
    Measure::NoWorker,
    Measure::Undecided,
    Measure::LimitSaturated,
];
/// Longest wait for the lag of the consumer groups.
const LAG_TIMEOUT: Duration = Duration::from_secs(5);

/// Counts the backlog, and keeps the raised alerts.
pub struct Backlog {
    store: Arc<dyn Store>,
    bus: Arc<dyn Bus>,
    metrics: Arc<Metrics>,
    alerting: Arc<Alerting>,
    windows: AlertWindows,
    zone: String,
    last: Mutex<ConsumerLag>,
    /// `None`: this node does not lead.
    dead: tokio::sync::Mutex<Option<DeadRuns>>,
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
        rules: impl Into<Rules>,
        sinks: Vec<Arc<dyn AlertSink>>,
    ) -> Self {
        let alerting = Arc::new(Alerting::new(Arc::clone(&metrics), rules, sinks));
        let (windows, zone) = (AlertWindows::default(), "UTC".to_owned());
        let (last, dead) = (Mutex::default(), tokio::sync::Mutex::default());
        Self { store, bus, metrics, alerting, windows, zone, last, dead }
    }

    /// Returns the counter of a node.
    pub fn of(node: &Node, alerting: Arc<Alerting>) -> Self {
        Self {
            store: Arc::clone(&node.store),
            bus: Arc::clone(&node.bus),
            metrics: Arc::clone(&node.metrics),
            alerting,
            windows: node.settings.alert_windows,
            zone: node.settings.time_zone.clone(),
            last: Mutex::default(),
            dead: tokio::sync::Mutex::default(),
        }
    }

    /// Counts once, if this node leads. A count that fails leaves its alerts as they are, and does not
    /// affect the other counts.
    ///
    /// # Errors
    /// The error of the first port that failed.
    pub async fn run_once(&self, now: Moment, leads: bool) -> Result<()> {
        if !leads {
            self.reset().await;
            return Ok(());
        }
        let (fires, backlog, lag, queues, dead, overdue, limits) = tokio::join!(
            self.fires(now),
            self.store.backlog(now),
            self.lag(),
            self.store.queues(),
            self.dead_runs(now),
            stuck::overdue(&*self.store, self.windows.undecided_ms, now),
            limits::saturated(&*self.store),
        );
        let mut readings = Vec::new();
        let fires = fires.map(|rows| readings.push(Reading { measure: Measure::Fires, rows }));
        let backlog = backlog.map(|rows| {
            self.metrics.backlog(&rows);
            readings.extend(backlog_readings(&rows));
        });
        readings.extend(self.consumer_lag(lag.as_ref().ok(), queues.as_ref().ok()));
        let dead = dead.map(|rows| readings.extend(rows));
        let overdue = overdue.map(|rows| readings.push(Reading { measure: Measure::Undecided, rows }));
        let limits = limits.map(|rows| readings.push(Reading { measure: Measure::LimitSaturated, rows }));
        readings.extend(queues.as_deref().ok().map(|queues| self.unattended(queues, now)));
        self.alerting.apply(&readings, now);
        let counted = fires.and(backlog).and(lag.map(drop)).and(queues.map(drop));
        counted.and(dead).and(overdue).and(limits)
    }

    /// Returns the dead runs of the two windows.
    async fn dead_runs(&self, now: Moment) -> Result<[Reading; 2]> {
        let (window_ms, quiet_ms) = (self.windows.dead_ms, self.windows.quiet_ms);
        let mut dead = self.dead.lock().await;
        let dead = dead.get_or_insert_with(|| DeadRuns::new(&self.zone, window_ms.max(quiet_ms)));
        dead.read(&*self.store, now).await?;
        Ok([
            Reading { measure: Measure::DeadRuns, rows: dead.within(window_ms, now) },
            Reading { measure: Measure::FirstDead, rows: dead.within(quiet_ms, now) },
        ])
    }

    /// Returns the queues without a worker.
    fn unattended(&self, queues: &[QueueRow], now: Moment) -> Reading {
        let rows = stuck::unattended(queues, self.windows.no_worker_ms, now);
        Reading { measure: Measure::NoWorker, rows }
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

    /// Forgets all counts and alerts, because another node counts now.
    async fn reset(&self) {
        self.alerting.forget(&MEASURES);
        *self.dead.lock().await = None;
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = ConsumerLag::default();
        self.metrics.backlog(&[]);
        self.metrics.lag(&[]);
        self.metrics.queues(&[]);
    }
}

fn backlog_readings(rows: &[BacklogRow]) -> [Reading; 2] {
    let by = |count: fn(&BacklogRow) -> u64| rows.iter().map(|row| (row.tag.clone(), count(row))).collect();
    [
        Reading { measure: Measure::Due, rows: by(|row| row.due) },
        Reading { measure: Measure::Unreported, rows: by(|row| row.unreported) },
    ]
}
