//! This node's clock against the store's, which is the one that decides.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use async_trait::async_trait;

use super::node::Node;
use super::settings::Settings;
use crate::core::Moment;
use crate::ports::{Clock, Result};

/// A wall clock that has moved by so many milliseconds more or less than the steady one was set. A clock that is only slewed moves by a
/// half at most between two measurements.
const SET_MS: i64 = 100;
/// Nothing was measured yet.
const UNKNOWN: i64 = i64::MIN;

/// The last measurement.
#[derive(Debug)]
pub struct Skew {
    store_ahead_ms: AtomicI64,
    too_far: AtomicBool,
    /// The wall clock less the steady one, when that was measured.
    offset_ms: AtomicI64,
}

impl Default for Skew {
    fn default() -> Self {
        Self {
            store_ahead_ms: AtomicI64::new(0),
            too_far: AtomicBool::new(false),
            offset_ms: AtomicI64::new(UNKNOWN),
        }
    }
}

fn offset_ms(clock: &dyn Clock) -> i64 {
    clock.now().ms() - clock.steady_ms()
}

impl Skew {
    /// `now` by the slower of the two clocks. A node whose clock is fast would ask for a fire that the store refuses, and take over what
    /// others hold still.
    pub fn cautious(&self, now: Moment) -> Moment {
        now.plus_ms(self.store_ahead_ms.load(Ordering::Relaxed).min(0))
    }

    /// `now` by the faster of the two clocks. A node whose clock is slow would be gone past the end of its leases without knowing.
    pub fn eager(&self, now: Moment) -> Moment {
        now.plus_ms(self.store_ahead_ms.load(Ordering::Relaxed).max(0))
    }

    /// Milliseconds to wait beyond a moment by this node's clock until both clocks have reached it.
    pub fn node_ahead_ms(&self) -> i64 {
        -self.store_ahead_ms.load(Ordering::Relaxed).min(0)
    }

    /// Whether the clocks are so far apart that this node must not fire.
    pub fn too_far(&self) -> bool {
        self.too_far.load(Ordering::Relaxed)
    }

    /// Whether this node may decide anything by its clock: the difference is known, is small, and the clock was not set since it was
    /// measured.
    pub fn is_fit(&self, clock: &dyn Clock) -> bool {
        self.is_known(clock) && !self.too_far()
    }

    /// `now` as well as it is known: by the wall clock while that is fit, else by the last measurement, carried on by the steady clock.
    fn best_now(&self, clock: &dyn Clock) -> Moment {
        let measured = self.offset_ms.load(Ordering::Relaxed);
        if measured == UNKNOWN || self.is_fit(clock) {
            return clock.now();
        }
        Moment::from_ms(clock.steady_ms() + measured + self.store_ahead_ms.load(Ordering::Relaxed))
    }

    /// [`eager`](Self::eager), as well as it is known: until when something is lent counts from here, so that a node whose clock is slow
    /// does not see its leases taken over by one whose clock is right.
    fn lending_now(&self, clock: &dyn Clock) -> Moment {
        if self.is_fit(clock) { self.eager(clock.now()) } else { self.best_now(clock) }
    }

    fn is_known(&self, clock: &dyn Clock) -> bool {
        let measured = self.offset_ms.load(Ordering::Relaxed);
        measured != UNKNOWN && (offset_ms(clock) - measured).abs() <= SET_MS
    }

    fn set(&self, store_ahead_ms: i64, stop_at_ms: i64, offset_ms: i64) {
        self.store_ahead_ms.store(store_ahead_ms, Ordering::Relaxed);
        self.too_far.store(store_ahead_ms.abs() > stop_at_ms, Ordering::Relaxed);
        self.offset_ms.store(offset_ms, Ordering::Relaxed);
    }
}

/// The clock of the commands. A node whose own clock is off still serves them: a lease, a pause or a first moment that it grants is in
/// the store's time, as everybody else's.
pub struct CommandClock(pub Arc<Node>);

#[async_trait]
impl Clock for CommandClock {
    fn now(&self) -> Moment {
        self.0.skew.best_now(&*self.0.clock)
    }

    fn steady_ms(&self) -> i64 {
        self.0.clock.steady_ms()
    }

    async fn sleep_until(&self, at: Moment) {
        self.0.clock.sleep_until(at).await;
    }
}

/// The clock that workers' leases count from.
pub struct LeaseClock(pub Arc<Node>);

#[async_trait]
impl Clock for LeaseClock {
    fn now(&self) -> Moment {
        self.0.skew.lending_now(&*self.0.clock)
    }

    fn steady_ms(&self) -> i64 {
        self.0.clock.steady_ms()
    }

    async fn sleep_until(&self, at: Moment) {
        self.0.clock.sleep_until(at).await;
    }
}

/// Measures the difference, and with it whether the store answers.
///
/// # Errors
/// When the store fails; the last measurement stands.
pub async fn run_once(node: &Node) -> Result<()> {
    let (asked_at, offset_ms) = (node.clock.now(), offset_ms(&*node.clock));
    let store_now = node.store.now().await?;
    let round_trip_ms = node.clock.now().since(asked_at);
    let store_ahead_ms = store_now.since(asked_at.plus_ms(round_trip_ms / 2));
    node.metrics.skew_ms(store_ahead_ms);
    // A slow answer says little about the clock, and only what was measured before is better.
    let is_slow = round_trip_ms.abs() > node.settings.skew_warn_ms;
    if is_slow && node.skew.is_known(&*node.clock) {
        return Ok(());
    }
    let Settings { skew_warn_ms, skew_stop_ms, .. } = &node.settings;
    if store_ahead_ms.abs() > *skew_stop_ms {
        tracing::error!(
            store_ahead_ms,
            "this node's clock is too far from the store's: it does not fire until that is mended"
        );
    } else if store_ahead_ms.abs() > *skew_warn_ms {
        tracing::warn!(store_ahead_ms, "this node's clock and the store's are apart");
    }
    let was_fit = node.skew.is_fit(&*node.clock);
    node.skew.set(store_ahead_ms, *skew_stop_ms, offset_ms);
    if !was_fit {
        // Something may have become due meanwhile.
        node.window.look_again();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fast_node_waits_for_the_store_and_a_slow_one_for_itself() {
        let skew = Skew::default();
        skew.set(-40, 2_000, 0);
        assert_eq!((skew.cautious(Moment::from_ms(100)), skew.node_ahead_ms()), (Moment::from_ms(60), 40));
        skew.set(40, 2_000, 0);
        assert_eq!((skew.cautious(Moment::from_ms(100)), skew.node_ahead_ms()), (Moment::from_ms(100), 0));
    }

    #[test]
    fn leases_are_held_by_the_faster_clock_and_taken_over_by_the_slower() {
        let skew = Skew::default();
        for store_ahead_ms in [-40, 0, 40] {
            skew.set(store_ahead_ms, 2_000, 0);
            let now = Moment::from_ms(100);
            let store_now = now.plus_ms(store_ahead_ms);
            assert!(skew.cautious(now) <= store_now && store_now <= skew.eager(now));
            assert_eq!(skew.eager(skew.cautious(now)), store_now, "a lease is granted in the store's time");
        }
    }

    /// A wall clock that is so many milliseconds ahead of the steady one, which stands still.
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
    fn a_clock_that_was_set_decides_nothing_until_it_is_measured_anew() {
        let skew = Skew::default();
        assert!(!skew.is_fit(&Ahead(5_000)), "nothing is known yet");
        skew.set(0, 2_000, 5_000);
        assert!(skew.is_fit(&Ahead(5_000)) && skew.is_fit(&Ahead(5_050)));
        assert!(!skew.is_fit(&Ahead(3_605_000)) && !skew.is_fit(&Ahead(0)));
        skew.set(-3_000, 2_000, 8_000);
        assert!(!skew.is_fit(&Ahead(8_000)), "it is too far off");
    }

    #[test]
    fn commands_keep_to_the_stores_time_when_the_clock_is_off_or_was_set() {
        let skew = Skew::default();
        assert_eq!(skew.best_now(&Ahead(5_000)), Moment::from_ms(5_000), "nothing else is known");
        skew.set(30, 2_000, 5_000);
        assert_eq!(skew.best_now(&Ahead(5_000)), Moment::from_ms(5_000), "fit");
        assert_eq!(skew.best_now(&Ahead(3_605_000)), Moment::from_ms(5_030), "it was set by an hour");
        skew.set(-3_600_000, 2_000, 3_605_000);
        assert_eq!(skew.best_now(&Ahead(3_605_000)), Moment::from_ms(5_000), "measured, and an hour off");
    }

    #[test]
    fn beyond_the_bound_the_node_stops_firing() {
        let skew = Skew::default();
        skew.set(-2_001, 2_000, 0);
        assert!(skew.too_far());
        skew.set(2_000, 2_000, 0);
        assert!(!skew.too_far());
    }
}
