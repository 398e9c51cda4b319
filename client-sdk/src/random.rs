//! Chance, from the seed that the standard library takes from the system for its hash maps.

use std::hash::{BuildHasher, RandomState};

/// 64 bits that nobody can foresee.
pub(crate) fn bits() -> u64 {
    // Every state has keys of its own, and what is hashed under them does not matter.
    RandomState::new().hash_one(())
}

/// A key that no other call, process or machine makes again.
pub(crate) fn key() -> String {
    format!("{:016x}{:016x}", bits(), bits())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_key_comes_twice() {
        let keys: HashSet<String> = (0..1_000).map(|_| key()).collect();
        assert_eq!(keys.len(), 1_000);
        assert!(keys.iter().all(|key| key.len() == 32));
    }
}
