//! Tags: what a handler is registered for and what the broker is asked for.
//!
//! A task's name is the tag of its messages. The rule for a single tag is the server's; an expression is one tag,
//! several joined by `||`, or `*` for all.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// A tag or a tag expression that can never match a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the tag {tag:?} {reason}")]
pub struct InvalidTag {
    tag: String,
    reason: &'static str,
}

/// Checks one tag by the server's rule for task names: not empty, no `|`, `*` or control character, no white space at
/// either end.
///
/// # Errors
/// [`InvalidTag`] says which part of the rule is broken.
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
        return Some("has white space at an end");
    }
    if tag.contains(['|', '*']) {
        return Some("contains '|' or '*', which only mean something between tags");
    }
    tag.chars().any(char::is_control).then_some("contains a control character")
}

/// What a consumer asks the broker for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subscription {
    /// Every message of the topic.
    All,
    /// The messages with one of these tags.
    Tags(BTreeSet<String>),
}

impl Subscription {
    /// Whether a message with this tag belongs to the subscription.
    pub fn matches(&self, tag: &str) -> bool {
        match self {
            Self::All => true,
            Self::Tags(tags) => tags.contains(tag),
        }
    }
}

/// The expression the broker gets: `*`, or the tags joined by `||` **without blanks**. The broker hashes the pieces
/// as they stand, so `a || b` would silently receive nothing.
impl fmt::Display for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Tags(tags) => f.write_str(&tags.iter().map(String::as_str).collect::<Vec<_>>().join("||")),
        }
    }
}

/// Reads what a person writes: `*`, `a`, `a||b` or `a || b`.
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
    fn pieces_are_trimmed_and_sent_without_blanks() {
        let subscription: Subscription = " order.close ||order.pay||  订单 ".parse().unwrap();
        assert_eq!(subscription.to_string(), "order.close||order.pay||订单");
        assert!(subscription.matches("order.pay"));
        assert!(!subscription.matches(" order.pay"));
    }

    #[test]
    fn a_star_is_everything() {
        let subscription: Subscription = " * ".parse().unwrap();
        assert_eq!(subscription, Subscription::All);
        assert_eq!(subscription.to_string(), "*");
        assert!(subscription.matches("whatever"));
    }

    #[test]
    fn expressions_that_cannot_match_are_refused() {
        for expression in ["", "  ", "||", "a||", "a|b", "a || *", "a*", "a\nb", "a|||b"] {
            assert!(expression.parse::<Subscription>().is_err(), "{expression:?} was accepted");
        }
    }

    #[test]
    fn a_single_tag_follows_the_servers_rule() {
        assert!(validate("order close").is_ok());
        for tag in ["", " a", "a ", "a||b", "*", "a\u{7}"] {
            assert!(validate(tag).is_err(), "{tag:?} was accepted");
        }
        assert_eq!(validate("").unwrap_err().to_string(), "the tag \"\" is empty");
    }
}
