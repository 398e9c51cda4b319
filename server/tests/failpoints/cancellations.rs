//! Part of a story: a user cancels a run that a worker has leased.

use taskcenter_server::core::RunState;
use taskcenter_server::core::run::Outcome;
use taskcenter_server::engine::service::ServiceError;

use crate::stage::Stage;
use crate::stories::{lease, renew, report};

/// Cancels a leased run. The worker receives the request, and stops or does not stop.
pub async fn cancel_a_leased_run(stage: &mut Stage) {
    let Some(run) = lease(stage).await.pop() else { return };
    match stage.call(async |running| running.service.cancel_run(&run.id).await).await {
        Ok(requested) if requested.state == RunState::Leased => {
            renew(stage, &run).await;
            if stage.rng.bool() {
                report(stage, &run.id, run.attempt, &run.token, Outcome::Failed { retry_after_ms: None })
                    .await;
            }
        }
        // The lease has expired before the request, or after it.
        Ok(_) | Err(ServiceError::RunState(RunState::Cancelled)) => {}
        Err(error) => stage.book.violation(format!("a leased run could not be cancelled: {error}")),
    }
    stage.book.cancelled(run.id);
}
