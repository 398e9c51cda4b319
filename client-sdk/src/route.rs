//! Routes: which handler processes a message.

use std::collections::HashMap;

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
    #[error("no handler is registered: call `on`, `on_text` or `on_raw`")]
    NoHandler,
}

debug_as_text!(RouteError);

impl From<RouteError> for Error {
    fn from(error: RouteError) -> Self {
        Self::Consumer(error.into())
    }
}

/// Handlers by tag. A handler for an exact tag takes precedence over the one for `*`.
pub(crate) struct Routes {
    exact: HashMap<String, HandlerFn>,
    any: Option<HandlerFn>,
}

impl Routes {
    pub(crate) fn build(registered: Vec<(String, HandlerFn)>) -> Result<Self, RouteError> {
        let mut routes = Self { exact: HashMap::new(), any: None };
        for (expression, handler) in registered {
            routes.add(&expression, &handler)?;
        }
        if routes.exact.is_empty() && routes.any.is_none() {
            return Err(RouteError::NoHandler);
        }
        Ok(routes)
    }

    fn add(&mut self, expression: &str, handler: &HandlerFn) -> Result<(), RouteError> {
        match expression.parse()? {
            Subscription::All if self.any.is_some() => return Err(RouteError::Overlap("*".to_owned())),
            Subscription::All => self.any = Some(handler.clone()),
            Subscription::Tags(tags) => {
                for tag in tags {
                    if self.exact.contains_key(&tag) {
                        return Err(RouteError::Overlap(tag));
                    }
                    self.exact.insert(tag, handler.clone());
                }
            }
        }
        Ok(())
    }

    pub(crate) fn find(&self, tag: &str) -> Option<&HandlerFn> {
        self.exact.get(tag).or(self.any.as_ref())
    }

    pub(crate) fn subscription(&self) -> Subscription {
        match self.any {
            Some(_) => Subscription::All,
            None => Subscription::Tags(self.exact.keys().cloned().collect()),
        }
    }
}
