//! Metrics of the node, in the Prometheus text format.

mod activity;
mod queue_rates;
mod quotas;
mod runs;

use std::collections::HashSet;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::sync::{Mutex, PoisonError};

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use self::activity::Activity;
pub use self::activity::{CLASSES, LATENESS_MS, LastHour, Lateness, Minute, Stage};
use self::queue_rates::QueueRates;
use self::quotas::QuotaMetrics;
use self::runs::RunMetrics;
use crate::core::{Moment, Run};
use crate::ports::{BacklogRow, QueueRow};

/// Maximum number of distinct tags in labels. Further tags are counted as [`OTHER`].
const MAX_TAGS: usize = 1_000;
/// Label of tags beyond [`MAX_TAGS`].
const OTHER: &str = "other";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByTag {
    tag: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByGroup {
    group: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByQueue {
    queue: String,
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByVersion {
    version: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByAlert {
    kind: String,
    subject: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByAnswer {
    method: String,
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByRoute {
    route: String,
}

type IntGauge = Gauge<i64, AtomicI64>;
type Count = Counter<u64, AtomicU64>;

/// The node's counters, gauges and histograms. Every name begins with `taskcenter_`.
pub struct Metrics {
    registry: Registry,
    /// The tags that labels use, to bound their number. The lock also keeps a scrape from reading a set of
    /// gauges while it is replaced.
    tags: Mutex<HashSet<String>>,
    runs: RunMetrics,
    activity: Activity,
    queue_rates: QueueRates,
    fires: Family<ByTag, Count>,
    lateness: Histogram,
    publish_errors: Count,
    rescued: Count,
    submitted: Count,
    quotas: QuotaMetrics,
    pruned: Count,
    http_requests: Family<ByAnswer, Count>,
    http_duration: Family<ByRoute, Histogram>,
    refused_connections: Count,
    rate_limited: Count,
    due: Family<ByTag, IntGauge>,
    due_total: IntGauge,
    unreported: Family<ByTag, IntGauge>,
    unreported_total: IntGauge,
    held: Family<ByTag, IntGauge>,
    lag: Family<ByGroup, IntGauge>,
    queues: Family<ByQueue, IntGauge>,
    shards_held: IntGauge,
    skew_ms: IntGauge,
    behind_ledger_ms: IntGauge,
    zone_database: Family<ByVersion, IntGauge>,
    zone_databases: IntGauge,
    alerts: Family<ByAlert, IntGauge>,
}

/// From one millisecond, the precision of the store, to one hour.
const LATENESS_SEC: [f64; 14] =
    [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 600.0, 3_600.0];
const HTTP_SEC: [f64; 10] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("taskcenter"),
            tags: Mutex::default(),
            runs: RunMetrics::default(),
            activity: Activity::default(),
            queue_rates: QueueRates::default(),
            fires: Family::default(),
            lateness: Histogram::new(LATENESS_SEC),
            publish_errors: Count::default(),
            rescued: Count::default(),
            submitted: Count::default(),
            quotas: QuotaMetrics::default(),
            pruned: Count::default(),
            http_requests: Family::default(),
            http_duration: Family::new_with_constructor(|| Histogram::new(HTTP_SEC)),
            refused_connections: Count::default(),
            rate_limited: Count::default(),
            due: Family::default(),
            due_total: IntGauge::default(),
            unreported: Family::default(),
            unreported_total: IntGauge::default(),
            held: Family::default(),
            lag: Family::default(),
            queues: Family::default(),
            shards_held: IntGauge::default(),
            skew_ms: IntGauge::default(),
            behind_ledger_ms: IntGauge::default(),
            zone_database: Family::default(),
            zone_databases: IntGauge::default(),
            alerts: Family::default(),
        };
        metrics.register_engine();
        metrics.runs.register(&mut metrics.registry);
        metrics.quotas.register(&mut metrics.registry);
        metrics.register_backlog();
        metrics.register_http();
        metrics
    }

    fn register_engine(&mut self) {
        let registry = &mut self.registry;
        registry.register("fires", "Runs handed over", self.fires.clone());
        let help = "Seconds from a run's due moment until it was handed over";
        registry.register("fire_lateness_seconds", help, self.lateness.clone());
        let help = "Messages that the broker did not confirm";
        registry.register("publish_errors", help, self.publish_errors.clone());
        let help = "Overdue runs that were rescued";
        registry.register("runs_rescued", help, self.rescued.clone());
        registry.register("tasks_submitted", "Tasks created", self.submitted.clone());
        registry.register("rows_pruned", "Ended rows removed from the store", self.pruned.clone());
        registry.register("shards_held", "Shards that this node watches", self.shards_held.clone());
        let help = "Milliseconds by which the store's clock is ahead of this node's clock";
        registry.register("clock_skew_ms", help, self.skew_ms.clone());
        let help = "Milliseconds by which the clock is behind the newest row of the ledger";
        registry.register("clock_behind_ledger_ms", help, self.behind_ledger_ms.clone());
        let help = "1 for the version of the time zone database that this node uses";
        registry.register("zone_database", help, self.zone_database.clone());
        let help = "Versions of the time zone database that the announced nodes use; more than 1 is a fault";
        registry.register("zone_database_versions", help, self.zone_databases.clone());
    }

    fn register_backlog(&mut self) {
        let registry = &mut self.registry;
        registry.register("backlog_due", "Due moments that are not handed over, by tag", self.due.clone());
        let help = "Due moments that are not handed over";
        registry.register("backlog_due_all_tags", help, self.due_total.clone());
        let help = "Runs handed over whose outcome the server waits for, by tag";
        registry.register("backlog_unreported", help, self.unreported.clone());
        let help = "Runs handed over whose outcome the server waits for";
        registry.register("backlog_unreported_all_tags", help, self.unreported_total.clone());
        registry.register("backlog_held", "Runs that wait for admission, by tag", self.held.clone());
        let help = "Messages in RocketMQ that wait for a consumer group";
        registry.register("rocketmq_consumer_lag", help, self.lag.clone());
        registry.register("queue_runs", "Open runs of a queue, by state", self.queues.clone());
        registry.register("alert_active", "1 while an alert is raised", self.alerts.clone());
    }

    fn register_http(&mut self) {
        let registry = &mut self.registry;
        registry.register("http_requests", "HTTP requests answered", self.http_requests.clone());
        let help = "Seconds from the head of an HTTP request to the head of its response";
        registry.register("http_request_duration_seconds", help, self.http_duration.clone());
        let help = "Connections closed because the peer had too many";
        registry.register("http_connections_refused", help, self.refused_connections.clone());
        let help = "HTTP requests refused because the peer sent too many in a second";
        registry.register("http_requests_rate_limited", help, self.rate_limited.clone());
    }

    /// Counts a run that was handed over at `now`.
    pub fn fired(&self, tag: &str, moment: Moment, now: Moment) {
        self.lateness.observe(now.since(moment).max(0) as f64 / 1_000.0);
        self.activity.fired(moment, now);
        self.fires.get_or_create_owned(&ByTag { tag: self.bounded(tag) }).inc();
    }

    /// Counts a run that a worker has leased.
    pub fn leased(&self, run: &Run) {
        self.runs.leased(run);
        self.activity.leased(run);
        if let (Some(queue), Some(at)) = (&run.queue, run.leased_at) {
            self.queue_rates.leased(queue, at);
        }
    }

    /// Returns the number of runs of a queue that workers leased through this node in the last minute.
    pub fn leases_per_minute(&self, queue: &str, now: Moment) -> u64 {
        self.queue_rates.per_minute(queue, now)
    }

    /// Counts a run that has ended.
    pub fn ended(&self, run: &Run) {
        self.runs.ended(run, self.bounded(&run.tag));
        self.activity.ended(run);
    }

    /// Returns what this node did in the hour that ends with the minute of `now`.
    pub fn last_hour(&self, now: Moment) -> LastHour {
        self.activity.last_hour(now)
    }

    /// Counts messages that the broker did not confirm.
    pub fn publish_failed(&self, messages: u64) {
        self.publish_errors.inc_by(messages);
    }

    pub fn rescued(&self, runs: u64) {
        self.rescued.inc_by(runs);
    }

    /// Counts a task that was created.
    pub fn submitted(&self) {
        self.submitted.inc();
    }

    /// Counts a request to create tasks that a quota has refused.
    pub fn quota_refused(&self, quota: &'static str) {
        self.quotas.refused(quota);
    }

    /// Counts ended rows that were removed.
    pub fn pruned(&self, rows: u64) {
        self.pruned.inc_by(rows);
    }

    /// Sets the number of shards that this node watches.
    pub fn shards_held(&self, shards: usize) {
        self.shards_held.set(shards as i64);
    }

    /// Sets the milliseconds by which the store's clock is ahead of this node's clock.
    pub fn skew_ms(&self, skew_ms: i64) {
        self.skew_ms.set(skew_ms);
    }

    /// Sets the milliseconds by which the clock is behind the newest row of the ledger.
    pub fn behind_ledger_ms(&self, behind_ms: i64) {
        self.behind_ledger_ms.set(behind_ms);
    }

    /// Returns the milliseconds by which the clock is behind the newest row of the ledger.
    pub fn clock_behind_ledger_ms(&self) -> u64 {
        self.behind_ledger_ms.get().try_into().unwrap_or(0)
    }

    /// Sets the version of this node's time zone database.
    pub fn zone_database(&self, version: &str) {
        self.zone_database.get_or_create_owned(&ByVersion { version: version.to_owned() }).set(1);
    }

    /// Sets the number of versions of the time zone database in the cluster. Returns the previous number.
    pub fn zone_databases(&self, versions: usize) -> usize {
        self.zone_databases.set(versions as i64) as usize
    }

    /// Replaces the backlog. Tags without a row have no backlog.
    pub fn backlog(&self, rows: &[BacklogRow]) {
        let mut tags = self.tags();
        self.due.clear();
        self.unreported.clear();
        self.held.clear();
        for row in rows {
            let by = ByTag { tag: bounded(&mut tags, &row.tag, MAX_TAGS) };
            self.due.get_or_create_owned(&by).inc_by(row.due as i64);
            self.unreported.get_or_create_owned(&by).inc_by(row.unreported as i64);
            self.held.get_or_create_owned(&by).inc_by(row.held as i64);
        }
        self.due_total.set(rows.iter().map(|row| row.due as i64).sum());
        self.unreported_total.set(rows.iter().map(|row| row.unreported as i64).sum());
    }

    /// Replaces the number of waiting messages of each consumer group.
    pub fn lag(&self, groups: &[(String, u64)]) {
        let _unscraped = self.tags();
        self.lag.clear();
        for (group, lag) in groups {
            self.lag.get_or_create_owned(&ByGroup { group: group.clone() }).set(*lag as i64);
        }
    }

    /// Replaces the number of runs in each queue.
    pub fn queues(&self, rows: &[QueueRow]) {
        let mut tags = self.tags();
        self.queues.clear();
        for row in rows {
            let queue = bounded(&mut tags, &row.queue, MAX_TAGS);
            let counts = [
                ("held", row.held),
                ("ready", row.ready),
                ("leased", row.leased),
                ("retrying", row.retrying),
            ];
            for (state, runs) in counts {
                let by = ByQueue { queue: queue.clone(), state };
                self.queues.get_or_create_owned(&by).inc_by(runs as i64);
            }
        }
    }

    /// Replaces the raised alerts, each as (kind, subject).
    pub fn alerts<'a>(&self, raised: impl IntoIterator<Item = (&'a str, &'a str)>) {
        let mut tags = self.tags();
        self.alerts.clear();
        for (kind, subject) in raised {
            let by = ByAlert { kind: kind.to_owned(), subject: bounded(&mut tags, subject, MAX_TAGS) };
            self.alerts.get_or_create_owned(&by).set(1);
        }
    }

    /// Counts an HTTP request. `route` is the route's pattern, never the path, because paths hold ids.
    pub fn answered(&self, method: &str, route: &str, status: u16, duration: std::time::Duration) {
        let by = ByAnswer { method: method.to_owned(), route: route.to_owned(), status };
        self.http_requests.get_or_create_owned(&by).inc();
        let by = ByRoute { route: route.to_owned() };
        self.http_duration.get_or_create_owned(&by).observe(duration.as_secs_f64());
    }

    /// Counts a connection that was closed because its peer had too many.
    pub fn connection_refused(&self) {
        self.refused_connections.inc();
    }

    /// Counts a request that was refused because its peer sent too many.
    pub fn rate_limited(&self) {
        self.rate_limited.inc();
    }

    /// Returns all metrics in the OpenMetrics text format.
    ///
    /// # Errors
    /// Never, because it writes to memory.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let _no_update = self.tags();
        let mut page = String::new();
        text::encode(&mut page, &self.registry)?;
        Ok(page)
    }

    fn tags(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.tags.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bounded(&self, tag: &str) -> String {
        bounded(&mut self.tags(), tag, MAX_TAGS)
    }
}

fn bounded(tags: &mut HashSet<String>, tag: &str, most: usize) -> String {
    if !tags.contains(tag) {
        if tags.len() >= most {
            return OTHER.to_owned();
        }
        tags.insert(tag.to_owned());
    }
    tag.to_owned()
}

#[cfg(test)]
mod tests;
