//! Checks of rate limits: the store gives no more permits than a limit has, each start has a permit, and only a first attempt
//! is dropped. The model shares no code with the engine.

use taskcenter_server::core::rate::{OnExcess, RateLimit};
use taskcenter_server::core::run::Permit;
use taskcenter_server::core::{Run, RunState};

use super::{Book, Checker};

/// Records of the key of a rate limit.
#[derive(Default)]
pub struct RateStory {
    /// When the limit is unused again, in microseconds.
    unused_at_us: i64,
    /// Permits that no run has used yet. Permits of lost answers stay here.
    left: u64,
}

impl Checker {
    /// Checks permits that the store has given.
    pub fn permits_taken(&self, limit: &RateLimit, granted: u32) {
        let mut book = self.book();
        let now_us = self.now().ms() * 1_000;
        let period_us = limit.period_ms * 1_000;
        let interval_us = (period_us + i64::from(limit.limit) - 1) / i64::from(limit.limit);
        let story = book.rates.entry(limit.key.clone()).or_default();
        let mut is_exceeded = false;
        for _ in 0..granted {
            let ahead_us = (story.unused_at_us - now_us).max(0);
            is_exceeded |= ahead_us > interval_us * (i64::from(limit.burst) - 1);
            story.unused_at_us = now_us + ahead_us + interval_us;
            story.left += 1;
        }
        self.log(|| format!("permits {limit} {granted}"));
        if is_exceeded {
            self.violation(&mut book, "a rate limit is exceeded", limit);
        }
    }

    /// Checks that a run which got a permit has taken one from the store.
    pub(super) fn permit_changed(&self, book: &mut Book, before: &Run, after: &Run) {
        let Some(limit) = after.rate_limit() else { return };
        let is_start = before.permit != after.permit && after.permit == Some(Permit::Valid);
        if is_start {
            let story = book.rates.entry(limit.key).or_default();
            match story.left.checked_sub(1) {
                Some(left) => story.left = left,
                None => self.violation(book, "a run started without a permit", format!("{after:?}")),
            }
        }
        // Between two hand-overs, a permit is used up.
        let is_again = before.state == RunState::Firing && after.state == RunState::Firing;
        if is_again && before.permit.is_some() && before.claim != after.claim && !is_start {
            self.violation(book, "a permit was used twice", format!("{before:?} to {after:?}"));
        }
    }
}

/// Returns whether the run ends because it exceeds its rate limit.
pub(super) fn is_dropped(before: &Run, after: &Run) -> bool {
    let drops = before.rate.as_ref().is_some_and(|rate| rate.on_excess == OnExcess::Drop);
    let was_admitted = before.attempt > 1 || before.fired_at.is_some() || before.permit.is_some();
    let is_excess = after.reason.as_deref().is_some_and(|reason| reason.starts_with("rate: "));
    drops && !was_admitted && is_excess && after.state == RunState::Skipped
}
