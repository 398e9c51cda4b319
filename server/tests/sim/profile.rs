//! Parameters of a history: number of nodes, rates of faults, settings.

use taskcenter_server::core::misfire::{Misfire, MisfirePolicy};
use taskcenter_server::core::retry::RetryPolicy;
use taskcenter_server::engine::settings::Settings;

/// Rates of the faults at a port, in 1/100,000 of the calls.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rates {
    pub lost_requests: u32,
    pub lost_answers: u32,
    pub delays: u32,
    pub max_delay_ms: u64,
    pub refusals: u32,
}

/// Parameters of a history. Each seed draws another mix, because a constant mix would hide faults
/// that happen alone.
#[derive(Debug, Clone)]
pub struct Profile {
    pub nodes: usize,
    pub users: usize,
    pub workers: usize,
    pub faults_ms: i64,
    pub store: Rates,
    pub bus: Rates,
    pub lock: Rates,
    pub crashes: u32,
    pub freezes: u32,
    pub max_freeze_ms: i64,
    /// Maximum deviation of a clock after it is set.
    pub skew_ms: i64,
    pub bus_outages: bool,
    pub lock_flushes: bool,
    pub settings: Settings,
}

impl Profile {
    /// Draws a profile.
    pub fn draw(rng: &mut fastrand::Rng) -> Self {
        Self {
            nodes: rng.usize(1..=3),
            users: rng.usize(2..=5),
            workers: rng.usize(2..=5),
            faults_ms: rng.i64(60_000..150_000),
            store: rates(rng),
            bus: Rates { refusals: pick(rng, &[0, 0, 2_000]), ..rates(rng) },
            lock: rates(rng),
            crashes: pick(rng, &[0, 50, 150, 400]),
            freezes: pick(rng, &[0, 30, 100]),
            max_freeze_ms: i64::from(pick(rng, &[3_000, 15_000, 60_000])),
            skew_ms: i64::from(pick(rng, &[0, 40, 1_500, 5_000])),
            bus_outages: rng.bool(),
            lock_flushes: rng.bool(),
            settings: settings(rng),
        }
    }
}

fn pick(rng: &mut fastrand::Rng, of: &[u32]) -> u32 {
    of[rng.usize(..of.len())]
}

fn rates(rng: &mut fastrand::Rng) -> Rates {
    Rates {
        lost_requests: pick(rng, &[0, 0, 300, 2_000]),
        lost_answers: pick(rng, &[0, 300, 1_000, 4_000]),
        delays: pick(rng, &[0, 1_000, 20_000]),
        max_delay_ms: u64::from(pick(rng, &[20, 300, 4_000])),
        refusals: 0,
    }
}

fn settings(rng: &mut fastrand::Rng) -> Settings {
    let policies = [MisfirePolicy::FireAll, MisfirePolicy::FireLast, MisfirePolicy::Skip];
    let grace_ms = i64::from(pick(rng, &[6_000, 20_000, 300_000]));
    Settings {
        run_lease_ms: i64::from(pick(rng, &[3_000, 10_000])),
        batch: pick(rng, &[3, 1_000]),
        misfire: Misfire { policy: policies[rng.usize(..3)], grace_ms, max: None },
        retry: RetryPolicy::doubling(3, 500, 2_000),
        ..Settings::default()
    }
}
