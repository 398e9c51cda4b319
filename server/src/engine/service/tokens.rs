//! Tokens: made, listed, revoked. Of a token only a digest is kept.

use serde::{Deserialize, Serialize};

use super::access::{digest, digits};
use super::audit::{Change, told};
use super::{PortError, Result, Service, ServiceError};
use crate::core::Moment;
use crate::core::access::{Grant, check_name};

/// What they are kept as.
pub(super) const KIND: &str = "token";
const PREFIX: &str = "tc_";
const ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;
/// Tokens read at a time.
const PAGE: u32 = 1_000;

/// A token as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stored {
    pub name: String,
    pub sha256: String,
    pub grant: Grant,
    pub created_at: Moment,
}

/// A token as it may be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// What it is revoked by; part of the token's text.
    pub id: String,
    /// For people.
    pub name: String,
    /// What it allows.
    pub grant: Grant,
    /// When it was made.
    pub created_at: Moment,
}

impl Token {
    fn of(id: String, stored: Stored) -> Self {
        Self { id, name: stored.name, grant: stored.grant, created_at: stored.created_at }
    }
}

impl Service {
    /// Makes a token; with its text, which nobody can be told again.
    ///
    /// # Errors
    /// [`ServiceError::Token`] names the broken rule; or a port's error.
    pub async fn issue_token(&self, name: &str, grant: Grant) -> Result<(Token, String)> {
        let answer = self.issued(name, grant).await;
        let ids = answer.iter().map(|(token, _)| token.id.as_str());
        told(Change::TokenIssue, ids, &answer);
        answer
    }

    async fn issued(&self, name: &str, grant: Grant) -> Result<(Token, String)> {
        let now = self.now();
        check_name(name)?;
        grant.check(now)?;
        let (id, text) = drawn(self.access.random)?;
        let stored = Stored { name: name.to_owned(), sha256: digest(&text), grant, created_at: now };
        let put = |standing: Option<Stored>| match standing {
            // Also where this very write was made and its answer was lost.
            Some(standing) => Ok((None, standing == stored)),
            None => Ok((Some((stored.clone(), None)), true)),
        };
        let is_ours = self.change_record::<Stored, bool, ServiceError>(KIND, &id, put).await?;
        if is_ours { Ok((Token::of(id, stored), text)) } else { Err(no_chance().into()) }
    }

    /// Every token, by id.
    ///
    /// # Errors
    /// A port's error.
    pub async fn tokens(&self) -> Result<Vec<Token>> {
        let mut tokens: Vec<Token> = Vec::new();
        loop {
            let after = tokens.last().map(|token| token.id.clone());
            let page = self.list_records::<Stored>(KIND, None, after.as_deref(), PAGE).await?;
            if page.is_empty() {
                return Ok(tokens);
            }
            tokens.extend(page.into_iter().map(|(id, stored)| Token::of(id, stored)));
        }
    }

    /// Ends a token. This node knows at once, the others within two seconds.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`], or a port's error.
    pub async fn revoke_token(&self, id: &str) -> Result<Token> {
        let answer = self.revoked(id).await;
        told(Change::TokenRevoke, [id], &answer);
        answer
    }

    async fn revoked(&self, id: &str) -> Result<Token> {
        let stored = self.read_record::<Stored>(KIND, id).await?.ok_or(ServiceError::NotFound)?;
        self.remove_record(KIND, id).await?;
        self.access.keep(id, None, self.now());
        Ok(Token::of(id.to_owned(), stored))
    }
}

/// A fresh id, and the token's text with it.
fn drawn(random: Option<super::access::Random>) -> Result<(String, String)> {
    let mut bytes = [0; ID_BYTES + SECRET_BYTES];
    if !random.is_some_and(|fill| fill(&mut bytes)) {
        return Err(no_chance().into());
    }
    let (id, secret) = (digits(&bytes[..ID_BYTES]), digits(&bytes[ID_BYTES..]));
    let text = format!("{PREFIX}{id}_{secret}");
    Ok((id, text))
}

/// A token's text, drawn without a server: for the key `access.admin_token_sha256`, and its digest.
///
/// # Errors
/// Where no chance can be had.
pub fn drawn_token(random: super::access::Random) -> Result<(String, String)> {
    let (_, text) = drawn(Some(random))?;
    let sha256 = digest(&text);
    Ok((text, sha256))
}

fn no_chance() -> PortError {
    PortError::Refused("the system's random generator", "it gives nothing".into())
}

/// The id in a token's text, if it is one.
pub(super) fn id_of(token: &str) -> Option<&str> {
    let (id, secret) = token.strip_prefix(PREFIX)?.split_once('_')?;
    let is = |text: &str, bytes: usize| {
        text.len() == 2 * bytes && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    (is(id, ID_BYTES) && is(secret, SECRET_BYTES)).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_tells_its_id_and_nothing_else_does() {
        let (id, text) = drawn(Some(|bytes| {
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

    #[test]
    fn without_chance_there_is_no_token() {
        assert!(drawn(None).is_err() && drawn(Some(|_| false)).is_err());
    }
}
