//! Values of the right kind that make no sense are refused before anything starts.

use std::ops::RangeInclusive;

use super::{Config, ConfigError, Mode};
use crate::core::net::Net;
use crate::core::submission::MAX_RUNTIME_SEC;
use crate::engine::prune::REMEMBER_MS;
use crate::workers::QUEUES;

const HOUR_MS: u64 = 3_600_000;
/// How long an idempotency key holds.
const REMEMBER_HOURS: u64 = REMEMBER_MS as u64 / HOUR_MS;

impl Config {
    /// Checks every value.
    ///
    /// # Errors
    /// The first one that makes no sense.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.validate_server()?;
        self.validate_access()?;
        self.validate_back_ends()?;
        self.validate_engine()?;
        self.validate_alerts()?;
        self.validate_workers()?;
        self.validate_compat()?;
        let filter = tracing_subscriber::EnvFilter::try_new(&self.log.level);
        demand(
            filter.is_ok() && !self.log.level.is_empty(),
            "log.level",
            "error, warn, info, debug, trace, or a list such as info,taskcenter_server=debug",
        )
    }

    fn validate_server(&self) -> Result<(), ConfigError> {
        let server = &self.server;
        demand(is_address(&server.listen), "server.listen", "an address and a port, such as 127.0.0.1:8275")?;
        within("server.body_limit_bytes", server.body_limit_bytes as u64, 1_024..=64 * 1024 * 1024)?;
        within("server.request_timeout_ms", server.request_timeout_ms, 1..=HOUR_MS)?;
        within("server.header_timeout_ms", server.header_timeout_ms, 1..=HOUR_MS)?;
        within("server.max_head_bytes", server.max_head_bytes as u64, 8_192..=1024 * 1024)?;
        within("server.write_timeout_ms", server.write_timeout_ms, 1..=HOUR_MS)?;
        within("server.max_connections", server.max_connections as u64, 1..=1_000_000)?;
        within("server.max_connections_per_peer", server.max_connections_per_peer as u64, 1..=1_000_000)?;
        within("server.peer_requests_per_sec", u64::from(server.peer_requests_per_sec), 0..=1_000_000)?;
        within("server.shutdown_grace_ms", server.shutdown_grace_ms, 0..=HOUR_MS)
    }

    fn validate_access(&self) -> Result<(), ConfigError> {
        let tls = &self.server.tls;
        let both = tls.cert.is_empty() == tls.key.is_empty();
        demand(both, "server.tls.key", "given together with server.tls.cert, or not at all")?;
        let digest = &self.access.admin_token_sha256;
        let is_digest = digest.len() == 64 && digest.bytes().all(|digit| digit.is_ascii_hexdigit());
        let expected = "the 64 hexadecimal digits that `taskcenter token draw` prints, or empty";
        demand(digest.is_empty() || is_digest, "access.admin_token_sha256", expected)?;
        let are_ranges = self.access.trusted.iter().all(|range| range.parse::<Net>().is_ok());
        demand(are_ranges, "access.trusted", "a list of ranges of addresses, such as 10.0.0.0/8")
    }

    fn validate_back_ends(&self) -> Result<(), ConfigError> {
        let (mongodb, redis, rocketmq) = (&self.mongodb, &self.redis, &self.rocketmq);
        let schemes = ["mongodb://", "mongodb+srv://"];
        let uri = schemes.iter().any(|scheme| mongodb.uri.expose().starts_with(scheme));
        demand(uri, "mongodb.uri", "a connection string that begins with mongodb:// or mongodb+srv://")?;
        let name = !mongodb.db.is_empty()
            && mongodb.db.len() < 64
            && !mongodb.db.contains(['/', '\\', '.', ' ', '"', '$']);
        demand(name, "mongodb.db", "a database's name: 1 to 63 bytes, none of / \\ . \" $ or a blank")?;
        demand(is_address(&redis.addr), "redis.addr", "host:port")?;
        demand(!redis.key_prefix.is_empty(), "redis.key_prefix", "a word")?;
        let encrypted = redis.tls || redis.tls_ca_file.is_empty();
        demand(encrypted, "redis.tls_ca_file", "left out, or redis.tls should be true")?;
        let servers = !rocketmq.namesvr.is_empty() && rocketmq.namesvr.iter().all(|addr| is_address(addr));
        demand(servers, "rocketmq.namesvr", "a list of host:port with at least one entry")?;
        demand(is_mq_name(&rocketmq.topic, 127), "rocketmq.topic", "1 to 127 letters, digits, _ - % or |")?;
        demand(
            is_mq_name(&rocketmq.group_id, 255),
            "rocketmq.group_id",
            "1 to 255 letters, digits, _ - % or |",
        )?;
        let both = rocketmq.access_key.is_empty() == rocketmq.secret_key.is_empty();
        demand(both, "rocketmq.secret_key", "given together with rocketmq.access_key, or not at all")?;
        within("rocketmq.send_timeout_ms", rocketmq.send_timeout_ms, 1..=600_000)
    }

    fn validate_engine(&self) -> Result<(), ConfigError> {
        let engine = &self.engine;
        let zone = jiff::tz::TimeZone::get(&engine.time_zone).is_ok();
        demand(zone, "engine.time_zone", "an IANA time zone, such as UTC or Asia/Shanghai")?;
        within("engine.window_ms", engine.window_ms as u64, 100..=60_000)?;
        within("engine.rescan_ms", engine.rescan_ms, 10..=60_000)?;
        // A task that becomes due between two scans would be seen late.
        demand(engine.rescan_ms as i64 <= engine.window_ms, "engine.rescan_ms", "at most engine.window_ms")?;
        within("engine.batch", u64::from(engine.batch), 1..=10_000)?;
        within("engine.run_lease_ms", engine.run_lease_ms as u64, 1_000..=HOUR_MS)?;
        // A lease shorter than a send would be taken over while its holder still waits for the broker.
        let has_bus = self.server.mode == Mode::Cluster;
        let outlives = !has_bus || engine.run_lease_ms as u64 > self.rocketmq.send_timeout_ms;
        demand(outlives, "engine.run_lease_ms", "above rocketmq.send_timeout_ms")?;
        within("engine.shard_lease_ms", engine.shard_lease_ms, 500..=600_000)?;
        within("engine.rescue_ms", engine.rescue_ms, 10..=60_000)?;
        // Otherwise the same request, sent again, would find neither its task nor its run, and store and fire another one.
        let outlives = (REMEMBER_HOURS..=87_600).contains(&engine.keep_hours);
        let expected = format!(
            "between {REMEMBER_HOURS} and 87600: idempotency keys hold for {REMEMBER_HOURS} hours, and what they stand for must be there as long"
        );
        demand(outlives, "engine.keep_hours", &expected)?;
        within("engine.prune_sec", engine.prune_sec, 1..=86_400)?;
        within("engine.backlog_sec", engine.backlog_sec, 1..=3_600)?;
        within("engine.skew_warn_ms", engine.skew_warn_ms as u64, 1..=HOUR_MS)?;
        within("engine.skew_stop_ms", engine.skew_stop_ms as u64, 1..=HOUR_MS)?;
        within("engine.misfire.grace_ms", engine.misfire.grace_ms as u64, 0..=366 * 24 * HOUR_MS)?;
        within("engine.retry.max_attempts", u64::from(engine.retry.max_attempts), 1..=1_000_000)?;
        within("engine.retry.backoff_ms", engine.retry.backoff_ms, 0..=24 * HOUR_MS)?;
        within("engine.retry.max_backoff_ms", engine.retry.max_backoff_ms, 0..=366 * 24 * HOUR_MS)
    }

    fn validate_alerts(&self) -> Result<(), ConfigError> {
        let alerts = &self.alerts;
        let ratio = alerts.clear_ratio > 0.0 && alerts.clear_ratio <= 1.0;
        demand(ratio, "alerts.clear_ratio", "above 0 and at most 1")?;
        within("alerts.remind_min", alerts.remind_min, 0..=10_080)?;
        let url = alerts.webhook_url.expose();
        let known = url.is_empty()
            || reqwest::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        demand(known, "alerts.webhook_url", "an http or https URL, or empty")?;
        within("alerts.webhook_timeout_ms", alerts.webhook_timeout_ms, 1..=60_000)?;
        within("alerts.webhook_attempts", u64::from(alerts.webhook_attempts), 1..=10)
    }
}

impl Config {
    fn validate_workers(&self) -> Result<(), ConfigError> {
        let (workers, script, callback) = (&self.workers, &self.script, &self.callback);
        let known = workers.queues.iter().all(|queue| QUEUES.contains(&queue.as_str()));
        demand(known, "workers.queues", &format!("a list of {}", QUEUES.join(", ")))?;
        within("workers.concurrency", workers.concurrency as u64, 1..=10_000)?;
        within("workers.lease_ms", workers.lease_ms, 1_000..=24 * HOUR_MS)?;
        within("workers.drain_ms", workers.drain_ms, 0..=HOUR_MS)?;
        let named = !script.enabled || !script.bin_path.is_empty();
        demand(named, "script.bin_path", "a directory, where script.enabled is true")?;
        within("script.timeout_ms", script.timeout_ms, 1..=7 * 24 * HOUR_MS)?;
        within("script.output_bytes", script.output_bytes as u64, 1..=16 * 1024 * 1024)?;
        for (key, ranges) in [("callback.allow", &callback.allow), ("callback.deny", &callback.deny)] {
            let sound = ranges.iter().all(|range| range.parse::<Net>().is_ok());
            demand(sound, key, "a list of ranges of addresses, such as 10.0.0.0/8 or ::1")?;
        }
        within("callback.timeout_ms", callback.timeout_ms, 1..=24 * HOUR_MS)?;
        within("callback.answer_bytes", callback.answer_bytes as u64, 1..=16 * 1024 * 1024)?;
        within("callback.confirm_within_ms", callback.confirm_within_ms, 1_000..=24 * HOUR_MS)?;
        within("callback.health_interval_ms", callback.health_interval_ms, 10..=HOUR_MS)
    }

    fn validate_compat(&self) -> Result<(), ConfigError> {
        const YEAR_HOURS: u64 = 366 * 24;
        let compat = &self.compat;
        within("compat.kingtask.task_run_sec", compat.kingtask.task_run_sec, 1..=MAX_RUNTIME_SEC)?;
        within(
            "compat.kingtask.result_keep_sec",
            compat.kingtask.result_keep_sec,
            1..=10 * YEAR_HOURS * 3_600,
        )?;
        let timeout_sec = compat.easytask.callback_timeout_sec;
        within("compat.easytask.callback_timeout_sec", timeout_sec, 1..=MAX_RUNTIME_SEC)?;
        let (pull, board) = (compat.easytask_pull.session_hours, compat.taskdash.session_hours);
        within("compat.easytask_pull.session_hours", u64::from(pull), 1..=YEAR_HOURS)?;
        within("compat.taskdash.session_hours", u64::from(board), 1..=YEAR_HOURS)?;
        // The longest of the four topics' names follows it.
        let prefix = &compat.taskdash.topic_prefix;
        demand(
            prefix.is_empty() || is_mq_name(prefix, 100),
            "compat.taskdash.topic_prefix",
            "up to 100 letters, digits, _ - % or |, or empty",
        )
    }
}

fn demand(met: bool, key: &str, expected: &str) -> Result<(), ConfigError> {
    if met { Ok(()) } else { Err(ConfigError::Value { key: key.to_owned(), expected: expected.to_owned() }) }
}

/// A negative number, read as unsigned, is beyond any range.
fn within(key: &str, value: u64, range: RangeInclusive<u64>) -> Result<(), ConfigError> {
    demand(range.contains(&value), key, &format!("between {} and {}", range.start(), range.end()))
}

fn is_address(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && !host.contains(char::is_whitespace) && port.parse::<u16>().is_ok()
    })
}

/// What RocketMQ itself accepts.
fn is_mq_name(text: &str, longest: usize) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '%' | '|');
    (1..=longest).contains(&text.len()) && text.chars().all(fits)
}
