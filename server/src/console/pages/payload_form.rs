//! The form that asks before a run gets an attempt: with its payload, or with another one.

use askama::Template;

use super::super::diff::DiffLine;
use super::super::frame::Frame;
use super::super::html::{self as h, Markup};
use super::super::visit::Fields;
use super::confirm::Confirm;
use crate::core::run::PayloadChange;

/// Longest payload that a form can edit, in bytes.
const MAX_EDITABLE_BYTES: usize = 256 * 1024;

/// The page before a trigger or a redrive.
#[derive(Template)]
#[template(path = "payload_form.html")]
pub struct PayloadForm {
    pub f: Frame,
    /// Where the form is sent.
    pub path: String,
    pub hidden: Markup,
    pub facts: Vec<(String, String)>,
    pub effect: String,
    pub leaves: String,
    pub label: String,
    pub back: String,
    pub problem: Option<String>,
    /// Payload in the field. `None`: a form cannot edit it.
    pub data: Option<String>,
    pub hint: String,
    /// Whether the person sees the changes before the action.
    pub has_review: bool,
    /// What the confirmation changes. Empty: the field is shown.
    pub changes: Vec<DiffLine>,
}

impl PayloadForm {
    /// Adds the field of the payload to a page that asks.
    pub fn new(page: Confirm, data: Option<String>, hint: String, has_review: bool) -> Self {
        let Confirm { f, path, hidden, facts, effect, leaves, label, back, problem, .. } = page;
        let changes = Vec::new();
        Self { f, path, hidden, facts, effect, leaves, label, back, problem, data, hint, has_review, changes }
    }
}

/// Returns a payload as the field of a run shows it. `None`: a form cannot edit the payload.
pub fn editable(data: &str) -> Option<String> {
    shown(data).filter(|_| data.len() <= MAX_EDITABLE_BYTES)
}

/// Returns a payload as a field shows it. `None`: a field would send another payload, also if a person changes
/// nothing.
pub fn shown(data: &str) -> Option<String> {
    (!data.contains('\0')).then(|| with_line_feeds(data))
}

/// Returns a text with a line feed at each end of a line. Browsers show every end of a line alike, and send CR LF.
pub fn with_line_feeds(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}

/// Returns what a sent form changes. A field that is not sent, or has the value that the form showed, changes
/// nothing.
pub fn change(fields: &Fields, data: &str) -> PayloadChange {
    let sent = fields.raw("data").map(with_line_feeds);
    let data = sent.filter(|sent| editable(data).is_some_and(|shown| shown != *sent));
    PayloadChange { data, headers: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(sent: &str, data: &str) -> Option<String> {
        let body = form_urlencoded::Serializer::new(String::new()).append_pair("data", sent).finish();
        change(&Fields::parse(body.as_bytes()), data).data
    }

    #[test]
    fn a_field_that_a_person_has_not_changed_keeps_every_byte() {
        for data in ["", "one", "a\nb", "a\r\nb\r", "\n a \n"] {
            assert_eq!(changed(&editable(data).unwrap().replace('\n', "\r\n"), data), None, "{data:?}");
        }
        assert_eq!(changed("a\r\nc", "a\r\nb"), Some("a\nc".to_owned()));
        assert_eq!(changed("", "a"), Some(String::new()));
        assert!(change(&Fields::default(), "a").is_empty(), "the form has no field");
    }

    #[test]
    fn a_payload_that_a_field_would_change_cannot_be_edited() {
        assert_eq!((editable("a\0b"), editable(&"x".repeat(MAX_EDITABLE_BYTES + 1))), (None, None));
        assert_eq!(changed("ab", "a\0b"), None);
    }
}
