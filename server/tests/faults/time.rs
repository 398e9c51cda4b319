//! Clock of the harness, and waits.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::{MissedTickBehavior, interval};

/// Milliseconds since the epoch, by the machine's clock.
pub fn now_ms() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "the harness observes the product from outside")]
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| since.as_millis() as i64)
}

/// Waits.
pub async fn sleep(ms: i64) {
    sleep_until(now_ms() + ms).await;
}

/// Waits until `at_ms`.
pub async fn sleep_until(at_ms: i64) {
    let left = at_ms - now_ms();
    if left > 0 {
        let mut turn = interval(Duration::from_millis(left as u64));
        turn.tick().await;
        turn.tick().await;
    }
}

/// Returns an interval that does not catch up after a delay.
pub fn ticks(ms: u64) -> tokio::time::Interval {
    let mut turn = interval(Duration::from_millis(ms));
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    turn
}

/// Waits until `condition` is true. The error after `limit_ms` contains `what`.
pub async fn wait_until<F: AsyncFnMut() -> bool>(what: &str, limit_ms: i64, mut condition: F) -> Result<()> {
    let end = now_ms() + limit_ms;
    let mut turn = ticks(50);
    while !condition().await {
        if now_ms() > end {
            bail!("not true within {limit_ms} ms: {what}");
        }
        turn.tick().await;
    }
    Ok(())
}
