//! Background work: fetches tasks from task services, and reads the four topics if there is a bus.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::board;
use super::fetch::{self, FORM, Reply};
use super::messages::{MessageOutcome, TOPICS, handle_message};
use crate::compat::background::{Outside, Received, Topic};
use crate::compat::settings::Taskdash;
use crate::engine::service::{Caller, Service};

const DAY_MS: i64 = 86_400_000;
/// Pause between two removals of finished tasks.
const PRUNE_PAUSE: Duration = Duration::from_hours(1);

/// Starts the background work on `tasks`.
pub fn start(
    tasks: &TaskTracker,
    service: &Service,
    settings: &Taskdash,
    outside: Outside,
    shutdown: &CancellationToken,
) {
    let Outside { post_form, read_topic } = outside;
    let reply: Reply = Arc::new(move |url| post_form(url, FORM));
    tasks.spawn(fetch::run(service.for_caller(Caller::node()), reply, shutdown.clone()));
    if settings.keep_days > 0 {
        let keep_ms = i64::from(settings.keep_days) * DAY_MS;
        tasks.spawn(prune(service.for_caller(Caller::node()), keep_ms, shutdown.clone()));
    }
    let Some(read_topic) = read_topic else { return };
    for topic in TOPICS {
        tasks.spawn(read_topic(source(service, settings, topic), shutdown.clone()));
    }
}

/// Removes old finished tasks every hour, until `shutdown`.
async fn prune(service: Service, keep_ms: i64, shutdown: CancellationToken) {
    while shutdown.run_until_cancelled(tokio::time::sleep(PRUNE_PAUSE)).await.is_some() {
        if let Err(error) = board::prune(&service, service.now().plus_ms(-keep_ms)).await {
            tracing::warn!(%error, "finished tasks of the board were not removed; retrying");
        }
    }
}

fn source(service: &Service, settings: &Taskdash, topic: &'static str) -> Topic {
    let service = service.for_caller(Caller::of_a_message(topic));
    let receive = move |body: Vec<u8>| {
        let service = service.clone();
        async move { receive(&service, topic, &body).await }.boxed()
    };
    Topic {
        name: format!("{}{topic}", settings.topic_prefix),
        group_suffix: topic,
        receive: Arc::new(receive),
    }
}

async fn receive(service: &Service, topic: &'static str, body: &[u8]) -> Received {
    match handle_message(service, topic, body).await {
        MessageOutcome::Done => Received::Stored,
        MessageOutcome::Refused(error) => {
            tracing::warn!(topic, error, "message is invalid; moved to the dead letter queue");
            Received::Invalid
        }
        MessageOutcome::Failed(error) => {
            tracing::info!(topic, error, "message not stored; it will be delivered again");
            Received::Failed
        }
    }
}
