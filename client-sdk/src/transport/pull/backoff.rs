//! Pauses that grow, and that no two workers share.

use std::time::Duration;

use crate::random;

/// Doubles from the first pause up to the longest; each is cut by up to a half, by chance.
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

    /// The next pause.
    pub(super) fn next(&mut self) -> Duration {
        let whole = self.first.saturating_mul(2_u32.saturating_pow(self.taken)).min(self.longest);
        self.taken = self.taken.saturating_add(1);
        let cut = random::bits() % 1_000;
        whole.mul_f64(1.0 - cut as f64 / 2_000.0)
    }

    /// Begins anew; whether there was anything to end.
    pub(super) fn reset(&mut self) -> bool {
        std::mem::take(&mut self.taken) > 0
    }

    /// Whether the pauses have only begun.
    pub(super) fn is_first(&self) -> bool {
        self.taken == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_bound_and_begin_anew() {
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
