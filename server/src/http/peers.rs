//! Who is on the other end of a connection, and how many connections each may have.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Whom a limit holds for: an IPv4 address, or a network of /64, which is what one customer of IPv6 is given.
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

/// How many connections each peer has.
type Counts = Arc<Mutex<HashMap<Network, usize>>>;

/// The places for connections. No peer can have them all.
#[derive(Clone)]
pub struct Places {
    free: Arc<Semaphore>,
    taken: Counts,
    per_peer: usize,
}

/// A connection's place; free again when it is dropped.
pub struct Place {
    /// Who has it.
    pub peer: Network,
    taken: Counts,
    _of_all: OwnedSemaphorePermit,
}

impl Places {
    /// So many in all, and so many for one peer.
    pub fn new(all: usize, per_peer: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(all)), taken: Counts::default(), per_peer }
    }

    /// Waits until there is one for somebody.
    pub async fn free(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.free).acquire_owned().await.ok()
    }

    /// Gives it to a peer, unless that one has its share.
    pub fn take(&self, peer: Network, of_all: OwnedSemaphorePermit) -> Option<Place> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(peer).or_default();
        if *count == self.per_peer {
            return None;
        }
        *count += 1;
        Some(Place { peer, taken: Arc::clone(&self.taken), _of_all: of_all })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.peer);
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
    fn a_peer_is_an_address_or_a_network_of_one_customer() {
        assert_eq!(peer("2001:db8:1:2::3"), peer("2001:db8:1:2:ffff::9"));
        assert_ne!(peer("2001:db8:1:2::3"), peer("2001:db8:1:3::3"));
        assert_eq!(peer("::ffff:10.0.0.1"), peer("10.0.0.1"));
        assert_ne!(peer("10.0.0.1"), peer("10.0.0.2"));
    }

    #[tokio::test]
    async fn a_peer_has_its_share_and_gets_it_back() {
        let places = Places::new(3, 1);
        let take = async |who| places.take(peer(who), places.free().await.unwrap());
        let first = take("10.0.0.1").await.expect("the first place");
        assert!(take("10.0.0.1").await.is_none());
        assert!(take("10.0.0.2").await.is_some(), "another peer is not held up");
        drop(first);
        assert!(places.taken.lock().unwrap().is_empty(), "nobody who has left is remembered");
        assert!(take("10.0.0.1").await.is_some());
    }
}
