//! What may stand as a RocketMQ tag.

/// Longest tag in bytes. The broker keeps tags inside a message's properties, which it caps at 32,767 bytes in all.
pub const MAX_TAG_BYTES: usize = 128;

/// Why a name cannot be a message's tag; the text is for the person who sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTag {
    /// Nothing, or nothing but blanks.
    #[error("name should not be empty")]
    Empty,
    /// Over [`MAX_TAG_BYTES`].
    #[error("name should be at most 128 bytes")]
    TooLong,
    /// `|` separates tags and `*` means every tag in a subscription.
    #[error("name should not contain '|' or '*', which mean something in a tag filter")]
    FilterSyntax,
    /// A subscription is trimmed, so such a tag would match no consumer.
    #[error("name should not begin or end with white space")]
    Untrimmed,
    /// Control characters separate properties on the wire.
    #[error("name should not contain control characters")]
    Control,
}

/// Checks that `name` can travel as a tag and be subscribed to.
///
/// # Errors
/// Says which rule is broken.
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
    fn accepts_what_teams_use() {
        for name in ["order.close", "订单", "a-b_c:d/e", "a b", "total"] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn refuses_what_no_subscription_could_match() {
        assert_eq!(check(" "), Err(InvalidTag::Empty));
        assert_eq!(check("a||b"), Err(InvalidTag::FilterSyntax));
        assert_eq!(check("*"), Err(InvalidTag::FilterSyntax));
        assert_eq!(check(" a"), Err(InvalidTag::Untrimmed));
        assert_eq!(check("a\u{1}b"), Err(InvalidTag::Control));
        assert_eq!(check(&"x".repeat(129)), Err(InvalidTag::TooLong));
    }
}
