//! The services that are called back.

use super::{Result, Service, ServiceError};
use crate::core::callback_service::{CallbackService, KIND};

/// Documents read at a time.
const PAGE: u32 = 500;

impl Service {
    /// Stores a service, in the place of the one with its name. Without a secret of its own it keeps that one's (`None`).
    ///
    /// # Errors
    /// A port's error.
    pub async fn put_callee(&self, callee: &CallbackService, keep_secret: bool) -> Result<CallbackService> {
        let name = callee.name.clone();
        self.change_record::<CallbackService, _, ServiceError>(KIND, &name, |standing| {
            let mut callee = callee.clone();
            if let (Some(standing), true) = (standing, keep_secret) {
                callee.secret = standing.secret;
            }
            Ok((Some((callee.clone(), None)), callee))
        })
        .await
    }

    /// A service.
    ///
    /// # Errors
    /// A port's error.
    pub async fn callee(&self, name: &str) -> Result<Option<CallbackService>> {
        self.read_record(KIND, name).await
    }

    /// Every service, by name.
    ///
    /// # Errors
    /// A port's error.
    pub async fn callees(&self) -> Result<Vec<CallbackService>> {
        let mut all: Vec<CallbackService> = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.list_records::<CallbackService>(KIND, None, after.as_deref(), PAGE).await?;
            let is_last = page.len() < PAGE as usize;
            after = page.last().map(|(key, _)| key.clone());
            all.extend(page.into_iter().map(|(_, callee)| callee));
            if is_last {
                return Ok(all);
            }
        }
    }

    /// Removes a service. Whether it was there.
    ///
    /// # Errors
    /// A port's error.
    pub async fn remove_callee(&self, name: &str) -> Result<bool> {
        self.remove_record(KIND, name).await
    }
}
