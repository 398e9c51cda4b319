//! Names of limits, read from the keys of their slots.

use super::Scope;

/// What a limit counts: the value of its scope, and its key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LimitName {
    pub scope: Scope,
    /// The task, tag or queue whose runs count. `None`: all runs.
    pub of: Option<String>,
    pub key: Option<String>,
}

impl LimitName {
    /// Reads the key of the slots of a limit ([`SlotLimit::key`](super::SlotLimit::key)). `None`: the key is that of
    /// other slots.
    pub fn of_slots(key: &str) -> Option<Self> {
        let mut parts = key.strip_prefix("limit:")?.split(':');
        let scope = Scope::parse(parts.next()?)?;
        let of = if scope == Scope::All { None } else { Some(unescape(parts.next()?)) };
        Some(Self { scope, of, key: parts.next().map(unescape) })
    }
}

impl std::fmt::Display for LimitName {
    /// Writes scope, value and key, separated by colons.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.scope.as_str())?;
        [&self.of, &self.key].into_iter().flatten().try_for_each(|part| write!(f, ":{part}"))
    }
}

/// Reverts the escapes of a part of a key.
fn unescape(part: &str) -> String {
    let mut pieces = part.split('%');
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let code = piece.get(..2).and_then(|code| u8::from_str_radix(code, 16).ok());
        text.extend(code.map(char::from));
        text.push_str(piece.get(2..).unwrap_or_default());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::Limit;
    use super::*;

    #[test]
    fn the_name_of_a_limit_is_read_from_its_slots() {
        for (scope, of, key, text) in [
            (Scope::All, None, None, "all"),
            (Scope::All, None, Some("a#0 b/1:c%"), "all:a#0 b/1:c%"),
            (Scope::Queue, Some("q:1"), Some("\u{652f}"), "queue:q:1:\u{652f}"),
            (Scope::Tag, Some("mail"), None, "tag:mail"),
        ] {
            let limit = Limit { max: 2, scope, key: key.map(str::to_owned) };
            let name = LimitName::of_slots(&limit.of_value(of).key).unwrap();
            assert_eq!((name.scope, name.of.as_deref(), name.key.as_deref()), (scope, of, key));
            assert_eq!(name.to_string(), text);
        }
        assert_eq!(["task:1", "hold:tag:a", "limit:host:a"].map(LimitName::of_slots), [None, None, None]);
    }
}
