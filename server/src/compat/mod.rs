//! The contracts of four older systems, one file or folder a front: translate, call the commands, translate back.
//!
//! Each stands or falls with its setting `compat.<front>.enabled`.

mod background;
mod easytask;
mod easytask_pull;
mod kingtask;
mod query;
mod routing;
mod session;
mod settings;
pub mod taskdash;

use axum::Router;

pub use background::{
    Outside, PostForm, ReadTopic, Received, SERVICE_REPLY_BYTES, SERVICE_TIMEOUT, Topic, start,
};
pub use settings::{Compat, Easytask, EasytaskPull, Front, Kingtask, Taskdash};

use routing::Unmatched;

/// Puts the legacy APIs that are switched on beside `routes`.
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
