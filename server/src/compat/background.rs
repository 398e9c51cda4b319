//! Background work of the legacy APIs.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::settings::Compat;
use super::taskdash;
use crate::engine::service::Service;

/// Longest time for a service to answer.
pub const SERVICE_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest part of a service's response that is read, in bytes.
pub const SERVICE_REPLY_BYTES: usize = 8 * 1024 * 1024;

/// Posts a form to a URL and returns the body of the response, or why there is none. Arguments:
/// URL, form.
pub type PostForm =
    Arc<dyn Fn(String, &'static str) -> BoxFuture<'static, Result<Vec<u8>, String>> + Send + Sync>;

/// Reads every message of a topic until the token is cancelled.
pub type ReadTopic = Arc<dyn Fn(Topic, CancellationToken) -> BoxFuture<'static, ()> + Send + Sync>;

/// A topic to read.
pub struct Topic {
    /// Name of the topic.
    pub name: String,
    /// End of the consumer group's name. Differs by topic.
    pub group_suffix: &'static str,
    /// Handles the body of one message.
    pub receive: Arc<dyn Fn(Vec<u8>) -> BoxFuture<'static, Received> + Send + Sync>,
}

/// Outcome of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// Stored.
    Stored,
    /// Invalid: a redelivery would not help.
    Invalid,
    /// Not stored: deliver again.
    Failed,
}

/// Connections to other programs for background work.
pub struct Outside {
    /// Calls a service.
    pub post_form: PostForm,
    /// Reads a topic of the bus. `None` without a bus.
    pub read_topic: Option<ReadTopic>,
}

/// Starts the background work of the enabled legacy APIs. It ends after `shutdown`; wait for the
/// tracker.
///
/// # Errors
/// An error of `outside`, which is called only when there is background work.
pub fn start<E>(
    service: &Service,
    settings: &Compat,
    outside: impl FnOnce() -> Result<Outside, E>,
    shutdown: &CancellationToken,
) -> Result<TaskTracker, E> {
    let tasks = TaskTracker::new();
    if settings.taskdash.enabled {
        taskdash::start(&tasks, service, &settings.taskdash, outside()?, shutdown);
    }
    tasks.close();
    Ok(tasks)
}
