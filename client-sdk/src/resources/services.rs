//! Services that are called back.

use serde::{Deserialize, Serialize};

/// A node of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ServiceNode {
    /// `http://host:port`, and a path where all of its paths begin with one.
    pub url: String,
    /// Its share of the calls, compared with the others', 1 to 1,000; left out: 1.
    #[serde(default = "one")]
    pub weight: u32,
    /// Whether it wants easytask's heartbeat, for nodes that were added by that front.
    #[serde(default)]
    pub heartbeat: bool,
}

const fn one() -> u32 {
    1
}

/// How the health of a service's nodes is told: each is asked by GET, and any 2xx is good. One that does not answer is left out of the
/// rotation until it does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ServiceHealth {
    /// Behind the node's URL.
    pub path: String,
    /// Pause between two looks, in milliseconds; left out: as the worker is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_ms: Option<u64>,
}

/// A service to create, or to put in the place of the one with its name.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ServiceSpec {
    /// Its name, which the callbacks' tasks say.
    pub name: String,
    /// Where it answers: 1 to 256.
    pub nodes: Vec<ServiceNode>,
    /// How the health of its nodes is told; left out: all of them count as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<ServiceHealth>,
    /// How long a callback may take where its task does not say, in milliseconds; left out: as the worker is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// What its callbacks are signed with, 16 to 512 bytes. Left out: what it was before; empty: they are not signed. It is never shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

impl std::fmt::Debug for ServiceSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceSpec")
            .field("name", &self.name)
            .field("nodes", &self.nodes)
            .finish_non_exhaustive()
    }
}

/// A service as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServiceResource {
    /// Its name.
    pub name: String,
    /// Where it answers.
    pub nodes: Vec<ServiceNode>,
    /// How the health of its nodes is told.
    pub health: Option<ServiceHealth>,
    /// What easytask's heartbeat sends; empty: there is none.
    #[serde(default)]
    pub heartbeat_body: String,
    /// How long a callback may take where its task does not say, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// Whether its callbacks are signed.
    pub signed: bool,
}

/// Answer of `GET /v1/services`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServiceList {
    /// By name.
    pub services: Vec<ServiceResource>,
}
