//! Lookup of callback services, in the store of the server or over its API.

use std::path::PathBuf;

use async_trait::async_trait;
use taskcenter_client::TaskCenter;
use taskcenter_client::resources::ServiceResource;

use super::local::LocalApi;
use crate::core::callback_service::{CallbackService, HealthCheck, ServiceNode, SigningSecret};
use crate::engine::service::DownNode;

/// Looks up services.
#[async_trait]
pub trait Directory: Send + Sync + 'static {
    /// Returns a service with its secret.
    ///
    /// # Errors
    /// Why the lookup failed.
    async fn find(&self, name: &str) -> Result<Option<CallbackService>, String>;

    /// Returns every service, possibly without secrets.
    ///
    /// # Errors
    /// Why the services could not be read.
    async fn all(&self) -> Result<Vec<CallbackService>, String>;

    /// Passes the nodes that are down to the list of services. The default does nothing: only a worker inside the
    /// server reaches the list.
    fn report_down(&self, _down: Vec<DownNode>) {}
}

#[async_trait]
impl Directory for LocalApi {
    async fn find(&self, name: &str) -> Result<Option<CallbackService>, String> {
        self.service().callback_service(name).await.map_err(|error| error.to_string())
    }

    async fn all(&self) -> Result<Vec<CallbackService>, String> {
        self.service().callback_services().await.map_err(|error| error.to_string())
    }

    fn report_down(&self, down: Vec<DownNode>) {
        self.service().report_callback_health(down);
    }
}

/// The services of a remote server. The server never returns secrets: they are read from a local directory, one
/// file for each service with its name.
pub struct RemoteDirectory {
    center: TaskCenter,
    secrets: Option<PathBuf>,
}

impl RemoteDirectory {
    /// Returns the services of a server. `secrets_dir` may be empty.
    pub fn new(center: TaskCenter, secrets_dir: &str) -> Self {
        Self { center, secrets: Some(secrets_dir).filter(|dir| !dir.is_empty()).map(PathBuf::from) }
    }

    async fn secret(&self, name: &str) -> Result<SigningSecret, String> {
        let missing = || {
            format!("no signing secret for the service {name:?}: put it into a file in callback.secrets_dir")
        };
        let is_file_name = !name.contains(['/', '\\', '\0']) && name != "." && name != "..";
        let directory = self.secrets.as_ref().filter(|_| is_file_name).ok_or_else(missing)?;
        let secret = tokio::fs::read_to_string(directory.join(name)).await.map_err(|_| missing())?;
        Ok(SigningSecret::new(secret.trim_end_matches(['\r', '\n'])))
    }
}

#[async_trait]
impl Directory for RemoteDirectory {
    async fn find(&self, name: &str) -> Result<Option<CallbackService>, String> {
        let service = self.center.service(name).await;
        let service = match service {
            Ok(service) => service,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        let secret = if service.signed { self.secret(name).await? } else { SigningSecret::default() };
        Ok(Some(CallbackService { secret, ..callback_service(service) }))
    }

    async fn all(&self) -> Result<Vec<CallbackService>, String> {
        let list = self.center.services().await.map_err(|error| error.to_string())?;
        Ok(list.services.into_iter().map(callback_service).collect())
    }
}

fn callback_service(service: ServiceResource) -> CallbackService {
    let node = |node: taskcenter_client::resources::ServiceNode| ServiceNode {
        url: node.url,
        weight: node.weight,
        health_check: node.heartbeat,
    };
    let health =
        service.health.map(|health| HealthCheck { path: health.path, interval_ms: health.interval_ms });
    CallbackService {
        name: service.name,
        nodes: service.nodes.into_iter().map(node).collect(),
        health,
        heartbeat_body: service.heartbeat_body,
        timeout_ms: service.timeout_ms.unwrap_or(0),
        secret: SigningSecret::default(),
    }
}
