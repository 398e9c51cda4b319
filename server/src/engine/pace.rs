//! The pace of a loop: its period while it works, and a growing pause while it fails.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::node::Node;
use crate::core::Moment;
use crate::ports::{PortError, Result};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// One turn of a loop at a moment.
type Turn = for<'a> fn(&'a Node, Moment) -> BoxFuture<'a, Result<()>>;

/// The pace of one loop. It logs the first failure and the recovery, but not each failure in between.
pub struct Pace {
    name: &'static str,
    period: Duration,
    failures: u32,
}

impl Pace {
    /// Returns the pace of the loop `name`, which turns once in a `period`.
    pub fn new(name: &'static str, period: Duration) -> Self {
        Self { name, period, failures: 0 }
    }

    /// Takes a turn once in a period until the node stops, but none while the node is not fit.
    pub async fn repeat(mut self, node: &Node, turn: Turn) {
        while !node.shutdown.is_cancelled() {
            let result = if node.is_fit() { turn(node, node.earliest_now()).await } else { Ok(()) };
            match result {
                Ok(()) => self.pause(&node.shutdown).await,
                Err(error) => self.failed(&error, &node.shutdown).await,
            }
        }
    }

    /// Notes that a turn has succeeded.
    pub fn worked(&mut self) {
        if self.failures > 0 {
            tracing::info!("loop" = self.name, failures = self.failures, "loop recovered");
            self.failures = 0;
        }
    }

    /// Notes that a turn has succeeded, and waits for a period.
    pub async fn pause(&mut self, shutdown: &CancellationToken) {
        self.worked();
        wait(self.period, shutdown).await;
    }

    /// Notes that a turn has succeeded, and waits for `event`, for a period at most.
    pub async fn pause_until(&mut self, event: impl Future<Output = ()>) {
        self.worked();
        let _ = tokio::time::timeout(self.period, event).await;
    }

    /// Notes that a turn has failed, and waits. The pause doubles with each failure, up to 5 s.
    pub async fn failed(&mut self, error: &PortError, shutdown: &CancellationToken) {
        wait(self.note_failure(error), shutdown).await;
    }

    /// Notes that a turn has failed, and returns the pause. For loops whose turns overlap.
    pub fn note_failure(&mut self, error: &PortError) -> Duration {
        if self.failures == 0 {
            let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
            tracing::warn!("loop" = self.name, %error, cause, "loop failed; retrying");
        }
        self.next_pause()
    }

    fn next_pause(&mut self) -> Duration {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(16)).min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        pause.max(self.period.min(LONGEST_PAUSE))
    }
}

/// Waits for a time, or until the node stops.
pub async fn wait(time: Duration, shutdown: &CancellationToken) {
    let _ = tokio::time::timeout(time, shutdown.cancelled()).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let mut pace = Pace::new("test", Duration::from_millis(1));
        let pauses: Vec<_> = (0..8).map(|_| pace.next_pause().as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        pace.worked();
        assert_eq!(pace.next_pause(), FIRST_PAUSE);
    }
}
