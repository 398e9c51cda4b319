//! A step that must succeed once before anything else.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Mutex;

use crate::ports::{PortError, Result};

/// A step that is repeated until it succeeds. Concurrent callers share an attempt and its error: if each
/// made its own, the last of ten callers would wait for ten timeouts.
#[derive(Default)]
pub struct Once {
    is_done: AtomicBool,
    failures: AtomicU64,
    last_error: Mutex<Option<PortError>>,
}

impl Once {
    /// Runs `step`, unless it succeeded before or a concurrent attempt ends while this one waits for it.
    /// An attempt whose caller is dropped counts as none.
    ///
    /// # Errors
    /// The error of the attempt.
    pub async fn run(&self, step: impl Future<Output = Result<()>>) -> Result<()> {
        if self.is_done.load(Ordering::Acquire) {
            return Ok(());
        }
        let failures = self.failures.load(Ordering::Acquire);
        let mut last_error = self.last_error.lock().await;
        if self.is_done.load(Ordering::Acquire) {
            return Ok(());
        }
        if let Some(error) = last_error.as_ref()
            && self.failures.load(Ordering::Acquire) > failures
        {
            return Err(error.duplicate());
        }
        match step.await {
            Ok(()) => self.is_done.store(true, Ordering::Release),
            Err(error) => {
                *last_error = Some(error.duplicate());
                self.failures.fetch_add(1, Ordering::Release);
                return Err(error);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;

    use super::*;
    use crate::adapters::mongo::errors::unavailable;

    #[tokio::test]
    async fn callers_share_a_failed_attempt_and_the_next_one_tries_again() {
        let (once, attempts) = (Once::default(), AtomicU64::new(0));
        let fails = async || {
            attempts.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            Err(unavailable("error of the test"))
        };
        let answers = join_all((0..10).map(|_| once.run(fails()))).await;
        assert!(answers.iter().all(|answer| matches!(answer, Err(PortError::Unavailable(..)))));
        assert_eq!(attempts.load(Ordering::Relaxed), 1, "ten callers share one attempt");

        assert!(once.run(fails()).await.is_err());
        assert_eq!(attempts.load(Ordering::Relaxed), 2, "a later caller makes its own attempt");
        assert!(once.run(async { Ok(()) }).await.is_ok());
        assert!(once.run(fails()).await.is_ok());
        assert_eq!(attempts.load(Ordering::Relaxed), 2, "the step ran once with success");
    }
}
