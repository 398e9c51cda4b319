//! Patterns of tags, such as `pay.*`.

/// Maximum length of a pattern, in bytes.
pub const MAX_BYTES: usize = 255;

/// Returns whether a text matches a pattern: `*` stands for any characters, also for none. Every other
/// character stands for itself.
pub fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, text, expected) in [
            ("pay", "pay", true),
            ("pay", "pay.a", false),
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "any", true),
            ("pay.*", "pay.card", true),
            ("pay.*", "pay", false),
            ("pay.*", "repay.card", false),
            ("*.close", "order.close", true),
            ("*.close", "order.closed", false),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "acb", false),
            ("ab*ba", "aba", false),
            ("**", "x", true),
            ("支付.*", "支付.退款", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern:?} {text:?}");
        }
    }
}
