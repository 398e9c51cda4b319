//! Sessions of browsers that have signed in with a token, or as a user. The server stores only the digest of a
//! session's secret, and of the token or the password that opened the session.

use serde::{Deserialize, Serialize};

use super::audit::AuditAction;
use super::caller::{USER_PREFIX, user_id};
use super::record_kind::RecordKind;
use super::secrets::{digest, hex, is_equal, random_bytes};
use super::tokens;
use super::users::StoredUser;
use super::{Caller, Denied, Front, Origin, Result, Service, ServiceError};
use crate::core::Moment;
use crate::core::access::Grant;

const SESSION: RecordKind = RecordKind::internal("browser_session");
const SECRET_BYTES: usize = 32;
/// Maximum number of sessions of a token. Without the limit, each sign-in without a sign-out would add a document.
const MAX_SESSIONS: u32 = 100;

/// A session as stored, under the digest of its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Session {
    /// Id of the caller that the token belongs to, or of the user.
    caller_id: String,
    /// Digest of the token, or one that changes with the user's password. A replacement ends the session.
    token_sha256: String,
    expires_at: Moment,
}

impl Service {
    /// Opens a session for the holder of a token. Returns the secret of the session, which the server cannot
    /// show again. Attempts are limited. Removes expired sessions of the same token, or the one that expires
    /// first if the token has too many. Needs no rights.
    ///
    /// # Errors
    /// [`Denied`]; [`ServiceError::TooManyAttempts`] inside of it if the token was not checked.
    pub async fn open_browser_session(
        &self,
        token: &str,
        lifetime_ms: i64,
    ) -> std::result::Result<String, Denied> {
        let (attempts, address) = (&self.shared.login_attempts, self.caller().address);
        let name = attempt_name(token);
        attempts.begin(&name, address, self.now())?;
        let holder = self.admit(Some(token), Origin::Elsewhere).await?;
        attempts.succeed(&name, address);
        Ok(self.open_session_of(holder, digest(token), lifetime_ms).await?)
    }

    /// Opens a session for the user with this name and password, who has rights in the console and has not
    /// expired. The rest is as in [`open_browser_session`](Self::open_browser_session).
    ///
    /// # Errors
    /// [`Denied`]; [`ServiceError::TooManyAttempts`] inside of it if the password was not checked.
    pub async fn open_user_session(
        &self,
        name: &str,
        password: &str,
        lifetime_ms: i64,
    ) -> std::result::Result<String, Denied> {
        let user = self.user_with_password(name, password).await?.ok_or(Denied::Unknown)?;
        let holder = user_caller(name, &user).ok_or(Denied::Unknown)?;
        if user.has_expired(self.now()) {
            return Err(Denied::Expired);
        }
        Ok(self.open_session_of(holder, user.password_sha256(), lifetime_ms).await?)
    }

    async fn open_session_of(
        &self,
        holder: Caller,
        token_sha256: String,
        lifetime_ms: i64,
    ) -> Result<String> {
        let expires_at = self.now().plus_ms(lifetime_ms);
        self.make_room_for_session(&holder.id).await?;
        let secret = hex(&random_bytes::<SECRET_BYTES>(self.shared.access.random)?);
        let Caller { request_id, address, .. } = self.caller().clone();
        let caller = Caller { request_id, address, front: Front::Console, ..holder };
        let session = Session { caller_id: caller.id.clone(), token_sha256, expires_at };
        let put = |_: Option<Session>| {
            let index = Some(session.caller_id.clone());
            Ok::<_, ServiceError>((Some((session.clone(), index)), ()))
        };
        self.change_document(SESSION, &digest(&secret), put).await?;
        let id = caller.id.clone();
        self.for_caller(caller).record_outcome(AuditAction::SessionOpen, [id.as_str()], "done").await;
        Ok(secret)
    }

    /// Returns the caller of a session. `None`: the session has expired or was closed, or its token is no
    /// longer valid. Needs no rights.
    ///
    /// # Errors
    /// A port's error.
    pub async fn browser_session(&self, secret: &str) -> Result<Option<Caller>> {
        let session = self.shared.read_document::<Session>(SESSION, &digest(secret)).await?;
        let Some(session) = session.filter(|session| self.now() < session.expires_at) else {
            return Ok(None);
        };
        let holder = match session.caller_id.strip_prefix(USER_PREFIX) {
            Some(name) => self.user_of_digest(name, &session.token_sha256).await,
            None => self.holder_of_digest(&session.caller_id, &session.token_sha256).await,
        };
        match holder {
            Ok(caller) => Ok(Some(caller)),
            Err(Denied::Unchecked(error)) => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// Closes a session. Needs no rights but the secret.
    ///
    /// # Errors
    /// A port's error.
    pub async fn close_browser_session(&self, secret: &str) -> Result<()> {
        self.remove_document(SESSION, &digest(secret)).await.map(drop)
    }

    /// Returns a new random secret of 256 bits, in hexadecimal digits.
    ///
    /// # Errors
    /// If there is no random generator, or it fails.
    pub fn random_secret(&self) -> Result<String> {
        Ok(hex(&random_bytes::<SECRET_BYTES>(self.shared.access.random)?))
    }

    /// Returns the rights that a caller with these rights has now. `None`: its token was revoked, or its user has no
    /// rights in the console any more. The rights of callers without a token or a user do not change.
    pub(super) async fn rights_now(&self, caller_id: &str, granted: &Grant) -> Result<Option<Grant>> {
        if let Some(name) = caller_id.strip_prefix(USER_PREFIX) {
            let user = self.stored_user(name).await?;
            return Ok(user.and_then(|user| user.grant()));
        }
        if tokens::is_id(caller_id) {
            return Ok(self.stored_token(caller_id).await?.map(|token| token.grant));
        }
        Ok(Some(granted.clone()))
    }

    /// Returns the caller of a session of a user, whose password has this digest.
    async fn user_of_digest(&self, name: &str, sha256: &str) -> std::result::Result<Caller, Denied> {
        let user = self.live_user(name).await?.filter(|user| is_equal(&user.password_sha256(), sha256));
        user.and_then(|user| user_caller(name, &user)).ok_or(Denied::Unknown)
    }

    async fn make_room_for_session(&self, caller_id: &str) -> Result<()> {
        let now = self.now();
        let mut live = self.sessions_of(caller_id).await?;
        let expired: Vec<_> = live.extract_if(.., |(_, session)| session.expires_at <= now).collect();
        let is_full = live.len() >= MAX_SESSIONS as usize;
        let first = live.into_iter().filter(|_| is_full).min_by_key(|(_, session)| session.expires_at);
        for (key, _) in expired.into_iter().chain(first) {
            self.remove_document(SESSION, &key).await?;
        }
        Ok(())
    }

    /// Removes the sessions of a token that was revoked, or of a user that was replaced or removed. They are invalid
    /// already.
    pub(super) async fn remove_sessions(&self, caller_id: &str) -> Result<()> {
        loop {
            let sessions = self.sessions_of(caller_id).await?;
            if sessions.is_empty() {
                return Ok(());
            }
            for (key, _) in sessions {
                self.remove_document(SESSION, &key).await?;
            }
        }
    }

    async fn sessions_of(&self, caller_id: &str) -> Result<Vec<(String, Session)>> {
        self.shared.list_documents(SESSION, Some(caller_id), None, MAX_SESSIONS).await
    }
}

/// Returns the caller that a user is in the console, if the user has rights there.
fn user_caller(name: &str, user: &StoredUser) -> Option<Caller> {
    Some(Caller { name: name.to_owned(), ..Caller::new(&user_id(name), user.grant()?) })
}

/// Returns the name under which attempts with this token are counted: the id of the token, so that guesses
/// at one token are slow from all addresses, and do not delay the holders of others.
fn attempt_name(token: &str) -> String {
    format!("token {}", tokens::id_of(token).map_or_else(|| digest(token), str::to_owned))
}
