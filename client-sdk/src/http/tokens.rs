//! Calls for access tokens, `/v1/tokens`. They require the scope `admin`.

use reqwest::Method;

use super::{Error, TaskCenter};
use crate::resources::{IssuedToken, NewToken, TokenList, TokenResource};

impl TaskCenter {
    /// Creates a token. Only the answer contains its secret text. If the answer is lost, a token
    /// without a known text may exist: find it with [`tokens`](Self::tokens) and revoke it.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 400 for an invalid field.
    pub async fn issue_token(&self, new: &NewToken) -> Result<IssuedToken, Error> {
        self.send_non_idempotent(&self.request(Method::POST, &["v1", "tokens"]).json(new)).await?.read()
    }

    /// Returns all tokens by id, without their secret texts.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 401 or 403 without the scope `admin`.
    pub async fn tokens(&self) -> Result<TokenList, Error> {
        self.get(&["v1", "tokens"], &()).await
    }

    /// Revokes a token and returns it. The other nodes of a cluster refuse it within two seconds.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 404 for an unknown token.
    pub async fn revoke_token(&self, id: &str) -> Result<TokenResource, Error> {
        self.call_non_idempotent(Method::DELETE, &["v1", "tokens", id]).await
    }
}
