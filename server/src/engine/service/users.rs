//! Users of the console and of the legacy APIs, and the sessions of the legacy APIs. The server stores only
//! digests of passwords and of session tokens.

use std::sync::{Mutex, PoisonError};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use super::audit::AuditAction;
use super::caller::user_id;
use super::record_kind::RecordKind;
use super::secrets::{digest, hex, is_equal, random_bytes};
use super::{PortError, Result, Service, ServiceError};
use crate::core::Moment;
use crate::core::access::{ConsoleAccess, Grant, Scope};
use crate::core::user::{ExpiryChange, InvalidUser, RoleChange, Target, UserChange};

const USER: RecordKind = RecordKind::audited("user");
const SESSION: RecordKind = RecordKind::internal("session");
const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 32;
const TOKEN_BYTES: usize = 32;
/// Sessions read at a time.
const PAGE: u32 = 1_000;
/// Passwords hashed at a time. Each takes memory and a core, and any caller may send a password.
static HASHING: Semaphore = Semaphore::const_new(2);
/// Memory of the hashes, one buffer for each of [`HASHING`]. Buffers of the allocator would stay with
/// each thread that has hashed.
static BUFFERS: Mutex<Vec<Vec<Block>>> = Mutex::new(Vec::new());

/// A user of the console and of the legacy APIs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Name to sign in with.
    pub name: String,
    /// Whether the user may assign tasks of the claim board to other users.
    pub senior: bool,
    /// Rights in the console. `None`: the user cannot sign in there.
    pub console: Option<ConsoleAccess>,
    /// When the user can no longer sign in, and the sessions end. `None`: never.
    pub expires_at: Option<Moment>,
}

impl User {
    /// Returns the change that leaves a user like this one, with this password.
    pub fn change(&self, password: &str) -> UserChange {
        let role = self.console.as_ref().map_or(RoleChange::None, |console| RoleChange::To(console.role));
        UserChange {
            name: self.name.clone(),
            target: Target::Any,
            password: Some(password.to_owned()),
            senior: Some(self.senior),
            role: Some(role),
            tags: Some(self.console.as_ref().map(|console| console.tags.clone()).unwrap_or_default()),
            expires_at: Some(self.expires_at.map_or(ExpiryChange::Never, ExpiryChange::At)),
        }
    }
}

/// A user as stored: an Argon2id hash with its cost.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct StoredUser {
    senior: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    console: Option<ConsoleAccess>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<Moment>,
    salt: String,
    hash: String,
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

/// A session as stored, under the digest of its token.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Session {
    user: String,
    /// Name of the API that opened the session. Empty in sessions of older releases, which no API
    /// accepts.
    #[serde(default)]
    api: String,
    expires_at: Moment,
}

impl Service {
    /// Creates or changes a user. Another password, and any change of an expired user, ends the user's sessions. The
    /// removal of the role ends those of the console.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`]; [`ServiceError::User`] names the broken rule; [`ServiceError::NotFound`] if the
    /// user should exist; or a port's error.
    pub async fn set_user(&self, change: &UserChange) -> Result<User> {
        self.require_admin_of_user(AuditAction::RecordPut, &change.name).await?;
        let now = self.now();
        change.check(now)?;
        let hashed = match &change.password {
            None => None,
            Some(password) => {
                let salt = random_bytes::<SALT_BYTES>(self.shared.access.random)?;
                Some(StoredUser::new(&salt, password.clone()).await?)
            }
        };
        let put = |stored: Option<StoredUser>| {
            let had_expired = stored.as_ref().is_some_and(|stored| stored.has_expired(now));
            let next = changed(change, stored, hashed.clone(), now)?;
            Ok::<_, ServiceError>((Some((next.clone(), None)), (next, had_expired)))
        };
        let (stored, had_expired): (StoredUser, bool) = self.change_document(USER, &change.name, put).await?;
        if change.password.is_some() || had_expired {
            self.end_all_sessions(&change.name).await?;
        } else if stored.console.is_none() {
            self.remove_sessions(&user_id(&change.name)).await?;
        }
        Ok(stored.user(change.name.clone()))
    }

    /// Checks that the caller is an administrator. A refusal is in the audit log.
    async fn require_admin_of_user(&self, action: AuditAction, name: &str) -> Result<()> {
        let allowed = self.require_unlimited(Scope::Admin);
        if let Err(error) = &allowed {
            self.record_document(action, USER, name, Err(error)).await;
        }
        allowed
    }

    /// Returns every user by name.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], or a port's error.
    pub async fn users(&self) -> Result<Vec<User>> {
        self.require_unlimited(Scope::Admin)?;
        let users = self.shared.all_documents::<StoredUser>(USER).await?;
        Ok(users.into_iter().map(|(name, stored)| stored.user(name)).collect())
    }

    /// Removes a user and ends the user's sessions.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], [`ServiceError::NotFound`], or a port's error.
    pub async fn remove_user(&self, name: &str) -> Result<User> {
        self.require_admin_of_user(AuditAction::RecordRemove, name).await?;
        let stored = self.stored_user(name).await?;
        let was_there = self.remove_document(USER, name).await?;
        self.end_all_sessions(name).await?;
        let stored = stored.filter(|_| was_there).ok_or(ServiceError::NotFound)?;
        Ok(stored.user(name.to_owned()))
    }

    /// Returns the user with this name and password, unless the user has expired. An unknown name takes as long as a
    /// wrong password.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], [`ServiceError::TooManyAttempts`], or a port's error.
    pub async fn check_password(&self, name: &str, password: &str) -> Result<Option<User>> {
        self.require_unlimited(Scope::TaskWrite)?;
        let stored = self.user_with_password(name, password).await?;
        let now = self.now();
        Ok(stored.filter(|stored| !stored.has_expired(now)).map(|stored| stored.user(name.to_owned())))
    }

    /// Like [`check_password`](Self::check_password), for callers without rights, and also for expired users.
    ///
    /// # Errors
    /// [`ServiceError::TooManyAttempts`], or a port's error.
    pub(super) async fn user_with_password(&self, name: &str, password: &str) -> Result<Option<StoredUser>> {
        let (attempts, address) = (&self.shared.login_attempts, self.caller().address);
        attempts.begin(name, address, self.now())?;
        let stored = self.stored_user(name).await?;
        let (is_known, stored) = (stored.is_some(), stored.unwrap_or_else(StoredUser::placeholder));
        let is_right = stored.clone().has_password(password.to_owned()).await?;
        if !(is_known && is_right) {
            return Ok(None);
        }
        attempts.succeed(name, address);
        Ok(Some(stored))
    }

    pub(super) async fn stored_user(&self, name: &str) -> Result<Option<StoredUser>> {
        self.shared.read_document(USER, name).await
    }

    /// Returns a user that has not expired.
    pub(super) async fn live_user(&self, name: &str) -> Result<Option<StoredUser>> {
        let now = self.now();
        Ok(self.stored_user(name).await?.filter(|user| !user.has_expired(now)))
    }

    /// Opens a session of an API and returns its token, which the server cannot show again. Removes the user's
    /// expired sessions.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], or a port's error.
    pub async fn open_session(&self, name: &str, api: &str, lifetime_ms: i64) -> Result<String> {
        self.require_unlimited(Scope::TaskWrite)?;
        let now = self.now();
        self.end_sessions(name, |session| session.expires_at <= now).await?;
        let token = hex(&random_bytes::<TOKEN_BYTES>(self.shared.access.random)?);
        let expires_at = now.plus_ms(lifetime_ms);
        let session = Session { user: name.to_owned(), api: api.to_owned(), expires_at };
        let put =
            |_: Option<Session>| Ok::<_, ServiceError>((Some((session.clone(), Some(name.to_owned()))), ()));
        self.change_document(SESSION, &digest(&token), put).await?;
        Ok(token)
    }

    /// Returns the user of a session of this API. `None`: the session or the user has expired, another API
    /// opened the session, or the user was removed.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], or a port's error.
    pub async fn session(&self, token: &str, api: &str) -> Result<Option<User>> {
        self.require_unlimited(Scope::TaskWrite)?;
        let session = self.shared.read_document::<Session>(SESSION, &digest(token)).await?;
        let is_valid = |session: &Session| session.api == api && self.now() < session.expires_at;
        let Some(session) = session.filter(is_valid) else {
            return Ok(None);
        };
        let stored = self.live_user(&session.user).await?;
        Ok(stored.map(|stored| stored.user(session.user)))
    }

    /// Ends the sessions at the legacy APIs, and removes those of the console, which are invalid already.
    async fn end_all_sessions(&self, name: &str) -> Result<()> {
        self.end_sessions(name, |_| true).await?;
        self.remove_sessions(&user_id(name)).await
    }

    async fn end_sessions(&self, name: &str, which: impl Fn(&Session) -> bool) -> Result<()> {
        let mut after: Option<String> = None;
        loop {
            let page = self.shared.list_documents(SESSION, Some(name), after.as_deref(), PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(last.clone());
            for (key, session) in page {
                if which(&session) {
                    self.remove_document(SESSION, &key).await?;
                }
            }
        }
    }
}

/// Returns the user after a change. `hashed` has the new password, if any.
fn changed(
    change: &UserChange,
    stored: Option<StoredUser>,
    hashed: Option<StoredUser>,
    now: Moment,
) -> Result<StoredUser> {
    if change.target == Target::Existing && stored.is_none() {
        return Err(ServiceError::NotFound);
    }
    let rights = stored.as_ref().and_then(|stored| stored.console.as_ref());
    let console = change.applied(stored.is_some(), rights)?;
    if let Some(console) = &console {
        console.grant().check(now).map_err(InvalidUser::Rights)?;
    }
    let was_senior = stored.as_ref().is_some_and(|stored| stored.senior);
    let expires_at = change.expiry(stored.as_ref().and_then(|stored| stored.expires_at));
    // A new user has a password.
    let secret = hashed.or(stored).ok_or(ServiceError::NotFound)?;
    Ok(StoredUser { senior: change.senior.unwrap_or(was_senior), console, expires_at, ..secret })
}

impl StoredUser {
    fn user(self, name: String) -> User {
        User { name, senior: self.senior, console: self.console, expires_at: self.expires_at }
    }

    /// Returns the rights in the console, if there are any.
    pub(super) fn grant(&self) -> Option<Grant> {
        let grant = self.console.as_ref()?.grant();
        Some(Grant { expires_at: self.expires_at, ..grant })
    }

    /// Returns whether the user has expired. The expiry itself is exclusive.
    pub(super) fn has_expired(&self, now: Moment) -> bool {
        self.expires_at.is_some_and(|end| now >= end)
    }

    /// Returns a digest that changes with the password.
    pub(super) fn password_sha256(&self) -> String {
        digest(&self.hash)
    }

    async fn new(salt: &[u8], password: String) -> Result<Self> {
        let mut user = Self::without_hash(hex(salt));
        user.hash = user.clone().digest(password).await?;
        Ok(user)
    }

    /// Returns a user that no password fits. It takes the place of an unknown user, so that the check
    /// takes as long.
    fn placeholder() -> Self {
        Self::without_hash("0".repeat(2 * SALT_BYTES))
    }

    fn without_hash(salt: String) -> Self {
        let cost = Params::DEFAULT;
        let (memory_kib, passes, lanes) = (cost.m_cost(), cost.t_cost(), cost.p_cost());
        let (senior, console, expires_at, hash) = (false, None, None, String::new());
        Self { senior, console, expires_at, salt, hash, memory_kib, passes, lanes }
    }

    async fn has_password(self, password: String) -> Result<bool> {
        let expected = self.hash.clone();
        Ok(is_equal(&self.digest(password).await?, &expected))
    }

    async fn digest(self, password: String) -> Result<String> {
        // The semaphore is never closed.
        let permit = HASHING.acquire().await;
        let hashed = tokio::task::spawn_blocking(move || {
            // A request that ends early does not free the slot before its hash is done.
            let _permit = permit;
            let mut buffer = BUFFERS.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
            let hashed = self.hash(&password, &mut buffer);
            BUFFERS.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
            hashed
        })
        .await;
        let hashed = hashed.map_err(|error| PortError::Refused("Argon2", error.into()))?;
        Ok(hashed.map_err(|error| PortError::Refused("Argon2", error.to_string().into()))?)
    }

    fn hash(&self, password: &str, buffer: &mut Vec<Block>) -> argon2::Result<String> {
        let cost = Params::new(self.memory_kib, self.passes, self.lanes, Some(HASH_BYTES))?;
        let mut hash = [0; HASH_BYTES];
        buffer.resize(cost.block_count(), Block::default());
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, cost);
        let (password, salt) = (password.as_bytes(), self.salt.as_bytes());
        argon2.hash_password_into_with_memory(password, salt, &mut hash, buffer)?;
        Ok(hex(&hash))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn hashes_share_one_buffer_for_each_slot() {
        let hashes = (0..12).map(|n| StoredUser::new(&[7; SALT_BYTES], n.to_string()));
        assert!(join_all(hashes).await.iter().all(Result::is_ok));
        let buffers = BUFFERS.lock().unwrap_or_else(PoisonError::into_inner).len();
        assert!((1..=2).contains(&buffers), "{buffers} buffers");
    }
}
