//! Rules for users: name, password, role and tags.

use super::Moment;
use super::access::{ConsoleAccess, InvalidToken, Role};

/// Longest name of a user, in bytes.
pub const MAX_NAME_BYTES: usize = 128;
/// Longest password, in bytes.
pub const MAX_PASSWORD_BYTES: usize = 1_024;
/// Shortest password of a user of legacy APIs only, in bytes. These APIs have shorter ones than the console.
const MIN_PASSWORD_BYTES: usize = 6;
/// Shortest password of a user with a role, in bytes (NIST SP 800-63B, 5.1.1.2: at least 8).
const MIN_PASSWORD_BYTES_IN_CONSOLE: usize = 8;

/// Why a user cannot be created or changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUser {
    /// Empty, too long, with control characters, or with white space at an end.
    #[error(
        "name should have between 1 and {MAX_NAME_BYTES} bytes, without control characters and without white space \
         at either end"
    )]
    Name,
    /// The change was for a new user.
    #[error("a user with this name exists: change that user, or choose another name")]
    Exists,
    /// A new user without a password.
    #[error("password is required for a new user: it should have between {0} and {MAX_PASSWORD_BYTES} bytes")]
    NoPassword(usize),
    /// The stored password may be too short for the console.
    #[error(
        "password is required with the first role of a user: it should have between \
         {MIN_PASSWORD_BYTES_IN_CONSOLE} and {MAX_PASSWORD_BYTES} bytes"
    )]
    NoPasswordForRole,
    /// Too short, with this minimum, or too long.
    #[error("password should have between {0} and {MAX_PASSWORD_BYTES} bytes")]
    Password(usize),
    /// Not the name of a role.
    #[error("role should be viewer, operator, admin or none")]
    Role,
    /// Tags for a user without a role.
    #[error("tags limit a role: set role, or omit tags")]
    TagsWithoutRole,
    /// The rights break a rule.
    #[error(transparent)]
    Rights(#[from] InvalidToken),
}

impl InvalidUser {
    /// Returns the name of the invalid field.
    pub const fn field(&self) -> &'static str {
        match self {
            Self::Name | Self::Exists => "name",
            Self::NoPassword(_) | Self::NoPasswordForRole | Self::Password(_) => "password",
            Self::Role => "role",
            Self::TagsWithoutRole => "tags",
            Self::Rights(invalid) => invalid.field(),
        }
    }
}

/// A role to set, or to remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoleChange {
    To(Role),
    /// Removes the role and its tags.
    None,
}

impl RoleChange {
    /// Reads a role, or `none`.
    ///
    /// # Errors
    /// [`InvalidUser::Role`]
    pub fn parse(word: &str) -> Result<Self, InvalidUser> {
        match word {
            "none" => Ok(Self::None),
            word => Role::parse(word).map(Self::To).ok_or(InvalidUser::Role),
        }
    }
}

/// An expiry to set, or to remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpiryChange {
    At(Moment),
    Never,
}

/// Which user a change is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Target {
    /// A user with this name, or else a new one.
    #[default]
    Any,
    New,
    Existing,
}

/// A change of a user. `None` keeps what is stored; a new user gets the default.
#[derive(Clone, Default)]
pub struct UserChange {
    pub name: String,
    pub target: Target,
    pub password: Option<String>,
    /// Whether the user may assign tasks of the claim board to other users. Default: no.
    pub senior: Option<bool>,
    /// Role in the console. Default: none.
    pub role: Option<RoleChange>,
    /// Tags that the role is limited to. Default: no limit.
    pub tags: Option<Vec<String>>,
    /// When the user expires. Default: never.
    pub expires_at: Option<ExpiryChange>,
}

impl UserChange {
    /// Checks the fields that do not depend on the stored user.
    ///
    /// # Errors
    /// The first broken rule.
    pub fn check(&self, now: Moment) -> Result<(), InvalidUser> {
        let name = &self.name;
        let fits = (1..=MAX_NAME_BYTES).contains(&name.len()) && name.trim() == name;
        if !fits || name.chars().any(char::is_control) {
            return Err(InvalidUser::Name);
        }
        if matches!(self.expires_at, Some(ExpiryChange::At(at)) if at <= now) {
            return Err(InvalidToken::Expired.into());
        }
        // A password that is too short for every user is refused before it is hashed.
        self.check_length(MIN_PASSWORD_BYTES)
    }

    /// Returns the rights in the console after the change of a user with these rights, or of a new user.
    ///
    /// # Errors
    /// The first broken rule.
    pub fn applied(
        &self,
        is_stored: bool,
        stored: Option<&ConsoleAccess>,
    ) -> Result<Option<ConsoleAccess>, InvalidUser> {
        match self.target {
            Target::New if is_stored => return Err(InvalidUser::Exists),
            Target::New | Target::Existing | Target::Any => {}
        }
        let console = self.rights(stored)?;
        let is_first_role = console.is_some() && stored.is_none();
        let least = if console.is_some() { MIN_PASSWORD_BYTES_IN_CONSOLE } else { MIN_PASSWORD_BYTES };
        match self.password {
            None if !is_stored => Err(InvalidUser::NoPassword(least)),
            None if is_first_role => Err(InvalidUser::NoPasswordForRole),
            _ => self.check_length(least).map(|()| console),
        }
    }

    /// Returns when the user expires after the change of a user that expires at `stored`. `None`: never.
    pub fn expiry(&self, stored: Option<Moment>) -> Option<Moment> {
        match self.expires_at {
            None => stored,
            Some(ExpiryChange::At(at)) => Some(at),
            Some(ExpiryChange::Never) => None,
        }
    }

    fn rights(&self, stored: Option<&ConsoleAccess>) -> Result<Option<ConsoleAccess>, InvalidUser> {
        let role = match self.role {
            Some(RoleChange::To(role)) => Some(role),
            Some(RoleChange::None) => None,
            None => stored.map(|stored| stored.role),
        };
        let Some(role) = role else {
            let has_tags = self.tags.as_ref().is_some_and(|tags| !tags.is_empty());
            return if has_tags { Err(InvalidUser::TagsWithoutRole) } else { Ok(None) };
        };
        let kept = || stored.map(|stored| stored.tags.clone()).unwrap_or_default();
        Ok(Some(ConsoleAccess { role, tags: self.tags.clone().unwrap_or_else(kept) }))
    }

    fn check_length(&self, least: usize) -> Result<(), InvalidUser> {
        let fits = |password: &String| (least..=MAX_PASSWORD_BYTES).contains(&password.len());
        if self.password.as_ref().is_none_or(fits) { Ok(()) } else { Err(InvalidUser::Password(least)) }
    }
}

impl std::fmt::Debug for UserChange {
    /// Omits the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserChange")
            .field("name", &self.name)
            .field("target", &self.target)
            .field("senior", &self.senior)
            .field("role", &self.role)
            .field("tags", &self.tags)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(role: Role, tags: &[&str]) -> ConsoleAccess {
        ConsoleAccess { role, tags: tags.iter().map(|tag| (*tag).to_owned()).collect() }
    }

    fn change() -> UserChange {
        UserChange { name: "li".to_owned(), ..UserChange::default() }
    }

    #[test]
    fn what_is_not_given_stays() {
        let stored = access(Role::Operator, &["mail"]);
        let applied = |change: UserChange| change.applied(true, Some(&stored));
        assert_eq!(applied(change()), Ok(Some(stored.clone())));
        let viewer = UserChange { role: Some(RoleChange::To(Role::Viewer)), ..change() };
        assert_eq!(applied(viewer), Ok(Some(access(Role::Viewer, &["mail"]))));
        assert_eq!(
            applied(UserChange { tags: Some(Vec::new()), ..change() }),
            Ok(Some(access(Role::Operator, &[])))
        );
        assert_eq!(applied(UserChange { role: Some(RoleChange::None), ..change() }), Ok(None));
    }

    #[test]
    fn an_expiry_is_in_the_future_and_stays_until_it_is_removed() {
        let (now, end) = (Moment::from_sec(100), Moment::from_sec(200));
        let with = |expires_at| UserChange { expires_at: Some(expires_at), ..change() };
        assert_eq!(with(ExpiryChange::At(now)).check(now), Err(InvalidToken::Expired.into()));
        let later = ExpiryChange::At(now.plus_ms(1));
        assert_eq!((with(later).check(now), with(ExpiryChange::Never).check(now)), (Ok(()), Ok(())));
        assert_eq!((change().expiry(Some(end)), change().expiry(None)), (Some(end), None));
        assert_eq!(with(later).expiry(Some(end)), Some(now.plus_ms(1)));
        assert_eq!(with(ExpiryChange::Never).expiry(Some(end)), None);
    }

    #[test]
    fn a_password_is_required_where_the_stored_one_may_be_too_short() {
        let first = UserChange { role: Some(RoleChange::To(Role::Viewer)), ..change() };
        assert_eq!(first.applied(false, None), Err(InvalidUser::NoPassword(8)));
        assert_eq!(first.applied(true, None), Err(InvalidUser::NoPasswordForRole));
        let with = |password: &str| UserChange { password: Some(password.to_owned()), ..first.clone() };
        assert_eq!(with("1234567").applied(true, None), Err(InvalidUser::Password(8)));
        assert_eq!(with("12345678").applied(true, None), Ok(Some(access(Role::Viewer, &[]))));
        let legacy = UserChange { password: Some("123456".to_owned()), ..change() };
        assert_eq!(legacy.applied(true, None), Ok(None));
        let stored = access(Role::Viewer, &[]);
        assert_eq!(legacy.applied(true, Some(&stored)), Err(InvalidUser::Password(8)));
    }

    #[test]
    fn a_new_user_replaces_no_other_one() {
        let new = UserChange { target: Target::New, password: Some("123456".to_owned()), ..change() };
        assert_eq!((new.applied(false, None), new.applied(true, None)), (Ok(None), Err(InvalidUser::Exists)));
    }
}
