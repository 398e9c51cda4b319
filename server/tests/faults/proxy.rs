//! Proxy that injects faults into connections, and a load balancer in front of the servers.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::time;

/// Behavior of a proxy, for open and for new connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// No fault.
    Pass,
    /// Closes open and new connections.
    Refuse,
    /// Resets open connections once. New connections have no fault.
    Reset,
    /// Cuts each connection after this number of bytes to the target.
    CutAfter(u64),
    /// Drops answers.
    DropReplies,
    /// Delays all bytes by this number of milliseconds.
    Delay(u64),
    /// Forwards nothing, and keeps connections open.
    Freeze,
}

impl fmt::Display for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pass => f.write_str("whole"),
            Self::Refuse => f.write_str("closed"),
            Self::Reset => f.write_str("reset"),
            Self::CutAfter(bytes) => write!(f, "cut after {bytes} bytes"),
            Self::DropReplies => f.write_str("without answers"),
            Self::Delay(ms) => write!(f, "slower by {ms} ms"),
            Self::Freeze => f.write_str("frozen"),
        }
    }
}

/// Proxy to `target`. The drop closes all connections.
pub struct Proxy {
    /// Address for clients, instead of the target.
    pub addr: String,
    wire: Arc<watch::Sender<Wire>>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Opens a proxy that listens on `listen`, such as `127.0.0.1:0`.
    pub async fn open(listen: &str, target: &str) -> Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let addr = listener.local_addr()?.to_string();
        let wire = Arc::new(watch::channel(Wire::Pass).0);
        let accepting = tokio::spawn(accept(listener, target.to_owned(), Arc::clone(&wire)));
        Ok(Self { addr, wire, accepting })
    }

    pub fn set(&self, wire: Wire) {
        self.wire.send_replace(wire);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.wire.send_replace(Wire::Refuse);
    }
}

async fn accept(listener: TcpListener, target: String, wire: Arc<watch::Sender<Wire>>) {
    while let Ok((inbound, _)) = listener.accept().await {
        if *wire.borrow() != Wire::Refuse {
            tokio::spawn(connect(inbound, target.clone(), wire.subscribe()));
        }
    }
}

async fn connect(inbound: TcpStream, target: String, mut wire: watch::Receiver<Wire>) {
    wire.mark_unchanged();
    let Ok(outbound) = TcpStream::connect(&target).await else { return };
    let _ = (inbound.set_nodelay(true), outbound.set_nodelay(true));
    let (from_client, to_client) = inbound.into_split();
    let (from_target, to_target) = outbound.into_split();
    // The drop of both halves of both sockets ends the connection.
    tokio::select! {
        () = pump(from_client, to_target, wire.clone(), false) => {}
        () = pump(from_target, to_client, wire.clone(), true) => {}
        () = broken(&mut wire) => {}
    }
}

/// Returns when the behavior changes to one that ends open connections.
async fn broken(wire: &mut watch::Receiver<Wire>) {
    while wire.changed().await.is_ok() {
        if matches!(*wire.borrow_and_update(), Wire::Refuse | Wire::Reset) {
            return;
        }
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut wire: watch::Receiver<Wire>,
    replies: bool,
) {
    let mut buffer = vec![0; 16 * 1024];
    let mut budget: Option<u64> = None;
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if wire.wait_for(|wire| *wire != Wire::Freeze).await.is_err() {
            return;
        }
        let now = *wire.borrow();
        match now {
            Wire::DropReplies if replies => continue,
            Wire::Delay(ms) => time::sleep(ms as i64).await,
            Wire::CutAfter(bytes) if !replies => {
                let left = budget.get_or_insert(bytes);
                if (count as u64) > *left {
                    let _ = to.write_all(&buffer[..*left as usize]).await;
                    return;
                }
                *left -= count as u64;
            }
            _ => budget = None,
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

/// Load balancer: distributes connections among the targets that accept them.
pub struct Balancer {
    /// URL for clients.
    pub url: String,
    accepting: JoinHandle<()>,
}

impl Balancer {
    pub async fn open(targets: Vec<String>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let accepting = tokio::spawn(async move {
            let (targets, next) = (Arc::new(targets), AtomicUsize::new(0));
            while let Ok((inbound, _)) = listener.accept().await {
                let first = next.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(balance(inbound, Arc::clone(&targets), first));
            }
        });
        Ok(Self { url, accepting })
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn balance(mut inbound: TcpStream, targets: Arc<Vec<String>>, first: usize) {
    for turn in 0..targets.len() {
        if let Ok(mut outbound) = TcpStream::connect(&targets[(first + turn) % targets.len()]).await {
            let _ = tokio::io::copy_bidirectional(&mut inbound, &mut outbound).await;
            return;
        }
    }
}
