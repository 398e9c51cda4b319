//! Permissions of access tokens: scopes, tags and expiry.

use serde::{Deserialize, Serialize};

use super::Moment;
use super::quota::InvalidQuota;
use super::tag::{self, InvalidTag};

/// Largest number of tags of a token. A listing needs one store query per tag.
pub const MAX_TAGS: usize = 64;

/// Longest name of a token, in bytes.
pub const MAX_NAME_BYTES: usize = 128;

/// Why a token cannot be created.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidToken {
    /// Empty or blank, too long, or with control characters.
    #[error("name should have between 1 and {MAX_NAME_BYTES} bytes, and no control characters")]
    Name,
    /// Without a scope the token allows nothing.
    #[error("scopes should name at least one of task:read, task:write, run:pull, admin")]
    NoScope,
    /// More than [`MAX_TAGS`] tags.
    #[error("tags should have at most {MAX_TAGS} items")]
    TooManyTags,
    /// Not a valid tag.
    #[error("tags contains an invalid tag: {0}")]
    Tag(InvalidTag),
    /// An admin can create a token without tags, so tags would not limit an admin.
    #[error("tags cannot limit the scope admin: remove the tags, or choose another scope or role")]
    LimitedAdmin,
    /// The token would already have expired.
    #[error("expires_at should be in the future")]
    Expired,
    /// A number of a quota is out of bounds.
    #[error(transparent)]
    Quota(#[from] InvalidQuota),
}

impl InvalidToken {
    /// Returns the name of the invalid field.
    pub const fn field(&self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::NoScope => "scopes",
            Self::TooManyTags | Self::Tag(_) | Self::LimitedAdmin => "tags",
            Self::Expired => "expires_at",
            Self::Quota(invalid) => invalid.field,
        }
    }
}

/// Checks a token's name.
///
/// # Errors
/// [`InvalidToken::Name`]
pub fn check_name(name: &str) -> Result<(), InvalidToken> {
    let fits = (1..=MAX_NAME_BYTES).contains(&name.len()) && !name.trim().is_empty();
    if fits && !name.chars().any(char::is_control) { Ok(()) } else { Err(InvalidToken::Name) }
}

/// An action that a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Scope {
    /// Read tasks, runs, queues and counters.
    #[serde(rename = "task:read")]
    TaskRead,
    /// Create and change tasks, retry and cancel runs. Includes `task:read`.
    #[serde(rename = "task:write")]
    TaskWrite,
    /// Lease runs from queues, renew leases, report outcomes.
    #[serde(rename = "run:pull")]
    RunPull,
    /// Everything, including tokens.
    #[serde(rename = "admin")]
    Admin,
}

impl Scope {
    pub const ALL: [Self; 4] = [Self::TaskRead, Self::TaskWrite, Self::RunPull, Self::Admin];

    /// Returns the scope as the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TaskRead => "task:read",
            Self::TaskWrite => "task:write",
            Self::RunPull => "run:pull",
            Self::Admin => "admin",
        }
    }

    /// Returns the scope that [`as_str`](Self::as_str) spells as `word`.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == word)
    }

    /// Returns whether this scope includes the needed one.
    pub fn covers(self, needed: Self) -> bool {
        self == needed || self == Self::Admin || (self, needed) == (Self::TaskWrite, Self::TaskRead)
    }
}

/// What a user may do in the console.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Read: the scope `task:read`.
    Viewer,
    /// Also change: the scope `task:write`.
    Operator,
    /// Everything: the scope `admin`.
    Admin,
}

impl Role {
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// Returns the role as the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// Returns the role that [`as_str`](Self::as_str) spells as `word`.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == word)
    }

    const fn scope(self) -> Scope {
        match self {
            Self::Viewer => Scope::TaskRead,
            Self::Operator => Scope::TaskWrite,
            Self::Admin => Scope::Admin,
        }
    }
}

/// The rights of a user in the console.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleAccess {
    pub role: Role,
    /// Names of the tasks, runs and queues that the role applies to. Empty: all.
    #[serde(default)]
    pub tags: Vec<String>,
}

impl ConsoleAccess {
    /// Returns the rights of a user without an expiry.
    pub fn grant(&self) -> Grant {
        Grant { scopes: vec![self.role.scope()], tags: self.tags.clone(), expires_at: None }
    }
}

/// The rights of a caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub scopes: Vec<Scope>,
    /// Names of the tasks, runs and queues that the rights apply to. Empty: all.
    pub tags: Vec<String>,
    /// When the rights expire. `None`: never.
    pub expires_at: Option<Moment>,
}

impl Grant {
    /// Grants scopes for tags. Equal ones count once.
    pub fn of(mut scopes: Vec<Scope>, mut tags: Vec<String>, expires_at: Option<Moment>) -> Self {
        scopes.sort_unstable();
        scopes.dedup();
        tags.sort_unstable();
        tags.dedup();
        Self { scopes, tags, expires_at }
    }

    /// Grants everything, without expiry.
    pub fn everything() -> Self {
        Self { scopes: vec![Scope::Admin], tags: Vec::new(), expires_at: None }
    }

    /// Grants everything except administration.
    pub fn trusted_network() -> Self {
        Self { scopes: vec![Scope::TaskWrite, Scope::RunPull], tags: Vec::new(), expires_at: None }
    }

    /// Checks that a token with these rights is valid and useful.
    ///
    /// # Errors
    /// The first broken rule.
    pub fn check(&self, now: Moment) -> Result<(), InvalidToken> {
        if self.scopes.is_empty() {
            return Err(InvalidToken::NoScope);
        }
        if self.tags.len() > MAX_TAGS {
            return Err(InvalidToken::TooManyTags);
        }
        self.tags.iter().try_for_each(|tag| tag::check(tag)).map_err(InvalidToken::Tag)?;
        if self.is_limited() && self.allows(Scope::Admin) {
            return Err(InvalidToken::LimitedAdmin);
        }
        if self.has_expired(now) { Err(InvalidToken::Expired) } else { Ok(()) }
    }

    /// Returns whether the scopes include the needed one.
    pub fn allows(&self, needed: Scope) -> bool {
        self.scopes.iter().any(|scope| scope.covers(needed))
    }

    /// Returns whether the rights apply to the tag or queue `name`.
    pub fn allows_tag(&self, name: &str) -> bool {
        self.tags.is_empty() || self.tags.iter().any(|tag| tag == name)
    }

    /// Returns whether the rights are limited to some tags.
    pub fn is_limited(&self) -> bool {
        !self.tags.is_empty()
    }

    /// Returns whether the rights have expired. The expiry itself is exclusive.
    pub fn has_expired(&self, now: Moment) -> bool {
        self.expires_at.is_some_and(|end| now >= end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(scopes: &[Scope], tags: &[&str]) -> Grant {
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        Grant { scopes: scopes.to_vec(), tags, expires_at: None }
    }

    #[test]
    fn write_includes_read_and_admin_includes_everything() {
        use Scope::{Admin, RunPull, TaskRead, TaskWrite};
        let covered = |scope: Scope| Scope::ALL.into_iter().filter(|needed| scope.covers(*needed)).collect();
        let all: [Vec<Scope>; 4] = Scope::ALL.map(covered);
        assert_eq!(all[0], [TaskRead]);
        assert_eq!(all[1], [TaskRead, TaskWrite]);
        assert_eq!(all[2], [RunPull]);
        assert_eq!(all[3], [TaskRead, TaskWrite, RunPull, Admin]);
    }

    #[test]
    fn serde_and_as_str_spell_a_scope_alike() {
        for scope in Scope::ALL {
            assert_eq!(Scope::parse(scope.as_str()), Some(scope));
            assert_eq!(serde_json::to_string(&scope).unwrap(), format!("{:?}", scope.as_str()));
        }
        assert_eq!(Scope::parse("root"), None);
    }

    #[test]
    fn a_role_is_one_scope_with_the_tags() {
        for (role, scope) in Role::ALL.into_iter().zip([Scope::TaskRead, Scope::TaskWrite, Scope::Admin]) {
            assert_eq!(Role::parse(role.as_str()), Some(role));
            assert_eq!(serde_json::to_string(&role).unwrap(), format!("{:?}", role.as_str()));
            let access = ConsoleAccess { role, tags: vec!["mail".to_owned()] };
            assert_eq!(access.grant(), grant(&[scope], &["mail"]));
        }
        assert_eq!(Role::parse("root"), None);
    }

    #[test]
    fn a_tag_must_match_the_whole_name() {
        let limited = grant(&[Scope::TaskWrite], &["mail", "order.close"]);
        assert!(limited.allows_tag("mail") && limited.allows_tag("order.close") && limited.is_limited());
        for other in ["", "mai", "mail2", "Mail", "order", "order.close "] {
            assert!(!limited.allows_tag(other), "{other:?}");
        }
        assert!(grant(&[], &[]).allows_tag("anything"));
    }

    #[test]
    fn a_useless_token_is_refused() {
        let now = Moment::from_sec(5);
        let over = Grant { expires_at: Some(now), ..Grant::everything() };
        let many = vec!["t"; MAX_TAGS + 1];
        for (grant, error) in [
            (grant(&[], &[]), InvalidToken::NoScope),
            (grant(&[Scope::TaskRead], &many), InvalidToken::TooManyTags),
            (grant(&[Scope::TaskRead], &["a|b"]), InvalidToken::Tag(InvalidTag::FilterSyntax)),
            (grant(&[Scope::TaskRead, Scope::Admin], &["a"]), InvalidToken::LimitedAdmin),
            (over, InvalidToken::Expired),
        ] {
            assert_eq!(grant.check(now), Err(error));
        }
        assert_eq!(grant(&[Scope::RunPull], &["a"]).check(now), Ok(()));
        assert!(check_name("ci").is_ok());
        for name in ["", " ", "a\nb", &"n".repeat(129)] {
            assert_eq!(check_name(name), Err(InvalidToken::Name), "{name:?}");
        }
    }

    #[test]
    fn no_scope_allows_nothing_and_the_expiry_is_exclusive() {
        let mut none = grant(&[], &[]);
        assert!(Scope::ALL.into_iter().all(|scope| !none.allows(scope)));
        let end = Moment::from_sec(5);
        assert!(!none.has_expired(end), "without an expiry the rights are unlimited in time");
        none.expires_at = Some(end);
        assert!(none.has_expired(end) && !none.has_expired(end.plus_ms(-1)));
        assert!(Scope::ALL.into_iter().all(|scope| Grant::everything().allows(scope)));
    }
}
