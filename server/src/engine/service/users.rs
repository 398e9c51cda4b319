//! People who sign in to the legacy fronts, and their sessions. Of a password and of a session's token only a digest is kept.

use argon2::{Algorithm, Argon2, Params, Version};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use super::{PortError, Result, Service, ServiceError};
use crate::core::Moment;

const USER: &str = "user";
const SESSION: &str = "session";
const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 32;
const TOKEN_BYTES: usize = 32;
/// Records read at a time.
const PAGE: u32 = 1_000;
/// Passwords looked at together: each takes memory and a core for a moment, and anybody may ask.
static LOOKS: Semaphore = Semaphore::const_new(2);

/// A person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// What the person signs in as.
    pub name: String,
    /// Whether the person may assign tasks to others.
    pub senior: bool,
}

/// A person, as kept: Argon2id with the cost that it was made with.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Stored {
    senior: bool,
    salt: String,
    hash: String,
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

/// A session, as kept under its token's digest.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Session {
    user: String,
    expires_at: Moment,
}

impl Service {
    /// Adds a person, or gives one another password and ends their sessions.
    ///
    /// # Errors
    /// A port's error.
    pub async fn set_user(&self, user: &User, password: &str) -> Result<()> {
        let stored = Stored::of(self.drawn(SALT_BYTES)?, password.to_owned(), user.senior).await?;
        let put = |_: Option<Stored>| Ok::<_, ServiceError>((Some((stored.clone(), None)), ()));
        self.change_record(USER, &user.name, put).await?;
        self.end_sessions(&user.name, |_| true).await
    }

    /// Everybody, by name.
    ///
    /// # Errors
    /// A port's error.
    pub async fn users(&self) -> Result<Vec<User>> {
        let mut users: Vec<User> = Vec::new();
        loop {
            let after = users.last().map(|user| user.name.clone());
            let page = self.list_records::<Stored>(USER, None, after.as_deref(), PAGE).await?;
            if page.is_empty() {
                return Ok(users);
            }
            users.extend(page.into_iter().map(|(name, stored)| User { name, senior: stored.senior }));
        }
    }

    /// Removes a person, who is signed out everywhere.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`], or a port's error.
    pub async fn remove_user(&self, name: &str) -> Result<User> {
        let stored = self.read_record::<Stored>(USER, name).await?;
        let was_there = self.remove_record(USER, name).await?;
        self.end_sessions(name, |_| true).await?;
        let stored = stored.filter(|_| was_there).ok_or(ServiceError::NotFound)?;
        Ok(User { name: name.to_owned(), senior: stored.senior })
    }

    /// The person with that name and password. It takes as long for one who is not known.
    ///
    /// # Errors
    /// A port's error.
    pub async fn check_password(&self, name: &str, password: &str) -> Result<Option<User>> {
        let stored = self.read_record::<Stored>(USER, name).await?;
        let (known, stored) = (stored.is_some(), stored.unwrap_or_else(Stored::nobody));
        let senior = stored.senior;
        let fits = stored.fits(password.to_owned()).await?;
        Ok((known && fits).then(|| User { name: name.to_owned(), senior }))
    }

    /// Opens a session; its token, which nobody can be told again. Sessions of the same person that are over are cleared away.
    ///
    /// # Errors
    /// A port's error.
    pub async fn open_session(&self, name: &str, lasts_ms: i64) -> Result<String> {
        let now = self.now();
        self.end_sessions(name, |session| session.expires_at <= now).await?;
        let token = digits(&self.drawn(TOKEN_BYTES)?);
        let session = Session { user: name.to_owned(), expires_at: now.plus_ms(lasts_ms) };
        let put =
            |_: Option<Session>| Ok::<_, ServiceError>((Some((session.clone(), Some(name.to_owned()))), ()));
        self.change_record(SESSION, &digest(&token), put).await?;
        Ok(token)
    }

    /// Whose session it is, while it lasts and the person is there.
    ///
    /// # Errors
    /// A port's error.
    pub async fn session(&self, token: &str) -> Result<Option<User>> {
        let session = self.read_record::<Session>(SESSION, &digest(token)).await?;
        let Some(session) = session.filter(|session| self.now() < session.expires_at) else {
            return Ok(None);
        };
        let stored = self.read_record::<Stored>(USER, &session.user).await?;
        Ok(stored.map(|stored| User { name: session.user, senior: stored.senior }))
    }

    async fn end_sessions(&self, name: &str, which: impl Fn(&Session) -> bool) -> Result<()> {
        let mut after: Option<String> = None;
        loop {
            let page = self.list_records::<Session>(SESSION, Some(name), after.as_deref(), PAGE).await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(last.clone());
            for (key, session) in page {
                if which(&session) {
                    self.remove_record(SESSION, &key).await?;
                }
            }
        }
    }

    fn drawn(&self, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        if self.access.random.is_some_and(|fill| fill(&mut bytes)) {
            return Ok(bytes);
        }
        Err(PortError::Refused("the system's random generator", "it gives nothing".into()).into())
    }
}

impl Stored {
    async fn of(salt: Vec<u8>, password: String, senior: bool) -> Result<Self> {
        let cost = Params::DEFAULT;
        let (memory_kib, passes, lanes) = (cost.m_cost(), cost.t_cost(), cost.p_cost());
        let open = Self { senior, salt: digits(&salt), hash: String::new(), memory_kib, passes, lanes };
        let hash = open.clone().digest(password).await?;
        Ok(Self { hash, ..open })
    }

    /// Stands for a person who is not there, so that looking takes as long.
    fn nobody() -> Self {
        let cost = Params::DEFAULT;
        let (memory_kib, passes, lanes) = (cost.m_cost(), cost.t_cost(), cost.p_cost());
        Self {
            senior: false,
            salt: "0".repeat(2 * SALT_BYTES),
            hash: String::new(),
            memory_kib,
            passes,
            lanes,
        }
    }

    async fn fits(self, password: String) -> Result<bool> {
        let wanted = self.hash.clone();
        let got = self.digest(password).await?;
        // Every byte is looked at, whatever the first ones say.
        let differ = got.bytes().zip(wanted.bytes()).fold(0, |differ, (one, other)| differ | (one ^ other));
        Ok(got.len() == wanted.len() && differ == 0)
    }

    async fn digest(self, password: String) -> Result<String> {
        // The semaphore is never closed.
        let _look = LOOKS.acquire().await;
        let hashed = tokio::task::spawn_blocking(move || self.hashed(&password)).await;
        let hashed = hashed.map_err(|error| PortError::Refused("Argon2", error.into()))?;
        Ok(hashed.map_err(|error| PortError::Refused("Argon2", error.to_string().into()))?)
    }

    fn hashed(&self, password: &str) -> argon2::Result<String> {
        let cost = Params::new(self.memory_kib, self.passes, self.lanes, Some(HASH_BYTES))?;
        let mut hash = [0; HASH_BYTES];
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, cost);
        argon2.hash_password_into(password.as_bytes(), self.salt.as_bytes(), &mut hash)?;
        Ok(digits(&hash))
    }
}

fn digest(token: &str) -> String {
    digits(&Sha256::digest(token.as_bytes()))
}

fn digits(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
