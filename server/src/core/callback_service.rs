//! Services that receive HTTP callbacks: nodes, health check and signing secret.

use serde::{Deserialize, Serialize};

/// Record kind of services.
pub const KIND: &str = "service";
/// Largest number of nodes of a service.
pub const MAX_NODES: usize = 256;
const MAX_NAME_BYTES: usize = 256;
/// Length of a signing secret. A shorter secret can be guessed.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 16..=512;
const MAX_WEIGHT: u32 = 1_000;
const INTERVAL_MS: std::ops::RangeInclusive<u64> = 10..=3_600_000;

/// Secret that callbacks are signed with. It is stored, and never printed.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SigningSecret(String);

impl SigningSecret {
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// Returns the secret in clear text.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns whether callbacks are not signed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.is_empty() { "none" } else { "[redacted]" })
    }
}

/// A service that receives callbacks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallbackService {
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub nodes: Vec<ServiceNode>,
    /// Health check of every node. `None`: no health check by GET.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthCheck>,
    /// Body of a legacy API's heartbeat, for nodes with `health_check`. Empty: no heartbeat.
    #[serde(default)]
    pub heartbeat_body: String,
    /// Timeout of a callback whose task has none, in milliseconds. 0: the worker's default.
    #[serde(default)]
    pub timeout_ms: u64,
    /// Secret that callbacks are signed with.
    #[serde(default, skip_serializing_if = "SigningSecret::is_empty")]
    pub secret: SigningSecret,
}

/// A node of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceNode {
    /// Base URL: `http://host:port`, with a path prefix if the node has one.
    pub url: String,
    /// Share of the calls, relative to the other nodes, from 1 to 1,000. Default: 1.
    #[serde(default = "one")]
    pub weight: u32,
    /// Whether the node receives the service's heartbeat.
    #[serde(default)]
    pub health_check: bool,
}

const fn one() -> u32 {
    1
}

/// Health check by GET. A node is healthy if it answers with a 2xx status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// Path after the node's URL.
    pub path: String,
    /// Pause between two checks, in milliseconds. `None`: the worker's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_ms: Option<u64>,
}

/// Why a service is invalid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidService {
    /// Path of the invalid field.
    pub field: String,
    /// Error message.
    pub message: String,
}

impl CallbackService {
    /// Checks every field.
    ///
    /// # Errors
    /// The first broken rule.
    pub fn check(&self) -> Result<(), InvalidService> {
        let has_name =
            (1..=MAX_NAME_BYTES).contains(&self.name.len()) && !self.name.contains(char::is_control);
        require(has_name, "name", || {
            format!("between 1 and {MAX_NAME_BYTES} bytes without control characters")
        })?;
        require((1..=MAX_NODES).contains(&self.nodes.len()), "nodes", || {
            format!("a list of 1 to {MAX_NODES}")
        })?;
        for (at, node) in self.nodes.iter().enumerate() {
            require(is_base(&node.url), &format!("nodes[{at}].url"), || {
                "an http or https URL without a query".to_owned()
            })?;
            let fits = (1..=MAX_WEIGHT).contains(&node.weight);
            require(fits, &format!("nodes[{at}].weight"), || format!("between 1 and {MAX_WEIGHT}"))?;
        }
        if let Some(health) = &self.health {
            require(health.path.starts_with('/'), "health.path", || "a path that begins with /".to_owned())?;
            let fits = health.interval_ms.is_none_or(|interval| INTERVAL_MS.contains(&interval));
            require(fits, "health.interval_ms", || {
                format!("between {} and {}", INTERVAL_MS.start(), INTERVAL_MS.end())
            })?;
        }
        let fits = self.secret.is_empty() || SECRET_BYTES.contains(&self.secret.expose().len());
        require(fits, "secret", || format!("{} to {} bytes", SECRET_BYTES.start(), SECRET_BYTES.end()))
    }

    /// Returns whether a health check or a heartbeat applies to the node.
    pub fn is_health_checked(&self, node: &ServiceNode) -> bool {
        self.health.is_some() || (node.health_check && !self.heartbeat_body.is_empty())
    }
}

fn require(met: bool, field: &str, expected: impl Fn() -> String) -> Result<(), InvalidService> {
    if met {
        return Ok(());
    }
    Err(InvalidService { field: field.to_owned(), message: format!("{field} should be {}", expected()) })
}

fn is_base(url: &str) -> bool {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let forbidden = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '?' | '#' | '@' | '\\');
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/') && !rest.contains(forbidden))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn valid_service() -> CallbackService {
        let node = ServiceNode { url: "http://a:1".to_owned(), weight: 1, health_check: false };
        CallbackService { name: "shop".to_owned(), nodes: vec![node], ..CallbackService::default() }
    }

    fn invalid_field(service: &CallbackService) -> String {
        service.check().unwrap_err().field
    }

    #[test]
    fn every_field_has_bounds() {
        valid_service().check().unwrap();
        assert_eq!(invalid_field(&CallbackService { name: String::new(), ..valid_service() }), "name");
        assert_eq!(invalid_field(&CallbackService { nodes: Vec::new(), ..valid_service() }), "nodes");
        for url in ["", "ftp://a", "http://", "http:///a", "http://u:p@a", "http://a?b", "http://a b"] {
            let node = ServiceNode { url: url.to_owned(), ..valid_service().nodes.remove(0) };
            assert_eq!(
                invalid_field(&CallbackService { nodes: vec![node], ..valid_service() }),
                "nodes[0].url",
                "{url}"
            );
        }
        let node = ServiceNode { weight: 0, ..valid_service().nodes.remove(0) };
        assert_eq!(
            invalid_field(&CallbackService { nodes: vec![node], ..valid_service() }),
            "nodes[0].weight"
        );
        let health = |path: &str, interval_ms| Some(HealthCheck { path: path.to_owned(), interval_ms });
        assert_eq!(
            invalid_field(&CallbackService { health: health("ping", None), ..valid_service() }),
            "health.path"
        );
        assert_eq!(
            invalid_field(&CallbackService { health: health("/", Some(1)), ..valid_service() }),
            "health.interval_ms"
        );
        assert_eq!(
            invalid_field(&CallbackService { secret: SigningSecret::new("short"), ..valid_service() }),
            "secret"
        );
    }

    #[test]
    fn a_secret_is_never_printed() {
        let service = CallbackService { secret: SigningSecret::new("canary-7f3a-canary"), ..valid_service() };
        assert!(!format!("{service:?}").contains("canary"));
    }

    #[test]
    fn a_record_with_a_heartbeat_and_unknown_fields_is_read() {
        let text = r#"{"name":"s","nodes":[{"url":"http://a:1","health_check":true}],"heartbeat_body":"{\"cmd\":0}","timeout_ms":5,"x":1}"#;
        let service: CallbackService = serde_json::from_str(text).unwrap();
        assert!(service.is_health_checked(&service.nodes[0]));
        assert_eq!((service.nodes[0].weight, service.timeout_ms), (1, 5));
    }
}
