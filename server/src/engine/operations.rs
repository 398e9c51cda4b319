//! Carries operations out. The nodes share them by the shard of their ids, as they share tasks. Two nodes
//! that work on one operation have no other effect than one.

use std::time::Duration;

use super::node::Node;
use super::pace::Pace;
use super::service::{RunningOperation, Service, ServiceError, Step};
use crate::core::Moment;
use crate::core::operation::Operation;
use crate::ports::{PortError, Result};

/// Time between two searches for operations of other nodes.
const PERIOD: Duration = Duration::from_secs(1);
const HOUR_MS: i64 = 3_600_000;

/// Carries operations out until the node stops.
pub async fn run(node: &Node, service: &Service) {
    let mut pace = Pace::new("operations", PERIOD);
    while !node.shutdown.is_cancelled() {
        if !node.is_fit() {
            pace.pause(&node.shutdown).await;
            continue;
        }
        match run_once(node, service, node.earliest_now()).await {
            Ok(next) => wait(node, &mut pace, next).await,
            Err(error) => pace.failed(&error, &node.shutdown).await,
        }
    }
}

/// Waits until the next batch is due or an operation was created.
async fn wait(node: &Node, pace: &mut Pace, next: Option<Moment>) {
    let due = async {
        match next {
            Some(at) => node.clock.sleep_until(at).await,
            None => std::future::pending().await,
        }
    };
    let event = async {
        tokio::select! {
            () = due => {}
            () = node.hints.has_operation() => {}
            () = node.shutdown.cancelled() => {}
        }
    };
    pace.pause_until(event).await;
}

/// Processes one batch of each operation of this node that is due. Returns when the next batch is due.
///
/// # Errors
/// The last error of a port. The other operations continue.
pub async fn run_once(node: &Node, service: &Service, now: Moment) -> Result<Option<Moment>> {
    let running = service.running_operations().await.map_err(of_port)?;
    let shards = node.watch().shards;
    let (mut next, mut failed) = (None::<Moment>, Ok(()));
    for RunningOperation { key, operation } in running {
        let operation = match operation {
            Ok(operation) => operation,
            Err(error) => {
                node.held_back.log("operation", &key, &error.to_string());
                continue;
            }
        };
        if !shards.contains(&operation.shard()) {
            continue;
        }
        match step(service, &operation, now).await {
            Ok(Step::Next(at)) => next = Some(next.map_or(at, |next| next.min(at))),
            Ok(Step::Ended) => {}
            Err(error) => failed = Err(error),
        }
    }
    record_ends(node, service).await?;
    failed.map(|()| next)
}

/// Adds the ends that are not in the audit log yet: their node stopped, or the answer of the store was lost.
async fn record_ends(node: &Node, service: &Service) -> Result<()> {
    let shards = node.watch().shards;
    for RunningOperation { key, operation } in service.unrecorded_operations().await.map_err(of_port)? {
        match operation {
            Ok(ended) if shards.contains(&ended.shard()) => {
                service.record_operation_end(&ended).await.map_err(of_port)?;
            }
            Ok(_) => {}
            Err(error) => node.held_back.log("operation", &key, &error.to_string()),
        }
    }
    Ok(())
}

async fn step(service: &Service, operation: &Operation, now: Moment) -> Result<Step> {
    if operation.next_at > now {
        return Ok(Step::Next(operation.next_at));
    }
    service.step_operation(operation, now).await.map_err(of_port)
}

/// Removes operations that ended long ago, until the node stops.
pub async fn prune(node: &Node, service: &Service) {
    let mut pace = Pace::new("prune operations", Duration::from_secs(node.settings.prune_sec));
    while !node.shutdown.is_cancelled() {
        let leads = node.is_fit() && node.shards.leads(node.clock.steady_ms());
        let pruned = if leads { prune_once(node, service, node.earliest_now()).await } else { Ok(()) };
        match pruned {
            Ok(()) => pace.pause(&node.shutdown).await,
            Err(error) => pace.failed(&error, &node.shutdown).await,
        }
    }
}

/// Removes operations that ended as long ago as runs that are pruned.
///
/// # Errors
/// A port's error. The next call removes the rest.
pub async fn prune_once(node: &Node, service: &Service, now: Moment) -> Result<()> {
    let keep_ms = i64::try_from(node.settings.keep_hours).unwrap_or(i64::MAX).saturating_mul(HOUR_MS);
    service.prune_operations(now.plus_ms(keep_ms.saturating_neg())).await.map_err(of_port)
}

/// The loop needs no rights, so only a port can refuse it.
pub(super) fn of_port(error: ServiceError) -> PortError {
    match error {
        ServiceError::Port(error) => error,
        other => PortError::Refused("the operation", other.to_string().into()),
    }
}
