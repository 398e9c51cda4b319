//! What a schedule means: its words, its next moments, and what would happen after an absence of the server.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;
use jiff::tz::TimeZone;

use super::super::frame::Instant;
use super::super::html::{self as h, Markup};
use super::super::problem::{Problem, Result};
use super::super::schedule_phrase::Composed;
use super::super::schedule_words;
use super::super::time::{date_time, duration};
use super::super::visit::{Fields, Visit};
use super::super::words::{Words, fill};
use super::calendar_choice;
use super::field_time::read_time;
use super::moments::{self, NextMoment};
use super::schedule_choices::Choices;
use super::task_draft::{Draft, Refusal};
use crate::core::misfire::{Absence, AfterAbsence, Misfire, MisfirePolicy, Step};
use crate::core::{Moment, Schedule, Task, TaskId, zone};

/// Decisions that a page shows.
const STEPS: usize = 20;

/// A decision on moments of the absence.
pub struct Decision {
    pub at: String,
    pub pill: Markup,
}

/// What would happen after an absence.
pub struct After {
    pub policy: String,
    pub decisions: Vec<Decision>,
    pub more: bool,
}

/// The schedule of a draft.
pub struct Preview {
    pub words: String,
    pub notes: Vec<String>,
    pub moments: Vec<NextMoment>,
    pub after: Option<After>,
    pub t: &'static Words,
    now: Moment,
}

impl Preview {
    /// Returns the distance of an instant from now.
    pub fn ago(&self, at: impl Instant) -> Markup {
        h::distance(at.moment(), self.now, self.t)
    }
}

/// The fields about an absence, as typed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Away {
    pub from: String,
    pub to: String,
    pub policy: String,
}

impl Away {
    /// Reads a sent form.
    pub fn read(fields: &Fields) -> Self {
        let text = |name| fields.get(name).unwrap_or_default().to_owned();
        Self { from: text("away_from"), to: text("away_to"), policy: text("policy") }
    }

    pub fn is_empty(&self) -> bool {
        self.from.is_empty() && self.to.is_empty()
    }

    /// Returns the absence. `None`: no time is given.
    fn absence(
        &self,
        now: Moment,
        zone: &TimeZone,
        t: &Words,
    ) -> std::result::Result<Option<Absence>, Refusal> {
        let from = read_time("away_from", &self.from, zone, t)?;
        let Some(to) = read_time("away_to", &self.to, zone, t)? else { return Ok(None) };
        let from = from.unwrap_or(now);
        if to <= from {
            return Err(Refusal { field: "away_to", why: t.away_order.clone() });
        }
        Ok(Some(Absence { from, to }))
    }

    /// Returns the policy that the person has chosen, or else the task's.
    fn misfire(&self, default: Misfire) -> Misfire {
        let chosen = MisfirePolicy::ALL.into_iter().find(|policy| policy.as_str() == self.policy);
        Misfire { policy: chosen.unwrap_or(default.policy), ..default }
    }
}

/// Returns the policies with their labels.
pub fn policies(t: &Words) -> [(&'static str, &str); 3] {
    MisfirePolicy::ALL.map(|policy| (policy.as_str(), policy_word(policy, t)))
}

/// Returns the word of a misfire policy.
pub fn policy_word(policy: MisfirePolicy, t: &Words) -> &str {
    match policy {
        MisfirePolicy::FireAll => &t.policy_fire_all,
        MisfirePolicy::FireLast => &t.policy_fire_last,
        MisfirePolicy::Skip => &t.policy_skip,
    }
}

/// Returns the preview of the schedule of a draft. The other fields of the draft need not be valid.
pub async fn preview(
    visit: &Visit,
    draft: &Draft,
    away: &Away,
) -> Result<std::result::Result<Preview, Refusal>> {
    let (t, now) = (visit.lang.words(), visit.service.now());
    let zone_name = visit.service.time_zone();
    let zone = zone::find(zone_name).unwrap_or(TimeZone::UTC);
    let absence = match away.absence(now, &zone, t) {
        Ok(absence) => absence,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let mut submission = match draft.schedule_only().submission(None, zone_name, &zone, t) {
        Ok(submission) => submission,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let (words, mut notes) = (schedule_words::describe(&submission.schedule, t), notes(&submission.schedule));
    submission = visit.service.preview_definition(submission).await?;
    if let Some(calendars) = &submission.timing.calendars {
        notes.push(format!("{}: {}", t.calendars, calendar_choice::in_words(calendars, t)));
    }
    // The delay of a task depends on its id.
    if let Some(jitter_ms) = submission.timing.jitter_ms.take() {
        notes.push(format!("{}: {}", t.moment_jitter, fill(&t.jitter_up_to, &[&duration(jitter_ms, t)])));
    }
    let task = match submission.accept(TaskId::new(uuid::Uuid::nil()), now) {
        Ok(task) => task,
        Err(invalid) => return Ok(Err(Refusal::of(&invalid))),
    };
    let after = match absence {
        Some(absence) => {
            let misfire = away.misfire(task.timing.misfire.over(visit.service.misfire()));
            Some(after(visit, &task, absence, misfire).await?)
        }
        None => None,
    };
    Ok(Ok(Preview { words, notes, moments: moments::of(&task, visit).await?, after, t, now }))
}

async fn after(visit: &Visit, task: &Task, absence: Absence, misfire: Misfire) -> Result<After> {
    let (t, lang, zone) = (visit.lang.words(), visit.lang, moments::zone_of(task, visit));
    let task = task.clone();
    // The search for moments can take milliseconds, so it has a thread of its own.
    let found = tokio::task::spawn_blocking(move || misfire.after_absence(&task, absence, STEPS)).await;
    let AfterAbsence { steps, more } = found.map_err(|error| Problem::Internal(error.to_string()))?;
    let text = |at: Moment| date_time(at, &zone, lang).unwrap_or_else(|| at.to_string());
    let decision = |step: &Step| match step {
        Step::Fire { at } => {
            let late = fill(&t.away_fires, &[&duration(absence.to.since(*at), t)]);
            Decision { at: text(*at), pill: h::pill("ok", "bolt", &late) }
        }
        Step::Skip { from, to, count } => {
            let is_merged = misfire.policy == MisfirePolicy::FireLast;
            let words = if is_merged { &t.away_merged } else { &t.away_skipped };
            let words = fill(words, &[&h::count(*count), &text(*to)]);
            Decision { at: text(*from), pill: h::pill("none", "skip", &words) }
        }
    };
    let policy = policy_word(misfire.policy, t).to_owned();
    Ok(After { policy, decisions: steps.iter().map(decision).collect(), more })
}

/// Returns remarks on the schedule, such as a step that leaves only one value.
fn notes(schedule: &Schedule) -> Vec<String> {
    schedule.rule().notes().cloned().collect()
}

/// The part of a page that the script replaces while a person types.
#[derive(Template)]
#[template(path = "schedule_fragment.html")]
struct Fragment {
    preview: Option<Preview>,
    refusal: Option<Refusal>,
    composed: Option<Composed>,
}

/// Shows the preview of a schedule in the parameters of the URL, without a page around it.
pub async fn show(visit: Visit) -> Response {
    let (fields, t) = (visit.query(), visit.lang.words());
    let mut draft = Draft::read(&fields);
    let composed = Choices::read(&fields).compose(&fields, t);
    if let Ok(Some(composed)) = &composed {
        draft.set_schedule(composed);
    }
    let found = match &composed {
        Ok(_) => preview(&visit, &draft, &Away::read(&fields)).await,
        Err(_) => Ok(Err(Refusal { field: "phrase", why: String::new() })),
    };
    let (preview, refusal, composed) = match (found, composed) {
        (Err(problem), _) => return problem.answer(&visit),
        (Ok(_), Err(refusal)) => (None, Some(refusal), None),
        (Ok(Err(refusal)), Ok(composed)) => (None, Some(refusal), composed),
        (Ok(Ok(preview)), Ok(composed)) => (Some(preview), None, composed),
    };
    let status = if refusal.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    visit.answer(status, Fragment { preview, refusal, composed }.render())
}
