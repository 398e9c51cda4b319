//! Properties of messages as on the wire (`MessageDecoder.java`): names and values, each followed by
//! a separator.

/// Follows a name.
pub const NAME_SEPARATOR: char = '\u{1}';
/// Follows a value.
pub const PROPERTY_SEPARATOR: char = '\u{2}';

/// Tag (`MessageConst.java`, as all names here).
pub const TAGS: &str = "TAGS";
/// Keys, joined by blanks.
pub const KEYS: &str = "KEYS";
/// Id that the producer gave to the message.
pub const UNIQ_KEY: &str = "UNIQ_KEY";

/// Appends a property.
pub fn append(text: &mut String, name: &str, value: &str) {
    text.push_str(name);
    text.push(NAME_SEPARATOR);
    text.push_str(value);
    text.push(PROPERTY_SEPARATOR);
}

/// Returns whether a text contains a separator, which names and values cannot have.
pub fn has_separator(text: &str) -> bool {
    text.contains([NAME_SEPARATOR, PROPERTY_SEPARATOR])
}
