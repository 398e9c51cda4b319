//! Texts for a POSIX shell. They read the address of the server and the token from the variables of the command
//! line: a page has neither, because a request does not tell the address that the browser uses.

use super::Request;

const URL: &str = "$TASKCENTER_SERVER";
const TOKEN_HEADER: &str = r#"-H "Authorization: Bearer $TASKCENTER_TOKEN""#;

/// What the texts of a page have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shell {
    /// Whether the server knows the reader by a token.
    pub has_token: bool,
}

impl Shell {
    /// Returns the request as a call of curl.
    pub fn curl(self, request: &Request<'_>) -> String {
        let mut words = vec!["curl".to_owned()];
        if request.method != "GET" && request.body.is_none() {
            words.push(format!("-X {}", request.method));
        }
        words.extend(self.has_token.then(|| TOKEN_HEADER.to_owned()));
        if let Some(body) = request.body {
            words.push(format!("-H 'Content-Type: application/json' -d {}", quote(&body.to_string())));
        }
        // A path is percent-encoded, so the shell changes nothing in it.
        words.push(format!("\"{URL}{}\"", request.path));
        words.join(" ")
    }

    /// Returns a command of `taskcenter`. `None`: an argument has a control character, which a terminal would
    /// interpret.
    pub fn command(words: &[String]) -> Option<String> {
        let is_plain = |word: &String| !word.contains(|c: char| c.is_control() && c != '\n');
        let quoted = words.iter().map(|word| quote(word));
        let text = || std::iter::once("taskcenter".to_owned()).chain(quoted).collect::<Vec<_>>().join(" ");
        words.iter().all(is_plain).then(text)
    }
}

/// Quotes a word for a POSIX shell.
fn quote(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=@%+,".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_request_has_variables_in_place_of_address_and_token() {
        let get = |has_token| Shell { has_token }.curl(&Request::get("/v1/tasks?name=a%27b"));
        assert_eq!(get(false), r#"curl "$TASKCENTER_SERVER/v1/tasks?name=a%27b""#);
        let header = r#"-H "Authorization: Bearer $TASKCENTER_TOKEN""#;
        assert_eq!(get(true), format!(r#"curl {header} "$TASKCENTER_SERVER/v1/tasks?name=a%27b""#));
        let body = json!({"data": "it's"});
        let request = Request { body: Some(&body), ..Request::post("/v1/tasks") };
        let expected = r#"curl -H 'Content-Type: application/json' -d '{"data":"it'\''s"}' "$TASKCENTER_SERVER/v1/tasks""#;
        assert_eq!(Shell { has_token: false }.curl(&request), expected);
        let pause = Shell { has_token: false }.curl(&Request::post("/v1/tasks/7/pause"));
        assert_eq!(pause, r#"curl -X POST "$TASKCENTER_SERVER/v1/tasks/7/pause""#);
    }

    #[test]
    fn a_command_is_quoted() {
        let command = |word: &str| Shell::command(&["task".into(), word.into()]);
        assert_eq!(command("$(id) 'x'").unwrap(), r"taskcenter task '$(id) '\''x'\'''");
        assert_eq!(command("").unwrap(), "taskcenter task ''");
        assert_eq!(command("a\u{1b}[2J"), None);
    }
}
