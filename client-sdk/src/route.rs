//! Routes: which handler processes a message.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::error_text::debug_as_text;
use crate::handler::HandlerFn;
use crate::http::Error;
use crate::tag::{InvalidTag, Subscription};

/// Why a set of handlers is invalid.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// A handler is registered for an invalid tag expression.
    #[error(transparent)]
    InvalidTag(#[from] InvalidTag),
    /// Two handlers are registered for the same tag.
    #[error("two handlers are registered for the tag {0:?}: register one")]
    Overlap(String),
    /// No handler is registered.
    #[error("no handler is registered: call `on`, `on_text`, `on_blocking` or `on_raw`")]
    NoHandler,
}

debug_as_text!(RouteError);

impl From<RouteError> for Error {
    fn from(error: RouteError) -> Self {
        Self::Consumer(error.into())
    }
}

/// A registered handler with its limits.
pub(crate) struct Registration {
    pub(crate) tags: String,
    pub(crate) handler: HandlerFn,
    pub(crate) timeout: Option<Duration>,
    pub(crate) concurrency: Option<usize>,
}

/// A handler with its limits, shared by its tags.
#[derive(Clone)]
pub(crate) struct Route {
    pub(crate) handler: HandlerFn,
    /// Time limit of one call.
    pub(crate) timeout: Option<Duration>,
    /// Slots of this handler, in addition to those of the consumer.
    pub(crate) slots: Option<Arc<Semaphore>>,
}

/// Handlers by tag. A handler for an exact tag takes precedence over the one for `*`.
pub(crate) struct Routes {
    exact: HashMap<String, Route>,
    any: Option<Route>,
}

impl Routes {
    /// Builds the routes. `timeout` is the time limit of handlers without their own.
    pub(crate) fn build(
        registered: Vec<Registration>,
        timeout: Option<Duration>,
    ) -> Result<Self, RouteError> {
        let mut routes = Self { exact: HashMap::new(), any: None };
        for Registration { tags, handler, timeout: own, concurrency } in registered {
            let slots = concurrency.map(|handlers| Arc::new(Semaphore::new(handlers)));
            routes.add(&tags, &Route { handler, timeout: own.or(timeout), slots })?;
        }
        if routes.exact.is_empty() && routes.any.is_none() {
            return Err(RouteError::NoHandler);
        }
        Ok(routes)
    }

    fn add(&mut self, expression: &str, route: &Route) -> Result<(), RouteError> {
        match expression.parse()? {
            Subscription::All if self.any.is_some() => return Err(RouteError::Overlap("*".to_owned())),
            Subscription::All => self.any = Some(route.clone()),
            Subscription::Tags(tags) => {
                for tag in tags {
                    if self.exact.contains_key(&tag) {
                        return Err(RouteError::Overlap(tag));
                    }
                    self.exact.insert(tag, route.clone());
                }
            }
        }
        Ok(())
    }

    pub(crate) fn find(&self, tag: &str) -> Option<&Route> {
        self.exact.get(tag).or(self.any.as_ref())
    }

    pub(crate) fn subscription(&self) -> Subscription {
        match self.any {
            Some(_) => Subscription::All,
            None => Subscription::Tags(self.exact.keys().cloned().collect()),
        }
    }
}
