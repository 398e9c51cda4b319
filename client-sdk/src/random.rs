//! Random numbers, from the seed that the standard library draws for its hash maps.

use std::hash::{BuildHasher, RandomState};

use crate::clock::{Clock as _, SystemClock};

/// Returns 64 unpredictable bits.
pub(crate) fn bits() -> u64 {
    // Every `RandomState` has other keys, so the hash of any fixed value is random.
    RandomState::new().hash_one(())
}

/// Returns a unique key of 32 hexadecimal digits: the time in milliseconds (48 bits), and 80 random bits.
///
/// Stores keep keys in order. Keys of about the same time are then on the same pages, and a batch of
/// inserts writes few of them.
pub(crate) fn key() -> String {
    let ms = SystemClock.now_ms() & 0xffff_ffff_ffff;
    format!("{ms:012x}{:04x}{:016x}", bits() & 0xffff, bits())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn keys_are_unique_and_those_of_one_time_have_one_prefix() {
        let keys: HashSet<String> = (0..1_000).map(|_| key()).collect();
        assert_eq!(keys.len(), 1_000);
        assert!(keys.iter().all(|key| key.len() == 32));
        let (first, last) = (keys.iter().min().unwrap(), keys.iter().max().unwrap());
        // 2^28 ms are three days.
        assert_eq!(first[..5], last[..5]);
    }
}
