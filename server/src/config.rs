//! The configuration of a node and its defaults.
//!
//! Every key has a value: an empty or zero value stands for "not set". Therefore the defaults name
//! all keys, and every other key is unknown.

mod alerts;
mod back_ends;
mod error;
mod load;
mod secret;
#[cfg(test)]
mod tests;
mod validate;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use alerts::{Alerts, ChannelKind, ChannelSection, MailTls, RuleSeverity};
pub use back_ends::{BackEnds, BusKind, Embedded, LockKind, Mode, Mongodb, Redis, Rocketmq, StoreKind};
pub use error::ConfigError;
pub use load::{ENV_PREFIX, Override};
pub use secret::{MongoUri, Secret};

use crate::compat::Compat;
use crate::engine::service::AccessSettings;
use crate::engine::settings::Settings;
use crate::http::HttpLimits;
use crate::workers::settings;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The HTTP server.
    pub server: Server,
    /// Access control.
    pub access: AccessSettings,
    /// Keys of taskcenter, the Go predecessor of this server.
    pub task_center: TaskCenter,
    /// The store `sqlite`.
    pub embedded: Embedded,
    /// The store `mongodb`.
    pub mongodb: Mongodb,
    /// The lock `redis`.
    pub redis: Redis,
    /// The bus `rocketmq`.
    pub rocketmq: Rocketmq,
    /// The engine.
    pub engine: Settings,
    /// Alerts and their channels.
    pub alerts: Alerts,
    /// The built-in workers.
    pub workers: settings::Workers,
    /// Scripts that the built-in workers may run.
    pub script: settings::Script,
    /// Addresses that the built-in workers may call.
    pub callback: settings::Callback,
    /// The legacy APIs.
    pub compat: Compat,
    /// The time zones.
    pub zones: Zones,
    /// The log.
    pub log: Log,
}

/// The database of time zones.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Zones {
    /// Directory of a compiled tz database. The node uses the newer one of this database and the
    /// one in the program. Empty: /usr/share/zoneinfo, if it exists.
    pub path: String,
}

/// The HTTP server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Preset for `store`, `bus` and `lock`. Not set: `cluster` when `mongodb`, `redis` or
    /// `rocketmq` has a key, otherwise `embedded`.
    pub mode: Mode,
    /// The store. `None`: as `mode` says.
    #[serde(with = "back_ends::word_or_empty")]
    pub store: Option<StoreKind>,
    /// The bus. `None`: as `mode` says.
    #[serde(with = "back_ends::word_or_empty")]
    pub bus: Option<BusKind>,
    /// The lock. `None`: as `mode` says.
    #[serde(with = "back_ends::word_or_empty")]
    pub lock: Option<LockKind>,
    /// Address and port to listen on.
    pub listen: String,
    /// Largest request body in bytes; a larger body gets 413.
    pub body_limit_bytes: usize,
    /// Longest time from the head of a request to its response.
    pub request_timeout_ms: u64,
    /// Longest time for the head of a request, counted from the last response on the connection.
    pub header_timeout_ms: u64,
    /// Largest head of a request in bytes; a larger head gets 431.
    pub max_head_bytes: usize,
    /// Longest time for a client to read 16 KiB of a response, or the rest of it.
    pub write_timeout_ms: u64,
    /// Maximum number of open connections; further connections wait.
    pub max_connections: usize,
    /// Maximum number of open connections from one address (IPv6: one /64); further connections are
    /// closed.
    pub max_connections_per_peer: usize,
    /// Maximum number of requests a second from one address; further requests get 429. 0:
    /// unlimited.
    pub peer_requests_per_sec: u32,
    /// Maximum number of open streams of events; a further one gets 503.
    pub max_viewers: usize,
    /// Longest time for running requests to finish at shutdown.
    pub shutdown_grace_ms: u64,
    /// TLS for the HTTP API.
    pub tls: ServerTls,
}

/// TLS for the HTTP API. Without a certificate the API is plain HTTP.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerTls {
    /// PEM file of the certificate and its intermediate certificates.
    pub cert: String,
    /// PEM file of the private key.
    pub key: String,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            mode: Mode::Embedded,
            store: None,
            bus: None,
            lock: None,
            listen: "127.0.0.1:8275".to_owned(),
            body_limit_bytes: 8 * 1024 * 1024,
            request_timeout_ms: 30_000,
            header_timeout_ms: 15_000,
            max_head_bytes: 64 * 1024,
            write_timeout_ms: 30_000,
            max_connections: 10_000,
            max_connections_per_peer: 5_000,
            peer_requests_per_sec: 0,
            max_viewers: 1_000,
            shutdown_grace_ms: 10_000,
            tls: ServerTls::default(),
        }
    }
}

/// Keys that taskcenter, the Go predecessor of this server, has in its configuration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TaskCenter {
    /// Replaces the port of `server.listen`. 0: not set.
    pub port: u16,
    /// Alert when one tag has more fires than this in a minute. 0 or less: off.
    pub name_alert_count: i64,
    /// Alert when all tags together have more fires than this in a minute. 0 or less: off.
    pub total_alert_count: i64,
}

/// Format of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// Plain text for a terminal.
    Text,
}

/// The log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// Format of the lines.
    pub format: LogFormat,
    /// Level, or a list of levels such as `info,taskcenter_server=debug`.
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Json, level: "info".to_owned() }
    }
}

impl Config {
    /// The address to listen on: `server.listen`, with the port of `task_center.port` if that is
    /// set.
    pub fn listen(&self) -> String {
        match (self.task_center.port, self.server.listen.rsplit_once(':')) {
            (1.., Some((host, _))) => format!("{host}:{}", self.task_center.port),
            _ => self.server.listen.clone(),
        }
    }

    /// The limits of the HTTP server.
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

    /// The settings of the built-in workers.
    pub fn workers(&self) -> settings::Settings {
        let (workers, script, callback) = (&self.workers, &self.script, &self.callback);
        settings::Settings { workers: workers.clone(), script: script.clone(), callback: callback.clone() }
    }
}
