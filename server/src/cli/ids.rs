//! Ids of tasks, runs and operations: short forms for a terminal, and prefixes in place of full ids.
//!
//! A task id has 32 hexadecimal digits and begins with the time of its creation. A run id is the task
//! id, then `-<revision>-<moment in ms>`, or `-t<mark>` for a manual trigger.

use std::collections::HashSet;

use taskcenter_client::resources::{RunList, RunResource};
use taskcenter_client::{RunQuery, TaskQuery};

use super::client::Client;
use super::exit::{Failure, Thing};
use super::screen::Screen;

const TASK_DIGITS: usize = 32;
/// Digits of a task id that are shown at least: the millisecond of its creation.
const MIN_DIGITS: usize = 12;
/// Characters of `t<mark>` that are shown.
const MARK_CHARS: usize = 13;
/// Digits of a moment in milliseconds, from 2001 to 2286.
const MOMENT_DIGITS: usize = 13;
/// Maximum number of matches that an error names.
const MAX_NAMED: usize = 3;
/// Maximum number of runs that one lookup reads.
const MAX_RUNS: u32 = 1_000;

/// Returns the ids as the screen shows them: on a terminal, the shortest form that tells them apart.
pub fn shorten_all(screen: Screen, ids: &[&str]) -> Vec<String> {
    let distinct = ids.iter().collect::<HashSet<_>>().len();
    let is_unique =
        |digits: &usize| ids.iter().map(|id| shorten(id, *digits)).collect::<HashSet<_>>().len() == distinct;
    let digits = screen.width.and_then(|_| (MIN_DIGITS..=TASK_DIGITS).find(is_unique));
    ids.iter().map(|id| digits.map_or_else(|| (*id).to_owned(), |digits| shorten(id, digits))).collect()
}

/// Returns the id as the screen shows it.
pub fn shorten_one(screen: Screen, id: &str) -> String {
    if screen.width.is_some() { shorten(id, MIN_DIGITS) } else { id.to_owned() }
}

fn shorten(id: &str, digits: usize) -> String {
    let Some((task, rest)) = id.split_once('-') else { return id.get(..digits).unwrap_or(id).to_owned() };
    let is_trigger = rest.starts_with('t');
    let rest = if is_trigger { rest.get(..MARK_CHARS).unwrap_or(rest) } else { rest };
    format!("{}-{rest}", task.get(..digits).unwrap_or(task))
}

/// Returns the id of the task whose id begins with `text`, or of the live task that `NAME|DEDUP_KEY` names. A text
/// that is neither is returned unchanged; the server does not find it.
///
/// # Errors
/// [`Failure::NotFound`], or [`Failure::Misused`] for an ambiguous prefix.
pub async fn find_task(client: &Client, text: &str) -> Result<String, Failure> {
    // A name has no `|`.
    if let Some((name, dedup_key)) = text.split_once('|') {
        return find_live_task(client, name, dedup_key).await?.ok_or_else(|| Thing::Task.missing(text));
    }
    if text.len() >= TASK_DIGITS || !is_hex(text) {
        return Ok(text.to_owned());
    }
    let tasks = tasks_with_prefix(client, text).await?;
    take_only(Thing::Task, text, tasks)
}

async fn find_live_task(client: &Client, name: &str, dedup_key: &str) -> Result<Option<String>, Failure> {
    let key = (Some(name.to_owned()), Some(dedup_key.to_owned()));
    let query = TaskQuery { name: key.0, dedup_key: key.1, ..TaskQuery::default() };
    let found = client.call(client.api.list_tasks(&query)).await?;
    Ok(found.tasks.into_iter().next().map(|task| task.id))
}

/// Returns the id of the operation whose id begins with `text`.
///
/// # Errors
/// As [`find_task`].
pub async fn find_operation(client: &Client, text: &str) -> Result<String, Failure> {
    if text.len() >= TASK_DIGITS || !is_hex(text) {
        return Ok(text.to_owned());
    }
    // Operations are listed by id, and the cursor is an id.
    let cursor = format!("{text:f<TASK_DIGITS$}");
    let page = client.api.list_operations(Some(MAX_NAMED as u32 + 1), Some(&cursor));
    let ids = client.call(page).await?.operations.into_iter().map(|operation| operation.id);
    take_only(Thing::Operation, text, ids.filter(|id| id.starts_with(text)).collect())
}

/// As [`find_task`], for an option.
pub async fn find_optional_task(client: &Client, text: Option<String>) -> Result<Option<String>, Failure> {
    match text {
        Some(text) => find_task(client, &text).await.map(Some),
        None => Ok(None),
    }
}

/// Returns the id of the run that `text` names: a prefix of the id of its task, then optionally `-` and a
/// prefix of the rest of the run id.
///
/// # Errors
/// As [`find_task`].
pub async fn find_run(client: &Client, text: &str) -> Result<String, Failure> {
    let (task, rest) = text.split_once('-').unwrap_or((text, ""));
    if is_complete(task, rest) || !is_hex(task) || task.len() > TASK_DIGITS {
        return Ok(text.to_owned());
    }
    if let Some(at) = moment(rest) {
        let runs = runs_at(client, task, rest, at).await?;
        if !runs.is_empty() {
            return take_only(Thing::Run, text, runs);
        }
    }
    let tasks = if task.len() == TASK_DIGITS {
        vec![task.to_owned()]
    } else {
        tasks_with_prefix(client, task).await?
    };
    if tasks.len() > MAX_NAMED {
        return take_only(Thing::Task, text, tasks);
    }
    take_only(Thing::Run, text, runs_of_tasks(client, &tasks, rest).await?)
}

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Whether no further character can follow, so that a lookup is not needed.
fn is_complete(task: &str, rest: &str) -> bool {
    let is_mark = rest.starts_with('t') && rest.len() > TASK_DIGITS;
    let has_moment = moment(rest).is_some_and(|at| at.to_string().len() >= MOMENT_DIGITS);
    task.len() == TASK_DIGITS && (is_mark || has_moment)
}

/// Returns the moment in `<revision>-<moment>`.
fn moment(rest: &str) -> Option<i64> {
    let (revision, at) = rest.split_once('-')?;
    revision.parse::<u32>().ok().and_then(|_| at.parse().ok())
}

/// Returns the ids of tasks that begin with `prefix`, at most one more than an error names. Tasks are
/// listed by id, and the cursor is an id, so the lookup reads matching tasks only.
async fn tasks_with_prefix(client: &Client, prefix: &str) -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    for state in [None, Some("cancelled".to_owned())] {
        let mut cursor = Some(format!("{prefix:f<TASK_DIGITS$}"));
        while cursor.is_some() && found.len() <= MAX_NAMED {
            let limit = Some(MAX_NAMED as u32 + 1);
            let query = TaskQuery { state: state.clone(), limit, cursor, ..TaskQuery::default() };
            let page = client.call(client.api.list_tasks(&query)).await?;
            let is_last = page.tasks.last().is_none_or(|task| !task.id.starts_with(prefix));
            cursor = page.next_cursor.filter(|_| !is_last);
            found.extend(page.tasks.into_iter().map(|task| task.id).filter(|id| id.starts_with(prefix)));
        }
    }
    Ok(found)
}

/// Returns the ids of runs of one moment that end with `rest`. The runs of a moment are listed by id.
async fn runs_at(client: &Client, task: &str, rest: &str, at: i64) -> Result<Vec<String>, Failure> {
    // `z` comes after every character of an id.
    let cursor = Some(format!("{at}~{task}z"));
    let page = list_runs(client, RunQuery { cursor, ..RunQuery::default() }).await?;
    let is_match =
        |run: &&RunResource| run.scheduled_at.as_millisecond() == at && run.run_id.starts_with(task);
    let matching: Vec<&RunResource> = page.runs.iter().take_while(is_match).collect();
    if matching.len() == page.runs.len() && page.next_cursor.is_some() {
        return Err(too_many_runs());
    }
    let end = format!("-{rest}");
    Ok(matching.iter().map(|run| run.run_id.clone()).filter(|id| id.ends_with(&end)).collect())
}

async fn runs_of_tasks(client: &Client, tasks: &[String], rest: &str) -> Result<Vec<String>, Failure> {
    let (mut found, mut is_complete) = (Vec::new(), true);
    for task in tasks {
        let query = RunQuery { task_id: Some(task.clone()), ..RunQuery::default() };
        let page = list_runs(client, query).await?;
        is_complete &= page.next_cursor.is_none();
        let start = format!("{task}-{rest}");
        found.extend(page.runs.into_iter().map(|run| run.run_id).filter(|id| id.starts_with(&start)));
    }
    if found.len() < 2 && !is_complete { Err(too_many_runs()) } else { Ok(found) }
}

async fn list_runs(client: &Client, query: RunQuery) -> Result<RunList, Failure> {
    client.call(client.api.list_runs(&RunQuery { limit: Some(MAX_RUNS), ..query })).await
}

fn too_many_runs() -> Failure {
    Failure::Misused(format!(
        "the id is too short: more than {MAX_RUNS} runs are candidates; use the full id, which \
         `taskcenter run list --wide` shows"
    ))
}

fn take_only(thing: Thing, text: &str, mut found: Vec<String>) -> Result<String, Failure> {
    if found.len() < 2 {
        return found.pop().ok_or_else(|| thing.missing(text));
    }
    let more = if found.len() > MAX_NAMED { ", and more" } else { "" };
    let named = found[..found.len().min(MAX_NAMED)].join(", ");
    let things = thing.plural();
    Err(Failure::Misused(format!(
        "{text:?} is the beginning of the ids of several {things}: {named}{more}; use a longer prefix"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TASK: &str = "019aa4c81b7a7c3e8a51f3d6c2b90417";

    #[test]
    fn short_ids_tell_the_shown_ids_apart() {
        let screen = Screen { width: Some(80), ..Screen::default() };
        let other = "019aa4c81b7a7c3f8a51f3d6c2b90417";
        let short = |ids: &[&str]| shorten_all(screen, ids);
        assert_eq!(short(&[TASK]), ["019aa4c81b7a"]);
        assert_eq!(short(&[TASK, other]), ["019aa4c81b7a7c3e", "019aa4c81b7a7c3f"]);
        let runs = [format!("{TASK}-1-1763705000000"), format!("{TASK}-t{other}")];
        let runs: Vec<&str> = runs.iter().map(String::as_str).collect();
        assert_eq!(short(&runs), ["019aa4c81b7a-1-1763705000000", "019aa4c81b7a-t019aa4c81b7a"]);
        assert_eq!(shorten_all(Screen::default(), &runs), runs);
    }

    #[test]
    fn complete_ids_need_no_lookup() {
        for (id, complete) in [
            (format!("{TASK}-1-1763705000000"), true),
            (format!("{TASK}-1-176370500000"), false),
            (format!("{TASK}-t{TASK}"), true),
            (format!("{TASK}-t{}", &TASK[..31]), false),
            ("019aa4c81b7a-1-1763705000000".to_owned(), false),
            (TASK.to_owned(), false),
        ] {
            let (task, rest) = id.split_once('-').unwrap_or((&id, ""));
            assert_eq!(is_complete(task, rest), complete, "{id}");
        }
    }
}
