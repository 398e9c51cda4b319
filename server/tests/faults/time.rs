//! The harness' own clock, and waiting without sleeping blindly.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::{MissedTickBehavior, interval};

/// Milliseconds since the epoch, by the machine's clock.
pub fn now_ms() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "the harness watches the product from outside")]
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| since.as_millis() as i64)
}

/// Lets so much time pass.
pub async fn pass(ms: i64) {
    moment(now_ms() + ms).await;
}

/// Returns at `at_ms`, or at once where that is over.
pub async fn moment(at_ms: i64) {
    let left = at_ms - now_ms();
    if left > 0 {
        let mut turn = interval(Duration::from_millis(left as u64));
        turn.tick().await;
        turn.tick().await;
    }
}

/// Ticks that do not catch up after a stall.
pub fn ticks(ms: u64) -> tokio::time::Interval {
    let mut turn = interval(Duration::from_millis(ms));
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    turn
}

/// Asks `condition` until it holds; an error with `what` when it does not within `limit_ms`.
pub async fn until<F: AsyncFnMut() -> bool>(what: &str, limit_ms: i64, mut condition: F) -> Result<()> {
    let end = now_ms() + limit_ms;
    let mut turn = ticks(50);
    while !condition().await {
        if now_ms() > end {
            bail!("it did not come true within {limit_ms} ms: {what}");
        }
        turn.tick().await;
    }
    Ok(())
}
