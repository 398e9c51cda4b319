//! Tokens: what a caller from elsewhere brings.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A token to make.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// Who or what it is for, for people to read; 1 to 128 bytes.
    pub name: String,
    /// What it allows: `task:read`, `task:write`, `run:pull`, `admin`.
    pub scopes: Vec<String>,
    /// Only for tasks, runs and queues of these names, at most 64; none: for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// From when on it holds no more; left out: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenResource {
    /// What it is revoked by.
    pub id: String,
    /// Who or what it is for.
    pub name: String,
    /// What it allows.
    pub scopes: Vec<String>,
    /// What it is limited to; none: nothing.
    #[serde(default)]
    pub tags: Vec<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it holds no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Whether that moment has passed.
    pub expired: bool,
}

/// A token that was just made.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IssuedToken {
    /// Its description.
    #[serde(flatten)]
    pub about: TokenResource,
    /// What its bearer sends as `Authorization: Bearer ...`. It is told this once; the server keeps a digest of it.
    pub token: String,
}

impl std::fmt::Debug for IssuedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IssuedToken").field("about", &self.about).finish_non_exhaustive()
    }
}

/// Every token.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenList {
    /// By id.
    pub tokens: Vec<TokenResource>,
}
