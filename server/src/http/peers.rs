//! Limits of connections, in total and per peer.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Unit of a limit per peer: an IPv4 address, or an IPv6 /64 network, the usual size for one
/// customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network(IpAddr);

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) => Self(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into()),
            address @ IpAddr::V4(_) => Self(address),
        }
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Number of connections of each peer.
type Counts = Arc<Mutex<HashMap<Network, usize>>>;

/// Limit of connections, in total and per peer.
#[derive(Clone)]
pub struct ConnectionLimit {
    total: Arc<Semaphore>,
    counts: Counts,
    per_peer: usize,
}

/// Permit of one connection. A drop frees it.
pub struct ConnectionPermit {
    /// Peer of the connection.
    pub peer: Network,
    counts: Counts,
    _total: OwnedSemaphorePermit,
}

impl ConnectionLimit {
    /// Creates a limit of `total` connections, and of `per_peer` connections per peer.
    pub fn new(total: usize, per_peer: usize) -> Self {
        Self { total: Arc::new(Semaphore::new(total)), counts: Counts::default(), per_peer }
    }

    /// Waits until a connection is allowed by the total limit.
    pub async fn acquire(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.total).acquire_owned().await.ok()
    }

    /// Assigns the permit to a peer. `None`: the peer has reached its limit.
    pub fn assign(&self, peer: Network, total: OwnedSemaphorePermit) -> Option<ConnectionPermit> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(peer).or_default();
        if *count == self.per_peer {
            return None;
        }
        *count += 1;
        Some(ConnectionPermit { peer, counts: Arc::clone(&self.counts), _total: total })
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(address: &str) -> Network {
        address.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn a_peer_is_an_ipv4_address_or_an_ipv6_network() {
        assert_eq!(peer("2001:db8:1:2::3"), peer("2001:db8:1:2:ffff::9"));
        assert_ne!(peer("2001:db8:1:2::3"), peer("2001:db8:1:3::3"));
        assert_eq!(peer("::ffff:10.0.0.1"), peer("10.0.0.1"));
        assert_ne!(peer("10.0.0.1"), peer("10.0.0.2"));
    }

    #[tokio::test]
    async fn a_closed_connection_frees_its_permit() {
        let limit = ConnectionLimit::new(3, 1);
        let connect = async |address| limit.assign(peer(address), limit.acquire().await.unwrap());
        let first = connect("10.0.0.1").await.expect("the first connection is allowed");
        assert!(connect("10.0.0.1").await.is_none());
        assert!(connect("10.0.0.2").await.is_some(), "another peer is allowed");
        drop(first);
        assert!(limit.counts.lock().unwrap().is_empty(), "a peer without connections is forgotten");
        assert!(connect("10.0.0.1").await.is_some());
    }
}
