//! Random numbers, from the seed that the standard library draws for its hash maps.

use std::hash::{BuildHasher, RandomState};

/// Returns 64 unpredictable bits.
pub(crate) fn bits() -> u64 {
    // Every `RandomState` has other keys, so the hash of any fixed value is random.
    RandomState::new().hash_one(())
}

/// Returns a random key of 128 bits, as 32 hexadecimal digits.
pub(crate) fn key() -> String {
    format!("{:016x}{:016x}", bits(), bits())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn keys_are_unique() {
        let keys: HashSet<String> = (0..1_000).map(|_| key()).collect();
        assert_eq!(keys.len(), 1_000);
        assert!(keys.iter().all(|key| key.len() == 32));
    }
}
