//! Connections by address.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::monotonic;
use crate::connection::{Connection, Limits, OnRequest};
use crate::tls::Connector;
use crate::{ClientConfig, Command, Credentials, Error, acl};

/// First pause after a failed connection attempt. Each further failure doubles it.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause between two connection attempts.
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// Addresses above this number are forgotten unless they are connected.
const MAX_ADDRESSES: usize = 1024;

/// Opens one connection per address and replaces it when it ends.
pub(crate) struct Connections {
    slots: RwLock<HashMap<Arc<str>, Arc<Slot>>>,
    connect_timeout: Duration,
    limits: Limits,
    tls: Option<Connector>,
    credentials: Option<Credentials>,
    on_request: OnRequest,
    /// Number of connections that were opened.
    opened: AtomicU64,
    tasks: TaskTracker,
    closed: CancellationToken,
}

struct Slot {
    address: Arc<str>,
    current: Mutex<Option<Arc<Connection>>>,
    /// Held during a connection attempt. Callers wait for the attempt of the first one.
    attempt: tokio::sync::Mutex<Backoff>,
    /// Number of connections that were opened or ended.
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct Backoff {
    failures: u32,
    last_error: String,
    /// No attempt before this moment.
    next: Option<Instant>,
}

impl Backoff {
    fn fail(&mut self, reason: String) {
        let longest = FIRST_PAUSE.saturating_mul(1 << self.failures.min(10)).min(MAX_PAUSE);
        self.failures += 1;
        self.last_error = reason;
        // Clients that lost the same broker come back at different times.
        self.next = Some(monotonic() + longest.mul_f64(0.5 + fastrand::f64() / 2.0));
    }

    fn blocks(&self) -> bool {
        self.next.is_some_and(|next| monotonic() < next)
    }
}

impl Slot {
    fn current(&self) -> MutexGuard<'_, Option<Arc<Connection>>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn usable(&self) -> Option<Arc<Connection>> {
        self.current().as_ref().filter(|connection| connection.is_usable()).cloned()
    }

    fn unreachable(&self, reason: impl Into<String>) -> Error {
        Error::Unreachable { address: self.address.to_string(), reason: reason.into() }
    }
}

impl Connections {
    pub fn new(
        config: &ClientConfig,
        on_request: OnRequest,
        closed: CancellationToken,
    ) -> Result<Self, Error> {
        Ok(Self {
            slots: RwLock::default(),
            connect_timeout: config.connect_timeout,
            limits: Limits { max_in_flight: config.max_in_flight, max_frame_bytes: config.max_frame_bytes },
            tls: config.tls.as_ref().map(Connector::new).transpose()?,
            credentials: config.credentials.clone(),
            on_request,
            opened: AtomicU64::new(0),
            tasks: TaskTracker::new(),
            closed,
        })
    }

    /// Returns the open connection to an address, or opens one.
    ///
    /// After a failed attempt, calls fail at once until the pause of at most 1 s is over. So a
    /// caller can use another broker.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Closed`].
    pub async fn get(&self, address: &str) -> Result<Arc<Connection>, Error> {
        let slot = self.slot(address);
        if let Some(connection) = slot.usable() {
            return Ok(connection);
        }
        let mut backoff = slot.attempt.lock().await;
        if let Some(connection) = slot.usable() {
            return Ok(connection);
        }
        if self.closed.is_cancelled() {
            return Err(Error::Closed);
        }
        // A server that accepts connections and ends them at once has not recovered.
        match slot.current().take().map(|ended| ended.has_answered()) {
            Some(true) => *backoff = Backoff::default(),
            Some(false) => backoff.fail("the server ended the last connection without an answer".to_owned()),
            None => {}
        }
        if backoff.blocks() {
            return Err(slot.unreachable(format!("{}; the next attempt follows", backoff.last_error)));
        }
        match self.connect(&slot).await {
            Ok(connection) => {
                backoff.next = None;
                Ok(connection)
            }
            Err(reason) => {
                backoff.fail(reason.clone());
                Err(slot.unreachable(reason))
            }
        }
    }

    /// Sends a request and waits for its response, both within the time limit, including the wait
    /// for a connection.
    pub async fn call(
        &self,
        address: &str,
        mut request: Command,
        timeout: Duration,
    ) -> Result<Command, Error> {
        let deadline = monotonic() + timeout;
        let connection = self.get_within(address, timeout).await?;
        self.sign(&mut request);
        connection.call(request, deadline.saturating_duration_since(monotonic())).await
    }

    async fn get_within(&self, address: &str, timeout: Duration) -> Result<Arc<Connection>, Error> {
        if let Some(connection) = self.slot(address).usable() {
            return Ok(connection);
        }
        tokio::time::timeout(timeout, self.get(address)).await.unwrap_or_else(|_| {
            let reason = format!("no connection within {} ms", timeout.as_millis());
            Err(Error::Unreachable { address: address.to_owned(), reason })
        })
    }

    fn sign(&self, request: &mut Command) {
        if let Some(credentials) = &self.credentials {
            acl::sign(request, credentials);
        }
    }

    /// Returns whether a connection to the address is open.
    pub fn is_open(&self, address: &str) -> bool {
        self.slot(address).usable().is_some()
    }

    /// Returns the number of connections that were opened so far.
    pub fn opened(&self) -> u64 {
        self.opened.load(Ordering::SeqCst)
    }

    /// Returns a receiver that changes whenever a connection to the address is opened or ends.
    pub fn changes(&self, address: &str) -> watch::Receiver<u64> {
        self.slot(address).changes.subscribe()
    }

    /// Closes all connections and waits for their tasks.
    pub async fn close(&self) {
        self.closed.cancel();
        let slots: Vec<_> = {
            let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
            slots.values().cloned().collect()
        };
        for slot in slots {
            if let Some(connection) = slot.current().take() {
                connection.close();
            }
        }
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn slot(&self, address: &str) -> Arc<Slot> {
        if let Some(slot) = self.slots.read().unwrap_or_else(PoisonError::into_inner).get(address) {
            return Arc::clone(slot);
        }
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= MAX_ADDRESSES {
            slots.retain(|_, slot| Arc::strong_count(slot) > 1 || slot.usable().is_some());
        }
        let address: Arc<str> = address.into();
        let slot = slots.entry(Arc::clone(&address)).or_insert_with(|| {
            Arc::new(Slot {
                address,
                current: Mutex::default(),
                attempt: tokio::sync::Mutex::default(),
                changes: watch::Sender::new(0),
            })
        });
        Arc::clone(slot)
    }

    async fn connect(&self, slot: &Arc<Slot>) -> Result<Arc<Connection>, String> {
        let opening = tokio::time::timeout(self.connect_timeout, self.open(&slot.address));
        let connection = match opening.await {
            Ok(Ok(connection)) => Arc::new(connection),
            Ok(Err(why)) => return Err(format!("cannot connect: {why}")),
            Err(_) => {
                return Err(format!("no connection within {} ms", self.connect_timeout.as_millis()));
            }
        };
        self.opened.fetch_add(1, Ordering::SeqCst);
        *slot.current() = Some(Arc::clone(&connection));
        if self.closed.is_cancelled() {
            connection.close();
        }
        slot.changes.send_modify(|count| *count += 1);
        self.watch(slot, &connection);
        Ok(connection)
    }

    /// Notes the end of a connection.
    fn watch(&self, slot: &Arc<Slot>, connection: &Arc<Connection>) {
        let (slot, connection) = (Arc::clone(slot), connection.watch_end());
        self.tasks.spawn(async move {
            connection.cancelled().await;
            slot.changes.send_modify(|count| *count += 1);
        });
    }

    async fn open(&self, address: &Arc<str>) -> std::io::Result<Connection> {
        // The name is resolved for each attempt, because its address may have changed.
        let stream = TcpStream::connect(&**address).await?;
        stream.set_nodelay(true)?;
        let (name, limits, on_request) = (Arc::clone(address), self.limits, Arc::clone(&self.on_request));
        let Some(tls) = &self.tls else {
            return Ok(Connection::start(name, stream, limits, on_request, &self.tasks));
        };
        let host = address.rsplit_once(':').map_or(&**address, |(host, _)| host);
        let stream = tls.connect(host, stream).await?;
        Ok(Connection::start(name, stream, limits, on_request, &self.tasks))
    }
}

#[cfg(test)]
#[path = "connections_tests.rs"]
mod tests;
