//! Growing pauses with jitter, so that workers do not retry at the same time.

use std::time::Duration;

use crate::random;

/// Pauses that double from the first up to the longest. Each is shortened by a random part, at most
/// half.
#[derive(Debug, Clone)]
pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    taken: u32,
}

impl Backoff {
    pub(super) fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, taken: 0 }
    }

    /// Returns the next pause.
    pub(super) fn next(&mut self) -> Duration {
        let whole = self.first.saturating_mul(2_u32.saturating_pow(self.taken)).min(self.longest);
        self.taken = self.taken.saturating_add(1);
        let cut = random::bits() % 1_000;
        whole.mul_f64(1.0 - cut as f64 / 2_000.0)
    }

    /// Restarts with the first pause. Returns whether any pause had been taken.
    pub(super) fn reset(&mut self) -> bool {
        std::mem::take(&mut self.taken) > 0
    }

    /// Returns whether no pause has been taken since the last reset.
    pub(super) fn is_first(&self) -> bool {
        self.taken == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_the_longest_and_restart_after_a_reset() {
        let second = Duration::from_secs(1);
        let mut backoff = Backoff::new(second, 5 * second);
        for whole in [1, 2, 4, 5, 5] {
            let pause = backoff.next();
            assert!((whole * second / 2..=whole * second).contains(&pause), "{pause:?} of {whole} s");
        }
        assert!(backoff.reset());
        assert!(backoff.is_first() && !backoff.reset());
        assert!(backoff.next() <= second);
    }
}
