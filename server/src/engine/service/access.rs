//! Admission: who a caller is, by its token and address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::secrets::{Random, digest, is_equal};
use super::tokens::{self, StoredToken};
use super::{Caller, PortError, Service, ServiceError};
use crate::core::Moment;
use crate::core::access::Grant;
use crate::core::net::Net;

/// Milliseconds for which a token that was read is used without reading it again. Other nodes notice a
/// revocation within this time.
const CACHE_MS: i64 = 2_000;
/// The same while the store is unavailable, so that the metrics can be read during an outage.
const CACHE_IN_AN_OUTAGE_MS: i64 = 600_000;

/// Id of the caller whose token is in the configuration. Not a hexadecimal number, so no token has this id.
const CONFIGURED: &str = "configuration";

/// Which callers need a token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Required {
    /// Every caller whose connection comes from another machine.
    #[default]
    OffLoopback,
    /// Every caller.
    Always,
}

/// Settings for access to the server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AccessSettings {
    /// Which callers need a token.
    pub required: Required,
    /// Address ranges whose callers need no token, for clients that cannot send one. These callers have
    /// every scope except `admin`.
    pub trusted: Vec<String>,
    /// SHA-256 of a token with all rights, in hexadecimal digits. Empty: no such token.
    pub admin_token_sha256: String,
}

/// Where a call comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// This machine.
    Here,
    /// A trusted network of the configuration.
    Trusted,
    /// Any other or unknown place.
    Elsewhere,
}

/// Why a caller is not admitted.
#[derive(Debug, thiserror::Error)]
pub enum Denied {
    /// The caller sent no token and needs one.
    #[error("no token")]
    Missing,
    /// No token has this id, or its secret differs.
    #[error("unknown token")]
    Unknown,
    /// The token or the user has expired.
    #[error("expired token or user")]
    Expired,
    /// The token could not be checked, because the store failed.
    #[error(transparent)]
    Unchecked(#[from] ServiceError),
}

/// The settings, and the tokens that were read a short time ago.
#[derive(Default)]
pub(super) struct Access {
    settings: AccessSettings,
    trusted: Vec<Net>,
    pub random: Option<Random>,
    tokens: Mutex<HashMap<String, (Moment, StoredToken)>>,
}

impl Access {
    pub fn new(settings: AccessSettings, random: Random) -> Self {
        // The configuration refuses malformed ranges.
        let trusted = settings.trusted.iter().filter_map(|range| range.parse().ok()).collect();
        Self { settings, trusted, random: Some(random), tokens: Mutex::default() }
    }

    fn tokens(&self) -> MutexGuard<'_, HashMap<String, (Moment, StoredToken)>> {
        // Each change is one map operation, so a panic leaves the map consistent.
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a cached token that was read less than `max_age_ms` ago. If the clock was set
    /// back to a time before that read, the token counts as old.
    fn cached(&self, id: &str, now: Moment, max_age_ms: i64) -> Option<StoredToken> {
        let tokens = self.tokens();
        let (read_at, token) = tokens.get(id)?;
        (0..max_age_ms).contains(&now.since(*read_at)).then(|| token.clone())
    }

    /// Caches a token that exists and forgets one that does not, so that made-up ids use no memory.
    pub fn cache(&self, id: &str, token: Option<StoredToken>, now: Moment) {
        match token {
            Some(token) => drop(self.tokens().insert(id.to_owned(), (now, token))),
            None => drop(self.tokens().remove(id)),
        }
    }
}

impl Service {
    /// Returns where a call from this address comes from. Needs no rights.
    pub fn origin(&self, peer: IpAddr) -> Origin {
        let peer = peer.to_canonical();
        match () {
            () if peer.is_loopback() => Origin::Here,
            () if self.shared.access.trusted.iter().any(|range| range.contains(peer)) => Origin::Trusted,
            () => Origin::Elsewhere,
        }
    }

    /// Returns the caller with this token. Without a token, callers of this machine and of trusted
    /// networks are admitted, unless every caller needs a token. Needs no rights.
    ///
    /// # Errors
    /// [`Denied`]. A token, if sent, must be valid, even on loopback.
    pub async fn admit(&self, token: Option<&str>, origin: Origin) -> Result<Caller, Denied> {
        let is_optional = self.shared.access.settings.required == Required::OffLoopback;
        match token {
            None if is_optional && origin == Origin::Here => Ok(Caller::new("loopback", Grant::everything())),
            None if is_optional && origin == Origin::Trusted => {
                Ok(Caller::new("trusted", Grant::trusted_network()))
            }
            None => Err(Denied::Missing),
            Some(token) if self.is_configured(&digest(token)) => Ok(configured_caller()),
            Some(token) => self.token_holder(token).await,
        }
    }

    fn is_configured(&self, token_sha256: &str) -> bool {
        let configured = &self.shared.access.settings.admin_token_sha256;
        !configured.is_empty() && is_equal(token_sha256, &configured.to_ascii_lowercase())
    }

    async fn token_holder(&self, token: &str) -> Result<Caller, Denied> {
        let id = tokens::id_of(token).ok_or(Denied::Unknown)?;
        self.holder_of_digest(id, &digest(token)).await
    }

    /// Returns the caller with this id, whose token has this digest.
    ///
    /// # Errors
    /// [`Denied`].
    pub(super) async fn holder_of_digest(&self, id: &str, token_sha256: &str) -> Result<Caller, Denied> {
        if id == CONFIGURED {
            let is_configured = self.is_configured(token_sha256);
            return is_configured.then(configured_caller).ok_or(Denied::Unknown);
        }
        let stored = self.stored_token(id).await?.ok_or(Denied::Unknown)?;
        if !is_equal(token_sha256, &stored.sha256) {
            return Err(Denied::Unknown);
        }
        if stored.grant.has_expired(self.now()) {
            return Err(Denied::Expired);
        }
        Ok(Caller { name: stored.name, quota: stored.quota, ..Caller::new(id, stored.grant) })
    }

    pub(super) async fn stored_token(&self, id: &str) -> Result<Option<StoredToken>, ServiceError> {
        let (access, now) = (&self.shared.access, self.now());
        if let Some(token) = access.cached(id, now, CACHE_MS) {
            return Ok(Some(token));
        }
        match self.shared.read_document::<StoredToken>(tokens::KIND, id).await {
            Ok(token) => {
                access.cache(id, token.clone(), now);
                Ok(token)
            }
            Err(error @ ServiceError::Port(PortError::Unavailable(..))) => {
                access.cached(id, now, CACHE_IN_AN_OUTAGE_MS).map(Some).ok_or(error)
            }
            Err(error) => Err(error),
        }
    }
}

fn configured_caller() -> Caller {
    Caller::new(CONFIGURED, Grant::everything())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::quota::Quota;

    #[test]
    fn a_token_is_cached_for_a_while() {
        let access = Access::default();
        let (name, sha256, created_at) = (String::new(), String::new(), Moment::from_sec(0));
        let stored =
            StoredToken { name, sha256, grant: Grant::everything(), created_at, quota: Quota::default() };
        let read_at = Moment::from_sec(100);
        access.cache("id", Some(stored), read_at);
        let is_cached = |after_ms| access.cached("id", read_at.plus_ms(after_ms), CACHE_MS).is_some();
        assert!(is_cached(0) && is_cached(1_999) && !is_cached(2_000));
        assert!(!is_cached(-1), "the clock was set back");
        assert!(access.cached("id", read_at.plus_ms(2_000), CACHE_IN_AN_OUTAGE_MS).is_some());
        access.cache("id", None, read_at);
        assert!(!is_cached(0), "the token was revoked");
    }
}
