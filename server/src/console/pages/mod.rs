//! The pages, one file each.

pub mod access;
pub mod activity;
pub mod alert_rows;
pub mod alerts;
pub mod audit;
pub mod backfill;
pub mod bulk;
mod calendar_choice;
pub mod calendars;
pub mod confirm;
pub mod dead_groups;
pub mod dead_letters;
pub mod events;
mod field_text;
mod field_time;
pub mod filter_words;
pub mod holds;
pub mod labels;
mod limits;
pub mod moments;
pub mod operation;
pub mod operation_decision;
pub mod operation_new;
pub mod operation_rows;
pub mod operations;
mod overlap_choice;
pub mod overview;
pub mod palette;
pub mod payload_form;
pub mod queues;
mod rate_draft;
mod retry_draft;
pub mod rows;
pub mod run;
pub mod run_actions;
pub mod run_filter;
pub mod run_log;
pub mod runs;
pub mod schedule_choices;
pub mod schedule_preview;
pub mod services;
pub mod silences;
pub mod task;
pub mod task_actions;
pub mod task_draft;
pub mod task_form;
pub mod task_history;
pub mod tasks;
pub mod token_form;
pub mod user_form;
pub mod workers;

use axum::http::StatusCode;
use axum::response::Response;

use super::problem::Result;
use super::visit::Visit;

/// Returns the rendered page, or the page of its problem.
fn answer(visit: &Visit, page: Result<askama::Result<String>>) -> Response {
    match page {
        Ok(html) => visit.answer(StatusCode::OK, html),
        Err(problem) => problem.answer(visit),
    }
}
