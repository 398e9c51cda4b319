//! The contracts of four older systems, one file or folder a front: translate, call the commands, translate back.
//!
//! Each stands or falls with its setting `compat.<front>.enabled`.

mod easytask;
mod kingtask;
mod settings;

use std::sync::Arc;

use axum::Router;

pub use settings::{Compat, Easytask, Front, Kingtask};

use crate::engine::service::Service;

/// Puts the fronts that are switched on beside `routes`.
pub fn mount(mut routes: Router, service: &Arc<Service>, settings: &Compat) -> Router {
    if settings.kingtask.enabled {
        routes = kingtask::mount(routes, service, &settings.kingtask);
    }
    if settings.easytask.enabled {
        routes = easytask::mount(routes, service, &settings.easytask);
    }
    routes
}
