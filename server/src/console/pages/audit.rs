//! The audit log: who changed what, and when.

use askama::Template;
use axum::response::Response;

use super::super::frame::{Frame, Section};
use super::super::html::{self as h, Markup};
use super::super::listing::ROWS;
use super::super::problem::Result;
use super::super::visit::{Fields, Visit};
use super::super::words::Words;
use super::rows::run_href_of;
use crate::core::audit::{AuditEntry, is_id};
use crate::core::{Moment, RunId};
use crate::engine::service::{AuditAction, AuditFilter};

pub const PATH: &str = "/console/audit";
/// Lengths of time in the filter: value and milliseconds.
const PERIODS: [(&str, i64); 4] =
    [("1h", 3_600_000), ("1d", 86_400_000), ("7d", 7 * 86_400_000), ("30d", 30 * 86_400_000)];

struct Row {
    id: String,
    at: Moment,
    actor: String,
    front: String,
    action: String,
    object: String,
    /// Page of the object. `None`: it has no page.
    href: Option<String>,
    detail: String,
    outcome: Markup,
}

impl Row {
    fn new(entry: AuditEntry) -> Self {
        let is_done = ["done", "completed"].contains(&entry.outcome.as_str());
        Self {
            href: href_of(&entry),
            outcome: if is_done {
                h::pill("ok", "check", &entry.outcome)
            } else {
                h::pill("none", "warn", &entry.outcome)
            },
            id: entry.id,
            at: entry.at,
            actor: entry.actor,
            front: entry.front,
            action: entry.action,
            object: entry.object,
            detail: entry.detail,
        }
    }
}

/// Returns the path of the page of the changed object.
fn href_of(entry: &AuditEntry) -> Option<String> {
    let object = (!entry.object.is_empty()).then_some(&entry.object)?;
    match entry.action.split('.').next()? {
        "task" => Some(format!("/console/tasks/{object}")),
        "run" => Some(run_href_of(&RunId::from_text(object.clone()))),
        "operation" => Some(format!("/console/operations/{object}")),
        _ => None,
    }
}

#[derive(Template)]
#[template(path = "audit.html")]
struct Page {
    f: Frame,
    object: String,
    actor: String,
    action: String,
    period: String,
    is_filtered: bool,
    rows: Vec<Row>,
    first: Option<String>,
    next: Option<String>,
}

impl Page {
    fn actions() -> impl Iterator<Item = &'static str> {
        AuditAction::ALL.into_iter().map(AuditAction::as_str)
    }

    fn periods(&self) -> [(&'static str, &str); 4] {
        let t: &Words = self.f.t;
        let words = [&t.audit_1h, &t.audit_1d, &t.audit_7d, &t.audit_30d];
        std::array::from_fn(|at| (PERIODS[at].0, words[at].as_str()))
    }
}

/// Returns the path of the entries about an object.
pub fn href(object: &str) -> String {
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("object", object).finish();
    format!("{PATH}?{query}")
}

pub async fn show(visit: Visit) -> Response {
    super::answer(&visit, page(&visit).await)
}

async fn page(visit: &Visit) -> Result<askama::Result<String>> {
    let (t, query) = (visit.lang.words(), visit.query());
    let text = |name: &str| query.get(name).map(str::trim).unwrap_or_default().to_owned();
    let [object, actor, action, period] = ["object", "actor", "action", "since"].map(text);
    let given = |text: &String| (!text.is_empty()).then(|| text.clone());
    let one_of = PERIODS.map(|(value, _)| value).join(", ");
    let length = visit.param("since", &one_of, |period| {
        PERIODS.iter().find(|(value, _)| *value == period).map(|(_, ms)| *ms)
    });
    let one_of = AuditAction::ALL.map(AuditAction::as_str).join(", ");
    let find = |action: &str| AuditAction::ALL.into_iter().find(|one| one.as_str() == action);
    let filter = AuditFilter {
        object: given(&object),
        actor: given(&actor),
        action: visit.param("action", &one_of, find),
        since: length.map(|ms| visit.service.now().plus_ms(-ms)),
    };
    let before = visit.param("before", &t.allowed_id, |id| is_id(id).then(|| id.to_owned()));
    let before = before.as_deref();
    let (entries, next) = visit.service.audit_log(&filter, before, ROWS as u32).await?;
    let since = filter.since.map(|since| since.to_string());
    let api =
        [("object", given(&object)), ("actor", given(&actor)), ("action", given(&action)), ("since", since)];
    let api = api.each_ref().map(|(name, value)| (*name, value.as_deref()));
    let page = Page {
        f: Frame::new(visit, Section::Audit, &t.audit).api("/v1/audit", &api),
        is_filtered: filter != AuditFilter::default(),
        rows: entries.into_iter().map(Row::new).collect(),
        first: before.map(|_| path_of(&query, None)),
        next: next.map(|last| path_of(&query, Some(&last))),
        object,
        actor,
        action,
        period,
    };
    Ok(page.render())
}

/// Returns the path of another page with the same filter.
fn path_of(query: &Fields, before: Option<&str>) -> String {
    let mut pairs = form_urlencoded::Serializer::new(String::new());
    for name in ["object", "actor", "action", "since"] {
        if let Some(value) = query.get(name).filter(|value| !value.is_empty()) {
            pairs.append_pair(name, value);
        }
    }
    pairs.extend_pairs(before.map(|id| ("before", id)));
    format!("{PATH}?{}", pairs.finish())
}
