//! Services that the server calls back.

use std::collections::BTreeMap;

use super::record_kind::RecordKind;
use super::{DownNode, HealthReport, Result, Service, ServiceError};
use crate::core::access::Scope;
use crate::core::callback_service::{self, CallbackService, ServiceNode};

/// Kind of the records of callback services.
pub const CALLBACK_SERVICES: RecordKind = RecordKind::audited(callback_service::KIND);

/// Health of the nodes of callback services, as the callback workers inside the nodes of the task center see it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServicesHealth {
    /// Names of the nodes of the task center whose callback workers report. Empty: the health of every node is unknown.
    pub checked_by: Vec<String>,
    /// Nodes of services that are down, by URL, with the reporting node of the task center. Of several reports,
    /// the earliest `since` counts.
    down: BTreeMap<String, (String, DownNode)>,
    /// Whether further nodes are down.
    more: bool,
}

/// Condition of a node of a callback service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeCondition<'a> {
    /// The service has no health check: the node always gets calls.
    NotChecked,
    /// No callback worker reports about the node.
    Unknown,
    /// The node gets calls.
    Up,
    /// The node gets no calls of the callback worker of `reporter`.
    Down { reporter: &'a str, node: &'a DownNode },
}

impl ServicesHealth {
    fn add(&mut self, reporter: String, report: HealthReport) {
        self.more |= report.more;
        for node in report.down {
            let known = self.down.get(&node.url);
            if known.is_none_or(|(_, known)| node.since < known.since) {
                self.down.insert(node.url.clone(), (reporter.clone(), node));
            }
        }
        self.checked_by.push(reporter);
    }

    /// Returns the condition of a node of a service.
    pub fn of(&self, service: &CallbackService, node: &ServiceNode) -> NodeCondition<'_> {
        match self.down.get(&node.url) {
            _ if !service.is_health_checked(node) => NodeCondition::NotChecked,
            Some((reporter, node)) => NodeCondition::Down { reporter, node },
            None if self.checked_by.is_empty() || self.more => NodeCondition::Unknown,
            None => NodeCondition::Up,
        }
    }
}

impl Service {
    /// Takes over which nodes of callback services are down, from the callback worker of this process.
    pub fn report_callback_health(&self, down: Vec<DownNode>) {
        self.shared.callbacks.set(HealthReport::of(down));
    }

    /// Returns the health of the nodes of callback services.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`].
    pub async fn callback_health(&self) -> Result<ServicesHealth> {
        self.require_unlimited(Scope::TaskRead)?;
        let mut health = ServicesHealth::default();
        let nodes = self.described().await.rows.into_iter();
        let mut reports: Vec<_> = nodes.filter_map(|node| Some((node.name, node.callbacks?))).collect();
        if self.shared.node.is_none() {
            reports.extend(self.shared.callbacks.last().map(|report| (String::new(), report)));
        }
        for (reporter, report) in reports {
            health.add(reporter, report);
        }
        Ok(health)
    }

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
