//! What a seed's history is like: how many nodes there are, how rough it gets, how they are set.

use taskcenter_server::core::misfire::{Misfire, MisfirePolicy};
use taskcenter_server::core::retry::RetryPolicy;
use taskcenter_server::engine::settings::Settings;

/// How often calls of a port go wrong, each in calls of a hundred thousand.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rates {
    pub lost_requests: u32,
    pub lost_answers: u32,
    pub delays: u32,
    pub longest_delay_ms: u64,
    pub refusals: u32,
}

/// A history's parameters. Every seed mixes them anew: what always happens together hides what happens alone.
#[derive(Debug, Clone)]
pub struct Profile {
    pub nodes: usize,
    pub users: usize,
    pub workers: usize,
    pub rough_ms: i64,
    pub store: Rates,
    pub bus: Rates,
    pub lock: Rates,
    pub crashes: u32,
    pub freezes: u32,
    pub longest_freeze_ms: i64,
    /// How far clocks are off at most, when they jump.
    pub skew_ms: i64,
    pub bus_outages: bool,
    pub lock_flushes: bool,
    pub settings: Settings,
}

impl Profile {
    /// The profile that a seed draws.
    pub fn draw(lots: &mut fastrand::Rng) -> Self {
        Self {
            nodes: lots.usize(1..=3),
            users: lots.usize(2..=5),
            workers: lots.usize(2..=5),
            rough_ms: lots.i64(60_000..150_000),
            store: rates(lots),
            bus: Rates { refusals: pick(lots, &[0, 0, 2_000]), ..rates(lots) },
            lock: rates(lots),
            crashes: pick(lots, &[0, 50, 150, 400]),
            freezes: pick(lots, &[0, 30, 100]),
            longest_freeze_ms: i64::from(pick(lots, &[3_000, 15_000, 60_000])),
            skew_ms: i64::from(pick(lots, &[0, 40, 1_500, 5_000])),
            bus_outages: lots.bool(),
            lock_flushes: lots.bool(),
            settings: settings(lots),
        }
    }
}

fn pick(lots: &mut fastrand::Rng, of: &[u32]) -> u32 {
    of[lots.usize(..of.len())]
}

fn rates(lots: &mut fastrand::Rng) -> Rates {
    Rates {
        lost_requests: pick(lots, &[0, 0, 300, 2_000]),
        lost_answers: pick(lots, &[0, 300, 1_000, 4_000]),
        delays: pick(lots, &[0, 1_000, 20_000]),
        longest_delay_ms: u64::from(pick(lots, &[20, 300, 4_000])),
        refusals: 0,
    }
}

fn settings(lots: &mut fastrand::Rng) -> Settings {
    let policies = [MisfirePolicy::FireAll, MisfirePolicy::FireLast, MisfirePolicy::Skip];
    let grace_ms = i64::from(pick(lots, &[6_000, 20_000, 300_000]));
    Settings {
        run_lease_ms: i64::from(pick(lots, &[3_000, 10_000])),
        batch: pick(lots, &[3, 1_000]),
        misfire: Misfire { policy: policies[lots.usize(..3)], grace_ms },
        retry: RetryPolicy { max_attempts: 3, backoff_ms: 500, max_backoff_ms: 2_000 },
        ..Settings::default()
    }
}
