//! Reads a document in YAML, or in JSON, which is YAML too: values as JSON has them, and the line of each field.
//!
//! Anchors, aliases, tags and several documents are refused: a definition needs none of them.

use std::collections::BTreeMap;

use granit_parser::{Event, Parser, ScalarStyle, Span, StrInput};
use serde_json::{Map, Number, Value};

/// Maximum depth of a document.
const MAX_DEPTH: usize = 64;

/// A value, and the 1-based line of each field by its path, such as `schedule.cron`.
#[derive(Debug, Default, PartialEq)]
pub struct Document {
    pub value: Value,
    pub lines: BTreeMap<String, usize>,
}

/// Why a text is not a document.
#[derive(Debug, PartialEq, Eq)]
pub struct Invalid {
    /// 1-based.
    pub line: usize,
    /// Path of the field. Empty: the whole document.
    pub field: String,
    pub message: String,
}

/// Reads a text.
///
/// # Errors
/// The first place that is not YAML, or that JSON has no value for.
pub fn read(text: &str) -> Result<Document, Invalid> {
    let mut reader = Reader { events: Parser::new_from_str(text), lines: BTreeMap::new() };
    let (event, span) = reader.next("")?;
    if matches!(event, Event::StreamEnd) {
        return Err(invalid(&span, "", "the document is empty"));
    }
    let value = reader.value(event, &span, "", 0)?;
    match reader.next("")? {
        (Event::StreamEnd, _) => Ok(Document { value, lines: reader.lines }),
        (_, span) => Err(invalid(&span, "", "the file has several documents: use one file for each")),
    }
}

struct Reader<'a> {
    events: Parser<'a, StrInput<'a>>,
    lines: BTreeMap<String, usize>,
}

fn invalid(span: &Span, field: &str, message: impl Into<String>) -> Invalid {
    Invalid { line: span.start.line(), field: field.to_owned(), message: message.into() }
}

impl<'a> Reader<'a> {
    /// Returns the next event that matters.
    fn next(&mut self, field: &str) -> Result<(Event<'a>, Span), Invalid> {
        loop {
            match self.events.next_event() {
                None => return Ok((Event::StreamEnd, Span::default())),
                Some(Ok((event, span))) => match event {
                    Event::StreamStart
                    | Event::DocumentStart(..)
                    | Event::DocumentEnd
                    | Event::Comment(..) => {}
                    event => return Ok((event, span)),
                },
                Some(Err(error)) => {
                    let (line, message) = (error.marker().line(), error.info());
                    return Err(Invalid { line, field: field.to_owned(), message });
                }
            }
        }
    }

    fn value(&mut self, event: Event<'a>, span: &Span, path: &str, depth: usize) -> Result<Value, Invalid> {
        if depth > MAX_DEPTH {
            return Err(invalid(span, path, format!("values are nested more than {MAX_DEPTH} levels deep")));
        }
        self.lines.entry(path.to_owned()).or_insert(span.start.line());
        if event.tag().is_some() || event.anchor_id().is_some() || event.alias_id().is_some() {
            return Err(invalid(span, path, "tags, anchors and aliases are not supported: write the value"));
        }
        match event {
            Event::Scalar(text, ScalarStyle::Plain, ..) => Ok(plain(&text)),
            Event::Scalar(text, ..) => Ok(Value::String(text.into_owned())),
            Event::SequenceStart(..) => self.items(path, depth).map(Value::Array),
            Event::MappingStart(..) => self.members(path, depth).map(Value::Object),
            _ => Err(invalid(span, path, "a value is missing")),
        }
    }

    fn items(&mut self, path: &str, depth: usize) -> Result<Vec<Value>, Invalid> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next(path)?;
            if matches!(event, Event::SequenceEnd) {
                return Ok(items);
            }
            let path = format!("{path}[{}]", items.len());
            items.push(self.value(event, &span, &path, depth + 1)?);
        }
    }

    fn members(&mut self, path: &str, depth: usize) -> Result<Map<String, Value>, Invalid> {
        let mut members = Map::new();
        loop {
            let (event, span) = self.next(path)?;
            let name = match event {
                Event::MappingEnd => return Ok(members),
                Event::Scalar(name, ..) => name.into_owned(),
                _ => return Err(invalid(&span, path, "the name of a field should be a text")),
            };
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            if members.contains_key(&name) {
                return Err(invalid(&span, &path, "the field is set twice"));
            }
            // The line of a field is that of its name.
            self.lines.insert(path.clone(), span.start.line());
            let (event, span) = self.next(&path)?;
            let value = self.value(event, &span, &path, depth + 1)?;
            members.insert(name, value);
        }
    }
}

/// Converts a text without quotes by the core schema of YAML 1.2.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        text => number(text).map_or_else(|| Value::String(text.to_owned()), Value::Number),
    }
}

fn number(text: &str) -> Option<Number> {
    let digits = text.trim_start_matches(['+', '-']);
    let is_number = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits
            .bytes()
            .all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-'));
    if !is_number {
        return None;
    }
    let positive = text.strip_prefix('+').unwrap_or(text);
    let whole =
        positive.parse::<u64>().map(Number::from).or_else(|_| positive.parse::<i64>().map(Number::from));
    whole.ok().or_else(|| positive.parse::<f64>().ok().and_then(Number::from_f64))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn value(text: &str) -> Value {
        read(text).unwrap_or_else(|invalid| panic!("{text:?}: {invalid:?}")).value
    }

    #[test]
    fn values_are_those_of_json() {
        let text = "---\n# a task\nname: order.close # its name\ndata: |\n  a\n  b\nschedule: {kind: every, period_ms: 1_000}\n\
                    times:\n- 1\n- -2\n- +3\n- 1.5\n- 1e3\nack: true\nlabels:\n  team: no\n  version: \"1.0\"\nzone: ~\nat: 2030-01-01T00:00:00Z\n";
        let expected = json!({
            "name": "order.close", "data": "a\nb\n", "schedule": {"kind": "every", "period_ms": "1_000"},
            "times": [1, -2, 3, 1.5, 1000.0], "ack": true, "labels": {"team": "no", "version": "1.0"}, "zone": null,
            "at": "2030-01-01T00:00:00Z",
        });
        assert_eq!(value(text), expected);
        assert_eq!(value("18446744073709551615"), json!(u64::MAX));
    }

    #[test]
    fn json_is_yaml() {
        let document = json!({
            "a": [1, -2.5, true, null, "x: y", {}], "b": {"c": "\u{1}\u{2028}\"\\/\n#"}, "long": "x".repeat(3_000),
            "text": "yes", "": " ",
        });
        assert_eq!(value(&document.to_string()), document);
        assert_eq!(value(&format!("{document:#}")), document);
    }

    #[test]
    fn each_field_has_its_line() {
        let document =
            read("name: a\nschedule:\n  kind: cron\n  cron: '0 9 * * *'\nids:\n  - x\n  - y\n").unwrap();
        let line = |path: &str| document.lines.get(path).copied();
        assert_eq!(
            ["name", "schedule", "schedule.cron", "ids[1]", "zone"].map(line),
            [Some(1), Some(2), Some(4), Some(7), None]
        );
    }

    #[test]
    fn an_error_names_line_and_field() {
        let deep = format!("a: {}{}", "[".repeat(70), "]".repeat(70));
        for (text, line, field) in [
            ("", 1, ""),
            ("a: 1\nb: [1\n", 2, "b"),
            ("a: 1\na: 2\n", 2, "a"),
            ("a:\n  b: 1\n  b: 2\n", 3, "a.b"),
            ("a: &x 1\n", 1, "a"),
            ("a: *x\n", 1, "a"),
            ("a: !!str 1\n", 1, "a"),
            ("? [a]\n: 1\n", 1, ""),
            ("a: 1\n---\nb: 2\n", 3, ""),
            (&deep, 1, &format!("a{}", "[0]".repeat(64))),
        ] {
            let invalid = read(text).unwrap_err();
            assert_eq!((invalid.line.min(3), invalid.field.as_str()), (line, field), "{text:?}: {invalid:?}");
            assert!(!invalid.message.is_empty());
        }
    }
}
