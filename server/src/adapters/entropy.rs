//! The system's random generator, for what nobody may guess.

/// Fills the bytes; `false` where the system gives none.
pub fn fill(bytes: &mut [u8]) -> bool {
    rustls::crypto::ring::default_provider().secure_random.fill(bytes).is_ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_does_not_repeat_itself() {
        let drawn = || {
            let mut bytes = [0; 32];
            assert!(super::fill(&mut bytes));
            bytes
        };
        assert!(drawn() != drawn() && drawn() != [0; 32]);
    }
}
