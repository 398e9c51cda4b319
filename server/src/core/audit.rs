//! Entries of the audit log: who changed what, and when.

use serde::{Deserialize, Serialize};

use super::Moment;

/// Shortest time that a store keeps an entry, in milliseconds: 90 days.
pub const AUDIT_KEPT_MS: i64 = 90 * 86_400_000;
/// Maximum number of entries in one write.
pub const MAX_AUDIT_BATCH: usize = 1_000;
/// Longest `detail`, in bytes.
pub const MAX_DETAIL_BYTES: usize = 512;
/// Hexadecimal digits of the time at the beginning of an id.
const TIME_DIGITS: usize = 12;
const ID_DIGITS: usize = 32;

/// An entry of the audit log: one change of one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// 32 lower-case hexadecimal digits, which sort by time.
    pub id: String,
    /// When the change was requested, in the time of the node.
    pub at: Moment,
    /// Name of the caller's token, or where a caller without a named token came from.
    pub actor: String,
    /// Id of the caller's token, or where a caller without a token came from.
    pub actor_id: String,
    /// Where the request arrived: `api`, `console` or `legacy`.
    pub front: String,
    /// What was requested, such as `task.pause`.
    pub action: String,
    /// Id of the object. Empty if a refused request has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub object: String,
    /// More about the change, at most [`MAX_DETAIL_BYTES`]. Never the content of a payload.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// `done`, or why not.
    pub outcome: String,
    /// Id of the request, as in the access log.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub request_id: String,
}

/// The entries that a list reads by an index.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum AuditSelection {
    #[default]
    All,
    Actor(String),
    Action(String),
    Object(String),
}

/// A page of entries, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditPage {
    /// Maximum number of entries.
    pub limit: u32,
    /// Last id of the page before. `None`: the first page.
    pub before: Option<String>,
    /// First moment. `None`: from the first entry on.
    pub since: Option<Moment>,
}

impl AuditPage {
    /// Returns the range of ids: at least the first one, and below the second one.
    pub fn ids(&self) -> (String, String) {
        let first = self.since.map_or_else(String::new, first_id);
        // No id is greater than this text.
        (first, self.before.clone().unwrap_or_else(|| "g".to_owned()))
    }
}

/// Returns the smallest id of an entry at a moment.
pub fn first_id(at: Moment) -> String {
    format!("{:0TIME_DIGITS$x}{:0rest$}", at.ms().max(0), 0, rest = ID_DIGITS - TIME_DIGITS)
}

/// Returns the id of an entry at a moment about an object, of which there is one. The id of the object has the form of
/// an entry's id.
pub fn id_at(at: Moment, object_id: &str) -> String {
    let own = object_id.get(TIME_DIGITS..ID_DIGITS).unwrap_or_default();
    format!("{:0TIME_DIGITS$x}{own:0>rest$}", at.ms().max(0), rest = ID_DIGITS - TIME_DIGITS)
}

/// Returns whether a text has the form of an id.
pub fn is_id(text: &str) -> bool {
    text.len() == ID_DIGITS && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time() {
        let at = Moment::from_ms(1_700_000_000_123);
        let id = uuid::Builder::from_unix_timestamp_millis(at.ms() as u64, &[0; 10]).into_uuid();
        let id = id.simple().to_string();
        assert!(first_id(at) <= id && id < first_id(at.plus_ms(1)));
        assert!(is_id(&id) && is_id(&first_id(at)) && !is_id("g") && !is_id(&id.to_uppercase()));
        let of_object = id_at(at.plus_ms(1), &id);
        assert!(is_id(&of_object) && first_id(at.plus_ms(1)) <= of_object && of_object.ends_with(&id[12..]));
        let page = AuditPage { limit: 1, before: None, since: Some(at) };
        let (from, below) = page.ids();
        assert!(from <= id && id < below && "f".repeat(32) < below);
    }
}
