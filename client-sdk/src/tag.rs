//! Tags: a handler is registered for tags, and a consumer subscribes to tags.
//!
//! The name of a task is the tag of its messages. A tag expression is one tag, several tags joined
//! by `||`, or `*` for all tags.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::error_text::debug_as_text;

/// A tag that no task can have.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid tag {tag:?}: it {reason}")]
pub struct InvalidTag {
    tag: String,
    reason: &'static str,
}

debug_as_text!(InvalidTag);

/// Checks one tag by the server's rules for task names, except for the length: not empty, and
/// without `|`, `*`, control characters, and white space at either end.
///
/// # Errors
/// [`InvalidTag`] names the broken rule.
pub fn validate(tag: &str) -> Result<(), InvalidTag> {
    match broken_rule(tag) {
        Some(reason) => Err(InvalidTag { tag: tag.to_owned(), reason }),
        None => Ok(()),
    }
}

fn broken_rule(tag: &str) -> Option<&'static str> {
    if tag.is_empty() {
        return Some("is empty");
    }
    if tag.trim() != tag {
        return Some("begins or ends with white space");
    }
    if tag.contains(['|', '*']) {
        return Some("contains '|' or '*'; write \"a || b\" for several tags and \"*\" alone for all tags");
    }
    tag.chars().any(char::is_control).then_some("contains a control character")
}

/// Tags that a consumer receives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subscription {
    /// All messages of the topic.
    All,
    /// Messages with one of these tags.
    Tags(BTreeSet<String>),
}

impl Subscription {
    /// Returns whether the subscription contains messages with this tag.
    pub fn matches(&self, tag: &str) -> bool {
        match self {
            Self::All => true,
            Self::Tags(tags) => tags.contains(tag),
        }
    }
}

/// Writes the expression for the broker: `*`, or the tags joined by `||` **without blanks**. The
/// broker hashes each part including its blanks, so `a || b` would match no message.
impl fmt::Display for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Tags(tags) => f.write_str(&tags.iter().map(String::as_str).collect::<Vec<_>>().join("||")),
        }
    }
}

/// Parses a tag expression: `*`, `a`, `a||b` or `a || b`. Blanks around a tag are ignored.
impl FromStr for Subscription {
    type Err = InvalidTag;

    fn from_str(expression: &str) -> Result<Self, InvalidTag> {
        if expression.trim() == "*" {
            return Ok(Self::All);
        }
        let tags = expression.split("||").map(str::trim).map(|tag| validate(tag).map(|()| tag.to_owned()));
        Ok(Self::Tags(tags.collect::<Result<_, _>>()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_around_tags_are_removed() {
        let subscription: Subscription = " order.close ||order.pay||  订单 ".parse().unwrap();
        assert_eq!(subscription.to_string(), "order.close||order.pay||订单");
        assert!(subscription.matches("order.pay"));
        assert!(!subscription.matches(" order.pay"));
    }

    #[test]
    fn a_star_matches_every_tag() {
        let subscription: Subscription = " * ".parse().unwrap();
        assert_eq!(subscription, Subscription::All);
        assert_eq!(subscription.to_string(), "*");
        assert!(subscription.matches("any"));
    }

    #[test]
    fn expressions_that_match_nothing_are_refused() {
        for expression in ["", "  ", "||", "a||", "a|b", "a || *", "a*", "a\nb", "a|||b"] {
            assert!(expression.parse::<Subscription>().is_err(), "{expression:?} was accepted");
        }
    }

    #[test]
    fn a_tag_follows_the_rules_of_the_server() {
        assert!(validate("order close").is_ok());
        for tag in ["", " a", "a ", "a||b", "*", "a\u{7}"] {
            assert!(validate(tag).is_err(), "{tag:?} was accepted");
        }
        assert_eq!(validate("").unwrap_err().to_string(), "invalid tag \"\": it is empty");
    }
}
