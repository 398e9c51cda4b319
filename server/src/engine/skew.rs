//! The difference between this node's clock and the store's clock. The store's clock decides.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use async_trait::async_trait;

use super::settings::Settings;
use crate::core::Moment;
use crate::ports::{Clock, Result, Store};

/// Milliseconds by which the wall clock may drift from the steady clock between two measurements. More
/// than that means that the clock was set. A clock that is only slewed drifts by half of that at most.
const SET_MS: i64 = 100;
/// There is no measurement yet.
const UNKNOWN: i64 = i64::MIN;

/// The last measurement.
#[derive(Debug)]
pub struct Skew {
    store_ahead_ms: AtomicI64,
    too_far: AtomicBool,
    /// The wall clock minus the steady clock at the measurement.
    offset_ms: AtomicI64,
    /// By how much the wall clock was set, at last. 0: it was not set since the start.
    set_by_ms: AtomicI64,
    /// When the last measurement found that the wall clock was set, by the steady clock.
    set_at_ms: AtomicI64,
}

impl Default for Skew {
    fn default() -> Self {
        Self {
            store_ahead_ms: AtomicI64::new(0),
            too_far: AtomicBool::new(false),
            offset_ms: AtomicI64::new(UNKNOWN),
            set_by_ms: AtomicI64::new(0),
            set_at_ms: AtomicI64::new(0),
        }
    }
}

/// The result of [`Skew::measure`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measurement {
    /// Milliseconds by which the store's clock is ahead of this node's clock.
    pub store_ahead_ms: i64,
    /// Whether the node's clock has become good enough by this measurement.
    pub became_fit: bool,
}

fn offset_ms(clock: &dyn Clock) -> i64 {
    clock.now().ms() - clock.steady_ms()
}

impl Skew {
    /// Returns `now` by the slower of the two clocks: the lower bound of the true time. A node whose clock
    /// is fast must not fire before the store's time, nor take over leases that are still valid.
    pub fn earliest_now(&self, now: Moment) -> Moment {
        now.plus_ms(self.store_ahead_ms.load(Ordering::Relaxed).min(0))
    }

    /// Returns `now` by the faster of the two clocks: the upper bound of the true time. A node whose clock
    /// is slow must not work past the end of its leases.
    pub fn latest_now(&self, now: Moment) -> Moment {
        now.plus_ms(self.store_ahead_ms.load(Ordering::Relaxed).max(0))
    }

    /// Returns the milliseconds from a moment by this node's clock until both clocks have reached it.
    pub fn node_ahead_ms(&self) -> i64 {
        -self.store_ahead_ms.load(Ordering::Relaxed).min(0)
    }

    /// Returns the milliseconds by which this node's clock was ahead of the store's clock at the last
    /// measurement. `None`: there was none.
    pub fn node_ahead_of_store_ms(&self) -> Option<i64> {
        let is_measured = self.offset_ms.load(Ordering::Relaxed) != UNKNOWN;
        is_measured.then(|| -self.store_ahead_ms.load(Ordering::Relaxed))
    }

    /// Returns whether the clocks differ so much that this node must not fire.
    pub fn too_far(&self) -> bool {
        self.too_far.load(Ordering::Relaxed)
    }

    /// Returns whether this node's clock is good enough to fire and to rescue: the difference is known and
    /// small, and the clock was not set since the measurement.
    pub fn is_fit(&self, clock: &dyn Clock) -> bool {
        self.is_known(clock) && !self.too_far()
    }

    /// Returns the milliseconds by which this node's clock differs from the store's clock, or by which
    /// somebody set it within the last `within_ms`, whichever is larger.
    pub fn fault_ms(&self, steady_ms: i64, within_ms: i64) -> u64 {
        let is_recent = steady_ms - self.set_at_ms.load(Ordering::Relaxed) <= within_ms;
        let set_by_ms = if is_recent { self.set_by_ms.load(Ordering::Relaxed) } else { 0 };
        self.store_ahead_ms.load(Ordering::Relaxed).unsigned_abs().max(set_by_ms.unsigned_abs())
    }

    /// Measures the difference, and with it whether the store answers.
    ///
    /// # Errors
    /// A port's error. The last measurement stays valid.
    pub async fn measure(
        &self,
        store: &dyn Store,
        clock: &dyn Clock,
        settings: &Settings,
    ) -> Result<Measurement> {
        let (sent_at, offset_ms) = (clock.now(), offset_ms(clock));
        let store_now = store.now().await?;
        let round_trip_ms = clock.now().since(sent_at);
        let store_ahead_ms = store_now.since(sent_at.plus_ms(round_trip_ms / 2));
        // A slow answer says little about the clock; an earlier measurement is better.
        let is_slow = round_trip_ms.abs() > settings.skew_warn_ms;
        if is_slow && self.is_known(clock) {
            return Ok(Measurement { store_ahead_ms, became_fit: false });
        }
        warn_of(store_ahead_ms, settings);
        let was_fit = self.is_fit(clock);
        self.note_step(offset_ms, clock.steady_ms());
        self.set(store_ahead_ms, settings.skew_stop_ms, offset_ms);
        Ok(Measurement { store_ahead_ms, became_fit: !was_fit })
    }

    /// Returns the best estimate of the store's time: the wall clock while it is fit; otherwise the last
    /// measurement, continued by the steady clock.
    fn best_now(&self, clock: &dyn Clock) -> Moment {
        let measured = self.offset_ms.load(Ordering::Relaxed);
        if measured == UNKNOWN || self.is_fit(clock) {
            return clock.now();
        }
        Moment::from_ms(clock.steady_ms() + measured + self.store_ahead_ms.load(Ordering::Relaxed))
    }

    /// Returns the best upper bound of the true time. Leases count from it, so that nodes with a right
    /// clock do not take over the leases of a node with a slow clock.
    fn lease_now(&self, clock: &dyn Clock) -> Moment {
        if self.is_fit(clock) { self.latest_now(clock.now()) } else { self.best_now(clock) }
    }

    fn is_known(&self, clock: &dyn Clock) -> bool {
        let measured = self.offset_ms.load(Ordering::Relaxed);
        measured != UNKNOWN && (offset_ms(clock) - measured).abs() <= SET_MS
    }

    /// Records that the wall clock was set since the last measurement.
    fn note_step(&self, offset_ms: i64, steady_ms: i64) {
        let before = self.offset_ms.load(Ordering::Relaxed);
        let set_by_ms = offset_ms.saturating_sub(before);
        if before != UNKNOWN && set_by_ms.abs() > SET_MS {
            self.set_by_ms.store(set_by_ms, Ordering::Relaxed);
            self.set_at_ms.store(steady_ms, Ordering::Relaxed);
        }
    }

    fn set(&self, store_ahead_ms: i64, stop_at_ms: i64, offset_ms: i64) {
        self.store_ahead_ms.store(store_ahead_ms, Ordering::Relaxed);
        self.too_far.store(store_ahead_ms.abs() > stop_at_ms, Ordering::Relaxed);
        self.offset_ms.store(offset_ms, Ordering::Relaxed);
    }
}

fn warn_of(store_ahead_ms: i64, settings: &Settings) {
    if store_ahead_ms.abs() > settings.skew_stop_ms {
        tracing::error!(
            store_ahead_ms,
            "the node's clock differs too much from the store's clock; the node does not fire until the clock is right"
        );
    } else if store_ahead_ms.abs() > settings.skew_warn_ms {
        tracing::warn!(store_ahead_ms, "the node's clock differs from the store's clock");
    }
}

/// The clock for commands: the store's time as well as it is known. A node whose own clock is wrong can
/// still serve commands, because leases and first moments are in the store's time.
pub struct CommandClock {
    skew: Arc<Skew>,
    clock: Arc<dyn Clock>,
}

impl CommandClock {
    pub fn new(skew: &Arc<Skew>, clock: &Arc<dyn Clock>) -> Self {
        Self { skew: Arc::clone(skew), clock: Arc::clone(clock) }
    }
}

#[async_trait]
impl Clock for CommandClock {
    fn now(&self) -> Moment {
        self.skew.best_now(&*self.clock)
    }

    fn steady_ms(&self) -> i64 {
        self.clock.steady_ms()
    }

    async fn sleep_until(&self, at: Moment) {
        self.clock.sleep_until(at).await;
    }
}

/// The clock from which workers' leases count: an upper bound of the store's time.
pub struct LeaseClock {
    skew: Arc<Skew>,
    clock: Arc<dyn Clock>,
}

impl LeaseClock {
    pub fn new(skew: &Arc<Skew>, clock: &Arc<dyn Clock>) -> Self {
        Self { skew: Arc::clone(skew), clock: Arc::clone(clock) }
    }
}

#[async_trait]
impl Clock for LeaseClock {
    fn now(&self) -> Moment {
        self.skew.lease_now(&*self.clock)
    }

    fn steady_ms(&self) -> i64 {
        self.clock.steady_ms()
    }

    async fn sleep_until(&self, at: Moment) {
        self.clock.sleep_until(at).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fast_node_waits_for_the_store_and_a_slow_one_for_itself() {
        let skew = Skew::default();
        skew.set(-40, 2_000, 0);
        assert_eq!(
            (skew.earliest_now(Moment::from_ms(100)), skew.node_ahead_ms()),
            (Moment::from_ms(60), 40)
        );
        skew.set(40, 2_000, 0);
        assert_eq!(
            (skew.earliest_now(Moment::from_ms(100)), skew.node_ahead_ms()),
            (Moment::from_ms(100), 0)
        );
    }

    #[test]
    fn leases_end_by_the_faster_clock_and_are_taken_over_by_the_slower() {
        let skew = Skew::default();
        for store_ahead_ms in [-40, 0, 40] {
            skew.set(store_ahead_ms, 2_000, 0);
            let now = Moment::from_ms(100);
            let store_now = now.plus_ms(store_ahead_ms);
            assert!(skew.earliest_now(now) <= store_now && store_now <= skew.latest_now(now));
            assert_eq!(skew.latest_now(skew.earliest_now(now)), store_now, "a lease is in the store's time");
        }
    }

    /// A wall clock that is ahead of the steady clock by so many milliseconds. The steady clock is at 0.
    struct Ahead(i64);

    #[async_trait::async_trait]
    impl Clock for Ahead {
        fn now(&self) -> Moment {
            Moment::from_ms(self.0)
        }

        fn steady_ms(&self) -> i64 {
            0
        }

        async fn sleep_until(&self, _: Moment) {}
    }

    #[test]
    fn a_clock_that_was_set_is_not_fit_until_the_next_measurement() {
        let skew = Skew::default();
        assert!(!skew.is_fit(&Ahead(5_000)), "there is no measurement");
        skew.set(0, 2_000, 5_000);
        assert!(skew.is_fit(&Ahead(5_000)) && skew.is_fit(&Ahead(5_050)));
        assert!(!skew.is_fit(&Ahead(3_605_000)) && !skew.is_fit(&Ahead(0)));
        skew.set(-3_000, 2_000, 8_000);
        assert!(!skew.is_fit(&Ahead(8_000)), "the difference is too large");
    }

    #[test]
    fn commands_use_the_stores_time_when_the_clock_is_wrong_or_was_set() {
        let skew = Skew::default();
        assert_eq!(skew.best_now(&Ahead(5_000)), Moment::from_ms(5_000), "there is no measurement");
        skew.set(30, 2_000, 5_000);
        assert_eq!(skew.best_now(&Ahead(5_000)), Moment::from_ms(5_000), "fit");
        assert_eq!(skew.best_now(&Ahead(3_605_000)), Moment::from_ms(5_030), "it was set by an hour");
        skew.set(-3_600_000, 2_000, 3_605_000);
        assert_eq!(
            skew.best_now(&Ahead(3_605_000)),
            Moment::from_ms(5_000),
            "measured, and wrong by an hour"
        );
    }

    #[test]
    fn a_step_of_the_clock_is_a_fault_for_some_time() {
        let skew = Skew::default();
        for (offset_ms, steady_ms, expected) in [
            (5_000, 0, 0),
            (5_050, 1_000, 0),
            (-3_595_000, 2_000, 3_600_050),
            (-3_595_000, 62_000, 3_600_050),
        ] {
            skew.note_step(offset_ms, steady_ms);
            skew.set(0, 2_000, offset_ms);
            assert_eq!(skew.fault_ms(steady_ms, 60_000), expected, "at {steady_ms}");
        }
        assert_eq!(skew.fault_ms(62_001, 60_000), 0, "the step is long ago");
        skew.set(-700, 2_000, 0);
        assert_eq!(skew.fault_ms(62_001, 60_000), 700, "the difference to the store's clock");
    }

    #[test]
    fn a_node_whose_clock_is_beyond_the_bound_does_not_fire() {
        let skew = Skew::default();
        skew.set(-2_001, 2_000, 0);
        assert!(skew.too_far());
        skew.set(2_000, 2_000, 0);
        assert!(!skew.too_far());
    }
}
