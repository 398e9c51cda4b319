//! Resets of offsets by an operator (`MQClientInstance.java`, `resetOffset`).

use std::sync::Arc;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::session::Session;
use crate::{MessageQueue, ServerRequest};

/// Applies the resets of the group until the consumer stops.
pub(crate) async fn run(session: Arc<Session>, mut requests: Receiver<ServerRequest>) {
    while let Some(request) = session.stop.run_until_cancelled(requests.recv()).await {
        match request {
            Ok(ServerRequest::OffsetsReset { group, offsets }) if group == session.group => {
                apply(&session, &offsets);
            }
            Ok(_) => {}
            Err(RecvError::Lagged(lost)) => {
                tracing::warn!(lost, "too many requests of brokers; a reset of offsets may be lost");
            }
            Err(RecvError::Closed) => return,
        }
    }
}

/// Continues the owned queues at the new offsets. The next commit stores them.
fn apply(session: &Session, offsets: &[(MessageQueue, i64)]) {
    for queue in session.owned() {
        if let Some((_, offset)) = offsets.iter().find(|(id, _)| *id == queue.id) {
            tracing::warn!(queue = queue.name(), offset, "an operator reset the offset");
            queue.reset(*offset);
        }
    }
}
