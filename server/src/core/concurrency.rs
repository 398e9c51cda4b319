//! Concurrency limits of a task: how many runs may have started at the same time.

mod name;

use serde::{Deserialize, Serialize};

pub use self::name::LimitName;

/// Maximum number of limits of a task.
pub const MAX_LIMITS: usize = 3;
/// Largest maximum of a limit. A decision reads all slots of a limit that runs have, so it bounds this read.
pub const MAX_SLOTS: u32 = 1_000;
/// Longest key of a limit, in bytes.
pub const MAX_KEY_BYTES: usize = 128;

/// A concurrency limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// Maximum number of runs that have started and not ended, 1 to [`MAX_SLOTS`].
    pub max: u32,
    /// The runs that count.
    #[serde(default, skip_serializing_if = "Scope::is_default")]
    pub scope: Scope,
    /// Only runs with a limit of this key count. `None`: only runs with a limit without a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

impl std::fmt::Display for Limit {
    /// Writes `MAX:SCOPE`, or `MAX:SCOPE:KEY`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.max, self.scope.as_str())?;
        self.key.as_ref().map_or(Ok(()), |key| write!(f, ":{key}"))
    }
}

/// The text is not a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a limit: use MAX, MAX:SCOPE or MAX:SCOPE:KEY, where SCOPE is task, tag, queue or all")]
pub struct NotALimit;

impl std::str::FromStr for Limit {
    type Err = NotALimit;

    /// Reads `MAX`, `MAX:SCOPE` or `MAX:SCOPE:KEY`.
    fn from_str(text: &str) -> Result<Self, NotALimit> {
        let mut parts = text.splitn(3, ':');
        let max = parts.next().and_then(|max| max.parse().ok()).ok_or(NotALimit)?;
        let scope = parts.next().map_or(Some(Scope::Task), Scope::parse).ok_or(NotALimit)?;
        Ok(Self { max, scope, key: parts.next().map(str::to_owned) })
    }
}

/// The runs that count towards a limit, among those that have a limit of the scope and the key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Runs of the task.
    #[default]
    Task,
    /// Runs with the tag of the run.
    Tag,
    /// Runs in the queue of the run.
    Queue,
    /// All runs.
    All,
}

impl Scope {
    pub const ALL: [Self; 4] = [Self::Task, Self::Tag, Self::Queue, Self::All];

    /// Returns the scope as the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Task => "task",
            Self::Tag => "tag",
            Self::Queue => "queue",
            Self::All => "all",
        }
    }

    /// Returns the scope that [`as_str`](Self::as_str) spells as `text`.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text)
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Why the limits of a task are invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {}", .why.text())]
pub struct InvalidLimits {
    /// Path of the field, such as `concurrency[1].max`.
    pub field: &'static str,
    why: Why,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    TooMany(usize),
    Max(u32),
    Key(usize),
    NoQueue,
    Repeated,
}

impl Why {
    fn text(self) -> String {
        match self {
            Self::TooMany(limits) => format!("{limits} limits: use at most {MAX_LIMITS}"),
            Self::Max(max) => format!("{max} is out of bounds: use a value between 1 and {MAX_SLOTS}"),
            Self::Key(bytes) => {
                format!("the key has {bytes} bytes: use 1 to {MAX_KEY_BYTES}, or leave it out")
            }
            Self::NoQueue => "the task has no queue: set queue, or use another scope".to_owned(),
            Self::Repeated => "another limit has this scope and key: keep one of them".to_owned(),
        }
    }
}

/// Checks the limits of a task.
///
/// # Errors
/// The first invalid field.
pub fn validate(limits: &[Limit], has_queue: bool) -> Result<(), InvalidLimits> {
    const FIELDS: [[&str; 4]; MAX_LIMITS] = [
        ["concurrency[0]", "concurrency[0].max", "concurrency[0].key", "concurrency[0].scope"],
        ["concurrency[1]", "concurrency[1].max", "concurrency[1].key", "concurrency[1].scope"],
        ["concurrency[2]", "concurrency[2].max", "concurrency[2].key", "concurrency[2].scope"],
    ];
    if limits.len() > MAX_LIMITS {
        return Err(InvalidLimits { field: "concurrency", why: Why::TooMany(limits.len()) });
    }
    for ((at, limit), [whole, max, key, scope]) in limits.iter().enumerate().zip(FIELDS) {
        let key_bytes = limit.key.as_ref().map_or(1, String::len);
        let is_repeated = |other: &Limit| other.scope == limit.scope && other.key == limit.key;
        for (is_broken, field, why) in [
            (!(1..=MAX_SLOTS).contains(&limit.max), max, Why::Max(limit.max)),
            (!(1..=MAX_KEY_BYTES).contains(&key_bytes), key, Why::Key(key_bytes)),
            (limit.scope == Scope::Queue && !has_queue, scope, Why::NoQueue),
            (limits[..at].iter().any(is_repeated), whole, Why::Repeated),
        ] {
            if is_broken {
                return Err(InvalidLimits { field, why });
            }
        }
    }
    Ok(())
}

/// A limit, with the key of its slots. Runs whose limits have an equal key share the slots.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SlotLimit {
    pub key: String,
    pub max: u32,
}

impl Limit {
    /// Returns the limit with the key of its slots. `value` is the value of the scope: the task, tag or queue of a run.
    pub fn of_value(&self, value: Option<&str>) -> SlotLimit {
        let parts = [Some(self.scope.as_str()), value, self.key.as_deref()];
        let parts: Vec<String> = parts.into_iter().flatten().map(escape).collect();
        SlotLimit { key: format!("limit:{}", parts.join(":")), max: self.max }
    }
}

/// Escapes the characters that separate the parts of keys, slots and groups.
pub(super) fn escape(text: &str) -> String {
    let is_plain = |c: char| !c.is_ascii() || c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let code = |c: char| if is_plain(c) { c.to_string() } else { format!("%{:02X}", u32::from(c)) };
    text.chars().map(code).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(scope: Scope, key: Option<&str>) -> Limit {
        Limit { max: 2, scope, key: key.map(str::to_owned) }
    }

    #[test]
    fn a_key_names_its_scope_and_has_no_separators_of_its_parts() {
        for (limit, value, key) in [
            (limit(Scope::All, None), None, "limit:all"),
            (limit(Scope::All, Some("a#0 b/1:c%")), None, "limit:all:a%230%20b%2F1%3Ac%25"),
            (limit(Scope::Queue, Some("\u{652f}")), Some("q:1"), "limit:queue:q%3A1:\u{652f}"),
            (limit(Scope::Tag, None), Some("mail"), "limit:tag:mail"),
            (limit(Scope::Task, Some("k")), Some("1"), "limit:task:1:k"),
        ] {
            assert_eq!(limit.of_value(value).key, key);
        }
    }

    #[test]
    fn a_limit_is_read_as_it_is_written() {
        for (text, limit) in [
            ("2:task", limit(Scope::Task, None)),
            ("2:queue:a:b", limit(Scope::Queue, Some("a:b"))),
            ("2:all:", limit(Scope::All, Some(""))),
        ] {
            assert_eq!((text.parse(), limit.to_string()), (Ok(limit.clone()), text.to_owned()));
        }
        assert_eq!("2".parse(), Ok(limit(Scope::Task, None)));
        assert!(["", "x", "2:", "2:host", "-1"].map(str::parse::<Limit>).iter().all(Result::is_err));
    }

    #[test]
    fn an_invalid_limit_names_its_field() {
        let good = limit(Scope::Tag, None);
        let field = |limits: &[Limit]| validate(limits, false).unwrap_err().field;
        assert_eq!(field(&[good.clone(), good.clone(), good.clone(), good.clone()]), "concurrency");
        assert_eq!(field(&[Limit { max: 0, ..good.clone() }]), "concurrency[0].max");
        assert_eq!(
            field(&[good.clone(), Limit { max: 1_001, ..limit(Scope::All, None) }]),
            "concurrency[1].max"
        );
        assert_eq!(field(&[limit(Scope::All, Some(""))]), "concurrency[0].key");
        assert_eq!(field(&[limit(Scope::All, Some(&"k".repeat(129)))]), "concurrency[0].key");
        assert_eq!(field(&[limit(Scope::Queue, None)]), "concurrency[0].scope");
        assert_eq!(field(&[good.clone(), Limit { max: 9, ..good.clone() }]), "concurrency[1]");
        assert!(validate(&[good, limit(Scope::Tag, Some("k")), limit(Scope::Queue, None)], true).is_ok());
    }
}
