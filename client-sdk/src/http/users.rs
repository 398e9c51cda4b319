//! Calls for the users of the console and of the legacy APIs, `/v1/users`. They require the scope `admin`.

use reqwest::Method;

use super::{Error, TaskCenter};
use crate::resources::{UserList, UserResource, UserSpec};

impl TaskCenter {
    /// Creates a user, or changes the user with this name. A change keeps what `user` omits. Another password ends
    /// the sessions of the user.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 400 for an invalid field.
    pub async fn set_user(&self, user: &UserSpec) -> Result<UserResource, Error> {
        self.post(&["v1", "users"], user).await
    }

    /// Returns all users, by name.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 401 or 403 without the scope `admin`.
    pub async fn users(&self) -> Result<UserList, Error> {
        self.get(&["v1", "users"], &()).await
    }

    /// Deletes a user, ends the sessions of the user, and returns the user.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 404 for an unknown user.
    pub async fn delete_user(&self, name: &str) -> Result<UserResource, Error> {
        self.call_non_idempotent(Method::DELETE, &["v1", "users", name]).await
    }
}
