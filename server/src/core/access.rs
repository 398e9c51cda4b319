//! Who may do what: scopes, the tags that a token is limited to, and its end.

use serde::{Deserialize, Serialize};

use super::Moment;
use super::tag::{self, InvalidTag};

/// Most tags that one token can be limited to: a listing asks the store once for each.
pub const MAX_TAGS: usize = 64;

/// Longest name of a token.
pub const MAX_NAME_BYTES: usize = 128;

/// Why a token is not made; the text is for the person who asks for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidToken {
    /// Nobody could tell it from others.
    #[error("name should have between 1 and {MAX_NAME_BYTES} bytes, and no control characters")]
    Name,
    /// It would allow nothing.
    #[error("scopes should name at least one of task:read, task:write, run:pull, admin")]
    NoScope,
    /// Too many tags.
    #[error("tags should have at most {MAX_TAGS} items")]
    TooManyTags,
    /// No task can have such a name.
    #[error("a tag of tags is none that a task can have: {0}")]
    Tag(InvalidTag),
    /// Who may make tokens can make one without limits.
    #[error("tags cannot limit the scope admin: leave tags or admin out")]
    LimitedAdmin,
    /// It would never hold.
    #[error("expires_at should be in the future")]
    Over,
}

impl InvalidToken {
    /// The field at fault.
    pub const fn field(&self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::NoScope => "scopes",
            Self::TooManyTags | Self::Tag(_) | Self::LimitedAdmin => "tags",
            Self::Over => "expires_at",
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

/// What a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Scope {
    /// Look at tasks, runs, queues and numbers.
    #[serde(rename = "task:read")]
    TaskRead,
    /// Create and change tasks, retry and cancel runs; whoever changes something may look at it as well.
    #[serde(rename = "task:write")]
    TaskWrite,
    /// Take runs from queues, keep them, report on them.
    #[serde(rename = "run:pull")]
    RunPull,
    /// Everything, tokens included.
    #[serde(rename = "admin")]
    Admin,
}

impl Scope {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::TaskRead, Self::TaskWrite, Self::RunPull, Self::Admin];

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TaskRead => "task:read",
            Self::TaskWrite => "task:write",
            Self::RunPull => "run:pull",
            Self::Admin => "admin",
        }
    }

    /// The scope that is written so.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == word)
    }

    /// Whether who has this one may do what needs the other.
    pub fn covers(self, needed: Self) -> bool {
        self == needed || self == Self::Admin || (self, needed) == (Self::TaskWrite, Self::TaskRead)
    }
}

/// What somebody may do, and to what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// What it allows.
    pub scopes: Vec<Scope>,
    /// Only for tasks, runs and queues of these names; none: for all.
    pub tags: Vec<String>,
    /// From when on it holds no more.
    pub expires_at: Option<Moment>,
}

impl Grant {
    /// Everything, for ever.
    pub fn everything() -> Self {
        Self { scopes: vec![Scope::Admin], tags: Vec::new(), expires_at: None }
    }

    /// Everything but what is an admin's.
    pub fn trusted_network() -> Self {
        Self { scopes: vec![Scope::TaskWrite, Scope::RunPull], tags: Vec::new(), expires_at: None }
    }

    /// Checks that a token with it can be of use.
    ///
    /// # Errors
    /// Says which rule is broken.
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
        if self.has_expired(now) { Err(InvalidToken::Over) } else { Ok(()) }
    }

    /// Whether it allows what needs this scope.
    pub fn allows(&self, needed: Scope) -> bool {
        self.scopes.iter().any(|scope| scope.covers(needed))
    }

    /// Whether a tag or a queue of this name is within its limits.
    pub fn allows_tag(&self, name: &str) -> bool {
        self.tags.is_empty() || self.tags.iter().any(|tag| tag == name)
    }

    /// Whether it is limited to some tags.
    pub fn is_limited(&self) -> bool {
        !self.tags.is_empty()
    }

    /// Whether its time is over.
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
    fn a_scope_covers_itself_and_little_else() {
        use Scope::{Admin, RunPull, TaskRead, TaskWrite};
        let covered = |scope: Scope| Scope::ALL.into_iter().filter(|needed| scope.covers(*needed)).collect();
        let all: [Vec<Scope>; 4] = Scope::ALL.map(covered);
        assert_eq!(all[0], [TaskRead]);
        assert_eq!(all[1], [TaskRead, TaskWrite]);
        assert_eq!(all[2], [RunPull]);
        assert_eq!(all[3], [TaskRead, TaskWrite, RunPull, Admin]);
    }

    #[test]
    fn the_words_are_those_of_the_wire() {
        for scope in Scope::ALL {
            assert_eq!(Scope::parse(scope.as_str()), Some(scope));
            assert_eq!(serde_json::to_string(&scope).unwrap(), format!("{:?}", scope.as_str()));
        }
        assert_eq!(Scope::parse("root"), None);
    }

    #[test]
    fn a_limit_is_the_whole_name() {
        let limited = grant(&[Scope::TaskWrite], &["mail", "order.close"]);
        assert!(limited.allows_tag("mail") && limited.allows_tag("order.close") && limited.is_limited());
        for other in ["", "mai", "mail2", "Mail", "order", "order.close "] {
            assert!(!limited.allows_tag(other), "{other:?}");
        }
        assert!(grant(&[], &[]).allows_tag("anything"));
    }

    #[test]
    fn a_token_that_is_of_no_use_is_not_made() {
        let now = Moment::from_sec(5);
        let over = Grant { expires_at: Some(now), ..Grant::everything() };
        let many = vec!["t"; MAX_TAGS + 1];
        for (grant, why) in [
            (grant(&[], &[]), InvalidToken::NoScope),
            (grant(&[Scope::TaskRead], &many), InvalidToken::TooManyTags),
            (grant(&[Scope::TaskRead], &["a|b"]), InvalidToken::Tag(InvalidTag::FilterSyntax)),
            (grant(&[Scope::TaskRead, Scope::Admin], &["a"]), InvalidToken::LimitedAdmin),
            (over, InvalidToken::Over),
        ] {
            assert_eq!(grant.check(now), Err(why));
        }
        assert_eq!(grant(&[Scope::RunPull], &["a"]).check(now), Ok(()));
        assert!(check_name("ci").is_ok());
        for name in ["", " ", "a\nb", &"n".repeat(129)] {
            assert_eq!(check_name(name), Err(InvalidToken::Name), "{name:?}");
        }
    }

    #[test]
    fn nothing_is_allowed_by_no_scope_and_the_end_is_exclusive() {
        let mut none = grant(&[], &[]);
        assert!(Scope::ALL.into_iter().all(|scope| !none.allows(scope)));
        let end = Moment::from_sec(5);
        assert!(!none.has_expired(end), "without an end it lasts");
        none.expires_at = Some(end);
        assert!(none.has_expired(end) && !none.has_expired(end.plus_ms(-1)));
        assert!(Scope::ALL.into_iter().all(|scope| Grant::everything().allows(scope)));
    }
}
