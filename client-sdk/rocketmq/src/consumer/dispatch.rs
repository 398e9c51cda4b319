//! Dispatch: starts the handlers of pulled messages, and settles what they return.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::sync::CancellationToken;

use super::in_flight::{Delivery, End, Running, wait_for_end};
use super::session::{Ready, Session};
use super::settle::{Target, send_back};
use super::{Disposition, Received};
use crate::protocol::compression::DecompressError;
use crate::protocol::message::StoredMessage;

/// Pause before a released message starts again.
const RELEASE_PAUSE: Duration = Duration::from_secs(1);

/// Starts the handlers, in the order of the queues, until the consumer stops.
pub(crate) async fn run(session: Arc<Session>, mut pulled: mpsc::UnboundedReceiver<Ready>) {
    let next = async {
        loop {
            let Ok(slot) = Arc::clone(&session.slots).acquire_owned().await else { return };
            let Some(ready) = pulled.recv().await else { return };
            // The queue may be lost since the pull.
            if ready.queue.state().span.start(ready.message.queue_offset, ready.epoch) {
                session.tasks.spawn(process(Arc::clone(&session), ready, slot));
            }
        }
    };
    tokio::select! {
        biased;
        () = session.stop.cancelled() => {}
        () = next => {}
    }
}

/// Handles one message until it is settled, or left to the next owner of the queue.
async fn process(session: Arc<Session>, ready: Ready, slot: OwnedSemaphorePermit) {
    let mut slot = Some(slot);
    loop {
        let Some((running, taken)) = enter(&session, &ready, slot.take()).await else { return };
        let disposition = handle(&session, &ready).await;
        drop(taken);
        match settle(&session, &ready, disposition, running).await {
            Next::Done => return,
            Next::Again => slot = pause(&session, &ready).await,
        }
        if slot.is_none() {
            return;
        }
    }
}

/// Enters a delivery. If the message is being handled already, waits for the end of that delivery
/// without a slot. Returns `None` if nothing is left to do.
async fn enter(
    session: &Session,
    ready: &Ready,
    slot: Option<OwnedSemaphorePermit>,
) -> Option<(Running, OwnedSemaphorePermit)> {
    let mut slot = slot?;
    loop {
        let ends = match session.in_flight.enter(&ready.key) {
            Delivery::First(running) => return Some((running, slot)),
            Delivery::Second(ends) => ends,
        };
        drop(slot);
        let end = tokio::select! {
            () = session.stop.cancelled() => return None,
            end = wait_for_end(ends) => end,
        };
        if end == End::Finished {
            ready.queue.finish(ready.message.queue_offset, &ready.key);
            return None;
        }
        slot = next_slot(session, ready).await?;
    }
}

/// Waits for a slot. Returns `None` if the message must not start: the consumer stops, or the queue
/// is lost.
async fn next_slot(session: &Session, ready: &Ready) -> Option<OwnedSemaphorePermit> {
    loop {
        let lost = ready.queue.owner_or_forget(ready.message.queue_offset, &ready.key)?;
        tokio::select! {
            biased;
            () = session.stop.cancelled() => return None,
            // This member may own the queue again.
            () = lost.cancelled() => {}
            slot = Arc::clone(&session.slots).acquire_owned() => return slot.ok(),
        }
    }
}

async fn pause(session: &Session, ready: &Ready) -> Option<OwnedSemaphorePermit> {
    let sleep = tokio::time::sleep(RELEASE_PAUSE);
    let _ = session.stop.run_until_cancelled(sleep).await;
    next_slot(session, ready).await
}

/// Runs the handler. A panic is a failed attempt.
async fn handle(session: &Session, ready: &Ready) -> Disposition {
    let body = match body(&ready.message, session.config.max_body_bytes).await {
        Ok(body) => body,
        Err(error) => return unreadable(ready, &error),
    };
    let disposition = catch_panic(call(session, ready, body)).await;
    disposition.unwrap_or_else(|| {
        tracing::error!(message = ready.message.unique_id(), "the handler panicked; the message is retried");
        Disposition::Retry { after: None }
    })
}

/// Decompresses the body, a large one on a thread for blocking work.
async fn body(message: &StoredMessage, limit: usize) -> Result<Bytes, DecompressError> {
    const LARGE: usize = 64 << 10;
    if message.stored_body.len() < LARGE {
        return message.body(limit);
    }
    let message = message.clone();
    let task = tokio::task::spawn_blocking(move || message.body(limit));
    task.await.unwrap_or_else(|error| Err(DecompressError::Corrupt(error.to_string())))
}

async fn call(session: &Session, ready: &Ready, body: Bytes) -> Disposition {
    let namespace = &session.client.config().namespace;
    let received = Received::new(&ready.message, body, &ready.queue.id, namespace);
    // Without an owner the queue was lost a moment ago.
    let lost = ready.queue.state().owner.clone().unwrap_or_else(cancelled);
    session.handler.handle(received, lost).await
}

fn cancelled() -> CancellationToken {
    let token = CancellationToken::new();
    token.cancel();
    token
}

fn unreadable(ready: &Ready, error: &DecompressError) -> Disposition {
    tracing::error!(message = ready.message.unique_id(), %error, "the body of the message is unreadable");
    match error {
        // Another version of this program may be able to read it.
        DecompressError::Unsupported(_) => Disposition::Retry { after: None },
        _ => Disposition::DeadLetter,
    }
}

async fn catch_panic<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(poll) => poll.map(Some),
        Err(_) => Poll::Ready(None),
    })
    .await
}

/// What follows a verdict.
enum Next {
    /// The message is settled, or left to the next owner.
    Done,
    /// The message starts again after a pause.
    Again,
}

async fn settle(session: &Session, ready: &Ready, disposition: Disposition, running: Running) -> Next {
    let target = match disposition {
        Disposition::Ack => None,
        Disposition::Retry { after } => Some(Target::Retry(after)),
        Disposition::DeadLetter => Some(Target::DeadLetter),
        Disposition::Release => return Next::Again,
    };
    if let Some(target) = target {
        // The new owner of a lost queue receives the message anyway: a redelivery would be another.
        if ready.queue.owner_or_forget(ready.message.queue_offset, &ready.key).is_none() {
            return Next::Done;
        }
        let sent = session.abandon.run_until_cancelled(send_back(session, ready, target)).await;
        if sent == Some(false) {
            return Next::Done;
        }
        if sent.is_none() {
            session.problems.forget(&ready.message.offset_id());
            tracing::warn!(
                message = ready.message.unique_id(),
                "the verdict was not sent before the end of the shutdown; the message is delivered again"
            );
            return Next::Done;
        }
    }
    ready.queue.finish(ready.message.queue_offset, &ready.key);
    running.end(End::Finished);
    Next::Done
}
