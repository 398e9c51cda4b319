//! Legacy APIs: the contracts of four older systems, one directory each.
//!
//! Two of them only translate requests into commands: [`kingtask`] (scripts and RPC calls) and [`easytask`]
//! (HTTP callback services, whose records it shares with the native API).
//!
//! Two are small applications with documents, sessions and background work of their own: [`easytask_pull`]
//! (task types, workers, numbers, sessions) and [`taskdash`] (a board of tasks, services, sessions, and a
//! background loop that fetches tasks and reads topics).
//!
//! `compat.<name>.enabled` enables an API. No module outside `compat` knows an older system by name, except
//! the configuration.

mod background;
mod easytask;
mod easytask_pull;
mod kingtask;
mod query;
mod routing;
mod session;
mod settings;
pub mod taskdash;

use std::sync::Arc;

use axum::Router;

pub use background::{
    Outside, PostForm, ReadTopic, Received, SERVICE_REPLY_BYTES, SERVICE_TIMEOUT, Topic, start,
};
pub use settings::{Compat, Dialect, Easytask, EasytaskPull, Kingtask, Taskcenter, Taskdash};

use routing::Unmatched;

use crate::core::callback_format::CallbackFormat;

/// Routes that answer with lists or payloads.
pub const LARGE_ANSWERS: [&str; 7] = [
    "/api/v1/task/result/{uuid}",
    "/api/v1/task/result/failure/{date}",
    "/api/v1/task/result/success/{date}",
    "/task_log",
    "/querytask",
    "/rget/task",
    "/rpost/task",
];

/// Returns the callback formats of the legacy APIs, for the callback worker.
pub fn callback_formats() -> Vec<Arc<dyn CallbackFormat>> {
    vec![Arc::new(easytask::callbacks::Format)]
}

/// Returns the paths that pages of other origins may use, and the origins of these pages.
pub fn cross_origin(settings: &Compat) -> (&'static [&'static str], Vec<String>) {
    let board = &settings.taskdash;
    if board.enabled { (&taskdash::PAGE_PATHS, board.allow_origins.clone()) } else { (&[], Vec::new()) }
}

/// Adds the routes of the enabled APIs.
pub fn mount(mut routes: Router, settings: &Compat) -> Router {
    let mut unmatched: Vec<Unmatched> = Vec::new();
    if settings.kingtask.enabled {
        routes = kingtask::mount(routes, &settings.kingtask);
        unmatched.push(kingtask::UNMATCHED);
    }
    if settings.easytask.enabled {
        routes = easytask::mount(routes, &settings.easytask);
    }
    if settings.easytask_pull.enabled {
        routes = easytask_pull::mount(routes, &settings.easytask_pull);
        unmatched.push(easytask_pull::UNMATCHED);
    }
    if settings.taskdash.enabled {
        routes = taskdash::mount(routes, &settings.taskdash);
        unmatched.push(taskdash::UNMATCHED);
    }
    routing::refuse_unmatched(routes, unmatched)
}
