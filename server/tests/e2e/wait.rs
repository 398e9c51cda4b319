//! Waiting for something to become true.

use std::time::Duration;

/// What a condition may take on a slow machine before it counts as never.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Asks `condition` until it holds. Panics with `what` when it does not within [`PATIENCE`].
pub async fn until<F: AsyncFnMut() -> bool>(what: &str, mut condition: F) {
    let mut turn = tokio::time::interval(Duration::from_millis(50));
    let holds = async {
        while !condition().await {
            turn.tick().await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, holds).await.is_ok(), "it never came true: {what}");
}

/// Milliseconds since the epoch, by the machine's clock.
pub fn now_ms() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "the test watches the product from outside")]
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| since.as_millis() as i64)
}

/// Returns at `at_ms`.
pub async fn moment(at_ms: i64) {
    until("the moment has come", async || now_ms() >= at_ms).await;
}
