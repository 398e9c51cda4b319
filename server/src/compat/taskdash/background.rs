//! Background work: fetches tasks from task services, and reads the four topics if there is a bus.

use std::sync::Arc;

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::fetch::{self, FORM, Reply};
use super::messages::{TOPICS, Taken, take};
use crate::compat::background::{Outside, Received, Topic};
use crate::compat::settings::Taskdash;
use crate::engine::service::{Caller, Service};

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
    let Some(read_topic) = read_topic else { return };
    for topic in TOPICS {
        tasks.spawn(read_topic(source(service, settings, topic), shutdown.clone()));
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
    match take(service, topic, body).await {
        Taken::Done => Received::Stored,
        Taken::Refused(error) => {
            tracing::warn!(topic, error, "message is invalid; moved to the dead letter queue");
            Received::Invalid
        }
        Taken::Failed(error) => {
            tracing::info!(topic, error, "message not stored; it will be delivered again");
            Received::Failed
        }
    }
}
