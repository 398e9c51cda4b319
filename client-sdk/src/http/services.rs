//! Calls for the services of the callback worker, `/v1/services`.

use reqwest::Method;

use super::{Error, TaskCenter};
use crate::resources::{ServiceList, ServiceResource, ServiceSpec};

impl TaskCenter {
    /// Creates a service, or replaces the service with the same name. Requires the scope `admin`.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 400 for an invalid field; [`Error::field`] names it.
    pub async fn put_service(&self, service: &ServiceSpec) -> Result<ServiceResource, Error> {
        self.post(&["v1", "services"], service).await
    }

    /// Returns a service, without its secret.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 404 for an unknown service.
    pub async fn service(&self, name: &str) -> Result<ServiceResource, Error> {
        self.call(Method::GET, &["v1", "services", name]).await
    }

    /// Returns all services by name, without their secrets.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 401 or 403 without the scope `task:read`.
    pub async fn services(&self) -> Result<ServiceList, Error> {
        self.call(Method::GET, &["v1", "services"]).await
    }

    /// Deletes a service and returns it. Its callbacks fail from now on. Requires the scope
    /// `admin`.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 404 for an unknown service.
    pub async fn delete_service(&self, name: &str) -> Result<ServiceResource, Error> {
        self.call_non_idempotent(Method::DELETE, &["v1", "services", name]).await
    }
}
