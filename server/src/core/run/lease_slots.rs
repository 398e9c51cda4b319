//! Places of leased runs in the answer to a lease request.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

/// Names of the places in the answer to one lease request, which a worker can repeat. A place belongs to at
/// most one leased run, so two calls with the same request cannot both fill the first place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseSlots(String);

impl LeaseSlots {
    /// Returns the places of the request that `identity` identifies.
    pub fn of(identity: &[&str]) -> Self {
        let mut hash = Sha256::new();
        for part in identity {
            // The length separates ("ab", "c") from ("a", "bc").
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        Self(hash.finalize()[..16].iter().fold(String::new(), |mut text, byte| {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        }))
    }

    /// Returns the name of the place at `position`, from 0. Names sort by position.
    pub fn name(&self, position: usize) -> String {
        format!("{}-{position:06}", self.0)
    }

    /// Returns the half-open range of all names.
    pub fn range(&self) -> (String, String) {
        // '.' is the character after '-'.
        (format!("{}-", self.0), format!("{}.", self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_one_request_and_sort_by_position() {
        let slots = LeaseSlots::of(&["ab", "c"]);
        assert_ne!(slots, LeaseSlots::of(&["a", "bc"]));
        let (from, to) = slots.range();
        let names = [slots.name(0), slots.name(9), slots.name(10), slots.name(1_000)];
        assert!(names.is_sorted() && from < names[0] && names[3] < to);
        assert!(!(from..to).contains(&LeaseSlots::of(&["a"]).name(0)));
    }
}
