//! How many requests a second one peer may make.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Context;
use super::error::ApiError;
use super::extensions::Peer;
use super::peers::Network;
use crate::core::Moment;

const SECOND_US: i64 = 1_000_000;
/// Peers that are remembered; those with nothing to pay for are forgotten first.
const MAX_PEERS: usize = 65_536;
/// Asked by what watches over the node: a flood from its address must not have the node restarted.
const PROBES: [&str; 2] = ["/livez", "/readyz"];

/// A bucket a peer: it fills at the rate, and holds what is let through at once, a second's worth.
///
/// Each is kept as the moment at which it would be full again, in microseconds (GCRA).
pub struct Rates {
    cost_us: Option<i64>,
    full_at: Mutex<HashMap<Network, i64>>,
}

impl Rates {
    /// So many a second; 0: as many as come.
    pub fn new(per_sec: u32) -> Self {
        let cost_us = (per_sec > 0).then(|| (SECOND_US / i64::from(per_sec)).max(1));
        Self { cost_us, full_at: Mutex::default() }
    }

    /// Lets a request through, or says after how many seconds to try again.
    pub fn take(&self, peer: Network, now: Moment) -> Result<(), u64> {
        let Some(cost) = self.cost_us else { return Ok(()) };
        let now = now.ms().saturating_mul(1_000);
        let mut peers = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        forget(&mut peers, now);
        let full_at = peers.entry(peer).or_insert(now);
        // A clock that was put back must not shut anybody out for as long.
        *full_at = (*full_at).clamp(now, now.saturating_add(SECOND_US));
        let next = full_at.saturating_add(cost);
        if next - now > SECOND_US {
            return Err(1);
        }
        *full_at = next;
        Ok(())
    }
}

/// Bounds the memory that peers with ever new addresses can fill. What is forgotten has its second's worth again, no more.
fn forget(peers: &mut HashMap<Network, i64>, now: i64) {
    if peers.len() >= MAX_PEERS {
        peers.retain(|_, full_at| *full_at > now);
    }
    if peers.len() >= MAX_PEERS {
        peers.clear();
    }
}

/// Refuses what comes too fast.
pub async fn limit(State(context): State<Context>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().map(|Peer(address)| Network::from(*address));
    let counted = peer.filter(|_| !PROBES.contains(&request.uri().path()));
    let taken = counted.map_or(Ok(()), |peer| context.rates.take(peer, context.gate.now()));
    match taken {
        Ok(()) => next.run(request).await,
        Err(retry_after_sec) => {
            context.metrics.rate_limited();
            ApiError::TooManyRequests { retry_after_sec }.into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use super::*;

    const NOW: Moment = Moment::from_sec(1_000);

    fn peer(n: u32) -> Network {
        IpAddr::from(Ipv4Addr::from_bits(n)).into()
    }

    fn taken(rates: &Rates, peer: Network, now: Moment) -> usize {
        (0..1_000).take_while(|_| rates.take(peer, now).is_ok()).count()
    }

    #[test]
    fn a_second_s_worth_at_once_and_then_the_rate() {
        let rates = Rates::new(10);
        assert_eq!(taken(&rates, peer(1), NOW), 10);
        assert_eq!(taken(&rates, peer(2), NOW), 10, "each peer has its own");
        assert_eq!(taken(&rates, peer(1), NOW.plus_ms(99)), 0);
        assert_eq!(taken(&rates, peer(1), NOW.plus_ms(250)), 2);
        assert_eq!(
            taken(&rates, peer(1), NOW.plus_ms(3_600_000)),
            10,
            "no more than a second's worth is saved up"
        );
    }

    #[test]
    fn no_rate_lets_everything_through() {
        assert_eq!(taken(&Rates::new(0), peer(1), NOW), 1_000);
    }

    #[test]
    fn a_clock_that_is_put_back_shuts_nobody_out() {
        let rates = Rates::new(10);
        assert_eq!(taken(&rates, peer(1), NOW), 10);
        let back = NOW.plus_ms(-3_600_000);
        assert_eq!(taken(&rates, peer(1), back), 0);
        assert_eq!(taken(&rates, peer(1), back.plus_ms(1_000)), 10);
    }

    #[test]
    fn ever_new_addresses_fill_no_memory() {
        let rates = Rates::new(1);
        for network in 0..3 * MAX_PEERS as u128 {
            let _ = rates.take(IpAddr::from(Ipv6Addr::from_bits(network << 64)).into(), NOW);
        }
        assert!(rates.full_at.lock().unwrap().len() <= MAX_PEERS);
    }
}
