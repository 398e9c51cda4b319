//! Services that are called back: `/v1/services`.

use reqwest::Method;

use super::{Error, TaskCenter};
use crate::resources::{ServiceList, ServiceResource, ServiceSpec};

impl TaskCenter {
    /// Creates a service, or puts it in the place of the one with its name.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 400 for a service that the server does not take; [`Error::field`] names the field.
    pub async fn put_service(&self, service: &ServiceSpec) -> Result<ServiceResource, Error> {
        self.post(&["v1", "services"], service).await
    }

    /// A service.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 404 for one that there is not.
    pub async fn service(&self, name: &str) -> Result<ServiceResource, Error> {
        self.bare(Method::GET, &["v1", "services", name]).await
    }

    /// Every service, by name.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub async fn services(&self) -> Result<ServiceList, Error> {
        self.bare(Method::GET, &["v1", "services"]).await
    }

    /// Deletes a service; what it was.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 404 for one that there is not.
    pub async fn delete_service(&self, name: &str) -> Result<ServiceResource, Error> {
        self.bare_unless_done(Method::DELETE, &["v1", "services", name]).await
    }
}
