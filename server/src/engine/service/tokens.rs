//! Tokens: issue, list, revoke. The server stores only a digest of a token.

use serde::{Deserialize, Serialize};

use super::audit::AuditAction;
use super::record_kind::RecordKind;
use super::secrets::{Random, digest, hex, random_bytes};
use super::{PortError, Result, Service, ServiceError};
use crate::core::Moment;
use crate::core::access::{Grant, InvalidToken, Scope, check_name};
use crate::core::quota::Quota;

/// Kind of the documents. Tokens have audit actions of their own.
pub(super) const KIND: RecordKind = RecordKind::internal("token");
const PREFIX: &str = "tc_";
const ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;

/// A token as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredToken {
    pub name: String,
    pub sha256: String,
    pub grant: Grant,
    pub created_at: Moment,
    #[serde(default, skip_serializing_if = "Quota::is_unlimited")]
    pub quota: Quota,
}

/// A token without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Part of the token's text; `revoke_token` takes it.
    pub id: String,
    /// Name for users; not unique.
    pub name: String,
    /// Its rights.
    pub grant: Grant,
    /// When it was issued.
    pub created_at: Moment,
    /// How much its holder may create.
    pub quota: Quota,
}

impl Token {
    fn of(id: String, stored: StoredToken) -> Self {
        let StoredToken { name, sha256: _, grant, created_at, quota } = stored;
        Self { id, name, grant, created_at, quota }
    }
}

impl Service {
    /// Issues a token. Returns it with its text, which the server cannot show again.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`]; [`ServiceError::Token`] names the broken rule; or a port's error.
    pub async fn issue_token(&self, name: &str, grant: Grant, quota: Quota) -> Result<(Token, String)> {
        let answer = self.issue(name, grant, quota).await;
        let ids = answer.iter().map(|(token, _)| token.id.as_str());
        self.record_change(AuditAction::TokenIssue, ids, &answer).await;
        answer
    }

    async fn issue(&self, name: &str, grant: Grant, quota: Quota) -> Result<(Token, String)> {
        self.require_unlimited(Scope::Admin)?;
        let now = self.now();
        check_name(name)?;
        grant.check(now)?;
        quota.check().map_err(InvalidToken::Quota)?;
        let (id, text) = generate(self.shared.access.random)?;
        let token =
            StoredToken { name: name.to_owned(), sha256: digest(&text), grant, created_at: now, quota };
        let put = |stored: Option<StoredToken>| match stored {
            // This write may have succeeded before while its answer was lost.
            Some(stored) => Ok((None, stored == token)),
            None => Ok((Some((token.clone(), None)), true)),
        };
        if self.change_document::<StoredToken, bool, ServiceError>(KIND, &id, put).await? {
            Ok((Token::of(id, token), text))
        } else {
            Err(PortError::Refused("the system's random generator", "it repeated a token id".into()).into())
        }
    }

    /// Returns every token by id.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], or a port's error.
    pub async fn tokens(&self) -> Result<Vec<Token>> {
        self.require_unlimited(Scope::Admin)?;
        let tokens = self.shared.all_documents(KIND).await?;
        Ok(tokens.into_iter().map(|(id, stored)| Token::of(id, stored)).collect())
    }

    /// Revokes a token. This node refuses it at once, the other nodes within two seconds.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], [`ServiceError::NotFound`], or a port's error.
    pub async fn revoke_token(&self, id: &str) -> Result<Token> {
        let answer = self.revoke(id).await;
        self.record_change(AuditAction::TokenRevoke, [id], &answer).await;
        answer
    }

    async fn revoke(&self, id: &str) -> Result<Token> {
        self.require_unlimited(Scope::Admin)?;
        let stored = self.shared.read_document::<StoredToken>(KIND, id).await?;
        let stored = stored.ok_or(ServiceError::NotFound)?;
        self.remove_document(KIND, id).await?;
        self.shared.access.cache(id, None, self.now());
        if let Err(error) = self.remove_sessions(id).await {
            // The token is revoked, and its sessions with it: only their rows stay.
            tracing::warn!(token = id, %error, "sessions of a revoked token were not removed");
        }
        Ok(Token::of(id.to_owned(), stored))
    }
}

/// Returns a new token's id and its text.
fn generate(random: Option<Random>) -> Result<(String, String)> {
    let bytes = random_bytes::<{ ID_BYTES + SECRET_BYTES }>(random)?;
    let (id, secret) = (hex(&bytes[..ID_BYTES]), hex(&bytes[ID_BYTES..]));
    let text = format!("{PREFIX}{id}_{secret}");
    Ok((id, text))
}

/// Returns a new token's text and its digest, without a server. The digest is the value for
/// `access.admin_token_sha256`.
///
/// # Errors
/// If the random generator fails.
pub fn generate_token(random: Random) -> Result<(String, String)> {
    let (_, text) = generate(Some(random))?;
    let sha256 = digest(&text);
    Ok((text, sha256))
}

/// Returns the id in a token's text. `None`: the text is not a token.
pub(super) fn id_of(token: &str) -> Option<&str> {
    let (id, secret) = token.strip_prefix(PREFIX)?.split_once('_')?;
    (is_id(id) && is_hex(secret, SECRET_BYTES)).then_some(id)
}

/// Returns whether the id of a caller is the id of a token.
pub(super) fn is_id(text: &str) -> bool {
    is_hex(text, ID_BYTES)
}

fn is_hex(text: &str, bytes: usize) -> bool {
    text.len() == 2 * bytes && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_read_from_a_token_and_from_nothing_else() {
        let (id, text) = generate(Some(|bytes| {
            bytes.fill(0xa7);
            true
        }))
        .unwrap();
        assert_eq!((id.as_str(), id_of(&text)), ("a7a7a7a7a7a7a7a7", Some(id.as_str())));
        assert_eq!(text.len(), 3 + 16 + 1 + 64);
        for wrong in [
            "",
            "tc_",
            "tc__",
            &text[1..],
            &text[..text.len() - 1],
            &format!("{text}0"),
            &text.to_uppercase(),
        ] {
            assert_eq!(id_of(wrong), None, "{wrong}");
        }
    }
}
