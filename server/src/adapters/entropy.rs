//! The system's random generator, for secrets.

/// Fills `bytes` with random data. Returns `false` if the system provides none.
pub fn fill(bytes: &mut [u8]) -> bool {
    rustls::crypto::ring::default_provider().secure_random.fill(bytes).is_ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn two_draws_differ() {
        let draw = || {
            let mut bytes = [0; 32];
            assert!(super::fill(&mut bytes));
            bytes
        };
        assert!(draw() != draw() && draw() != [0; 32]);
    }
}
