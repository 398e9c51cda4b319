//! The client that producers, consumers and admin share.

use std::collections::{BTreeSet, HashSet};
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, broadcast, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::monotonic;
use crate::connections::Connections;
use crate::heartbeat::{self, GroupMember, Members};
use crate::name_servers::NameServers;
use crate::routes::Routes;
use crate::server_requests::{self, ServerRequest};
use crate::{ClientConfig, Command, Error, Route};

/// Requests of brokers that a receiver may lag behind.
const SERVER_REQUESTS: usize = 256;
/// Time between two refreshes of a route that lost a master. A broker that is back is used within
/// this time.
const ABSENT_INTERVAL: Duration = Duration::from_secs(1);
/// Concurrent requests for routes.
const ROUTE_REQUESTS: usize = 8;

/// Client of a RocketMQ cluster. Cheap to clone; connects at the first use and reconnects itself.
///
/// All clones share the connections. The drop of the last clone closes them.
#[derive(Clone)]
pub struct Client(Arc<Shared>);

/// Ends the background tasks with the last clone of the client.
struct Shared(Arc<Inner>);

impl Drop for Shared {
    fn drop(&mut self) {
        self.0.closed.cancel();
    }
}

pub(crate) struct Inner {
    pub config: ClientConfig,
    pub client_id: String,
    pub connections: Connections,
    pub members: watch::Sender<Members>,
    pub heartbeat_addresses: watch::Sender<BTreeSet<String>>,
    pub closed: CancellationToken,
    name_servers: NameServers,
    routes: Routes,
    route_permits: Semaphore,
    server_requests: broadcast::Sender<ServerRequest>,
    next_member: AtomicU64,
    refreshing: AtomicBool,
    /// Addresses with a heartbeat task.
    pub heartbeats: Mutex<HashSet<String>>,
    tasks: TaskTracker,
}

/// Membership of a group. A drop ends the announcements, but does not unregister.
pub struct Membership {
    client: Client,
    id: u64,
}

impl Membership {
    /// Unregisters from every broker, so that the other members take the queues at once. Brokers
    /// that do not answer notice at the end of the connection.
    pub async fn leave(self) {
        let inner = self.client.inner();
        let addresses = inner.heartbeat_addresses.borrow().clone();
        let Some(member) = inner.remove_member(self.id) else { return };
        let unregister = heartbeat::unregister(&inner.client_id, &member);
        let mut requests = tokio::task::JoinSet::new();
        for address in addresses {
            let (client, request) = (self.client.clone(), unregister.clone());
            requests.spawn(async move {
                let timeout = client.config().request_timeout;
                let left = client.call(&address, request, timeout).await;
                left.and_then(|response| response.success(&address))
            });
        }
        for left in requests.join_all().await {
            if let Err(error) = left {
                tracing::debug!(%error, "cannot unregister from RocketMQ broker");
            }
        }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.client.inner().remove_member(self.id);
    }
}

impl Client {
    /// Creates a client. It does not connect before the first use.
    ///
    /// # Errors
    /// [`Error::Config`], also for a TLS file that cannot be read.
    pub fn new(config: ClientConfig) -> Result<Self, Error> {
        config.validate()?;
        let (server_requests, _) = broadcast::channel(SERVER_REQUESTS);
        let requests = server_requests.clone();
        let on_request = Arc::new(move |request: Command| server_requests::handle(&requests, &request));
        let closed = CancellationToken::new();
        Ok(Self(Arc::new(Shared(Arc::new(Inner {
            client_id: client_id(&config),
            connections: Connections::new(&config, on_request, closed.clone())?,
            members: watch::Sender::default(),
            heartbeat_addresses: watch::Sender::default(),
            closed,
            name_servers: NameServers::new(&config),
            routes: Routes::default(),
            route_permits: Semaphore::new(ROUTE_REQUESTS),
            server_requests,
            next_member: AtomicU64::new(0),
            refreshing: AtomicBool::new(false),
            heartbeats: Mutex::default(),
            tasks: TaskTracker::new(),
            config,
        })))))
    }

    /// Returns the settings.
    pub fn config(&self) -> &ClientConfig {
        &self.inner().config
    }

    fn inner(&self) -> &Arc<Inner> {
        &self.0.0
    }

    /// Returns the route of a topic. It is cached, and refreshed in the background once per
    /// [`route_interval`](ClientConfig::route_interval). While no name server answers, the last
    /// known route remains.
    ///
    /// `topic` is the topic as on the wire (see [`ClientConfig::wire_name`]).
    ///
    /// # Errors
    /// [`Error::TopicNotFound`], or the error of the last name server.
    pub async fn route(&self, topic: &str) -> Result<Arc<Route>, Error> {
        if let Some(route) = self.inner().routes.get(topic) {
            return Ok(route);
        }
        let _permit = self.inner().route_permits.acquire().await.map_err(|_| Error::Closed)?;
        // Another caller may have asked meanwhile.
        match self.inner().routes.get(topic) {
            Some(route) => Ok(route),
            None => self.refresh_route(topic).await,
        }
    }

    /// Asks a name server for the route of a topic.
    ///
    /// # Errors
    /// [`Error::TopicNotFound`], or the error of the last name server.
    pub async fn refresh_route(&self, topic: &str) -> Result<Arc<Route>, Error> {
        let route = self.inner().refresh_route(topic).await?;
        self.start_refresh();
        Ok(route)
    }

    /// Returns the route of a topic without caching it.
    pub(crate) async fn fetch_route(&self, topic: &str) -> Result<Route, Error> {
        self.inner().name_servers.route(&self.inner().connections, topic).await
    }

    /// Forgets a master that has left the route of a topic, because it no longer has the topic.
    pub(crate) fn forget_absent(&self, topic: &str, broker_name: &str) {
        self.inner().routes.forget_absent(topic, broker_name);
    }

    /// Returns the addresses of the name servers.
    pub(crate) fn name_servers(&self) -> &[String] {
        self.inner().name_servers.addresses()
    }

    /// Sends a request and returns its response, whatever the code of the response is.
    ///
    /// # Errors
    /// [`Error::Unreachable`] if the request was not sent, [`Error::Unanswered`] if it may have
    /// arrived.
    pub(crate) async fn call(
        &self,
        address: &str,
        request: Command,
        timeout: Duration,
    ) -> Result<Command, Error> {
        self.inner().connections.call(address, request, timeout).await
    }

    /// Sends a request within the default time limit and returns its response if it is a success.
    pub(crate) async fn ask(&self, address: &str, request: Command) -> Result<Command, Error> {
        self.call(address, request, self.config().request_timeout).await?.success(address)
    }

    /// Returns whether a connection to the address is open.
    pub(crate) fn is_connected(&self, address: &str) -> bool {
        self.inner().connections.is_open(address)
    }

    /// Returns the number of connections that were opened so far.
    pub(crate) fn opened_connections(&self) -> u64 {
        self.inner().connections.opened()
    }

    /// Returns the requests of brokers from now on. A receiver that lags loses the oldest.
    pub(crate) fn server_requests(&self) -> broadcast::Receiver<ServerRequest> {
        self.inner().server_requests.subscribe()
    }

    /// Returns the id of the client, unique per process and client.
    pub(crate) fn client_id(&self) -> &str {
        &self.inner().client_id
    }

    /// Announces a member in every heartbeat from now on. Heartbeats go out at once, to the brokers
    /// of the known routes.
    ///
    /// # Errors
    /// [`Error::Config`] if the client has a consumer of the group already. Both would have one id in
    /// the group, and read the same queues.
    pub(crate) fn join(&self, member: GroupMember) -> Result<Membership, Error> {
        let id = self.inner().next_member.fetch_add(1, Ordering::Relaxed);
        let mut taken = None;
        self.inner().members.send_if_modified(|members| {
            let others = || members.values().filter_map(GroupMember::consumed_group);
            let group = member.consumed_group();
            taken = group.filter(|group| others().any(|other| other == *group)).map(str::to_owned);
            if taken.is_none() {
                members.insert(id, member);
            }
            taken.is_none()
        });
        if let Some(group) = taken {
            return Err(Error::Config(format!(
                "the client has a consumer of group {group:?} already: create another client for this one"
            )));
        }
        self.inner().update_heartbeats();
        Ok(Membership { client: self.clone(), id })
    }

    /// Closes all connections and ends the background tasks. Requests that wait for their answer
    /// fail.
    pub async fn close(&self) {
        let inner = self.inner();
        inner.closed.cancel();
        inner.connections.close().await;
        inner.tasks.close();
        inner.tasks.wait().await;
    }

    /// Starts the background refresh of the routes, once.
    fn start_refresh(&self) {
        let inner = self.inner();
        if !inner.refreshing.swap(true, Ordering::Relaxed) {
            inner.tasks.spawn(Inner::refresh_routes(Arc::clone(inner)));
        }
    }
}

impl Inner {
    async fn refresh_route(self: &Arc<Self>, topic: &str) -> Result<Arc<Route>, Error> {
        let fresh = self.name_servers.route(&self.connections, topic).await?;
        let (route, changed) = self.routes.insert(topic, fresh, monotonic());
        if changed {
            tracing::debug!(topic, ?route, "RocketMQ route changed");
            self.update_heartbeats();
        }
        Ok(route)
    }

    async fn refresh_routes(self: Arc<Self>) {
        let mut failing = false;
        let mut next = monotonic() + self.config.route_interval;
        loop {
            tokio::select! {
                () = self.closed.cancelled() => return,
                () = tokio::time::sleep(self.config.route_interval.min(ABSENT_INTERVAL)) => {}
            }
            let now = monotonic();
            let all = now >= next;
            if all {
                next = now + self.config.route_interval;
            }
            let mut failed = None;
            for topic in self.routes.due(all, now) {
                let refreshed = tokio::select! {
                    () = self.closed.cancelled() => return,
                    refreshed = self.refresh_route(&topic) => refreshed,
                };
                failed = failed.or(refreshed.err());
            }
            if all {
                log_change(&mut failing, failed.as_ref());
            }
        }
    }

    fn remove_member(self: &Arc<Self>, id: u64) -> Option<GroupMember> {
        let mut removed = None;
        self.members.send_if_modified(|members| {
            removed = members.remove(&id);
            removed.is_some()
        });
        if removed.is_some() {
            self.update_heartbeats();
        }
        removed
    }

    /// Starts the heartbeats to new addresses; those to others end themselves.
    fn update_heartbeats(self: &Arc<Self>) {
        let wanted = self.routes.heartbeat_addresses(&self.members.borrow());
        self.heartbeat_addresses.send_if_modified(|addresses| {
            let changed = *addresses != wanted;
            addresses.clone_from(&wanted);
            changed
        });
        let mut running = self.heartbeats.lock().unwrap_or_else(PoisonError::into_inner);
        for address in wanted {
            if running.insert(address.clone()) {
                self.tasks.spawn(heartbeat::run(Arc::clone(self), address));
            }
        }
    }
}

fn log_change(failing: &mut bool, failed: Option<&Error>) {
    match failed {
        Some(error) if !*failing => {
            tracing::warn!(%error, "cannot refresh RocketMQ routes; using the last known ones");
        }
        None if *failing => tracing::info!("RocketMQ routes are refreshed again"),
        _ => {}
    }
    *failing = failed.is_some();
}

/// Returns an id like the Java client's: `ip@instance` and `@unit`, if there is one.
fn client_id(config: &ClientConfig) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let instance = if config.instance_name.is_empty() {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // Containers often share one address and one process id.
        format!("{}#{:08x}#{count}", std::process::id(), fastrand::u32(..))
    } else {
        config.instance_name.clone()
    };
    let unit = if config.unit_name.is_empty() { String::new() } else { format!("@{}", config.unit_name) };
    format!("{}@{instance}{unit}", local_ip())
}

/// Returns the address of the network interface that reaches other networks.
pub(crate) fn local_ip() -> std::net::IpAddr {
    let any = (std::net::Ipv4Addr::UNSPECIFIED, 0);
    // A UDP socket that is connected sends nothing.
    let local = UdpSocket::bind(any).and_then(|socket| {
        socket.connect((std::net::Ipv4Addr::new(192, 0, 2, 1), 9))?;
        socket.local_addr()
    });
    local.map_or(std::net::Ipv4Addr::LOCALHOST.into(), |address| address.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_client_has_one_consumer_per_group() {
        let client = Client::new(ClientConfig::new("127.0.0.1:1")).unwrap();
        let consumer = |group: &str| GroupMember::Consumer {
            group: group.to_owned(),
            consume_from: "CONSUME_FROM_FIRST_OFFSET",
            subscriptions: Vec::new(),
        };
        let first = client.join(consumer("a")).unwrap();
        let _producer = client.join(GroupMember::Producer { group: "a".to_owned() }).unwrap();
        let _other = client.join(consumer("b")).unwrap();
        let error = client.join(consumer("a")).err().unwrap();
        assert!(error.to_string().contains("consumer of group \"a\" already"), "{error}");
        first.leave().await;
        client.join(consumer("a")).unwrap();
    }
}
