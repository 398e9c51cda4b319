//! Reads the JSON of the servers. Their library (fastjson) also writes keys that are numbers or
//! objects: `{0:"127.0.0.1:10911"}`, `{{"queueId":0,"topic":"t"}:{"brokerOffset":5}}`.

/// Deepest nesting that is accepted.
const MAX_DEPTH: usize = 64;
/// Largest number of values in one document. Bounds the memory of a hostile document.
const MAX_VALUES: usize = 1_000_000;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// Integer.
    Int(i64),
    /// Another number.
    Float(f64),
    /// Text.
    Text(String),
    /// Array.
    Array(Vec<Json>),
    /// Object. Keys are texts, numbers or objects.
    Object(Vec<(Json, Json)>),
}

impl Json {
    /// Reads a document.
    ///
    /// # Errors
    /// A description of the syntax error or of the exceeded bound.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let mut parser = Parser { text, at: 0, values: 0 };
        let value = parser.value(0)?;
        parser.skip_blanks();
        if parser.at == text.len() { Ok(value) } else { parser.fail("unexpected text after the document") }
    }

    /// Returns the member of an object with this name.
    pub fn get(&self, name: &str) -> Option<&Self> {
        let Self::Object(entries) = self else { return None };
        entries.iter().find(|(key, _)| key.as_str() == Some(name)).map(|(_, value)| value)
    }

    /// Returns the text.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// Returns the integer, also of a text.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            Self::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// Returns the items of an array; of other values none.
    pub fn items(&self) -> &[Self] {
        if let Self::Array(items) = self { items } else { &[] }
    }

    /// Returns the entries of an object; of other values none.
    pub fn entries(&self) -> &[(Self, Self)] {
        if let Self::Object(entries) = self { entries } else { &[] }
    }

    /// Returns the text of a member, or an empty text.
    pub fn text_of(&self, name: &str) -> String {
        self.get(name).and_then(Self::as_str).unwrap_or_default().to_owned()
    }

    /// Returns the integer of a member, or 0.
    pub fn int_of(&self, name: &str) -> i64 {
        self.get(name).and_then(Self::as_i64).unwrap_or_default()
    }
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    values: usize,
}

impl Parser<'_> {
    fn fail<T>(&self, why: &str) -> Result<T, String> {
        Err(format!("invalid JSON at byte {}: {why}", self.at))
    }

    fn skip_blanks(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn skip(&mut self, byte: u8) -> bool {
        self.skip_blanks();
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn value(&mut self, depth: usize) -> Result<Json, String> {
        self.values += 1;
        if depth > MAX_DEPTH || self.values > MAX_VALUES {
            return self.fail("too deep or too many values");
        }
        self.skip_blanks();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string().map(Json::Text),
            Some(_) => self.word(),
            None => self.fail("unexpected end"),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json, String> {
        self.at += 1;
        let mut entries = Vec::new();
        if self.skip(b'}') {
            return Ok(Json::Object(entries));
        }
        loop {
            let key = self.value(depth + 1)?;
            if !self.skip(b':') {
                return self.fail("expected `:`");
            }
            entries.push((key, self.value(depth + 1)?));
            if self.skip(b'}') {
                return Ok(Json::Object(entries));
            }
            if !self.skip(b',') {
                return self.fail("expected `,` or `}`");
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Json, String> {
        self.at += 1;
        let mut items = Vec::new();
        if self.skip(b']') {
            return Ok(Json::Array(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            if self.skip(b']') {
                return Ok(Json::Array(items));
            }
            if !self.skip(b',') {
                return self.fail("expected `,` or `]`");
            }
        }
    }

    fn string(&mut self) -> Result<String, String> {
        let start = self.at;
        self.at += 1;
        while let Some(byte) = self.peek() {
            match byte {
                b'"' => {
                    self.at += 1;
                    let text = &self.text[start..self.at];
                    return serde_json::from_slice(text).or_else(|why| self.fail(&why.to_string()));
                }
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.fail("unexpected end of a string")
    }

    fn word(&mut self) -> Result<Json, String> {
        let start = self.at;
        let part =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.' | b'_' | b'$');
        while self.peek().is_some_and(part) {
            self.at += 1;
        }
        let word = std::str::from_utf8(&self.text[start..self.at]).unwrap_or_default();
        match word {
            "" => self.fail("unexpected character"),
            "null" => Ok(Json::Null),
            "true" => Ok(Json::Bool(true)),
            "false" => Ok(Json::Bool(false)),
            _ => Ok(number(word).unwrap_or_else(|| Json::Text(word.to_owned()))),
        }
    }
}

fn number(word: &str) -> Option<Json> {
    if let Ok(number) = word.parse() {
        return Some(Json::Int(number));
    }
    word.starts_with(|first: char| first == '-' || first.is_ascii_digit())
        .then(|| word.parse().ok().map(Json::Float))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_may_be_numbers_or_objects() {
        let text = br#"{"brokerAddrs":{0:"h:1",1:"h:2"},"table":{{"queueId":3,"topic":"t"}:{"offset":-5}},"f":1.5,"n":null}"#;
        let json = Json::parse(text).unwrap();
        let addresses = json.get("brokerAddrs").unwrap().entries();
        assert_eq!((addresses[1].0.as_i64(), addresses[1].1.as_str()), (Some(1), Some("h:2")));
        let (queue, offsets) = &json.get("table").unwrap().entries()[0];
        assert_eq!((queue.int_of("queueId"), queue.text_of("topic").as_str()), (3, "t"));
        assert_eq!(offsets.int_of("offset"), -5);
        assert_eq!(json.get("f"), Some(&Json::Float(1.5)));
    }

    #[test]
    fn standard_json_is_read() {
        let json = Json::parse(br#" { "a" : [ 1 , "\u00e4\n\"" , {} , [] , true ] } "#).unwrap();
        assert_eq!(json.get("a").unwrap().items()[1].as_str(), Some("\u{e4}\n\""));
        assert_eq!(Json::parse(br#"{"0":"x"}"#).unwrap().entries()[0].0.as_i64(), Some(0));
    }

    #[test]
    fn broken_documents_are_refused() {
        for text in ["", "{", "[1", "{1}", "{1:}", "\"a", "\"a\\", "[1,]", "{} {}", "@", "[,]"] {
            assert!(Json::parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(Json::parse("[".repeat(100_000).as_bytes()).is_err());
        assert!(Json::parse(format!("[{}1]", "1,".repeat(MAX_VALUES)).as_bytes()).is_err());
    }
}
