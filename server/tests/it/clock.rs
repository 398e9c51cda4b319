//! Conformance suite of [`Clock`], run against every clock. A new clock needs one line in
//! `on_every_clock!`.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use taskcenter_server::adapters::clock::{ManualClock, SystemClock};
use taskcenter_server::core::Moment;
use taskcenter_server::ports::Clock;

use crate::clocks::{NOW, lone_node};

/// Longest wait for a sleeper.
const DEADLINE: Duration = Duration::from_secs(10);

/// A clock, and the manual clock behind it, if any.
struct Fixture {
    clock: Arc<dyn Clock>,
    manual: Option<Arc<ManualClock>>,
}

impl Fixture {
    fn advance(&self, ms: i64) {
        if let Some(clock) = &self.manual {
            clock.advance_ms(ms);
        }
    }
}

fn system() -> Fixture {
    Fixture { clock: Arc::new(SystemClock), manual: None }
}

fn manual() -> Fixture {
    let clock = Arc::new(ManualClock::new(NOW));
    Fixture { clock: clock.clone(), manual: Some(clock) }
}

fn command() -> Fixture {
    let clock = Arc::new(ManualClock::new(NOW));
    Fixture { clock: lone_node(clock.clone()).command_clock(), manual: Some(clock) }
}

fn lease() -> Fixture {
    let clock = Arc::new(ManualClock::new(NOW));
    Fixture { clock: lone_node(clock.clone()).lease_clock(), manual: Some(clock) }
}

/// Makes each case a test on every clock.
macro_rules! on_every_clock {
    ($($case:ident)*) => {
        on_every_clock!(@clock system, $($case)*);
        on_every_clock!(@clock manual, $($case)*);
        on_every_clock!(@clock command, $($case)*);
        on_every_clock!(@clock lease, $($case)*);
    };
    (@clock $clock:ident, $($case:ident)*) => {
        mod $clock {
            $(
                #[tokio::test]
                async fn $case() {
                    super::$case(&super::$clock()).await;
                }
            )*
        }
    };
}

on_every_clock! {
    a_sleeper_wakes_at_its_moment_and_not_before
    sleeping_until_a_past_moment_returns_at_once
    wall_clock_and_monotonic_clock_advance_equally
}

async fn a_sleeper_wakes_at_its_moment_and_not_before(on: &Fixture) {
    for ms in [1, 3, 20] {
        let at = on.clock.now().plus_ms(ms);
        let mut sleep = on.clock.sleep_until(at);
        let woke_at_once = (&mut sleep).now_or_never().is_some();
        assert!(!woke_at_once || on.clock.now() >= at, "{ms} ms early");
        on.advance(ms);
        if !woke_at_once {
            tokio::time::timeout(DEADLINE, sleep).await.expect("the sleeper wakes");
        }
        assert!(on.clock.now() >= at, "{ms} ms");
    }
}

async fn sleeping_until_a_past_moment_returns_at_once(on: &Fixture) {
    for at in [on.clock.now(), on.clock.now().plus_ms(-1), Moment::from_ms(-1), Moment::from_ms(i64::MIN)] {
        on.clock.sleep_until(at).now_or_never().expect("the sleep returns at once");
    }
}

#[allow(clippy::unused_async, reason = "other cases need async")]
async fn wall_clock_and_monotonic_clock_advance_equally(on: &Fixture) {
    let (wall, steady) = (on.clock.now(), on.clock.steady_ms());
    let mut last = steady;
    for _ in 0..1_000 {
        on.advance(1);
        let next = on.clock.steady_ms();
        assert!(next >= last, "the monotonic clock went back");
        last = next;
    }
    let apart = on.clock.now().since(wall) - (on.clock.steady_ms() - steady);
    // Time synchronization slews the wall clock slightly. The engine looks for larger differences.
    assert!(apart.abs() <= 100, "{apart} ms");
}
