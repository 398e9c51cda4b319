//! Services that the server calls back.

use super::record_kind::RecordKind;
use super::{Result, Service, ServiceError};
use crate::core::access::Scope;
use crate::core::callback_service::{self, CallbackService};

/// Kind of the records of callback services.
pub const CALLBACK_SERVICES: RecordKind = RecordKind::audited(callback_service::KIND);

impl Service {
    /// Stores a callback service, and replaces the one with the same name. With `keep_secret`, the stored
    /// secret stays.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], or a port's error.
    pub async fn put_callback_service(
        &self,
        service: &CallbackService,
        keep_secret: bool,
    ) -> Result<CallbackService> {
        self.require_unlimited(Scope::Admin)?;
        let put = |stored: Option<CallbackService>| {
            let mut service = service.clone();
            if let (Some(stored), true) = (stored, keep_secret) {
                service.secret = stored.secret;
            }
            Ok((Some((service.clone(), None)), service))
        };
        self.change_document::<CallbackService, _, ServiceError>(CALLBACK_SERVICES, &service.name, put).await
    }

    /// Returns a callback service with its secret.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], or a port's error.
    pub async fn callback_service(&self, name: &str) -> Result<Option<CallbackService>> {
        self.require_unlimited(Scope::TaskRead)?;
        self.shared.read_document(CALLBACK_SERVICES, name).await
    }

    /// Returns every callback service by name.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], or a port's error.
    pub async fn callback_services(&self) -> Result<Vec<CallbackService>> {
        self.require_unlimited(Scope::TaskRead)?;
        let services = self.shared.all_documents(CALLBACK_SERVICES).await?;
        Ok(services.into_iter().map(|(_, service)| service).collect())
    }

    /// Removes a callback service. Returns whether there was one.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], or a port's error.
    pub async fn remove_callback_service(&self, name: &str) -> Result<bool> {
        self.require_unlimited(Scope::Admin)?;
        self.remove_document(CALLBACK_SERVICES, name).await
    }
}
