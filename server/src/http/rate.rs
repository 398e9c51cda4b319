//! Limit of requests per second and peer.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use axum::extract::Request;

use super::Context;
use super::error::ApiError;
use super::peers::Network;
use super::request_info::Peer;
use crate::core::Moment;

const SECOND_US: i64 = 1_000_000;
/// Maximum number of remembered peers. Those with a full bucket are forgotten first.
const MAX_PEERS: usize = 65_536;
/// Paths without a limit: an orchestrator behind a flooding address must not restart the node.
const PROBES: [&str; 2] = ["/livez", "/readyz"];

/// One token bucket per peer. It fills at the rate, and holds the requests of one second.
///
/// A bucket is stored as the moment at which it will be full, in microseconds (GCRA).
pub struct RateLimits {
    cost_us: Option<i64>,
    full_at: Mutex<HashMap<Network, i64>>,
}

impl RateLimits {
    /// Creates a limit of `per_sec` requests per second. 0: unlimited.
    pub fn new(per_sec: u32) -> Self {
        let cost_us = (per_sec > 0).then(|| (SECOND_US / i64::from(per_sec)).max(1));
        Self { cost_us, full_at: Mutex::default() }
    }

    /// Takes one token of a peer. An error has the number of seconds to wait.
    pub fn take(&self, peer: Network, now: Moment) -> Result<(), u64> {
        let Some(cost) = self.cost_us else { return Ok(()) };
        let now = now.ms().saturating_mul(1_000);
        let mut peers = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        forget(&mut peers, now);
        let full_at = peers.entry(peer).or_insert(now);
        // After a step back of the clock, a peer must not wait for the whole step.
        *full_at = (*full_at).clamp(now, now.saturating_add(SECOND_US));
        let next = full_at.saturating_add(cost);
        if next - now > SECOND_US {
            return Err(1);
        }
        *full_at = next;
        Ok(())
    }
}

/// Limits the memory for peers with changing addresses. A forgotten peer starts with a full bucket.
fn forget(peers: &mut HashMap<Network, i64>, now: i64) {
    if peers.len() >= MAX_PEERS {
        peers.retain(|_, full_at| *full_at > now);
    }
    if peers.len() >= MAX_PEERS {
        peers.clear();
    }
}

/// Counts a request of its peer.
///
/// # Errors
/// If the peer has sent more requests than the rate.
pub fn take(context: &Context, request: &Request) -> Result<(), ApiError> {
    let peer = request.extensions().get::<Peer>().map(|Peer(address)| Network::from(*address));
    let counted = peer.filter(|_| !PROBES.contains(&request.uri().path()));
    let taken = counted.map_or(Ok(()), |peer| context.rates.take(peer, context.gate.now()));
    taken.map_err(|retry_after_sec| {
        context.metrics.rate_limited();
        ApiError::TooManyRequests { retry_after_sec }
    })
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use super::*;

    const NOW: Moment = Moment::from_sec(1_000);

    fn peer(n: u32) -> Network {
        IpAddr::from(Ipv4Addr::from_bits(n)).into()
    }

    fn taken(rates: &RateLimits, peer: Network, now: Moment) -> usize {
        (0..1_000).take_while(|_| rates.take(peer, now).is_ok()).count()
    }

    #[test]
    fn a_burst_of_one_second_is_allowed_and_then_the_rate() {
        let rates = RateLimits::new(10);
        assert_eq!(taken(&rates, peer(1), NOW), 10);
        assert_eq!(taken(&rates, peer(2), NOW), 10, "each peer has its own bucket");
        assert_eq!(taken(&rates, peer(1), NOW.plus_ms(99)), 0);
        assert_eq!(taken(&rates, peer(1), NOW.plus_ms(250)), 2);
        assert_eq!(
            taken(&rates, peer(1), NOW.plus_ms(3_600_000)),
            10,
            "a bucket holds the requests of one second"
        );
    }

    #[test]
    fn rate_zero_is_unlimited() {
        assert_eq!(taken(&RateLimits::new(0), peer(1), NOW), 1_000);
    }

    #[test]
    fn a_step_back_of_the_clock_blocks_no_peer_for_longer() {
        let rates = RateLimits::new(10);
        assert_eq!(taken(&rates, peer(1), NOW), 10);
        let back = NOW.plus_ms(-3_600_000);
        assert_eq!(taken(&rates, peer(1), back), 0);
        assert_eq!(taken(&rates, peer(1), back.plus_ms(1_000)), 10);
    }

    #[test]
    fn the_number_of_remembered_peers_is_limited() {
        let rates = RateLimits::new(1);
        for network in 0..3 * MAX_PEERS as u128 {
            let _ = rates.take(IpAddr::from(Ipv6Addr::from_bits(network << 64)).into(), NOW);
        }
        assert!(rates.full_at.lock().unwrap().len() <= MAX_PEERS);
    }
}
