//! Refuses values that have the right type but are invalid, before anything starts.

use std::ops::RangeInclusive;

use tracing_subscriber::filter::LevelFilter;

use super::{BackEnds, BusKind, Config, ConfigError, LockKind, StoreKind};
use crate::core::net::Net;
use crate::core::retry::MAX_INTERVALS;
use crate::core::submission::{MAX_CALL_MS, MAX_SCRIPT_MS};
use crate::engine::prune::REMEMBER_MS;
use crate::workers::QUEUES;

const HOUR_MS: u64 = 3_600_000;
/// How long an idempotency key is valid.
const REMEMBER_HOURS: u64 = REMEMBER_MS as u64 / HOUR_MS;

impl Config {
    /// Returns the errors of all values.
    pub(super) fn faults(&self) -> Vec<ConfigError> {
        let mut faults = Faults::default();
        self.validate_server(&mut faults);
        self.validate_access(&mut faults);
        self.validate_combination(&mut faults);
        self.validate_back_ends(&mut faults);
        self.validate_engine(&mut faults);
        self.validate_alerts(&mut faults);
        self.validate_workers(&mut faults);
        self.validate_compat(&mut faults);
        let level = &self.log.level;
        let known = level.split(',').all(is_log_directive);
        let levels = "error, warn, info, debug, trace, or a list such as \"info,taskcenter_server=debug\"";
        faults.demand_text(known, "log.level", level, levels);
        faults.0
    }

    fn validate_server(&self, faults: &mut Faults) {
        let server = &self.server;
        let example = "an address and a port, such as \"127.0.0.1:8275\"";
        faults.demand_text(is_address(&server.listen), "server.listen", &server.listen, example);
        faults.within("server.body_limit_bytes", server.body_limit_bytes, 1_024..=64 * 1024 * 1024);
        faults.within("server.request_timeout_ms", server.request_timeout_ms, 1..=HOUR_MS);
        faults.within("server.header_timeout_ms", server.header_timeout_ms, 1..=HOUR_MS);
        faults.within("server.max_head_bytes", server.max_head_bytes, 8_192..=1024 * 1024);
        faults.within("server.write_timeout_ms", server.write_timeout_ms, 1..=HOUR_MS);
        faults.within("server.max_connections", server.max_connections, 1..=1_000_000);
        faults.within("server.max_connections_per_peer", server.max_connections_per_peer, 1..=1_000_000);
        faults.within("server.peer_requests_per_sec", server.peer_requests_per_sec, 0..=1_000_000);
        faults.within("server.max_viewers", server.max_viewers, 0..=100_000);
        faults.within("server.shutdown_grace_ms", server.shutdown_grace_ms, 0..=HOUR_MS);
    }

    fn validate_access(&self, faults: &mut Faults) {
        let tls = &self.server.tls;
        let both = tls.cert.is_empty() == tls.key.is_empty();
        faults.demand(both, "server.tls.key", "set both server.tls.cert and server.tls.key, or neither");
        let digest = &self.access.admin_token_sha256;
        let is_digest = digest.len() == 64 && digest.bytes().all(|digit| digit.is_ascii_hexdigit());
        let expected = "use the 64 hexadecimal digits that `taskcenter token draw` prints, or \"\"";
        faults.demand(digest.is_empty() || is_digest, "access.admin_token_sha256", expected);
        faults.ranges("access.trusted", &self.access.trusted, "10.0.0.0/8");
    }

    /// Refuses combinations of store, bus and lock that lose liveness.
    fn validate_combination(&self, faults: &mut Faults) {
        let BackEnds { store, bus, lock } = self.back_ends();
        // A node fires the tasks of the shards that it holds. Redis would give shards of this
        // node's store to nodes that cannot read it.
        let readable = store != StoreKind::Sqlite || lock != LockKind::Redis;
        let remedy = "a node with server.store = \"sqlite\" shares its store with no other node; use server.lock = \"local\", or \
                      server.store = \"mongodb\"";
        faults.refuse(readable, "server.lock", Some("\"redis\"".to_owned()), remedy.to_owned());
        // A run whose lease ends before its send does would be sent a second time.
        let (lease_ms, send_ms) = (self.engine.run_lease_ms, self.rocketmq.send_timeout_ms);
        let outlives =
            bus == BusKind::None || u64::try_from(lease_ms).is_ok_and(|lease_ms| lease_ms > send_ms);
        let remedy = format!("use a value above rocketmq.send_timeout_ms, which is {send_ms}");
        faults.refuse(outlives, "engine.run_lease_ms", Some(lease_ms.to_string()), remedy);
    }

    fn validate_back_ends(&self, faults: &mut Faults) {
        let (mongodb, redis, rocketmq) = (&self.mongodb, &self.redis, &self.rocketmq);
        let schemes = ["mongodb://", "mongodb+srv://"];
        let uri = schemes.iter().any(|scheme| mongodb.uri.expose().starts_with(scheme));
        faults.demand(
            uri,
            "mongodb.uri",
            "use a connection string that begins with mongodb:// or mongodb+srv://",
        );
        let name = !mongodb.db.is_empty()
            && mongodb.db.len() < 64
            && !mongodb.db.contains(['/', '\\', '.', ' ', '"', '$']);
        faults.demand_text(name, "mongodb.db", &mongodb.db, "1 to 63 bytes without / \\ . \" $ and blanks");
        faults.demand(is_address(&redis.addr), "redis.addr", "use host:port");
        faults.demand(!redis.key_prefix.is_empty(), "redis.key_prefix", "use at least one character");
        let encrypted = redis.tls || redis.tls_ca_file.is_empty();
        faults.demand(
            encrypted,
            "redis.tls_ca_file",
            "set redis.tls = true too, or remove redis.tls_ca_file",
        );
        let servers = !rocketmq.namesvr.is_empty() && rocketmq.namesvr.iter().all(|addr| is_address(addr));
        faults.demand(servers, "rocketmq.namesvr", "use a list of host:port with at least one item");
        let names =
            [("rocketmq.topic", &rocketmq.topic, 127), ("rocketmq.group_id", &rocketmq.group_id, 255)];
        let instance = &rocketmq.instance_name;
        let taken = if instance.is_empty() { 0 } else { instance.len() + 1 };
        for (key, name, longest) in names {
            let longest = longest - taken.min(longest);
            let expected = format!("1 to {longest} letters, digits, _ - % or |");
            faults.demand_text(is_mq_name(name, longest), key, name, &expected);
        }
        let valid = instance.is_empty() || is_mq_name(instance, 63);
        faults.demand_text(valid, "rocketmq.instance_name", instance, "up to 63 letters, digits, _ - % or |");
        let both = rocketmq.access_key.is_empty() == rocketmq.secret_key.is_empty();
        let remedy = "set both rocketmq.access_key and rocketmq.secret_key, or neither";
        faults.demand(both, "rocketmq.secret_key", remedy);
        faults.within("rocketmq.send_timeout_ms", rocketmq.send_timeout_ms, 1..=600_000);
    }

    fn validate_engine(&self, faults: &mut Faults) {
        let engine = &self.engine;
        let zone = crate::core::zone::find(&engine.time_zone).is_some();
        let example = "an IANA name such as \"UTC\" or \"Asia/Shanghai\"";
        faults.demand_text(zone, "engine.time_zone", &engine.time_zone, example);
        faults.within("engine.window_ms", engine.window_ms, 100..=60_000);
        faults.within("engine.rescan_ms", engine.rescan_ms, 10..=60_000);
        // A task that becomes due between two scans would fire late.
        let in_time = engine.rescan_ms as i64 <= engine.window_ms;
        let remedy = format!("use at most engine.window_ms, which is {}", engine.window_ms);
        faults.refuse(in_time, "engine.rescan_ms", Some(engine.rescan_ms.to_string()), remedy);
        faults.within("engine.batch", engine.batch, 1..=10_000);
        faults.within("engine.run_lease_ms", engine.run_lease_ms, 1_000..=HOUR_MS);
        faults.within("engine.shard_lease_ms", engine.shard_lease_ms, 500..=600_000);
        faults.within("engine.rescue_ms", engine.rescue_ms, 10..=60_000);
        // A repeated request must find the task and the run that the first request created, or it
        // would create them again.
        let outlives = (REMEMBER_HOURS..=87_600).contains(&engine.keep_hours);
        let remedy = format!(
            "use a value between {REMEMBER_HOURS} and 87600: idempotency keys are valid for {REMEMBER_HOURS} hours, and the tasks and \
             runs that they name must exist as long"
        );
        faults.refuse(outlives, "engine.keep_hours", Some(engine.keep_hours.to_string()), remedy);
        faults.within("engine.wait_hours", engine.wait_hours, 1..=87_600);
        faults.within("engine.cancel_grace_ms", engine.cancel_grace_ms, 0..=24 * HOUR_MS);
        faults.within("engine.prune_sec", engine.prune_sec, 1..=86_400);
        faults.within("engine.backlog_sec", engine.backlog_sec, 1..=3_600);
        faults.within("engine.skew_warn_ms", engine.skew_warn_ms, 1..=HOUR_MS);
        faults.within("engine.skew_stop_ms", engine.skew_stop_ms, 1..=HOUR_MS);
        faults.within("engine.misfire.grace_ms", engine.misfire.grace_ms, 0..=366 * 24 * HOUR_MS);
        faults.within("engine.retry.max_attempts", engine.retry.max_attempts, 1..=1_000_000);
        faults.within("engine.retry.backoff_ms", engine.retry.backoff_ms, 0..=24 * HOUR_MS);
        faults.within("engine.retry.max_backoff_ms", engine.retry.max_backoff_ms, 0..=366 * 24 * HOUR_MS);
        faults.within("engine.retry.factor_percent", engine.retry.factor_percent, 100..=1_000);
        faults.within("engine.retry.jitter_percent", engine.retry.jitter_percent, 0..=100);
        let longest = engine.retry.intervals_ms.iter().copied().max().unwrap_or(0);
        faults.within("engine.retry.intervals_ms", longest, 0..=366 * 24 * HOUR_MS);
        faults.within("engine.retry.intervals_ms", engine.retry.intervals_ms.len(), 0..=MAX_INTERVALS as u64);
    }

    fn validate_workers(&self, faults: &mut Faults) {
        let (workers, script, callback) = (&self.workers, &self.script, &self.callback);
        for queue in &workers.queues {
            let known = QUEUES.contains(&queue.as_str());
            faults.refuse(
                known,
                "workers.queues",
                Some(format!("{queue:?}")),
                format!("use items of {}", QUEUES.join(", ")),
            );
        }
        faults.within("workers.concurrency", workers.concurrency, 1..=10_000);
        faults.within("workers.lease_ms", workers.lease_ms, 1_000..=24 * HOUR_MS);
        faults.within("workers.drain_ms", workers.drain_ms, 0..=HOUR_MS);
        let named = !script.enabled || !script.bin_path.is_empty();
        let expected = "the directory of the scripts, because script.enabled is true";
        faults.demand_text(named, "script.bin_path", &script.bin_path, expected);
        faults.within("script.timeout_ms", script.timeout_ms, 1..=MAX_SCRIPT_MS);
        faults.within("script.output_bytes", script.output_bytes, 1..=16 * 1024 * 1024);
        faults.ranges("callback.allow", &callback.allow, "::1");
        faults.ranges("callback.deny", &callback.deny, "10.0.0.0/8");
        faults.within("callback.timeout_ms", callback.timeout_ms, 1..=MAX_CALL_MS);
        faults.within("callback.answer_bytes", callback.answer_bytes, 1..=16 * 1024 * 1024);
        faults.within("callback.confirm_within_ms", callback.confirm_within_ms, 1_000..=24 * HOUR_MS);
        faults.within("callback.health_interval_ms", callback.health_interval_ms, 10..=HOUR_MS);
    }

    fn validate_compat(&self, faults: &mut Faults) {
        const YEAR_HOURS: u64 = 366 * 24;
        let compat = &self.compat;
        faults.within("compat.kingtask.task_run_sec", compat.kingtask.task_run_sec, 1..=MAX_CALL_MS / 1_000);
        faults.within(
            "compat.kingtask.result_keep_sec",
            compat.kingtask.result_keep_sec,
            1..=10 * YEAR_HOURS * 3_600,
        );
        let timeout_sec = compat.easytask.callback_timeout_sec;
        faults.within("compat.easytask.callback_timeout_sec", timeout_sec, 1..=MAX_CALL_MS / 1_000);
        let (pull, board) = (compat.easytask_pull.session_hours, compat.taskdash.session_hours);
        faults.within("compat.easytask_pull.session_hours", pull, 1..=YEAR_HOURS);
        faults.within("compat.taskdash.session_hours", board, 1..=YEAR_HOURS);
        // RocketMQ limits the whole name, and the longest of the four topic names follows the
        // prefix.
        let prefix = &compat.taskdash.topic_prefix;
        let valid = prefix.is_empty() || is_mq_name(prefix, 100);
        faults.demand_text(
            valid,
            "compat.taskdash.topic_prefix",
            prefix,
            "up to 100 letters, digits, _ - % or |",
        );
        let invalid = compat.taskdash.allow_origins.iter().find(|origin| !is_origin(origin));
        let text = invalid.map_or("", String::as_str);
        let expected = "origins as browsers send them, such as \"https://board.example\": scheme, host, and the \
                        port unless it is the default, in lower case";
        faults.demand_text(invalid.is_none(), "compat.taskdash.allow_origins", text, expected);
    }
}

/// Errors of values.
#[derive(Default)]
pub(super) struct Faults(Vec<ConfigError>);

impl Faults {
    pub(super) fn refuse(&mut self, valid: bool, key: &str, found: Option<String>, remedy: String) {
        if !valid {
            self.0.push(ConfigError::Value { key: key.to_owned(), origin: None, found, remedy });
        }
    }

    /// Refuses a value that may be secret, without printing it.
    pub(super) fn demand(&mut self, valid: bool, key: &str, remedy: &str) {
        self.refuse(valid, key, None, remedy.to_owned());
    }

    pub(super) fn demand_text(&mut self, valid: bool, key: &str, text: &str, expected: &str) {
        self.refuse(valid, key, Some(format!("{text:?}")), format!("use {expected}"));
    }

    pub(super) fn within(&mut self, key: &str, value: impl TryInto<i128>, range: RangeInclusive<u64>) {
        let value = value.try_into().unwrap_or(i128::MAX);
        let valid = u64::try_from(value).is_ok_and(|value| range.contains(&value));
        let remedy = format!("use a value between {} and {}", range.start(), range.end());
        self.refuse(valid, key, Some(value.to_string()), remedy);
    }

    /// Refuses items that are not ranges of addresses.
    fn ranges(&mut self, key: &str, items: &[String], example: &str) {
        let invalid = items.iter().find(|item| item.parse::<Net>().is_err());
        let expected = format!("addresses or ranges of addresses such as {example:?}");
        self.demand_text(invalid.is_none(), key, invalid.map_or("", String::as_str), &expected);
    }
}

/// Whether a browser can send this text as the origin of a page on a host.
fn is_origin(text: &str) -> bool {
    let url = reqwest::Url::parse(text).ok();
    url.is_some_and(|url| url.has_host() && url.origin().ascii_serialization() == text)
}

fn is_address(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && !host.contains(char::is_whitespace) && port.parse::<u16>().is_ok()
    })
}

/// Whether RocketMQ accepts the name of a topic or a group.
fn is_mq_name(text: &str, longest: usize) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '%' | '|');
    (1..=longest).contains(&text.len()) && text.chars().all(fits)
}

/// Returns whether an item of `log.level` is a level, or `target=level`. The parser of the filter would
/// take a misspelt level for a target.
fn is_log_directive(item: &str) -> bool {
    let (target, level) = item.rsplit_once('=').map_or((None, item), |(target, level)| (Some(target), level));
    let is_target = |target: &str| !target.is_empty() && !target.contains('=');
    target.is_none_or(|target| is_target(target.trim())) && level.trim().parse::<LevelFilter>().is_ok()
}
