//! The form for a new task, and for another definition of a task.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;
use jiff::tz::TimeZone;

use super::super::frame::{Frame, Section};
use super::super::html::{self as h, Markup};
use super::super::problem::{Problem, Result};
use super::super::sent_form::SentForm;
use super::super::visit::{Fields, Segment, Visit};
use super::overlap_choice;
use super::payload_form;
use super::rate_draft;
use super::rows::task_href;
use super::schedule_choices::{self, Choices};
use super::schedule_preview::{self, Away, Preview};
use super::task::require_write;
use super::task_actions::idempotency_key;
use super::task_draft::{Draft, Refusal};
use super::task_history;
use crate::core::submission::Submission;
use crate::core::{TaskId, zone};
use crate::engine::service::{ServiceError, Submitted, definition};

const NEW: &str = "/console/tasks/new";

#[derive(Template)]
#[template(path = "task_form.html")]
struct Page {
    f: Frame,
    path: String,
    back: String,
    hidden: Markup,
    d: Draft,
    is_new: bool,
    /// Whether a field can show the payload.
    has_payload: bool,
    refusal: Option<Refusal>,
    /// Revision that another person has saved meanwhile.
    moved_to: Option<u32>,
    choices: Choices,
    away: Away,
    preview: Option<Preview>,
    /// Names of all time zones.
    zones: Vec<String>,
    /// Names of all calendars.
    calendars: Vec<String>,
}

impl Page {
    fn is_wrong(&self, field: &str) -> bool {
        self.refusal.as_ref().is_some_and(|refusal| refusal.field == field)
    }

    /// Returns whether a field below the summary has a value.
    fn is_advanced(&self) -> bool {
        let d = &self.d;
        let of_delivery = [&d.max_fires, &d.max_runtime_sec, &d.start_within_sec, &d.dedup_key];
        let of_misfire = [&d.misfire, &d.grace_sec, &d.misfire_max, &d.jitter_sec, &d.overlap];
        let mut fields =
            of_delivery.into_iter().chain(of_misfire).chain([&d.concurrency, &d.only_within, &d.except]);
        d.ack || !d.retry.is_empty() || !d.rate.is_empty() || fields.any(|field| !field.is_empty())
    }

    fn rhythms(&self) -> [(&'static str, &str); 7] {
        schedule_choices::rhythms(self.f.t)
    }

    fn weekdays(&self) -> [(&'static str, &str); 7] {
        schedule_choices::weekdays(self.f.t)
    }

    fn dst_gaps(&self) -> [(&'static str, &str); 2] {
        let t = self.f.t;
        [("skip", &t.dst_gap_skip), ("after", &t.dst_gap_after)]
    }

    fn dst_repeats(&self) -> [(&'static str, &str); 3] {
        let t = self.f.t;
        [("first", &t.dst_repeat_first), ("last", &t.dst_repeat_last), ("both", &t.dst_repeat_both)]
    }

    /// Returns whether a field about the cron expression has another value than the default.
    fn has_cron_options(&self) -> bool {
        let d = &self.d;
        d.dialect == "quartz" || [&d.also, &d.dst_gap, &d.dst_repeat].iter().any(|field| !field.is_empty())
    }

    fn policies(&self) -> [(&'static str, &str); 3] {
        schedule_preview::policies(self.f.t)
    }

    fn overlaps(&self) -> [(&'static str, &str); 6] {
        overlap_choice::choices(self.f.t)
    }

    fn excesses(&self) -> [(&'static str, &str); 2] {
        rate_draft::choices(self.f.t)
    }

    fn conflicts(&self) -> [(&'static str, &str); 3] {
        let t = self.f.t;
        [("", &t.on_conflict_return), ("reject", &t.on_conflict_reject), ("replace", &t.on_conflict_replace)]
    }

    fn units(&self) -> [(&'static str, &str); 4] {
        let t = self.f.t;
        [("s", &t.unit_s), ("min", &t.unit_m), ("h", &t.unit_h), ("d", &t.unit_d)]
    }
}

/// What the form edits.
enum Target {
    New,
    Task {
        id: TaskId,
        rev: u32,
        /// Definition that the form begins with: the current one, or an earlier one to restore.
        base: Box<Submission>,
        current: Box<Submission>,
    },
}

impl Target {
    async fn read(visit: &Visit, id: &str) -> Result<Self> {
        let id = TaskId::parse(id).ok_or(Problem::NotFound)?;
        let task = visit.service.task(&id).await?;
        let base = task_history::base_of_form(visit, &task).await?;
        Ok(Self::Task { id, rev: task.rev, base: Box::new(base), current: Box::new(definition(&task)) })
    }

    fn base(&self) -> Option<&Submission> {
        match self {
            Self::New => None,
            Self::Task { base, .. } => Some(base),
        }
    }

    /// Returns the revision of the task, if the form was filled in for an earlier one.
    fn moved_to(&self, fields: &Fields) -> Option<u32> {
        match self {
            Self::New => None,
            Self::Task { rev, .. } => Some(*rev).filter(|rev| Some(*rev) != opened_rev(fields)),
        }
    }
}

/// Returns the revision for which a form was filled in.
fn opened_rev(fields: &Fields) -> Option<u32> {
    fields.get("rev").and_then(|rev| rev.parse().ok())
}

/// Returns the draft of an earlier definition, with what others have changed meanwhile.
async fn on_newer(visit: &Visit, target: &Target, draft: Draft, fields: &Fields) -> Result<Draft> {
    let (Target::Task { id, current, .. }, Some(rev)) = (target, opened_rev(fields)) else {
        return Ok(draft);
    };
    let opened = match visit.service.definition_at(id, rev).await {
        Ok(opened) => definition(&opened),
        // The server keeps a limited number of definitions.
        Err(ServiceError::NotFound) => return Ok(draft),
        Err(error) => return Err(error.into()),
    };
    let (name, zone) = server_zone(visit);
    let merged = draft.merged(&Draft::of(&opened, &name, &zone), &Draft::of(current, &name, &zone));
    merged.map_err(|error| Problem::Internal(error.to_string()))
}

fn server_zone(visit: &Visit) -> (String, TimeZone) {
    (visit.service.time_zone().to_owned(), visit.zone())
}

async fn page(visit: &Visit, target: &Target, d: Draft, key: Option<&str>) -> Result<Page> {
    let t = visit.lang.words();
    let key = match key {
        Some(key) => key.to_owned(),
        None => visit.service.random_secret()?,
    };
    let (title, path, back, rev) = match target {
        Target::New => (t.new_task.clone(), NEW.to_owned(), "/console/tasks".to_owned(), None),
        Target::Task { id, rev, current, .. } => {
            let back = task_href(id);
            let title = format!("{} · {}", t.edit, current.name);
            (title, task_history::edit_href(id, visit.query().get("from")), back, Some(*rev))
        }
    };
    let hidden = h::hidden("key", &key);
    let hidden = rev.map_or(hidden.clone(), |rev| hidden.and(&h::hidden("rev", &rev.to_string())));
    Ok(Page {
        f: Frame::new(visit, Section::Tasks, &title).below(&t.tasks, "/console/tasks"),
        path,
        back,
        hidden,
        d,
        is_new: rev.is_none(),
        has_payload: target.base().is_none_or(|base| payload_form::shown(&base.data).is_some()),
        refusal: None,
        moved_to: None,
        choices: Choices::default(),
        away: Away::default(),
        preview: None,
        zones: zone::names(),
        calendars: visit.service.calendars().await?.into_iter().map(|stored| stored.calendar.name).collect(),
    })
}

/// Shows the form for a new task.
pub async fn new(visit: Visit) -> Response {
    super::answer(&visit, page_of_new(&visit).await)
}

async fn page_of_new(visit: &Visit) -> Result<askama::Result<String>> {
    require_write(visit)?;
    let draft = Draft::new(visit.service.time_zone());
    Ok(page(visit, &Target::New, draft, None).await?.render())
}

/// Shows the form for a task.
pub async fn edit(visit: Visit, Segment(id): Segment) -> Response {
    super::answer(&visit, edited(&visit, &id).await)
}

async fn edited(visit: &Visit, id: &str) -> Result<askama::Result<String>> {
    require_write(visit)?;
    let target = Target::read(visit, id).await?;
    let (name, zone) = server_zone(visit);
    let draft = target.base().map_or_else(Draft::default, |base| Draft::of(base, &name, &zone));
    Ok(page(visit, &target, draft, None).await?.render())
}

/// Creates the task.
pub async fn create(SentForm(visit, fields): SentForm) -> Response {
    send(&visit, &fields).await
}

/// Saves the definition.
pub async fn save(SentForm(visit, fields): SentForm) -> Response {
    send(&visit, &fields).await
}

async fn send(visit: &Visit, fields: &Fields) -> Response {
    match sent(visit, fields).await {
        Ok(response) => response,
        Err(problem) => problem.answer(visit),
    }
}

async fn sent(visit: &Visit, fields: &Fields) -> Result<Response> {
    require_write(visit)?;
    let path = visit.uri.path().trim_end_matches("/edit");
    let target = match path {
        NEW => Target::New,
        path => Target::read(visit, path.rsplit('/').next().unwrap_or_default()).await?,
    };
    let (mut draft, choices) = (Draft::read(fields), Choices::read(fields));
    let (zone_name, zone) = server_zone(visit);
    let moved_to = target.moved_to(fields);
    if moved_to.is_some() {
        draft = on_newer(visit, &target, draft, fields).await?;
    }
    let composed = choices.compose(fields, visit.lang.words());
    if let Ok(Some(composed)) = &composed {
        draft.set_schedule(composed);
    }
    let submission = draft.submission(target.base(), &zone_name, &zone, visit.lang.words());
    let mut page = page(visit, &target, draft, fields.get("key")).await?;
    (page.choices, page.away, page.moved_to) = (choices, Away::read(fields), moved_to);
    match composed {
        Err(refusal) => return Ok(refused(visit, page, refusal)),
        Ok(composed) if composed.is_some() || fields.get("preview").is_some() => {
            return preview(visit, page).await;
        }
        Ok(_) if moved_to.is_some() => return Ok(visit.answer(StatusCode::CONFLICT, page.render())),
        Ok(_) => {}
    }
    let submission = match submission {
        Ok(submission) => submission,
        Err(refusal) => return Ok(refused(visit, page, refusal)),
    };
    let outcome = match &target {
        Target::New => create_task(visit, fields, submission).await,
        Target::Task { id, rev, .. } => {
            let saved = visit.service.edit(id, *rev, submission).await;
            saved.map(|_| format!("{}?done=saved", task_href(id)))
        }
    };
    match outcome {
        Ok(path) => Ok(visit.redirect(&path)),
        Err(ServiceError::Invalid(invalid)) => Ok(refused(visit, page, Refusal::of(&invalid))),
        Err(ServiceError::RevisionMoved(rev)) => {
            page.moved_to = Some(rev);
            Ok(visit.answer(StatusCode::CONFLICT, page.render()))
        }
        Err(error @ ServiceError::KeyHeld(_)) => {
            Ok(refused(visit, page, Refusal { field: "dedup_key", why: error.to_string() }))
        }
        Err(error @ ServiceError::Quota(_)) => {
            Ok(refused(visit, page, Refusal { field: "", why: error.to_string() }))
        }
        Err(error) => Err(error.into()),
    }
}

fn refused(visit: &Visit, page: Page, refusal: Refusal) -> Response {
    let page = Page { refusal: Some(refusal), ..page };
    visit.answer(StatusCode::UNPROCESSABLE_ENTITY, page.render())
}

async fn create_task(
    visit: &Visit,
    fields: &Fields,
    submission: Submission,
) -> std::result::Result<String, ServiceError> {
    let key = idempotency_key(fields, &format!("create {submission:?}"));
    let answer = visit.service.submit_idempotent(vec![submission], key).await?.pop();
    let submitted = answer.unwrap_or(Err(ServiceError::NotFound))?;
    let done = match submitted {
        Submitted { replaced: true, .. } => "replaced",
        Submitted { existing: true, .. } => "existing",
        Submitted { .. } => "created",
    };
    Ok(format!("{}?done={done}", task_href(&submitted.id)))
}

/// Shows the form with the preview of its schedule.
async fn preview(visit: &Visit, page: Page) -> Result<Response> {
    match schedule_preview::preview(visit, &page.d, &page.away).await? {
        Ok(preview) => {
            let page = Page { preview: Some(preview), ..page };
            Ok(visit.answer(StatusCode::OK, page.render()))
        }
        Err(refusal) => Ok(refused(visit, page, refusal)),
    }
}
