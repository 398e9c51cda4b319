//! Access tokens.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Body of `POST /v1/tokens`: an access token to create.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// Human-readable name: what the token is for. 1 to 128 bytes, without control characters.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 128))]
    pub name: String,
    /// Scopes, at least one of `task:read`, `task:write`, `run:pull` and `admin`. `task:write`
    /// includes `task:read`; `admin` includes every scope.
    #[cfg_attr(feature = "openapi", schema(min_items = 1))]
    pub scopes: Vec<String>,
    /// Tags that the token is limited to: only tasks, runs and queues with these names. At most 64,
    /// and not together with the scope `admin`. Default: no limit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(max_items = 64))]
    pub tags: Vec<String>,
    /// When the token expires; it must be in the future. Default: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Maximum number of active and paused tasks that the token has created. Bounds: 1 to 100,000. Default: unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 100_000))]
    pub max_live_tasks: Option<u32>,
    /// Maximum number of tasks that the token creates per second. A list of tasks may not be longer. Bounds: 1 to 100,000.
    /// Default: unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 100_000))]
    pub max_creates_per_sec: Option<u32>,
}

/// An access token, without its secret text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenResource {
    /// Id of the token; a revocation names it.
    pub id: String,
    /// Human-readable name: what the token is for.
    pub name: String,
    /// Scopes: `task:read`, `task:write`, `run:pull`, `admin`.
    pub scopes: Vec<String>,
    /// Tags that the token is limited to; empty: no limit.
    #[serde(default)]
    pub tags: Vec<String>,
    /// When the token was created.
    pub created_at: Timestamp,
    /// When the token expires; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Whether the token has expired.
    pub expired: bool,
    /// Maximum number of active and paused tasks that the token has created; absent: unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_live_tasks: Option<u32>,
    /// Maximum number of tasks that the token creates per second; absent: unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_creates_per_sec: Option<u32>,
}

/// Answer of `POST /v1/tokens`: the new token with its secret text.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IssuedToken {
    /// The token, without its secret text.
    #[serde(flatten)]
    pub about: TokenResource,
    /// Secret text, to send as `Authorization: Bearer ...`. Only this answer contains it: the
    /// server keeps a digest.
    pub token: String,
}

impl std::fmt::Debug for IssuedToken {
    /// Omits the secret text.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IssuedToken").field("about", &self.about).finish_non_exhaustive()
    }
}

/// Answer of `GET /v1/tokens`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenList {
    /// All tokens, by id.
    pub tokens: Vec<TokenResource>,
}
