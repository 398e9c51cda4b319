//! Services that the callback worker calls.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A node of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ServiceNode {
    /// Base URL, `http://host:port` or `https://host:port`, with a path if all paths of the node
    /// begin with one. Without a query.
    #[cfg_attr(feature = "openapi", schema(pattern = "^https?://"))]
    pub url: String,
    /// Share of the calls, relative to the weights of the other nodes. Bounds: 1 to 1,000. Default:
    /// 1.
    #[serde(default = "default_weight")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 1000, default = default_weight))]
    pub weight: u32,
    /// Whether the node receives easytask heartbeats. The easytask legacy API sets it for the nodes
    /// that it registers. Default: `false`.
    #[serde(default)]
    pub heartbeat: bool,
}

const fn default_weight() -> u32 {
    1
}

/// Health check of the nodes of a service: `GET` on each node, and any 2xx is healthy. A node that
/// is not healthy gets no calls until a check succeeds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ServiceHealth {
    /// Path of the check, appended to the URL of the node. It begins with `/`.
    #[cfg_attr(feature = "openapi", schema(pattern = "^/"))]
    pub path: String,
    /// Pause between two checks of a node, in milliseconds. Bounds: 10 to 3,600,000 (one hour).
    /// Default: `callback.health_interval_ms` of the worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 10, maximum = 3_600_000))]
    pub interval_ms: Option<u64>,
}

/// A service to create or replace.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ServiceSpec {
    /// Name of the service, which the callback tasks refer to. 1 to 256 bytes, without control
    /// characters.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 256))]
    pub name: String,
    /// Nodes of the service, 1 to 256.
    #[cfg_attr(feature = "openapi", schema(min_items = 1, max_items = 256))]
    pub nodes: Vec<ServiceNode>,
    /// Health check of the nodes. Default: no check, and every node counts as healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<ServiceHealth>,
    /// Time limit of a callback whose task sets none, in milliseconds. Bounds: 1 to 86,400,000 (one
    /// day). Default: `callback.timeout_ms` of the worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 86_400_000))]
    pub timeout_ms: Option<u64>,
    /// Secret that signs the callbacks, 16 to 512 bytes. Empty: callbacks are not signed. Default:
    /// the current secret of the service. The API never returns it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(max_length = 512, write_only))]
    pub secret: Option<String>,
}

impl std::fmt::Debug for ServiceSpec {
    /// Omits the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceSpec")
            .field("name", &self.name)
            .field("nodes", &self.nodes)
            .finish_non_exhaustive()
    }
}

/// A stored service, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServiceResource {
    /// Name of the service.
    pub name: String,
    /// Nodes of the service.
    pub nodes: Vec<ServiceNode>,
    /// Health check of the nodes; `null`: none.
    pub health: Option<ServiceHealth>,
    /// Body of the easytask heartbeat; empty: no heartbeat.
    #[serde(default)]
    pub heartbeat_body: String,
    /// Time limit of a callback whose task sets none, in milliseconds; `null`: the worker's.
    pub timeout_ms: Option<u64>,
    /// Whether callbacks are signed.
    pub signed: bool,
    /// Nodes of the task center whose built-in callback worker checks the nodes of the service, by name. Empty: the
    /// service has no health check, or only callback workers outside the server check it, and these do not report.
    #[serde(default)]
    pub checked_by: Vec<String>,
    /// Nodes of the service that get no calls, because they did not answer.
    #[serde(default)]
    pub down: Vec<DownServiceNode>,
}

/// A node of a service that gets no calls until it answers a health check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DownServiceNode {
    /// Base URL of the node.
    pub url: String,
    /// Node of the task center that reports it.
    pub reported_by: String,
    /// Since when it does not answer, by the clock of that node. Of several reports, the earliest.
    pub since: Timestamp,
    /// Result of the last check or call, up to 200 characters.
    pub reason: String,
}

/// Answer of `GET /v1/services`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServiceList {
    /// All services, by name.
    pub services: Vec<ServiceResource>,
}
