//! An action on many rows: a page that counts the rows and asks, and the creation of the operation.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

use super::super::copy_as;
use super::super::filter::href;
use super::super::frame::Frame;
use super::super::html::{self as h, Markup};
use super::super::problem::{Problem, Result};
use super::super::sent_form::SentForm;
use super::super::visit::{Fields, Visit};
use super::super::words::{Words, fill};
use super::bulk::{self, ACTIONS};
use super::confirm::ActionWords;
use super::operation::frame;
use super::operation_rows::{count_text, operation_href, selection_text};
use super::task::require_write;
use super::task_actions::idempotency_key;
use super::{dead_letters, tasks};
use crate::core::operation::{Action, NewOperation, Selection};
use crate::engine::service::{RunFilter, ServiceError, TaskFilter, Wanted};

const PATH: &str = "/console/operations/new";

#[derive(Template)]
#[template(path = "operation_new.html")]
struct Page {
    f: Frame,
    words: ActionWords<'static>,
    hidden: Markup,
    selection: String,
    /// Number of items. `None`: nothing can be done.
    items: Option<String>,
    reason: String,
    rate: String,
    /// Whether the action has a canary and a patch of the payload.
    is_redrive: bool,
    canary: String,
    patch: String,
    back: String,
    problem: Option<String>,
}

/// Shows the page that asks.
pub async fn ask(visit: Visit) -> Response {
    answer(&visit, &visit.query(), None).await
}

/// Creates the operation, or shows the page again with the texts to copy of the values that were typed.
pub async fn create(SentForm(visit, fields): SentForm) -> Response {
    if fields.get("preview").is_some() {
        return answer(&visit, &fields, None).await;
    }
    match created(&visit, &fields).await {
        Ok(Ok(response)) => response,
        Ok(Err(why)) => answer(&visit, &fields, Some(why)).await,
        Err(problem) => problem.answer(&visit),
    }
}

/// Returns the answer after the creation, or why the form is refused.
async fn created(visit: &Visit, fields: &Fields) -> Result<std::result::Result<Response, String>> {
    let t = visit.lang.words();
    let action = action(fields, t)?;
    let new = match read(visit, action, fields, t) {
        Ok(new) => new,
        Err(why) => return Ok(Err(why)),
    };
    let key = idempotency_key(fields, &format!("operation {new:?}"));
    match visit.service.create_operation(new, key).await {
        Ok(operation) => Ok(Ok(visit.redirect(&operation_href(&operation.id)))),
        Err(ServiceError::Operation(invalid)) => Ok(Err(invalid.message)),
        Err(ServiceError::KeyReused) => Ok(Err(t.op_sent_before.clone())),
        Err(error) => Err(error.into()),
    }
}

async fn answer(visit: &Visit, fields: &Fields, problem: Option<String>) -> Response {
    match page(visit, fields, problem).await {
        Ok(page) => {
            let refused = page.problem.is_some();
            let status = if refused { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
            visit.answer(status, page.render())
        }
        Err(problem) => problem.answer(visit),
    }
}

async fn page(visit: &Visit, fields: &Fields, problem: Option<String>) -> Result<Page> {
    require_write(visit)?;
    let t = visit.lang.words();
    let action = action(fields, t)?;
    let words = bulk::words(action, t).ok_or(Problem::NotFound)?;
    let (mut text, mut items, mut problem, mut recipe) = (String::new(), None, problem, None);
    let mut f = frame(visit, words.label);
    f.opens_copies = fields.get("preview").is_some();
    match selection(visit, action, fields) {
        Ok(selection) => {
            text = selection_text(&selection, t);
            match with_settings(NewOperation::new(action, selection.clone()), fields, t) {
                Ok(new) => recipe = Some(copy_as::operate(f.shell, words.label, &new)),
                Err(why) => problem = problem.or(Some(why)),
            }
            match count(visit, action, selection).await? {
                Ok(found) => items = Some(found),
                Err(why) => problem = problem.or(Some(why)),
            }
        }
        Err(why) => problem = problem.or(Some(why)),
    }
    let key = visit.service.random_secret()?;
    let sent = ["q", "all"].map(|name| (name, fields.raw(name).unwrap_or_default()));
    let ids = fields.all("id");
    let selected = sent.into_iter().chain(ids.iter().map(|id| ("id", id.as_str())));
    let selected: Vec<(&str, &str)> = [("action", action.as_str())].into_iter().chain(selected).collect();
    let all = selected.iter().copied().chain([("key", key.as_str())]);
    let list = if action.is_for_runs() { dead_letters::PATH } else { tasks::PATH };
    Ok(Page {
        hidden: all.fold(Markup::default(), |hidden, (name, value)| hidden.and(&h::hidden(name, value))),
        selection: text,
        items,
        reason: fields.get("reason").unwrap_or_default().to_owned(),
        rate: fields.get("rate").unwrap_or_default().to_owned(),
        is_redrive: action == Action::Redrive,
        canary: fields.get("canary").unwrap_or_default().to_owned(),
        patch: fields.get("patch").unwrap_or_default().to_owned(),
        back: href(list, fields.get("q").unwrap_or_default(), None),
        problem,
        f: f.at(PATH, &selected).with_recipes(recipe),
        words,
    })
}

/// Returns the number of rows of a selection, or why the action is not possible.
async fn count(
    visit: &Visit,
    action: Action,
    selection: Selection,
) -> Result<std::result::Result<String, String>> {
    match visit.service.preview_operation(NewOperation::new(action, selection)).await {
        Ok(count) if count.rows == 0 => Ok(Err(visit.lang.words().op_none.clone())),
        Ok(count) => Ok(Ok(count_text(count))),
        Err(ServiceError::Operation(invalid)) => Ok(Err(invalid.message)),
        Err(error) => Err(error.into()),
    }
}

fn action(fields: &Fields, t: &Words) -> Result<Action> {
    let name = fields.get("action").unwrap_or_default();
    let action = Action::parse(name).filter(|action| ACTIONS.contains(action));
    action.ok_or_else(|| Problem::Malformed(fill(&t.op_wrong_action, &[name])))
}

/// Returns the rows that a form selects, or why the form selects none.
fn selection(visit: &Visit, action: Action, fields: &Fields) -> std::result::Result<Selection, String> {
    let t = visit.lang.words();
    if fields.get("all").is_none() {
        let ids = fields.all("id");
        return if ids.is_empty() { Err(t.op_select_first.clone()) } else { Ok(Selection::Ids(ids)) };
    }
    let (filter, is_selection, selection) = if action.is_for_runs() {
        let (filter, search) = dead_letters::read_filter(visit, fields);
        let is_selection = search.is_selection();
        let Wanted { filter: RunFilter { task_id, tag, state, .. }, labels } = search.wanted;
        (filter, is_selection, Selection::Runs { task_id, tag, state, labels })
    } else {
        let (filter, search) = tasks::read_filter(fields, t);
        let is_selection = search.is_selection();
        let Wanted { filter: TaskFilter { name, state, .. }, labels } = search.wanted;
        (filter, is_selection, Selection::Tasks { name, state, labels })
    };
    if filter.problem.is_none() && !is_selection {
        return Err(t.bulk_no_selection.clone());
    }
    // Without a word that is not understood, the filter selects more rows than the person means.
    filter.problem.map_or(Ok(selection), Err)
}

/// Reads the form, or returns why it is refused.
fn read(
    visit: &Visit,
    action: Action,
    fields: &Fields,
    t: &Words,
) -> std::result::Result<NewOperation, String> {
    with_settings(NewOperation::new(action, selection(visit, action, fields)?), fields, t)
}

/// Returns an operation with the further fields of a form, or why they are refused.
fn with_settings(new: NewOperation, fields: &Fields, t: &Words) -> std::result::Result<NewOperation, String> {
    let has_canary = new.action == Action::Redrive;
    let mut new = NewOperation {
        patch: fields.get("patch").filter(|_| has_canary).map(str::to_owned),
        reason: fields.get("reason").map(str::to_owned),
        rate_per_sec: number(fields, "rate", t)?,
        canary: if has_canary { number(fields, "canary", t)? } else { None },
        ..new
    };
    new.check().map_err(|invalid| invalid.message)?;
    Ok(new)
}

/// Reads a number of a form. `None`: the field is empty.
pub fn number(fields: &Fields, name: &str, t: &Words) -> std::result::Result<Option<u32>, String> {
    let wrong = |text: &str| fill(&t.wrong_number, &[text]);
    fields.get(name).map(|text| text.parse().map_err(|_| wrong(text))).transpose()
}
