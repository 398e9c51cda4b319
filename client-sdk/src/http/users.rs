//! People who sign in to the fronts for older systems' clients.

use reqwest::Method;

use super::{Error, TaskCenter};
use crate::resources::{UserList, UserResource, UserSpec};

impl TaskCenter {
    /// Adds a person, or gives one another password.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 400 for a name or a password that cannot be one.
    pub async fn set_user(&self, user: &UserSpec) -> Result<UserResource, Error> {
        self.post(&["v1", "users"], user).await
    }

    /// Everybody, by name.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub async fn users(&self) -> Result<UserList, Error> {
        self.get(&["v1", "users"], &()).await
    }

    /// Removes a person.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 404 where there is no such person.
    pub async fn delete_user(&self, name: &str) -> Result<UserResource, Error> {
        self.bare_unless_done(Method::DELETE, &["v1", "users", name]).await
    }
}
