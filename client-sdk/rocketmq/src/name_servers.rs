//! Requests to the name servers.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::connections::Connections;
use crate::protocol::codes;
use crate::protocol::route::Route;
use crate::{ClientConfig, Command, Error};

/// List of name servers. Requests go to the one that answered last.
pub(crate) struct NameServers {
    addresses: Vec<String>,
    current: AtomicUsize,
    timeout: std::time::Duration,
}

impl NameServers {
    pub fn new(config: &ClientConfig) -> Self {
        // Clients start at different servers, so that the servers share the load.
        let current = AtomicUsize::new(fastrand::usize(..config.name_servers.len().max(1)));
        Self { addresses: config.name_servers.clone(), current, timeout: config.request_timeout }
    }

    /// Returns the addresses.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// Asks the name servers for the route of a topic: the current server first, then the others
    /// until one knows the topic. A name server that has just started does not know the topics yet.
    ///
    /// # Errors
    /// [`Error::TopicNotFound`] if a name server answered that it does not know the topic and none
    /// knows it, otherwise the error of the last server.
    pub async fn route(&self, connections: &Connections, topic: &str) -> Result<Route, Error> {
        let first = self.current.load(Ordering::Relaxed);
        let mut unknown = false;
        let mut failed = Error::Config("no name server".to_owned());
        for turn in 0..self.addresses.len() {
            let index = (first + turn) % self.addresses.len();
            match self.route_from(connections, &self.addresses[index], topic).await {
                Ok(route) => {
                    self.current.store(index, Ordering::Relaxed);
                    return Ok(route);
                }
                Err(why) => {
                    unknown |= why.code() == Some(codes::TOPIC_NOT_EXIST);
                    failed = why;
                }
            }
        }
        Err(if unknown { Error::TopicNotFound { topic: topic.to_owned() } } else { failed })
    }

    /// `GET_ROUTEINFO_BY_TOPIC` = 105 (`GetRouteInfoRequestHeader.java`, `TopicRouteData.java`).
    async fn route_from(
        &self,
        connections: &Connections,
        address: &str,
        topic: &str,
    ) -> Result<Route, Error> {
        let request = Command::request(codes::GET_ROUTEINFO_BY_TOPIC)
            .field("topic", topic)
            .field("acceptStandardJsonOnly", true);
        let response = self.call(connections, address, request).await?.success(address)?;
        Route::parse(&response.body).map_err(|reason| Error::Protocol { address: address.to_owned(), reason })
    }

    async fn call(
        &self,
        connections: &Connections,
        address: &str,
        request: Command,
    ) -> Result<Command, Error> {
        connections.call(address, request, self.timeout).await
    }
}
