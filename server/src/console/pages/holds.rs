//! Create and end holds of queues and tags. The page of the queues lists them.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

use super::super::frame::{Frame, Section};
use super::super::html as h;
use super::super::problem::{Problem, Result};
use super::super::sent_form::SentForm;
use super::super::visit::{Fields, Visit};
use super::super::words::{Words, fill};
use super::confirm::Confirm;
use super::silences::require_all_tags;
use crate::core::Moment;
use crate::core::hold::{Hold, HoldScope};
use crate::engine::service::{NewHold, ServiceError};

/// Page of the queues.
pub const PATH: &str = "/console/queues";
const NEW: &str = "/console/holds/new";
const RELEASE: &str = "/console/holds/release";
/// Fields that a person fills in.
const FIELDS: [&str; 5] = ["scope", "name", "length", "unit", "reason"];
const MINUTE_MS: f64 = 60_000.0;
/// Units of a duration: value of the field, and milliseconds.
const UNITS: [(&str, f64); 3] = [("min", MINUTE_MS), ("h", 60.0 * MINUTE_MS), ("d", 1_440.0 * MINUTE_MS)];

/// A hold in a list.
pub struct HoldLine {
    pub key: String,
    pub scope: String,
    pub name: String,
    pub reason: String,
    pub creator: String,
    pub created_at: Moment,
    pub until: Option<Moment>,
    pub release_href: String,
}

impl HoldLine {
    pub fn new(hold: Hold, t: &Words) -> Self {
        Self {
            key: hold.key(),
            scope: scope_word(hold.scope, t).to_owned(),
            release_href: release_href(hold.scope, &hold.name),
            name: hold.name,
            reason: hold.reason,
            creator: hold.created_by,
            created_at: hold.created_at,
            until: hold.until,
        }
    }
}

fn scope_word(scope: HoldScope, t: &Words) -> &str {
    match scope {
        HoldScope::Queue => &t.queue,
        HoldScope::Tag => &t.tag,
    }
}

fn query(scope: HoldScope, name: &str) -> String {
    let name: String = form_urlencoded::byte_serialize(name.as_bytes()).collect();
    format!("scope={}&name={name}", scope.as_str())
}

/// Returns the path of the form for a hold.
pub fn new_href(scope: HoldScope, name: &str) -> String {
    format!("{NEW}?{}", query(scope, name))
}

/// Returns the path of the page that asks before the end of a hold.
pub fn release_href(scope: HoldScope, name: &str) -> String {
    format!("{RELEASE}?{}", query(scope, name))
}

/// Returns whether the reader may create and end holds.
pub fn may_hold(visit: &Visit) -> bool {
    require_all_tags(visit).is_ok()
}

#[derive(Template)]
#[template(path = "hold_new.html")]
struct Page {
    f: Frame,
    scope: String,
    name: String,
    length: String,
    unit: String,
    reason: String,
    problem: Option<String>,
}

impl Page {
    fn scopes(&self) -> [(&'static str, &str); 2] {
        HoldScope::ALL.map(|scope| (scope.as_str(), scope_word(scope, self.f.t)))
    }

    fn units(&self) -> [(&'static str, &str); 3] {
        let t = self.f.t;
        [("min", &t.unit_m), ("h", &t.unit_h), ("d", &t.unit_d)]
    }
}

fn frame(visit: &Visit, title: &str) -> Frame {
    Frame::new(visit, Section::Queues, title).below(&visit.lang.words().queues, PATH)
}

/// Shows the form.
pub async fn ask(visit: Visit) -> Response {
    visit.param("scope", "queue, tag", HoldScope::parse);
    let page = page(&visit, &visit.query(), None);
    super::answer(&visit, page.map(|page| page.render()))
}

fn page(visit: &Visit, fields: &Fields, problem: Option<String>) -> Result<Page> {
    require_all_tags(visit)?;
    let text = |name, default: &str| fields.get(name).unwrap_or(default).to_owned();
    let typed = FIELDS.map(|name| (name, fields.get(name).unwrap_or_default()));
    Ok(Page {
        f: frame(visit, &visit.lang.words().hold_new).at(NEW, &typed),
        scope: text("scope", HoldScope::Queue.as_str()),
        name: text("name", ""),
        length: text("length", ""),
        unit: text("unit", "min"),
        reason: text("reason", ""),
        problem,
    })
}

/// Creates the hold.
pub async fn create(SentForm(visit, fields): SentForm) -> Response {
    answered(&visit, &fields).await.unwrap_or_else(|problem| problem.answer(&visit))
}

/// Creates the hold, or shows the form again with why it is refused.
async fn answered(visit: &Visit, fields: &Fields) -> Result<Response> {
    let Some(why) = created(visit, fields).await? else {
        return Ok(visit.redirect(&format!("{PATH}?done=held")));
    };
    let page = page(visit, fields, Some(why))?;
    Ok(visit.answer(StatusCode::UNPROCESSABLE_ENTITY, page.render()))
}

/// Returns why the form is refused.
async fn created(visit: &Visit, fields: &Fields) -> Result<Option<String>> {
    let new = match read(visit, fields) {
        Ok(new) => new,
        Err(why) => return Ok(Some(why)),
    };
    match visit.service.hold(new).await {
        Ok(_) => Ok(None),
        Err(error @ (ServiceError::Hold(_) | ServiceError::TooManyHolds)) => Ok(Some(error.to_string())),
        Err(error) => Err(error.into()),
    }
}

fn read(visit: &Visit, fields: &Fields) -> std::result::Result<NewHold, String> {
    let t = visit.lang.words();
    let scope = fields.get("scope").unwrap_or_default();
    let scope = HoldScope::parse(scope).ok_or_else(|| fill(&t.hold_unknown_scope, &[scope]))?;
    let until = match fields.get("length") {
        None => None,
        Some(text) => {
            let wrong = || fill(&t.wrong_number, &[text]);
            let length = text.parse().ok().filter(|length: &f64| length.is_finite()).ok_or_else(wrong)?;
            let unit = fields.get("unit").unwrap_or_default();
            let unit = UNITS.iter().find(|(name, _)| *name == unit).map_or(MINUTE_MS, |(_, ms)| *ms);
            // A conversion that is out of range ends at the bounds, which the check refuses.
            Some(visit.service.now().plus_ms((length * unit).round() as i64))
        }
    };
    Ok(NewHold {
        scope,
        name: fields.get("name").unwrap_or_default().to_owned(),
        reason: fields.get("reason").unwrap_or_default().to_owned(),
        until,
    })
}

/// Returns the hold that the fields name.
async fn stored(visit: &Visit, fields: &Fields) -> Result<Hold> {
    let named = |hold: &Hold| {
        fields.get("scope") == Some(hold.scope.as_str()) && fields.raw("name") == Some(hold.name.as_str())
    };
    visit.service.holds().await?.into_iter().find(named).ok_or(Problem::NotFound)
}

/// Shows the page that asks before the end of a hold.
pub async fn ask_release(visit: Visit) -> Response {
    super::answer(&visit, asked(&visit).await)
}

async fn asked(visit: &Visit) -> Result<askama::Result<String>> {
    require_all_tags(visit)?;
    let (hold, t) = (stored(visit, &visit.query()).await?, visit.lang.words());
    let f = frame(visit, &t.hold_release);
    let until = hold.until.map_or_else(|| t.hold_no_end.clone(), |until| f.text(until));
    let mut facts =
        vec![(scope_word(hold.scope, t).to_owned(), hold.name.clone()), (t.hold_until.clone(), until)];
    facts.extend((!hold.created_by.is_empty()).then(|| (t.created_by.clone(), hold.created_by.clone())));
    facts.push((t.reason.clone(), hold.reason));
    let page = Confirm {
        path: RELEASE.to_owned(),
        hidden: h::hidden("scope", hold.scope.as_str()).and(&h::hidden("name", &hold.name)),
        facts,
        effect: t.hold_release_effect.clone(),
        leaves: t.hold_release_leaves.clone(),
        label: t.hold_release.clone(),
        is_danger: false,
        back: PATH.to_owned(),
        problem: None,
        f,
    };
    Ok(page.render())
}

/// Ends the hold.
pub async fn release(SentForm(visit, fields): SentForm) -> Response {
    let scope = HoldScope::parse(fields.get("scope").unwrap_or_default());
    let Some(scope) = scope else { return Problem::NotFound.answer(&visit) };
    match visit.service.release_hold(scope, fields.raw("name").unwrap_or_default()).await {
        Ok(_) => visit.redirect(&format!("{PATH}?done=released")),
        Err(error) => Problem::from(error).answer(&visit),
    }
}
