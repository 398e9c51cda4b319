//! Random bytes, digests and their comparison, for tokens, passwords and sessions.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::{PortError, Result};

/// Fills the bytes from the system's random generator. Returns `false` if the generator fails.
pub type Random = fn(&mut [u8]) -> bool;

/// Returns `N` unpredictable bytes.
///
/// # Errors
/// If there is no random generator, or it fails.
pub fn random_bytes<const N: usize>(random: Option<Random>) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    if random.is_some_and(|fill| fill(&mut bytes)) {
        return Ok(bytes);
    }
    Err(PortError::Refused("the system's random generator", "it returned no bytes".into()).into())
}

/// Returns the SHA-256 digest of a random secret, in hexadecimal digits.
///
/// A fast digest is enough for tokens: they have 256 random bits and cannot be guessed.
pub fn digest(secret: &str) -> String {
    hex(&Sha256::digest(secret.as_bytes()))
}

/// Returns the bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut digits, byte| {
        // Writing to a string cannot fail.
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}

/// Compares two texts in a time that does not depend on where they differ.
pub fn is_equal(one: &str, other: &str) -> bool {
    let difference = one.bytes().zip(other.bytes()).fold(0, |difference, (a, b)| difference | (a ^ b));
    one.len() == other.len() && difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_equal_texts_are_equal() {
        let one = digest("tc_0_0");
        assert!(is_equal(&one, &digest("tc_0_0")));
        for other in ["", &one[1..], &digest("tc_0_1"), &format!("{one}0")] {
            assert!(!is_equal(&one, other), "{other}");
        }
    }

    #[test]
    fn a_missing_or_failing_generator_is_an_error() {
        assert!(random_bytes::<8>(None).is_err() && random_bytes::<8>(Some(|_| false)).is_err());
    }
}
