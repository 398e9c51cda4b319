//! On whose behalf a command is given, and how a caller becomes known.
//!
//! The caller goes with the request's task, not with every command's arguments: so no front can forget to hand it on, and what
//! nobody asked for over HTTP (the loops, the built-in workers) is the node's own and is not limited.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::future::Future;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::tokens::{self, Stored};
use super::{PortError, Service, ServiceError};
use crate::core::Moment;
use crate::core::access::Grant;
use crate::core::net::Net;

/// How long a token that was read is believed: so long a revoke takes to reach the other nodes.
const BELIEVED_MS: i64 = 2_000;
/// How long one is believed while the store cannot be asked, so that the metrics of an outage can be read.
const BELIEVED_IN_AN_OUTAGE_MS: i64 = 600_000;

tokio::task_local! {
    static CALLER: Arc<Caller>;
}

/// From whom a token is demanded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Required {
    /// From everybody whose connection does not begin on this machine.
    #[default]
    OffLoopback,
    /// From everybody.
    Always,
}

/// Who gets in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AccessSettings {
    /// From whom a token is demanded.
    pub required: Required,
    /// Ranges of addresses whose callers need no token, for clients that know of none; only what an admin does is closed to them.
    pub trusted: Vec<String>,
    /// SHA-256, in hexadecimal digits, of a token that allows everything; empty: there is none.
    pub admin_token_sha256: String,
}

/// Where a call comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// This machine.
    Here,
    /// A network that the configuration trusts.
    Trusted,
    /// Anywhere else, or nobody knows.
    Elsewhere,
}

/// Fills the bytes with what nobody can foresee; `false` where that cannot be had.
pub type Random = fn(&mut [u8]) -> bool;

/// Somebody on whose behalf commands are given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The token's id, or where they come from.
    pub id: String,
    /// The token's name; empty where there is no token.
    pub name: String,
    /// What they may do.
    pub grant: Grant,
    /// The request, as its log line names it.
    pub request_id: String,
}

impl Caller {
    fn new(id: &str, grant: Grant) -> Self {
        Self { id: id.to_owned(), name: String::new(), grant, request_id: String::new() }
    }

    /// Somebody who was not asked who they are; they may do nothing.
    pub fn nobody() -> Self {
        Self::new("", Grant { scopes: Vec::new(), tags: Vec::new(), expires_at: None })
    }

    /// Whoever sent a message over this topic: the broker lets in whom it knows.
    pub fn of_a_message(topic: &str) -> Self {
        Self { name: topic.to_owned(), ..Self::new("message", Grant::everything()) }
    }

    /// The node itself.
    pub(super) fn node() -> Self {
        Self::new("node", Grant::everything())
    }
}

/// Does this on the caller's behalf.
pub async fn on_behalf_of<T>(caller: Caller, work: impl Future<Output = T>) -> T {
    CALLER.scope(Arc::new(caller), work).await
}

/// On whose behalf this is done.
pub(super) fn caller() -> Arc<Caller> {
    CALLER.try_with(Arc::clone).unwrap_or_else(|_| Arc::new(Caller::node()))
}

/// Why somebody does not get in.
#[derive(Debug, thiserror::Error)]
pub enum Denied {
    /// They bring no token and need one.
    #[error("no token")]
    Missing,
    /// Nobody knows the token, or its secret is another.
    #[error("unknown token")]
    Unknown,
    /// Its time is over.
    #[error("expired token")]
    Expired,
    /// The store could not be asked.
    #[error(transparent)]
    Unasked(#[from] ServiceError),
}

/// What the commands know of access.
#[derive(Default)]
pub(super) struct Access {
    pub settings: AccessSettings,
    trusted: Vec<Net>,
    pub random: Option<Random>,
    read: Mutex<HashMap<String, (Moment, Stored)>>,
}

impl Access {
    pub fn new(settings: AccessSettings, random: Random) -> Self {
        // What is no range was refused with the configuration.
        let trusted = settings.trusted.iter().filter_map(|range| range.parse().ok()).collect();
        Self { settings, trusted, random: Some(random), read: Mutex::default() }
    }

    fn read(&self) -> MutexGuard<'_, HashMap<String, (Moment, Stored)>> {
        // A map of copies is whole after every step.
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A token that was read at most so long ago. A clock that was set back makes it old.
    fn fresh(&self, id: &str, now: Moment, at_most_ms: i64) -> Option<Stored> {
        let read = self.read();
        let (at, stored) = read.get(id)?;
        (0..at_most_ms).contains(&now.since(*at)).then(|| stored.clone())
    }

    /// Only what exists is kept, so that made-up ids do not fill the memory.
    pub fn keep(&self, id: &str, stored: Option<Stored>, now: Moment) {
        match stored {
            Some(stored) => drop(self.read().insert(id.to_owned(), (now, stored))),
            None => drop(self.read().remove(id)),
        }
    }
}

impl Service {
    /// Where a call of this address comes from.
    pub fn origin(&self, peer: IpAddr) -> Origin {
        let peer = peer.to_canonical();
        match () {
            () if peer.is_loopback() => Origin::Here,
            () if self.access.trusted.iter().any(|range| range.contains(peer)) => Origin::Trusted,
            () => Origin::Elsewhere,
        }
    }

    /// Who a caller is, by the token that they bring. Whoever comes from this machine or a trusted network may come without, unless a
    /// token is demanded from everybody.
    ///
    /// # Errors
    /// [`Denied`]: a token that is brought must hold, wherever its bearer comes from.
    pub async fn admit(&self, token: Option<&str>, origin: Origin) -> Result<Caller, Denied> {
        let may_come_without = self.access.settings.required == Required::OffLoopback;
        match token {
            None if may_come_without && origin == Origin::Here => {
                Ok(Caller::new("loopback", Grant::everything()))
            }
            None if may_come_without && origin == Origin::Trusted => {
                Ok(Caller::new("trusted", Grant::trusted_network()))
            }
            None => Err(Denied::Missing),
            Some(token) if self.is_the_configured_one(token) => {
                Ok(Caller::new("configuration", Grant::everything()))
            }
            Some(token) => self.bearer(token).await,
        }
    }

    fn is_the_configured_one(&self, token: &str) -> bool {
        let configured = &self.access.settings.admin_token_sha256;
        !configured.is_empty() && same(&digest(token), &configured.to_ascii_lowercase())
    }

    async fn bearer(&self, token: &str) -> Result<Caller, Denied> {
        let id = tokens::id_of(token).ok_or(Denied::Unknown)?;
        let stored = self.stored_token(id).await?.ok_or(Denied::Unknown)?;
        if !same(&digest(token), &stored.sha256) {
            return Err(Denied::Unknown);
        }
        if stored.grant.has_expired(self.now()) {
            return Err(Denied::Expired);
        }
        Ok(Caller { name: stored.name, ..Caller::new(id, stored.grant) })
    }

    async fn stored_token(&self, id: &str) -> Result<Option<Stored>, ServiceError> {
        let now = self.now();
        if let Some(stored) = self.access.fresh(id, now, BELIEVED_MS) {
            return Ok(Some(stored));
        }
        match self.read_record::<Stored>(tokens::KIND, id).await {
            Ok(stored) => {
                self.access.keep(id, stored.clone(), now);
                Ok(stored)
            }
            Err(error @ ServiceError::Port(PortError::Unavailable(..))) => {
                self.access.fresh(id, now, BELIEVED_IN_AN_OUTAGE_MS).map(Some).ok_or(error)
            }
            Err(error) => Err(error),
        }
    }
}

/// A token is 256 bits of chance: nobody can guess it from a fast digest, and a slow one would only cost every request its time.
pub(super) fn digest(token: &str) -> String {
    digits(&Sha256::digest(token.as_bytes()))
}

/// In hexadecimal digits.
pub(super) fn digits(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut digits, byte| {
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}

/// Takes the same time wherever the two differ.
fn same(one: &str, other: &str) -> bool {
    let differ = one.bytes().zip(other.bytes()).fold(0, |differ, (a, b)| differ | (a ^ b));
    one.len() == other.len() && differ == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_is_the_same() {
        let one = digest("tc_0_0");
        assert!(same(&one, &digest("tc_0_0")));
        for other in ["", &one[1..], &digest("tc_0_1"), &format!("{one}0")] {
            assert!(!same(&one, other), "{other}");
        }
    }

    #[test]
    fn a_token_that_was_read_is_believed_for_a_while() {
        let access = Access::default();
        let (name, sha256, created_at) = (String::new(), String::new(), Moment::from_sec(0));
        let stored = Stored { name, sha256, grant: Grant::everything(), created_at };
        let read_at = Moment::from_sec(100);
        access.keep("id", Some(stored), read_at);
        let believed = |after_ms| access.fresh("id", read_at.plus_ms(after_ms), BELIEVED_MS).is_some();
        assert!(believed(0) && believed(1_999) && !believed(2_000));
        assert!(!believed(-1), "the clock was set back");
        assert!(access.fresh("id", read_at.plus_ms(2_000), BELIEVED_IN_AN_OUTAGE_MS).is_some());
        access.keep("id", None, read_at);
        assert!(!believed(0), "it was revoked");
    }

    #[tokio::test]
    async fn without_a_caller_it_is_the_node() {
        assert_eq!(caller().id, "node");
        let of = |id: &str| Caller { id: id.to_owned(), ..Caller::node() };
        let (one, two) = tokio::join!(
            on_behalf_of(of("one"), async { caller().id.clone() }),
            on_behalf_of(of("two"), async { caller().id.clone() })
        );
        assert_eq!((one.as_str(), two.as_str(), caller().id.as_str()), ("one", "two", "node"));
    }
}
