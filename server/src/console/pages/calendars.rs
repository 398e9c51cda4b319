//! Calendars: list, form and delete.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

use super::super::frame::{Frame, Section};
use super::super::html::{self as h, Markup};
use super::super::problem::{Problem, Result};
use super::super::sent_form::SentForm;
use super::super::visit::{Fields, Segment, Visit};
use super::super::words::fill;
use super::confirm::Confirm;
use super::silences::require_all_tags;
use crate::core::calendar::{Calendar, StoredCalendar};
use crate::core::zone;
use crate::engine::service::ServiceError;

pub const PATH: &str = "/console/calendars";
const NEW: &str = "/console/calendars/new";
/// Tasks that a page names.
const MAX_TASKS: usize = 100;

struct Line {
    stored: StoredCalendar,
    href: String,
}

impl Line {
    fn new(stored: StoredCalendar) -> Self {
        Self { href: href(&stored.calendar.name), stored }
    }

    /// Returns an entry a line, with a sign for what it does.
    fn entries(&self) -> Vec<String> {
        let Calendar { weekly, include, exclude, .. } = &self.stored.calendar;
        let signed = |sign: &'static str| move |entry: &String| format!("{sign}{entry}");
        let dates = include.iter().map(signed("+ ")).chain(exclude.iter().map(signed("− ")));
        weekly.iter().cloned().chain(dates).collect()
    }
}

/// Returns the path of a calendar. A name has no character that a path must encode.
fn href(name: &str) -> String {
    format!("{PATH}/{name}")
}

#[derive(Template)]
#[template(path = "calendars.html")]
struct List {
    f: Frame,
    calendars: Vec<Line>,
    may_act: bool,
}

/// Lists the calendars.
pub async fn show(visit: Visit) -> Response {
    super::answer(&visit, list(&visit).await)
}

async fn list(visit: &Visit) -> Result<askama::Result<String>> {
    let calendars = visit.service.calendars().await?.into_iter().map(Line::new).collect();
    let f =
        Frame::new(visit, Section::Calendars, &visit.lang.words().calendars).live().api("/v1/calendars", &[]);
    Ok(List { f, calendars, may_act: require_all_tags(visit).is_ok() }.render())
}

/// The fields as a person has typed them: one entry a line.
#[derive(Default)]
struct Draft {
    name: String,
    description: String,
    zone: String,
    weekly: String,
    include: String,
    exclude: String,
}

impl Draft {
    fn of(stored: StoredCalendar) -> Self {
        let StoredCalendar { calendar, description, .. } = stored;
        let Calendar { name, version: _, zone, weekly, include, exclude } = calendar;
        let [weekly, include, exclude] = [weekly, include, exclude].map(|entries| entries.join("\n"));
        Self { name, description, zone, weekly, include, exclude }
    }

    fn read(fields: &Fields) -> Self {
        let text = |name| fields.get(name).unwrap_or_default().replace("\r\n", "\n");
        Self {
            name: text("name"),
            description: text("description"),
            zone: text("zone"),
            weekly: text("weekly"),
            include: text("include"),
            exclude: text("exclude"),
        }
    }

    fn calendar(&self) -> Calendar {
        let entries = |text: &str| {
            text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
        };
        Calendar {
            zone: self.zone.clone(),
            weekly: entries(&self.weekly),
            include: entries(&self.include),
            exclude: entries(&self.exclude),
            ..Calendar::named(self.name.clone())
        }
    }
}

#[derive(Template)]
#[template(path = "calendar_form.html")]
struct Form {
    f: Frame,
    path: String,
    d: Draft,
    is_new: bool,
    /// Tasks with the calendar: id and path.
    tasks: Vec<(String, String)>,
    zones: Vec<String>,
    /// The wrong field, and why it is wrong.
    refusal: Option<(String, String)>,
    may_act: bool,
}

impl Form {
    fn is_wrong(&self, field: &str) -> bool {
        self.refusal.as_ref().is_some_and(|(wrong, _)| wrong.split('[').next() == Some(field))
    }
}

async fn form(visit: &Visit, name: Option<&str>, d: Draft) -> Result<Form> {
    let (t, may_act) = (visit.lang.words(), require_all_tags(visit).is_ok());
    let tasks = match name {
        Some(name) => visit.service.tasks_of_calendar(name, MAX_TASKS).await?,
        None => Vec::new(),
    };
    let title = name.map_or_else(|| t.calendar_new.clone(), str::to_owned);
    let path = name.map_or_else(|| NEW.to_owned(), href);
    let f = Frame::new(visit, Section::Calendars, &title).below(&t.calendars, PATH).at(&path, &[]);
    Ok(Form {
        f: if name.is_some() { f.api(&format!("/v1/calendars/{title}"), &[]) } else { f },
        path,
        d,
        is_new: name.is_none(),
        tasks: tasks.iter().map(|id| (id.to_string(), super::rows::task_href(id))).collect(),
        zones: zone::names(),
        refusal: None,
        may_act,
    })
}

/// Shows the form of a new calendar.
pub async fn new(visit: Visit) -> Response {
    super::answer(&visit, new_form(&visit).await)
}

async fn new_form(visit: &Visit) -> Result<askama::Result<String>> {
    require_all_tags(visit)?;
    let zone = visit.service.time_zone().to_owned();
    let draft = Draft { zone, weekly: "mon-fri".to_owned(), ..Draft::default() };
    Ok(form(visit, None, draft).await?.render())
}

/// Shows a calendar.
pub async fn edit(visit: Visit, Segment(name): Segment) -> Response {
    super::answer(&visit, edit_form(&visit, &name).await)
}

async fn edit_form(visit: &Visit, name: &str) -> Result<askama::Result<String>> {
    let stored = visit.service.calendar(name).await?;
    Ok(form(visit, Some(name), Draft::of(stored)).await?.render())
}

/// Creates a calendar.
pub async fn create(SentForm(visit, fields): SentForm) -> Response {
    let draft = Draft::read(&fields);
    saved(&visit, None, draft).await.unwrap_or_else(|problem| problem.answer(&visit))
}

/// Saves a calendar.
pub async fn save(Segment(name): Segment, SentForm(visit, fields): SentForm) -> Response {
    let draft = Draft { name: name.clone(), ..Draft::read(&fields) };
    saved(&visit, Some(&name), draft).await.unwrap_or_else(|problem| problem.answer(&visit))
}

async fn saved(visit: &Visit, name: Option<&str>, draft: Draft) -> Result<Response> {
    require_all_tags(visit)?;
    let exists = name.is_none() && visit.service.calendar(&draft.name).await.is_ok();
    let stored = if exists {
        Err(("name".to_owned(), fill(&visit.lang.words().calendar_exists, &[&draft.name])))
    } else {
        match visit.service.put_calendar(&draft.calendar(), &draft.description).await {
            Ok(_) => Ok(()),
            Err(ServiceError::Calendar(invalid)) => Err((invalid.field, invalid.message)),
            Err(error) => return Err(error.into()),
        }
    };
    let Err(refusal) = stored else { return Ok(visit.redirect(&format!("{PATH}?done=calendar_saved"))) };
    let page = Form { refusal: Some(refusal), ..form(visit, name, draft).await? };
    Ok(visit.answer(StatusCode::UNPROCESSABLE_ENTITY, page.render()))
}

/// Shows the page that asks before the delete of a calendar.
pub async fn ask_delete(visit: Visit, Segment(name): Segment) -> Response {
    super::answer(&visit, asked(&visit, &name, None).await)
}

async fn asked(visit: &Visit, name: &str, problem: Option<String>) -> Result<askama::Result<String>> {
    require_all_tags(visit)?;
    let (stored, t) = (visit.service.calendar(name).await?, visit.lang.words());
    let path = format!("{}/delete", href(name));
    let f = Frame::new(visit, Section::Calendars, &t.calendar_delete)
        .below(&t.calendars, PATH)
        .below(name, &href(name));
    let page = Confirm {
        hidden: Markup::default(),
        facts: vec![(t.name.clone(), stored.calendar.name), (t.time_zone.clone(), stored.calendar.zone)],
        effect: t.calendar_delete_effect.clone(),
        leaves: t.calendar_delete_leaves.clone(),
        label: t.calendar_delete.clone(),
        is_danger: true,
        back: href(name),
        problem,
        f: f.at(&path, &[]),
        path,
    };
    Ok(page.render())
}

/// Deletes a calendar.
pub async fn delete(Segment(name): Segment, SentForm(visit, _): SentForm) -> Response {
    match visit.service.remove_calendar(&name).await {
        Ok(_) => visit.redirect(&format!("{PATH}?done=calendar_deleted")),
        Err(error @ ServiceError::CalendarInUse { .. }) => {
            match asked(&visit, &name, Some(error.to_string())).await {
                Ok(page) => visit.answer(StatusCode::CONFLICT, page),
                Err(problem) => problem.answer(&visit),
            }
        }
        Err(error) => Problem::from(error).answer(&visit),
    }
}
