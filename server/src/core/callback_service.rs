//! A service that is called back: its nodes, and how their health is told.

use serde::{Deserialize, Serialize};

/// The kind of the records that hold services.
pub const KIND: &str = "service";
/// Most nodes of a service.
pub const MAX_NODES: usize = 256;
const MAX_NAME_BYTES: usize = 256;
/// A key that is shorter can be guessed.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 16..=512;
const MAX_WEIGHT: u32 = 1_000;
const INTERVAL_MS: std::ops::RangeInclusive<u64> = 10..=3_600_000;

/// What callbacks are signed with. It is stored, and never printed.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SigningSecret(String);

impl SigningSecret {
    /// Wraps it.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself, to sign with.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.is_empty() { "none" } else { "[redacted]" })
    }
}

/// A service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallbackService {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Where it answers.
    #[serde(default)]
    pub nodes: Vec<ServiceNode>,
    /// How the health of every node is told, where it is looked after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthCheck>,
    /// What easytask's heartbeat sends to the nodes that want one; empty: there is none.
    #[serde(default)]
    pub heartbeat_body: String,
    /// How long a callback may take where its task does not say; 0: as the worker is set.
    #[serde(default)]
    pub timeout_ms: u64,
    /// What callbacks are signed with.
    #[serde(default, skip_serializing_if = "SigningSecret::is_empty")]
    pub secret: SigningSecret,
}

/// A node of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceNode {
    /// `http://host:port`, and a path where all of its paths begin with one.
    pub url: String,
    /// Its share of the calls, compared with the others'.
    #[serde(default = "one")]
    pub weight: u32,
    /// Whether it wants easytask's heartbeat.
    #[serde(default)]
    pub health_check: bool,
}

const fn one() -> u32 {
    1
}

/// Asks a node by GET; any 2xx is good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// Behind the node's URL.
    pub path: String,
    /// Pause between two looks, in milliseconds; `None`: as the worker is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval_ms: Option<u64>,
}

/// A service that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidService {
    /// The field.
    pub field: String,
    /// What it should be.
    pub why: String,
}

impl CallbackService {
    /// Checks it.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn check(&self) -> Result<(), InvalidService> {
        let named = (1..=MAX_NAME_BYTES).contains(&self.name.len()) && !self.name.contains(char::is_control);
        demand(named, "name", || format!("between 1 and {MAX_NAME_BYTES} bytes without control characters"))?;
        demand((1..=MAX_NODES).contains(&self.nodes.len()), "nodes", || {
            format!("a list of 1 to {MAX_NODES}")
        })?;
        for (at, node) in self.nodes.iter().enumerate() {
            demand(is_base(&node.url), &format!("nodes[{at}].url"), || {
                "an http or https URL without a query".to_owned()
            })?;
            let fits = (1..=MAX_WEIGHT).contains(&node.weight);
            demand(fits, &format!("nodes[{at}].weight"), || format!("between 1 and {MAX_WEIGHT}"))?;
        }
        if let Some(health) = &self.health {
            demand(health.path.starts_with('/'), "health.path", || "a path that begins with /".to_owned())?;
            let fits = health.interval_ms.is_none_or(|interval| INTERVAL_MS.contains(&interval));
            demand(fits, "health.interval_ms", || {
                format!("between {} and {}", INTERVAL_MS.start(), INTERVAL_MS.end())
            })?;
        }
        let fits = self.secret.is_empty() || SECRET_BYTES.contains(&self.secret.expose().len());
        demand(fits, "secret", || format!("{} to {} bytes", SECRET_BYTES.start(), SECRET_BYTES.end()))
    }

    /// Whether anybody looks after the health of a node.
    pub fn is_health_checked(&self, node: &ServiceNode) -> bool {
        self.health.is_some() || (node.health_check && !self.heartbeat_body.is_empty())
    }
}

fn demand(met: bool, field: &str, expected: impl Fn() -> String) -> Result<(), InvalidService> {
    if met {
        return Ok(());
    }
    Err(InvalidService { field: field.to_owned(), why: format!("{field} should be {}", expected()) })
}

fn is_base(url: &str) -> bool {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let strange = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '?' | '#' | '@' | '\\');
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/') && !rest.contains(strange))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound() -> CallbackService {
        let node = ServiceNode { url: "http://a:1".to_owned(), weight: 1, health_check: false };
        CallbackService { name: "shop".to_owned(), nodes: vec![node], ..CallbackService::default() }
    }

    fn at_fault(callee: &CallbackService) -> String {
        callee.check().unwrap_err().field
    }

    #[test]
    fn every_field_has_bounds() {
        sound().check().unwrap();
        assert_eq!(at_fault(&CallbackService { name: String::new(), ..sound() }), "name");
        assert_eq!(at_fault(&CallbackService { nodes: Vec::new(), ..sound() }), "nodes");
        for url in ["", "ftp://a", "http://", "http:///a", "http://u:p@a", "http://a?b", "http://a b"] {
            let node = ServiceNode { url: url.to_owned(), ..sound().nodes.remove(0) };
            assert_eq!(at_fault(&CallbackService { nodes: vec![node], ..sound() }), "nodes[0].url", "{url}");
        }
        let node = ServiceNode { weight: 0, ..sound().nodes.remove(0) };
        assert_eq!(at_fault(&CallbackService { nodes: vec![node], ..sound() }), "nodes[0].weight");
        let health = |path: &str, interval_ms| Some(HealthCheck { path: path.to_owned(), interval_ms });
        assert_eq!(at_fault(&CallbackService { health: health("ping", None), ..sound() }), "health.path");
        assert_eq!(
            at_fault(&CallbackService { health: health("/", Some(1)), ..sound() }),
            "health.interval_ms"
        );
        assert_eq!(at_fault(&CallbackService { secret: SigningSecret::new("short"), ..sound() }), "secret");
    }

    #[test]
    fn a_secret_is_never_printed() {
        let callee = CallbackService { secret: SigningSecret::new("canary-7f3a-canary"), ..sound() };
        assert!(!format!("{callee:?}").contains("canary"));
    }

    #[test]
    fn what_another_front_has_written_is_read() {
        let text = r#"{"name":"s","nodes":[{"url":"http://a:1","health_check":true}],"heartbeat_body":"{\"cmd\":0}","timeout_ms":5,"x":1}"#;
        let callee: CallbackService = serde_json::from_str(text).unwrap();
        assert!(callee.is_health_checked(&callee.nodes[0]));
        assert_eq!((callee.nodes[0].weight, callee.timeout_ms), (1, 5));
    }
}
