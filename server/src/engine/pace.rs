//! How fast a loop turns: at its period while it works, ever slower while it fails.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::ports::PortError;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A loop's pace. It logs a failure when it begins and when it ends, not at each turn.
pub struct Pace {
    name: &'static str,
    period: Duration,
    failures: u32,
}

impl Pace {
    /// The pace of the loop `name`, which turns once a `period`.
    pub fn new(name: &'static str, period: Duration) -> Self {
        Self { name, period, failures: 0 }
    }

    /// A turn has worked.
    pub fn worked(&mut self) {
        if self.failures > 0 {
            tracing::info!(at = self.name, failures = self.failures, "works again");
            self.failures = 0;
        }
    }

    /// A turn has worked; the next one comes a period later.
    pub async fn pause(&mut self, shutdown: &CancellationToken) {
        self.worked();
        wait(self.period, shutdown).await;
    }

    /// A turn has worked; the next one comes after a period or when `event` is there.
    pub async fn soon(&mut self, event: impl Future<Output = ()>) {
        self.worked();
        let _ = tokio::time::timeout(self.period, event).await;
    }

    /// A turn has failed; the next one comes after a pause that doubles with each failure, up to 5 s.
    pub async fn failed(&mut self, error: &PortError, shutdown: &CancellationToken) {
        wait(self.failing(error), shutdown).await;
    }

    /// A turn has failed; the pause before the next one, for those whose turns overlap.
    pub fn failing(&mut self, error: &PortError) -> Duration {
        if self.failures == 0 {
            let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
            tracing::warn!(at = self.name, %error, cause, "fails; it goes on trying");
        }
        self.next_pause()
    }

    fn next_pause(&mut self) -> Duration {
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failures.min(16)).min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        pause.max(self.period.min(LONGEST_PAUSE))
    }
}

/// Waits, or until the node stops.
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
