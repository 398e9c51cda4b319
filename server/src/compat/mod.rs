//! The contracts of four older systems, one file a front: translate, call the commands, translate back.
//!
//! Each stands or falls with its setting `compat.<front>.enabled`.

mod settings;

use std::sync::Arc;

use axum::Router;

pub use settings::{Compat, Front};

use crate::engine::service::Service;

/// Puts the fronts that are switched on beside `routes`.
pub fn mount(routes: Router, _service: &Arc<Service>, _settings: &Compat) -> Router {
    routes
}
