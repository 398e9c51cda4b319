//! Sent forms: only the session that a form belongs to may send it. The input of a form whose session has ended is kept
//! until a person sends or discards it.

use askama::Template;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::response::Response;

use super::Console;
use super::frame::{Frame, Section};
use super::html::{self as h, Markup};
use super::own_path::own_path;
use super::problem::Problem;
use super::visit::{FORM_TOKEN, Fields, Form, MAX_FIELDS, MAX_FORM_BYTES, Visit, split};

/// Prefix of the fields that the sign-in form carries for another form.
const CARRIED: &str = "kept.";
/// Fields that a page never repeats.
const SECRETS: [&str; 3] = [FORM_TOKEN, "password", "token"];
/// Page of the form, which every form names.
const BACK: &str = "back";
/// Fields and bytes that the sign-in form needs beside the kept ones.
const OWN_FIELDS: usize = 16;
const OWN_BYTES: usize = 64 * 1024;

/// A form of the current session: the request and its fields.
pub struct SentForm(pub Visit, pub Fields);

impl FromRequest<Console> for SentForm {
    type Rejection = Response;

    async fn from_request(request: Request, console: &Console) -> Result<Self, Response> {
        let (visit, request) = split(request, console).await?;
        match visit.form(request).await {
            Form::Current(fields) => Ok(Self(visit, fields)),
            Form::OtherSession(fields) => {
                let target = visit.uri.path_and_query().map_or("/", |target| target.as_str());
                let kept = KeptInput::of(target, fields);
                Err(kept.map_or_else(|| Problem::ExpiredForm.answer(&visit), |kept| kept.ask(&visit)))
            }
            Form::Foreign => Err(Problem::ExpiredForm.answer(&visit)),
        }
    }
}

/// The input of a form that could not be sent, because its session has ended.
#[derive(Debug, PartialEq, Eq)]
pub struct KeptInput {
    /// Where the form is sent: a path of the console.
    pub target: String,
    /// Page of the form.
    pub back: String,
    fields: Vec<(String, String)>,
}

#[derive(Template)]
#[template(path = "kept_input.html")]
struct Page {
    f: Frame,
    kept: KeptInput,
}

impl KeptInput {
    /// Keeps the fields of a form without its secrets. `None`: the form has no input, or the sign-in form has no room for
    /// the input.
    pub fn of(target: &str, fields: Fields) -> Option<Self> {
        let back = own_path(fields.get(BACK));
        let mut fields = fields.into_pairs();
        fields.retain(|(name, _)| name != BACK && !SECRETS.contains(&name.as_str()));
        let mut encoded = form_urlencoded::Serializer::new(String::new());
        let bytes = encoded.extend_pairs(&fields).finish().len() + fields.len() * CARRIED.len();
        let has_room = fields.len() + OWN_FIELDS <= MAX_FIELDS && bytes + OWN_BYTES <= MAX_FORM_BYTES;
        let is_kept = has_room && !fields.is_empty();
        is_kept.then(|| Self { target: own_path(Some(target)), back, fields })
    }

    /// Reads the input that a sign-in form carries. `None`: the form carries none.
    pub fn read(target: &str, fields: &Fields) -> Option<Self> {
        let carried = fields.clone().into_pairs().into_iter();
        let carried =
            carried.filter_map(|(name, value)| Some((name.strip_prefix(CARRIED)?.to_owned(), value)));
        Self::of(target, Fields::from_pairs(carried.collect()))
    }

    /// Returns the fields of the sign-in form that carry the input.
    pub fn carried(&self) -> Markup {
        let back = (BACK, self.back.as_str());
        let fields = self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        hidden(fields.chain([back]).map(|(name, value)| (format!("{CARRIED}{name}"), value)))
    }

    /// Returns the fields as the form has sent them.
    fn sent(&self) -> Markup {
        hidden(self.fields.iter().map(|(name, value)| (name.clone(), value.as_str())))
    }

    /// Shows the page that asks whether to send the input.
    pub fn ask(self, visit: &Visit) -> Response {
        let f = Frame::new(visit, Section::None, &visit.lang.words().kept_input);
        visit.answer(StatusCode::OK, Page { f, kept: self }.render())
    }
}

fn hidden<'a>(fields: impl Iterator<Item = (String, &'a str)>) -> Markup {
    fields.fold(Markup::default(), |markup, (name, value)| markup.and(&h::hidden(&name, value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(body: &str) -> Option<KeptInput> {
        KeptInput::of("/console/tasks/new", Fields::parse(body.as_bytes()))
    }

    #[test]
    fn secrets_are_dropped_and_the_rest_is_kept_in_order() {
        let kept =
            kept("form_token=a&password=b&token=c&id=2&back=/console/tasks&id=1&data=%0D%0Ax").unwrap();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(kept.fields, [pair("id", "2"), pair("id", "1"), pair("data", "\r\nx")]);
        assert_eq!(kept.back, "/console/tasks");
        let carried = kept.carried().to_string();
        assert!(carried.contains(r#"name="kept.back" value="/console/tasks""#), "{carried}");
        assert!(carried.contains(r#"name="kept.id" value="2""#), "{carried}");
    }

    #[test]
    fn input_comes_back_from_the_sign_in_form() {
        let form = "user=li&password=x&kept.name=a&kept.token=b&next=%2Fconsole&kept.back=/console/tasks";
        let read = KeptInput::read("/console/tasks/new", &Fields::parse(form.as_bytes()));
        assert_eq!(read, kept("name=a&back=/console/tasks"));
        assert_eq!(KeptInput::read("/", &Fields::parse(b"user=li&kept.back=/")), None, "there is no input");
    }

    #[test]
    fn other_sites_are_no_targets() {
        let kept =
            KeptInput::of("//evil.example/", Fields::parse(b"a=1&back=https://evil.example/")).unwrap();
        assert_eq!((&*kept.target, &*kept.back), ("/", "/"));
    }

    #[test]
    fn a_form_that_the_sign_in_form_cannot_carry_is_not_kept() {
        assert_eq!(kept(&"a=1&".repeat(MAX_FIELDS)), None);
        assert_eq!(kept(&format!("a={}", "x".repeat(MAX_FORM_BYTES - OWN_BYTES))), None);
        assert!(kept(&format!("a={}", "x".repeat(MAX_FORM_BYTES - 2 * OWN_BYTES))).is_some());
    }
}
