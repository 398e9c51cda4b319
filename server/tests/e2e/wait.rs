//! Waiting for a condition.

use std::time::Duration;

/// Timeout of a condition, long enough for a slow machine.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Waits until `condition` holds. Panics with `description` after [`PATIENCE`].
pub async fn until<F: AsyncFnMut() -> bool>(description: &str, mut condition: F) {
    let mut turn = tokio::time::interval(Duration::from_millis(50));
    let holds = async {
        while !condition().await {
            turn.tick().await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, holds).await.is_ok(), "timeout: {description}");
}

/// Returns the system time in milliseconds since the Unix epoch.
pub fn now_ms() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "the test observes the product from outside")]
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| since.as_millis() as i64)
}

/// Waits until the system time is `at_ms`.
pub async fn moment(at_ms: i64) {
    until("the moment is reached", async || now_ms() >= at_ms).await;
}
