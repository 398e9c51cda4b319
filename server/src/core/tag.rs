//! Validation of RocketMQ tags.

/// Longest tag, in bytes. A tag is part of a message's properties, which the broker limits to
/// 32,767 bytes.
pub const MAX_TAG_BYTES: usize = 128;

/// Why a name is not a valid tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTag {
    /// Empty, or only white space.
    #[error("name should not be empty")]
    Empty,
    /// Longer than [`MAX_TAG_BYTES`].
    #[error("name should be at most 128 bytes")]
    TooLong,
    /// In a subscription, `|` separates tags and `*` matches every tag.
    #[error("name should not contain '|' or '*', which mean something in a tag filter")]
    FilterSyntax,
    /// Clients trim subscriptions, so the tag would match no consumer.
    #[error("name should not begin or end with white space")]
    Untrimmed,
    /// On the wire, control characters separate properties.
    #[error("name should not contain control characters")]
    Control,
}

/// Checks that `name` is a valid tag that consumers can subscribe to.
///
/// # Errors
/// The first broken rule.
pub fn check(name: &str) -> Result<(), InvalidTag> {
    if name.trim().is_empty() {
        Err(InvalidTag::Empty)
    } else if name.len() > MAX_TAG_BYTES {
        Err(InvalidTag::TooLong)
    } else if name.contains(['|', '*']) {
        Err(InvalidTag::FilterSyntax)
    } else if name.trim() != name {
        Err(InvalidTag::Untrimmed)
    } else if name.chars().any(char::is_control) {
        Err(InvalidTag::Control)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_common_names() {
        for name in ["order.close", "订单", "a-b_c:d/e", "a b", "total"] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn refuses_names_that_no_subscription_matches() {
        assert_eq!(check(" "), Err(InvalidTag::Empty));
        assert_eq!(check("a||b"), Err(InvalidTag::FilterSyntax));
        assert_eq!(check("*"), Err(InvalidTag::FilterSyntax));
        assert_eq!(check(" a"), Err(InvalidTag::Untrimmed));
        assert_eq!(check("a\u{1}b"), Err(InvalidTag::Control));
        assert_eq!(check(&"x".repeat(129)), Err(InvalidTag::TooLong));
    }
}
