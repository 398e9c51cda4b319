//! The web console: pages for people, in the server itself.
//!
//! Every page is rendered here from askama templates, and can be read and used without JavaScript. The pages
//! call the commands of the engine with the rights of the person who reads them. [`visit`] reads a request,
//! [`frame`] is what all pages share, and `pages/` has one file for each page.

mod assets;
mod charts;
mod cookies;
mod copy_as;
mod diff;
mod digest;
mod facets;
mod filter;
mod filter_line;
mod frame;
mod html;
mod listing;
mod own_path;
mod pages;
mod problem;
mod refusals;
mod schedule_phrase;
mod schedule_words;
mod search;
mod sent_form;
mod sign_in;
mod strip;
mod time;
mod visit;
mod words;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

pub use cookies::SESSION_COOKIE;
pub use sign_in::{refuse, reopen};

use crate::engine::service::Health;

/// Path of the pages other than the overview.
const BELOW: &str = "/console";
/// Routes whose answers may be large, because they read rows with payloads.
pub const LARGE_ANSWERS: [&str; 7] = [
    "/",
    "/console/tasks",
    "/console/tasks/{task_id}",
    "/console/tasks/{task_id}/revisions",
    "/console/runs",
    "/console/runs/{run_id}",
    "/console/dead-letters",
];

/// What the console needs beside the commands.
#[derive(Clone)]
pub struct Console {
    health: Arc<Health>,
    facets: Arc<facets::Facets>,
}

impl Console {
    pub fn new(health: Arc<Health>) -> Self {
        Self { health, facets: Arc::default() }
    }
}

/// Returns whether a path belongs to the console.
pub fn has(path: &str) -> bool {
    let is_below = |rest: &str| rest.is_empty() || rest.starts_with('/');
    path == "/" || path.strip_prefix(BELOW).is_some_and(is_below)
}

/// Returns whether a path of the console needs no caller.
pub fn is_public(path: &str) -> bool {
    path.starts_with(assets::PREFIX) || matches!(path, sign_in::PATH | "/console/preferences")
}

/// Adds the routes of the console.
pub fn mount(routes: Router, console: Console) -> Router {
    let own = Router::new()
        .route("/", get(pages::overview::show))
        .route("/console", get(pages::overview::redirect))
        .route("/console/", get(pages::overview::redirect))
        .route("/console/tasks", get(pages::tasks::show))
        .route("/console/tasks/new", get(pages::task_form::new).post(pages::task_form::create))
        .route("/console/tasks/{task_id}", get(pages::task::show))
        .route("/console/tasks/{task_id}/edit", get(pages::task_form::edit).post(pages::task_form::save))
        .route("/console/tasks/{task_id}/revisions", get(pages::task_history::show))
        .route("/console/tasks/{task_id}/backfill", get(pages::backfill::ask).post(pages::backfill::create))
        .route(
            "/console/tasks/{task_id}/{action}",
            get(pages::task_actions::ask).post(pages::task_actions::act),
        )
        .route("/console/palette", get(pages::palette::show))
        .route("/console/schedule", get(pages::schedule_preview::show))
        .route("/console/runs", get(pages::runs::show))
        .route("/console/runs/{run_id}", get(pages::run::show))
        .route("/console/runs/{run_id}/{action}", get(pages::run_actions::ask).post(pages::run_actions::act))
        .route("/console/dead-letters", get(pages::dead_letters::show))
        .route("/console/filter-words", get(pages::filter_words::show))
        .route("/console/operations", get(pages::operations::show))
        .route("/console/operations/new", get(pages::operation_new::ask).post(pages::operation_new::create))
        .route("/console/operations/{operation_id}", get(pages::operation::show))
        .route(
            "/console/operations/{operation_id}/abort",
            get(pages::operation_decision::ask_abort).post(pages::operation_decision::abort),
        )
        .route(
            "/console/operations/{operation_id}/continue",
            get(pages::operation_decision::ask_continue).post(pages::operation_decision::resume),
        )
        .route("/console/alerts", get(pages::alerts::show))
        .route("/console/alerts/test", post(pages::alerts::test))
        .route("/console/alerts/silences/new", get(pages::silences::ask).post(pages::silences::create))
        .route(
            "/console/alerts/silences/{silence_id}/end",
            get(pages::silences::ask_end).post(pages::silences::end),
        )
        .route(pages::events::PATH, get(pages::events::watch))
        .route("/console/queues", get(pages::queues::show))
        .route("/console/holds/new", get(pages::holds::ask).post(pages::holds::create))
        .route("/console/holds/release", get(pages::holds::ask_release).post(pages::holds::release))
        .route("/console/workers", get(pages::workers::show))
        .route("/console/services", get(pages::services::show))
        .route(pages::calendars::PATH, get(pages::calendars::show))
        .route("/console/calendars/new", get(pages::calendars::new).post(pages::calendars::create))
        .route("/console/calendars/{name}", get(pages::calendars::edit).post(pages::calendars::save))
        .route(
            "/console/calendars/{name}/delete",
            get(pages::calendars::ask_delete).post(pages::calendars::delete),
        )
        .route(pages::audit::PATH, get(pages::audit::show))
        .route(pages::access::PATH, get(pages::access::show))
        .route("/console/access/users/new", get(pages::user_form::new).post(pages::user_form::create))
        .route("/console/access/users/edit", get(pages::user_form::edit).post(pages::user_form::save))
        .route(
            "/console/access/users/remove",
            get(pages::user_form::ask_remove).post(pages::user_form::remove),
        )
        .route("/console/access/tokens/new", get(pages::token_form::new).post(pages::token_form::issue))
        .route(
            "/console/access/tokens/revoke",
            get(pages::token_form::ask_revoke).post(pages::token_form::revoke),
        )
        .route(sign_in::PATH, get(sign_in::form).post(sign_in::submit))
        .route(sign_in::SIGN_OUT, post(sign_in::sign_out))
        .route("/console/preferences", post(sign_in::prefer))
        .route("/console/assets/{name}", get(problem::asset))
        .route("/console/{*rest}", get(problem::unknown_page))
        .method_not_allowed_fallback(problem::wrong_method)
        .with_state(console);
    routes.merge(own)
}
