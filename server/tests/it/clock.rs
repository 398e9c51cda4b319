//! The contract of [`Clock`], run against every clock there is. A further one is one more line in `on_every_clock!`.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use taskcenter_server::adapters::clock::{ManualClock, SystemClock};
use taskcenter_server::core::Moment;
use taskcenter_server::ports::Clock;

use crate::clocks::{NOW, lone_node};

/// A moment that has not come by then will not come.
const DEADLINE: Duration = Duration::from_secs(10);

/// A clock, and the one to turn for time to pass where it does not pass by itself.
struct Fixture {
    clock: Arc<dyn Clock>,
    by_hand: Option<Arc<ManualClock>>,
}

impl Fixture {
    fn turn(&self, ms: i64) {
        if let Some(clock) = &self.by_hand {
            clock.advance_ms(ms);
        }
    }
}

fn system() -> Fixture {
    Fixture { clock: Arc::new(SystemClock), by_hand: None }
}

fn manual() -> Fixture {
    let clock = Arc::new(ManualClock::new(NOW));
    Fixture { clock: clock.clone(), by_hand: Some(clock) }
}

fn command() -> Fixture {
    let clock = Arc::new(ManualClock::new(NOW));
    Fixture { clock: lone_node(clock.clone()).command_clock(), by_hand: Some(clock) }
}

fn lease() -> Fixture {
    let clock = Arc::new(ManualClock::new(NOW));
    Fixture { clock: lone_node(clock.clone()).lease_clock(), by_hand: Some(clock) }
}

/// Makes each named case a test on each clock.
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
    a_sleeper_wakes_when_its_moment_has_come_and_not_before
    what_has_passed_is_not_waited_for
    both_clocks_go_on_alike_while_nobody_sets_one
}

async fn a_sleeper_wakes_when_its_moment_has_come_and_not_before(on: &Fixture) {
    for ms in [1, 3, 20] {
        let at = on.clock.now().plus_ms(ms);
        let mut sleep = on.clock.sleep_until(at);
        let woke_at_once = (&mut sleep).now_or_never().is_some();
        assert!(!woke_at_once || on.clock.now() >= at, "{ms} ms early");
        on.turn(ms);
        if !woke_at_once {
            tokio::time::timeout(DEADLINE, sleep).await.expect("it wakes");
        }
        assert!(on.clock.now() >= at, "{ms} ms");
    }
}

async fn what_has_passed_is_not_waited_for(on: &Fixture) {
    for at in [on.clock.now(), on.clock.now().plus_ms(-1), Moment::from_ms(-1), Moment::from_ms(i64::MIN)] {
        on.clock.sleep_until(at).now_or_never().expect("it returns at once");
    }
}

#[allow(clippy::unused_async, reason = "every case is called alike")]
async fn both_clocks_go_on_alike_while_nobody_sets_one(on: &Fixture) {
    let (wall, steady) = (on.clock.now(), on.clock.steady_ms());
    let mut last = steady;
    for _ in 0..1_000 {
        on.turn(1);
        let next = on.clock.steady_ms();
        assert!(next >= last, "it went back");
        last = next;
    }
    let apart = on.clock.now().since(wall) - (on.clock.steady_ms() - steady);
    // A machine's wall clock is slewed by a little; one that is set by this much is what the engine looks for.
    assert!(apart.abs() <= 100, "{apart} ms");
}
