//! Tokens: `/v1/tokens`. They take a token with the scope `admin`, or a call from the server's own machine.

use reqwest::Method;

use super::{Error, TaskCenter};
use crate::resources::{IssuedToken, NewToken, TokenList, TokenResource};

impl TaskCenter {
    /// Makes a token. When the answer is lost, a token may stand that nobody knows: it shows in [`tokens`](Self::tokens).
    ///
    /// # Errors
    /// [`Error::Refused`] with status 400 for a token that makes no sense.
    pub async fn issue_token(&self, new: &NewToken) -> Result<IssuedToken, Error> {
        self.send_unless_done(&self.request(Method::POST, &["v1", "tokens"]).json(new)).await?.read()
    }

    /// Every token, without its secret.
    ///
    /// # Errors
    /// [`Error::Refused`]
    pub async fn tokens(&self) -> Result<TokenList, Error> {
        self.get(&["v1", "tokens"], &()).await
    }

    /// Ends a token.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 404 for one that there is not.
    pub async fn revoke_token(&self, id: &str) -> Result<TokenResource, Error> {
        self.bare_unless_done(Method::DELETE, &["v1", "tokens", id]).await
    }
}
