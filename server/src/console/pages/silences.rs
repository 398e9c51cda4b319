//! Create and end silences.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

use super::super::frame::{Frame, Section};
use super::super::html::{self as h, Markup};
use super::super::problem::{Problem, Result};
use super::super::sent_form::SentForm;
use super::super::visit::{Fields, Segment, Visit};
use super::super::words::{Words, fill};
use super::alert_rows::{AlertLine, SilenceLine, covered_rules, rule_title};
use super::alerts::PATH;
use super::confirm::Confirm;
use super::task::require_write;
use crate::core::alert::{Coverage, Measure, NewSilence};
use crate::engine::service::{Forbidden, ServiceError};

const NEW: &str = "/console/alerts/silences/new";
/// Fields that a person fills in.
const FIELDS: [&str; 5] = ["rule", "subject", "length", "unit", "comment"];
/// Field of the button that shows what a silence would hide.
const PREVIEW: &str = "preview";
const MINUTE_MS: f64 = 60_000.0;
/// Units of a duration: value of the field, and milliseconds.
const UNITS: [(&str, f64); 3] = [("min", MINUTE_MS), ("h", 60.0 * MINUTE_MS), ("d", 1_440.0 * MINUTE_MS)];

#[derive(Template)]
#[template(path = "silence_new.html")]
struct Page {
    f: Frame,
    /// Rules with their words.
    rules: Vec<(&'static str, String)>,
    rule: String,
    subject: String,
    length: String,
    unit: String,
    comment: String,
    /// Titles of all rules, if the silence has no rule of its own.
    covered: Vec<String>,
    /// Raised alerts that the silence would hide.
    hides: Vec<AlertLine>,
    problem: Option<String>,
}

impl Page {
    fn units(&self) -> [(&'static str, &str); 3] {
        let t = self.f.t;
        [("min", &t.unit_m), ("h", &t.unit_h), ("d", &t.unit_d)]
    }
}

fn frame(visit: &Visit, title: &str) -> Frame {
    Frame::new(visit, Section::Alerts, title).below(&visit.lang.words().alerts, PATH)
}

/// Checks that the reader may change what concerns all tags, before a page that asks. The command checks again.
pub fn require_all_tags(visit: &Visit) -> Result<()> {
    require_write(visit)?;
    let is_limited = visit.service.caller().grant.is_limited();
    if is_limited { Err(ServiceError::Forbidden(Forbidden::Limited).into()) } else { Ok(()) }
}

/// Returns whether the reader may silence alerts.
pub fn may_silence(visit: &Visit) -> bool {
    require_all_tags(visit).is_ok()
}

/// Shows the form.
pub async fn ask(visit: Visit) -> Response {
    let rules = Measure::ALL.map(Measure::rule).join(", ");
    visit.param("rule", &rules, Measure::of_rule);
    let page = page(&visit, &visit.query(), None).await;
    super::answer(&visit, page.map(|page| page.render()))
}

async fn page(visit: &Visit, fields: &Fields, problem: Option<String>) -> Result<Page> {
    require_all_tags(visit)?;
    let text = |name, default: &str| fields.get(name).unwrap_or(default).to_owned();
    let rule = |measure: Measure| (measure.rule(), rule_title(measure.rule(), visit.lang));
    let coverage = Coverage {
        rule: fields.get("rule").and_then(Measure::of_rule),
        subject: fields.get("subject").map(str::to_owned),
    };
    let hides = visit.service.covered_alerts(&coverage).await?.into_iter();
    let typed = FIELDS.map(|name| (name, fields.get(name).unwrap_or_default()));
    Ok(Page {
        f: frame(visit, &visit.lang.words().silence_new).at(NEW, &typed),
        covered: covered_rules(coverage.rule.map(Measure::rule), visit.lang),
        hides: hides.map(|alert| AlertLine::new(alert, visit.lang)).collect(),
        rules: Measure::ALL.map(rule).to_vec(),
        rule: text("rule", ""),
        subject: text("subject", ""),
        length: text("length", "2"),
        unit: text("unit", "h"),
        comment: text("comment", ""),
        problem,
    })
}

/// Creates the silence.
pub async fn create(SentForm(visit, fields): SentForm) -> Response {
    answered(&visit, &fields).await.unwrap_or_else(|problem| problem.answer(&visit))
}

/// Creates the silence, or shows the form again: with what the silence would hide, or with why it is refused.
async fn answered(visit: &Visit, fields: &Fields) -> Result<Response> {
    if fields.get(PREVIEW).is_some() {
        return Ok(visit.answer(StatusCode::OK, page(visit, fields, None).await?.render()));
    }
    let Some(why) = created(visit, fields).await? else {
        return Ok(visit.redirect(&format!("{PATH}?done=silenced")));
    };
    let page = page(visit, fields, Some(why)).await?;
    Ok(visit.answer(StatusCode::UNPROCESSABLE_ENTITY, page.render()))
}

/// Returns why the form is refused.
async fn created(visit: &Visit, fields: &Fields) -> Result<Option<String>> {
    let new = match read(visit, fields, visit.lang.words()) {
        Ok(new) => new,
        Err(why) => return Ok(Some(why)),
    };
    match visit.service.silence_alert(new).await {
        Ok(_) => Ok(None),
        Err(error @ (ServiceError::Silence(_) | ServiceError::TooManySilences)) => {
            Ok(Some(error.to_string()))
        }
        Err(error) => Err(error.into()),
    }
}

fn read(visit: &Visit, fields: &Fields, t: &Words) -> std::result::Result<NewSilence, String> {
    let text = fields.get("length").unwrap_or_default();
    let wrong = || fill(&t.wrong_number, &[text]);
    let length = text.parse().ok().filter(|length: &f64| length.is_finite()).ok_or_else(wrong)?;
    let unit = fields.get("unit").unwrap_or_default();
    let unit = UNITS.iter().find(|(name, _)| *name == unit).map_or(MINUTE_MS, |(_, ms)| *ms);
    let rule = match fields.get("rule") {
        None => None,
        Some(rule) => Some(Measure::of_rule(rule).ok_or_else(|| fill(&t.silence_unknown_rule, &[rule]))?),
    };
    Ok(NewSilence {
        rule,
        subject: fields.get("subject").map(str::to_owned),
        // A conversion that is out of range ends at the bounds, which the check refuses.
        until: visit.service.now().plus_ms((length * unit).round() as i64),
        comment: fields.get("comment").unwrap_or_default().to_owned(),
    })
}

/// Returns the id of a path such as `/console/alerts/silences/{id}/end`.
async fn stored(visit: &Visit, id: &str) -> Result<SilenceLine> {
    let silences = visit.service.silences().await?;
    let silence = silences.into_iter().find(|silence| silence.id == id).ok_or(Problem::NotFound)?;
    Ok(SilenceLine::new(silence, &[], visit.lang))
}

/// Shows the page that asks before the end of a silence.
pub async fn ask_end(visit: Visit, Segment(id): Segment) -> Response {
    super::answer(&visit, asked(&visit, &id).await)
}

async fn asked(visit: &Visit, id: &str) -> Result<askama::Result<String>> {
    require_all_tags(visit)?;
    let (silence, t) = (stored(visit, id).await?, visit.lang.words());
    let f = frame(visit, &t.silence_end);
    let page = Confirm {
        path: silence.end_href,
        hidden: Markup::default(),
        facts: vec![
            (t.alert_rule.clone(), silence.rule),
            (t.alert_subject.clone(), silence.subject),
            (t.silence_until.clone(), f.text(silence.until)),
            (t.reason.clone(), silence.comment),
        ],
        effect: t.silence_end_effect.clone(),
        leaves: t.silence_end_leaves.clone(),
        label: t.silence_end.clone(),
        is_danger: false,
        back: PATH.to_owned(),
        problem: None,
        f,
    };
    Ok(page.render())
}

/// Ends the silence.
pub async fn end(Segment(id): Segment, SentForm(visit, _): SentForm) -> Response {
    match visit.service.unsilence_alert(&id).await {
        Ok(_) => visit.redirect(&format!("{PATH}?done=unsilenced")),
        Err(error) => Problem::from(error).answer(&visit),
    }
}
