//! Users of the legacy APIs that have a login.

use serde::{Deserialize, Serialize};

/// Body of `POST /v1/users`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct UserSpec {
    /// Login name. 1 to 128 bytes, without control characters and without white space at either
    /// end.
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 128))]
    pub name: String,
    /// Password, 6 to 1,024 bytes. The server keeps only an Argon2id digest.
    #[cfg_attr(feature = "openapi", schema(min_length = 6, max_length = 1024, write_only))]
    pub password: String,
    /// Whether the user may assign tasks of the TaskDash board to other users. Default: `false`.
    #[serde(default)]
    pub senior: bool,
}

impl std::fmt::Debug for UserSpec {
    /// Omits the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserSpec")
            .field("name", &self.name)
            .field("senior", &self.senior)
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
}

/// Answer of `GET /v1/users`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UserList {
    /// All users, by name.
    pub users: Vec<UserResource>,
}
