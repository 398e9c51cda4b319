//! The words of a filter line: `tag:order.* label.team:pay error:"timed out"`.

use std::iter::Peekable;
use std::str::Chars;

/// A word of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// Text before the colon. `None`: the word is a value only.
    pub key: Option<String>,
    pub value: String,
}

/// A quoted value has no end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenQuote;

/// Reads the words of a line. A value in quotes may have spaces; `\` keeps a quote or a `\` in it.
///
/// # Errors
/// A quoted value has no end.
pub fn parse(line: &str) -> Result<Vec<Word>, OpenQuote> {
    let mut rest = line.chars().peekable();
    let mut words = Vec::new();
    loop {
        while rest.next_if(|c| c.is_whitespace()).is_some() {}
        if rest.peek().is_none() {
            return Ok(words);
        }
        words.push(word(&mut rest)?);
    }
}

fn word(rest: &mut Peekable<Chars<'_>>) -> Result<Word, OpenQuote> {
    let mut key = None;
    let mut value = String::new();
    loop {
        if value.is_empty() && rest.next_if_eq(&'"').is_some() {
            let value = quoted(rest)?;
            return Ok(Word { key, value });
        }
        match rest.next_if(|c| !c.is_whitespace()) {
            None => return Ok(Word { key, value }),
            Some(':') if key.is_none() => key = Some(std::mem::take(&mut value)),
            Some(c) => value.push(c),
        }
    }
}

fn quoted(rest: &mut Peekable<Chars<'_>>) -> Result<String, OpenQuote> {
    let mut value = String::new();
    loop {
        match rest.next().ok_or(OpenQuote)? {
            '"' => return Ok(value),
            '\\' => value.push(rest.next().ok_or(OpenQuote)?),
            c => value.push(c),
        }
    }
}

/// Writes a word, with quotes if it needs them.
pub fn write(key: &str, value: &str) -> String {
    let is_plain = !value.is_empty() && !value.starts_with('"') && !value.contains(char::is_whitespace);
    if is_plain {
        return format!("{key}:{value}");
    }
    format!("{key}:\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<(Option<String>, String)> {
        parse(line).unwrap().into_iter().map(|word| (word.key, word.value)).collect()
    }

    #[test]
    fn a_line_has_keys_values_and_quotes() {
        let pair = |key: &str, value: &str| (Some(key.to_owned()), value.to_owned());
        let line = " tag:order.*  state:dead label.team:pay error:\"timed \\\"out\\\"\"until:1 ";
        let expected = [
            pair("tag", "order.*"),
            pair("state", "dead"),
            pair("label.team", "pay"),
            pair("error", "timed \"out\""),
            pair("until", "1"),
        ];
        assert_eq!(words(line), expected);
        assert_eq!(words("a:b:c d"), [pair("a", "b:c"), (None, "d".to_owned())]);
        assert_eq!(words("\"a b\" tag:"), [(None, "a b".to_owned()), pair("tag", "")]);
        assert_eq!(words("5\"tall"), [(None, "5\"tall".to_owned())], "a quote begins a value only");
        for open in ["error:\"x", "\"", "error:\"x\\", "error:\"x\\\""] {
            assert_eq!(parse(open), Err(OpenQuote), "{open}");
        }
    }

    #[test]
    fn what_is_written_is_read_as_the_same_value() {
        for value in ["pay", "a b", "\"", "\\", "\\\"x y", "", "a:b", "订单 1", "x\u{3000}y", "C:\\dir"] {
            let line = format!("{} {}", write("tag", value), write("state", "dead"));
            let expected =
                [(Some("tag".to_owned()), value.to_owned()), (Some("state".into()), "dead".into())];
            assert_eq!(words(&line), expected, "{line}");
        }
    }
}
