//! JSON merge patch (RFC 7396) of a payload. Members that the patch does not name keep every byte.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// The members of an object in their order, each as it is written.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

impl Serialize for Members {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// Returns whether a text is a patch: a JSON object with at least one member.
pub fn is_patch(text: &str) -> bool {
    serde_json::from_str::<Map<String, Value>>(text).is_ok_and(|patch| !patch.is_empty())
}

/// Returns a payload after a patch.
///
/// # Errors
/// The payload or the patch is not a JSON object.
pub fn apply(data: &str, patch: &str) -> serde_json::Result<String> {
    let patch: Map<String, Value> = serde_json::from_str(patch)?;
    serde_json::to_string(&merge(serde_json::from_str(data)?, patch)?)
}

fn merge(mut members: Members, patch: Map<String, Value>) -> serde_json::Result<Members> {
    for (name, value) in patch {
        let at = members.0.iter().position(|(known, _)| *known == name);
        let before = at.map(|at| members.0[at].1.get());
        match (merged(before, value)?, at) {
            (Some(after), Some(at)) => members.0[at].1 = after,
            (Some(after), None) => members.0.push((name, after)),
            (None, _) => members.0.retain(|(known, _)| *known != name),
        }
    }
    Ok(members)
}

/// Returns a member after its patch. `None`: the patch removes the member.
fn merged(before: Option<&str>, patch: Value) -> serde_json::Result<Option<Box<RawValue>>> {
    let after = match patch {
        Value::Null => return Ok(None),
        Value::Object(patch) => {
            let members = before.and_then(|text| serde_json::from_str(text).ok());
            serde_json::value::to_raw_value(&merge(members.unwrap_or(Members(Vec::new())), patch)?)?
        }
        other => serde_json::value::to_raw_value(&other)?,
    };
    Ok(Some(after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_patch_changes_what_it_names() {
        for (data, patch, expected) in [
            // The examples of RFC 7396 with objects.
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
            (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
            (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#),
            ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
            // Numbers keep their digits, and members their order and their spaces.
            (
                r#"{"z": 123456789012345678901234567890, "y": {"x": 1.10, "w":  [1, 2]}, "v": 1}"#,
                r#"{"v":2,"y":{"u":3}}"#,
                r#"{"z":123456789012345678901234567890,"y":{"x":1.10,"w":[1, 2],"u":3},"v":2}"#,
            ),
            // The last member of a repeated name is not the only one that a removal removes.
            (r#"{"a":1,"a":2}"#, r#"{"a":null}"#, "{}"),
        ] {
            assert_eq!(apply(data, patch).unwrap(), expected, "{data} {patch}");
        }
    }

    #[test]
    fn only_objects_can_be_patched() {
        for data in ["", "7", "[1]", "null", "hello", "{"] {
            assert!(apply(data, r#"{"a":1}"#).is_err(), "{data}");
        }
        assert!(is_patch(r#"{"a":null}"#));
        for text in ["{}", "[]", "7", "", "null"] {
            assert!(!is_patch(text), "{text}");
        }
    }
}
