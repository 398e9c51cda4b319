//! Users of the console and of the legacy APIs that have a login.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

/// Body of `POST /v1/users`. A field that is missing keeps what is stored; a new user gets the default.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct UserSpec {
    /// Login name. 1 to 128 bytes, without control characters and without white space at either
    /// end.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 128))]
    pub name: String,
    /// Password, 6 to 1,024 bytes; with a role at least 8. Required for a new user and with the first role. The server
    /// keeps only an Argon2id digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_length = 6, max_length = 1024, write_only))]
    pub password: Option<String>,
    /// Whether the user may assign tasks of the TaskDash board to other users. Default: `false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub senior: Option<bool>,
    /// Role in the console: `viewer` reads, `operator` also changes tasks and runs, `admin` may do everything. `none`
    /// removes role and tags. Default: the user cannot sign in to the console.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(pattern = "^(viewer|operator|admin|none)$"))]
    pub role: Option<String>,
    /// Tags that the role is limited to: only tasks, runs and queues with these names. At most 64, and not together
    /// with the role `admin`. An empty list removes the limit. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(max_items = 64))]
    pub tags: Option<Vec<String>>,
    /// When the user can no longer sign in, and the sessions of the user end; it must be in the future. `null` removes
    /// the expiry. Default: never.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Timestamp>))]
    pub expires_at: Option<Option<Timestamp>>,
}

/// Reads a field that is present, also if it is null.
#[expect(clippy::option_option, reason = "a missing value is not null")]
fn given<'de, D: Deserializer<'de>>(field: D) -> Result<Option<Option<Timestamp>>, D::Error> {
    Option::deserialize(field).map(Some)
}

impl std::fmt::Debug for UserSpec {
    /// Omits the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserSpec")
            .field("name", &self.name)
            .field("senior", &self.senior)
            .field("role", &self.role)
            .field("tags", &self.tags)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// A user, without the password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UserResource {
    /// Login name.
    pub name: String,
    /// Whether the user may assign tasks of the TaskDash board to other users.
    pub senior: bool,
    /// Role in the console: `viewer`, `operator` or `admin`. Missing: the user cannot sign in there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Tags that the role is limited to. Missing: no limit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// When the user expires; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// Answer of `GET /v1/users`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UserList {
    /// All users, by name.
    pub users: Vec<UserResource>,
}
