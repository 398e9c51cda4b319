//! The configuration: what can be set, and what it is when nobody sets it.
//!
//! There is no optional key: where a value may be left out, its empty or zero value says so. So the defaults, written out, name
//! every key there is, and a key that they do not name is unknown.

mod load;
mod secret;
#[cfg(test)]
mod tests;
mod validate;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use load::{ConfigError, ENV_PREFIX};
pub use secret::{MongoUri, Secret};

use crate::compat::Compat;
use crate::core::alert::Limits;
use crate::engine::service::AccessSettings;
use crate::engine::settings::Settings;
use crate::http::HttpLimits;
use crate::workers::settings;

/// Everything that can be set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The HTTP server.
    pub server: Server,
    /// Who gets in.
    pub access: AccessSettings,
    /// Keys of the old server.
    pub task_center: TaskCenter,
    /// The node that needs no other program.
    pub embedded: Embedded,
    /// The ledger.
    pub mongodb: Mongodb,
    /// The leases.
    pub redis: Redis,
    /// The broker.
    pub rocketmq: Rocketmq,
    /// The engine.
    pub engine: Settings,
    /// Backlog alerts.
    pub alerts: Alerts,
    /// The built-in workers.
    pub workers: settings::Workers,
    /// What they may run.
    pub script: settings::Script,
    /// What they may call.
    pub callback: settings::Callback,
    /// The older systems' contracts.
    pub compat: Compat,
    /// The log.
    pub log: Log,
}

/// What a node stands on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// On itself: a file, and workers that pull.
    #[default]
    Embedded,
    /// On MongoDB, Redis and RocketMQ, as one of several nodes.
    Cluster,
}

/// The node that needs no other program.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Embedded {
    /// Where its files are; empty: a folder under the user's data directory.
    pub data_dir: String,
}

impl Embedded {
    /// The directory, if there is one to be found.
    pub fn directory(&self) -> Option<PathBuf> {
        if self.data_dir.is_empty() {
            return dirs::data_dir().map(|data| data.join("taskcenter"));
        }
        Some(PathBuf::from(&self.data_dir))
    }
}

/// The HTTP server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// What the node stands on. Left out, it is a cluster where the configuration says anything of one.
    pub mode: Mode,
    /// Address and port to listen on.
    pub listen: String,
    /// Largest request body in bytes; a larger one is answered 413.
    pub body_limit_bytes: usize,
    /// Longest time for one request, from its head to its answer.
    pub request_timeout_ms: u64,
    /// Longest time for a request's head, counted from the connection's last answer.
    pub header_timeout_ms: u64,
    /// Largest head of a request in bytes; a larger one is answered 431.
    pub max_head_bytes: usize,
    /// Longest time for a caller to take 16 KiB of what it is sent, or all of it.
    pub write_timeout_ms: u64,
    /// Connections at a time; further ones wait.
    pub max_connections: usize,
    /// Connections at a time from one address (IPv6: one /64); further ones are closed.
    pub max_connections_per_peer: usize,
    /// Requests a second from one address, answered 429 beyond that; 0: as many as come.
    pub peer_requests_per_sec: u32,
    /// Longest time for the requests that are under way when the server is told to stop.
    pub shutdown_grace_ms: u64,
    /// TLS for the HTTP API.
    pub tls: ServerTls,
}

/// TLS for the HTTP API; without a certificate it is plain HTTP.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerTls {
    /// PEM file of the certificate, with those between it and its authority.
    pub cert: String,
    /// PEM file of its key.
    pub key: String,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            mode: Mode::Embedded,
            listen: "127.0.0.1:8275".to_owned(),
            body_limit_bytes: 8 * 1024 * 1024,
            request_timeout_ms: 30_000,
            header_timeout_ms: 15_000,
            max_head_bytes: 64 * 1024,
            write_timeout_ms: 30_000,
            max_connections: 10_000,
            max_connections_per_peer: 5_000,
            peer_requests_per_sec: 0,
            shutdown_grace_ms: 10_000,
            tls: ServerTls::default(),
        }
    }
}

/// Keys of the old server that have no other home.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TaskCenter {
    /// Takes the place of the port in `server.listen`; 0: not given.
    pub port: u16,
    /// Alert when one tag fires more often than this in a minute; 0 or less: off.
    pub name_alert_count: i64,
    /// Alert when all tags together fire more often than this in a minute; 0 or less: off.
    pub total_alert_count: i64,
}

/// The ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mongodb {
    /// Connection string of a replica set.
    pub uri: MongoUri,
    /// Database.
    pub db: String,
}

impl Default for Mongodb {
    fn default() -> Self {
        Self { uri: MongoUri::new("mongodb://127.0.0.1:27017/?replicaSet=rs0"), db: "taskcenter".to_owned() }
    }
}

/// The leases.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Redis {
    /// Host and port.
    pub addr: String,
    /// Password; empty: none.
    pub password: Secret,
    /// Database number.
    pub db: u32,
    /// Prefix of every key, so that several clusters can share a server.
    pub key_prefix: String,
    /// Speak TLS.
    pub tls: bool,
    /// PEM file of the authority that signed its certificate; empty: those that the system trusts.
    pub tls_ca_file: String,
}

impl Default for Redis {
    fn default() -> Self {
        Self {
            addr: "127.0.0.1:6379".to_owned(),
            password: Secret::default(),
            db: 0,
            key_prefix: "taskcenter".to_owned(),
            tls: false,
            tls_ca_file: String::new(),
        }
    }
}

/// The broker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rocketmq {
    /// Name servers, host and port each.
    pub namesvr: Vec<String>,
    /// Topic of every message.
    pub topic: String,
    /// Producer group.
    pub group_id: String,
    /// Client instance; empty: one is made up.
    pub instance_name: String,
    /// ACL access key; empty: no ACL.
    pub access_key: Secret,
    /// ACL secret key.
    pub secret_key: Secret,
    /// Speak TLS to name servers and brokers.
    pub tls: bool,
    /// PEM file of the authority that signed their certificates; empty: any certificate is taken.
    pub tls_ca_file: String,
    /// Longest time for a send to be confirmed.
    pub send_timeout_ms: u64,
}

impl Default for Rocketmq {
    fn default() -> Self {
        Self {
            namesvr: vec!["127.0.0.1:9876".to_owned()],
            topic: "taskcenter".to_owned(),
            group_id: "taskcenter".to_owned(),
            instance_name: String::new(),
            access_key: Secret::default(),
            secret_key: Secret::default(),
            tls: false,
            tls_ca_file: String::new(),
            send_timeout_ms: 3_000,
        }
    }
}

/// Backlog alerts; those on fires a minute have their thresholds in `task_center`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Alerts {
    /// Moments of one tag that are due but not fired; 0 or less: off.
    pub due_per_tag: i64,
    /// The same over all tags.
    pub due_total: i64,
    /// Runs of one tag that are fired but unreported; 0 or less: off.
    pub unreported_per_tag: i64,
    /// The same over all tags.
    pub unreported_total: i64,
    /// Messages that wait for one consumer group; 0 or less: off.
    pub lag_per_group: i64,
    /// The same over all groups.
    pub lag_total: i64,
    /// An alert ends when the value is below this part of its threshold.
    pub clear_ratio: f64,
    /// An alert that lasts is repeated after so many minutes; 0: never.
    pub remind_min: u64,
    /// Where alerts are posted as JSON; empty: nowhere. A secret, for such addresses often hold a token.
    pub webhook_url: Secret,
    /// Longest time for one post.
    pub webhook_timeout_ms: u64,
    /// Tries for one alert.
    pub webhook_attempts: u32,
}

impl Default for Alerts {
    fn default() -> Self {
        Self {
            due_per_tag: 1_000,
            due_total: 10_000,
            unreported_per_tag: 1_000,
            unreported_total: 10_000,
            lag_per_group: 10_000,
            lag_total: 100_000,
            clear_ratio: 0.8,
            remind_min: 10,
            webhook_url: Secret::default(),
            webhook_timeout_ms: 5_000,
            webhook_attempts: 3,
        }
    }
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For a person at a terminal.
    Text,
}

/// The log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// How it is written.
    pub format: LogFormat,
    /// What is written: `info`, or a list such as `info,taskcenter_server=debug`.
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Json, level: "info".to_owned() }
    }
}

impl Redis {
    /// The URL a client connects to. It holds the password: for the client alone.
    pub fn url(&self) -> String {
        use std::fmt::Write as _;
        let mut login = String::new();
        // What means something in a URL must not end the password early.
        for byte in self.password.expose().bytes() {
            let _ = write!(login, "%{byte:02X}");
        }
        let login = if login.is_empty() { login } else { format!(":{login}@") };
        let scheme = if self.tls { "rediss" } else { "redis" };
        format!("{scheme}://{login}{}/{}", self.addr, self.db)
    }
}

impl Config {
    /// The address to listen on: `server.listen`, with the old key's port where that one is given.
    pub fn listen(&self) -> String {
        match (self.task_center.port, self.server.listen.rsplit_once(':')) {
            (1.., Some((host, _))) => format!("{host}:{}", self.task_center.port),
            _ => self.server.listen.clone(),
        }
    }

    /// The HTTP server's limits.
    pub fn http_limits(&self) -> HttpLimits {
        let server = &self.server;
        HttpLimits {
            body_limit_bytes: server.body_limit_bytes,
            request_timeout: Duration::from_millis(server.request_timeout_ms),
            header_timeout: Duration::from_millis(server.header_timeout_ms),
            max_head_bytes: server.max_head_bytes,
            write_timeout: Duration::from_millis(server.write_timeout_ms),
            max_connections: server.max_connections,
            max_connections_per_peer: server.max_connections_per_peer,
            peer_requests_per_sec: server.peer_requests_per_sec,
            shutdown_grace: Duration::from_millis(server.shutdown_grace_ms),
        }
    }

    /// What the built-in workers are told.
    pub fn workers(&self) -> settings::Settings {
        let (workers, script, callback) = (&self.workers, &self.script, &self.callback);
        settings::Settings { workers: workers.clone(), script: script.clone(), callback: callback.clone() }
    }

    /// The alerts' limits.
    pub fn alert_limits(&self) -> Limits {
        let (old, new) = (&self.task_center, &self.alerts);
        Limits {
            fires: (old.name_alert_count, old.total_alert_count),
            due: (new.due_per_tag, new.due_total),
            unreported: (new.unreported_per_tag, new.unreported_total),
            lag: (new.lag_per_group, new.lag_total),
            clear_ratio: new.clear_ratio,
            remind_ms: (new.remind_min > 0)
                .then(|| i64::try_from(new.remind_min.saturating_mul(60_000)).unwrap_or(i64::MAX)),
        }
    }
}
