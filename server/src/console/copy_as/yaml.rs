//! JSON documents as YAML. Each text is plain, or quoted as in JSON: YAML reads both alike.

use std::fmt::Write as _;

use serde_json::Value;

/// Words that a reader of YAML 1.1 or 1.2 does not read as text.
const RESERVED: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];

/// Returns a document in YAML, below a comment.
pub fn write(comment: &str, document: &Value) -> String {
    let mut text = format!("# {comment}\n");
    block(&mut text, document, 0);
    text
}

/// Writes a value that begins a line of its own.
fn block(text: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, value) in members {
                let _ = write!(text, "{:depth$}{}:", "", scalar(name), depth = 2 * depth);
                after(text, value, depth + 1);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                let _ = write!(text, "{:depth$}-", "", depth = 2 * depth);
                after(text, item, depth + 1);
            }
        }
        other => {
            let _ = writeln!(text, "{}", inline(other));
        }
    }
}

/// Writes a value after its name or its dash.
fn after(text: &mut String, value: &Value, depth: usize) {
    let is_block = match value {
        Value::Object(members) => !members.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    };
    if is_block {
        text.push('\n');
        block(text, value, depth);
    } else {
        let _ = writeln!(text, " {}", inline(value));
    }
}

fn inline(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        other => other.to_string(),
    }
}

fn scalar(text: &str) -> String {
    let is_plain_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '/' | ' ');
    let begins_as_word = text.starts_with(|c: char| c.is_ascii_alphabetic());
    let is_reserved = RESERVED.contains(&text.to_ascii_lowercase().as_str());
    if begins_as_word && text.chars().all(is_plain_char) && !text.ends_with(' ') && !is_reserved {
        return text.to_owned();
    }
    // YAML does not allow these characters as they are, and JSON does.
    Value::from(text).to_string().chars().fold(String::new(), |mut quoted, c| {
        let _ = if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') {
            write!(quoted, "\\u{:04x}", u32::from(c))
        } else {
            write!(quoted, "{c}")
        };
        quoted
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_is_written_in_blocks() {
        let document = json!({
            "name": "order.close", "data": "{\"id\": 1}\n", "labels": {"team": "no", "a/b": "7"}, "empty": {},
            "retry": {"max_attempts": 3}, "list": ["a", {"b": [1]}, []], "at": "2030-01-01T00:00:00Z", "ack": true,
            "none": null,
        });
        let expected = r#"# taskcenter task add --file task.yaml
ack: true
at: "2030-01-01T00:00:00Z"
data: "{\"id\": 1}\n"
empty: {}
labels:
  a/b: "7"
  team: "no"
list:
  - a
  -
    b:
      - 1
  - []
name: order.close
none: null
retry:
  max_attempts: 3
"#;
        assert_eq!(write("taskcenter task add --file task.yaml", &document), expected);
    }

    #[test]
    fn a_text_that_could_be_something_else_is_quoted() {
        for (text, written) in [
            ("mail", "mail"),
            ("a b", "a b"),
            ("", "\"\""),
            ("Yes", "\"Yes\""),
            ("1.5", "\"1.5\""),
            ("-x", "\"-x\""),
            ("a: b", "\"a: b\""),
            ("a #b", "\"a #b\""),
            ("a ", "\"a \""),
            ("邮件", "\"邮件\""),
            ("a\u{85}b\u{7f}", "\"a\\u0085b\\u007f\""),
        ] {
            assert_eq!(scalar(text), written, "{text:?}");
        }
    }
}
