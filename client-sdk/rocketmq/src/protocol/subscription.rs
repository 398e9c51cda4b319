//! Subscription of a consumer: the tags that it receives (`SubscriptionData.java`, `FilterAPI.java`).

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Tags of a subscription.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Subscription {
    /// All messages, with any tag or without one.
    All,
    /// Messages with one of these tags.
    Tags(BTreeSet<String>),
}

impl Subscription {
    /// Parses `*` (all messages), or tags separated by `||`. Blanks around a tag are ignored. An empty
    /// expression stands for all messages.
    pub fn parse(expression: &str) -> Self {
        Self::tags(expression.split("||"))
    }

    /// Returns the subscription of the given tags. Blank tags are ignored. Without a tag, or with the
    /// tag `*`, the subscription has all messages.
    pub fn tags<T: AsRef<str>>(tags: impl IntoIterator<Item = T>) -> Self {
        let tags: BTreeSet<String> = tags
            .into_iter()
            .map(|tag| tag.as_ref().trim().to_owned())
            .filter(|tag| !tag.is_empty())
            .collect();
        if tags.is_empty() || tags.contains("*") { Self::All } else { Self::Tags(tags) }
    }

    /// Returns whether a message with this tag belongs to the subscription. Brokers filter by the
    /// hash of the tag, so a consumer must compare the tag itself.
    pub fn matches(&self, tag: Option<&str>) -> bool {
        match self {
            Self::All => true,
            Self::Tags(tags) => tag.is_some_and(|tag| tags.contains(tag)),
        }
    }
}

impl fmt::Display for Subscription {
    /// Writes `*`, or the tags joined by `||` without blanks.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Tags(tags) = self else { return f.write_str("*") };
        for (position, tag) in tags.iter().enumerate() {
            if position > 0 {
                f.write_str("||")?;
            }
            f.write_str(tag)?;
        }
        Ok(())
    }
}

/// Subscription as in heartbeats (`SubscriptionData.java`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubscriptionData {
    /// Always false: class filters are not supported.
    pub class_filter_mode: bool,
    /// Topic as on the wire.
    pub topic: String,
    /// Expression, such as `a||b`.
    pub sub_string: String,
    /// Tags of the expression. Empty: all messages.
    pub tags_set: BTreeSet<String>,
    /// Java's hash codes of the tags.
    pub code_set: BTreeSet<i32>,
    /// Version: milliseconds since 1970 of the last change. A broker ignores older versions.
    pub sub_version: i64,
    /// Kind of the expression: `TAG` or `SQL92`.
    pub expression_type: String,
}

impl Default for SubscriptionData {
    fn default() -> Self {
        Self::new("", &Subscription::All, 0)
    }
}

impl SubscriptionData {
    /// Creates the subscription of a topic.
    pub fn new(topic: &str, subscription: &Subscription, version: i64) -> Self {
        let tags = match subscription {
            Subscription::All => BTreeSet::new(),
            Subscription::Tags(tags) => tags.clone(),
        };
        Self {
            class_filter_mode: false,
            topic: topic.to_owned(),
            sub_string: subscription.to_string(),
            code_set: tags.iter().map(|tag| java_hash(tag)).collect(),
            tags_set: tags,
            sub_version: version,
            expression_type: "TAG".to_owned(),
        }
    }
}

/// Returns the hash code of Java's `String.hashCode`.
pub fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0, |hash: i32, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_java() {
        let known = [("", 0), ("a", 97), ("Aa", 2_112), ("BB", 2_112), ("hello", 99_162_322)];
        for (text, hash) in known {
            assert_eq!(java_hash(text), hash, "{text}");
        }
        // Overflow, and a character of two UTF-16 units.
        assert_eq!(java_hash("polygenelubricants"), i32::MIN);
        assert_eq!(java_hash("\u{1F600}"), 0xD83D * 31 + 0xDE00);
    }

    #[test]
    fn an_expression_is_trimmed_and_joined_without_blanks() {
        for (expression, text) in
            [(" b || a ", "a||b"), ("", "*"), ("*", "*"), (" || ", "*"), (" c ", "c"), ("a||*", "*")]
        {
            assert_eq!(Subscription::parse(expression).to_string(), text, "{expression:?}");
        }
    }

    #[test]
    fn tags_are_compared_not_their_hashes() {
        let subscription = Subscription::parse("Aa||c");
        assert!(subscription.matches(Some("Aa")) && subscription.matches(Some("c")));
        assert!(!subscription.matches(Some("BB")) && !subscription.matches(None));
        assert!(Subscription::All.matches(None));
    }

    #[test]
    fn a_heartbeat_has_the_fields_of_java() {
        let data = SubscriptionData::new("topic", &Subscription::parse("a||b"), 7);
        let json = serde_json::to_string(&data).unwrap();
        assert_eq!(
            json,
            r#"{"classFilterMode":false,"topic":"topic","subString":"a||b","tagsSet":["a","b"],"codeSet":[97,98],"subVersion":7,"expressionType":"TAG"}"#
        );
        assert_eq!(serde_json::from_str::<SubscriptionData>(&json).unwrap(), data);
    }
}
