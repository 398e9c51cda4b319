//! Redrives with a canary, and with a patch of the payloads.

use taskcenter_server::core::labels::Labels;
use taskcenter_server::core::operation::{
    Action, CanaryState, NewOperation, Operation, OperationState, Selection,
};
use taskcenter_server::core::run::Outcome;
use taskcenter_server::core::submission::Submission;
use taskcenter_server::core::{Run, RunState};
use taskcenter_server::engine::operations;
use taskcenter_server::engine::service::{MAX_RUNNING_OPERATIONS, ServiceError};
use taskcenter_server::ports::Clock;

use super::Stage;
use super::leases::{lease, report};
use super::operations::{counts, finish};
use crate::store::samples;

const DONE: Outcome = Outcome::Succeeded { result: None };

/// Returns a unique name of tasks.
fn name() -> String {
    format!("q{}", samples::unique())
}

/// Creates dead runs of one name with these payloads, the latest first.
async fn dead(on: &Stage, name: &str, payloads: &[&str]) -> Vec<Run> {
    let mut runs = Vec::new();
    for data in payloads {
        let id = on.submit(Submission::named(name, *data)).await;
        let run = on.fire(&id).await;
        work(on, &[Outcome::Dead]).await;
        runs.insert(0, on.run(&run).await);
        on.clock.advance_ms(1);
    }
    runs
}

/// Leases as many runs as there are outcomes, and reports the outcomes.
async fn work(on: &Stage, outcomes: &[Outcome]) {
    let leased = lease(on, "worker", 100).await;
    assert_eq!(leased.len(), outcomes.len(), "{leased:?}");
    for (run, outcome) in leased.iter().zip(outcomes) {
        on.service.report(&run.id, &report(run, outcome.clone())).await.unwrap();
    }
}

fn redrive(name: &str, canary: u32) -> NewOperation {
    let tag = Some(name.to_owned());
    let selection = Selection::Runs { task_id: None, tag, state: None, labels: Labels::new() };
    NewOperation { canary: Some(canary), ..NewOperation::new(Action::Redrive, selection) }
}

/// Runs the loops until the operation waits, and returns it.
async fn turn(on: &Stage, operation: &Operation) -> Operation {
    for _ in 0..4 {
        operations::run_once(&on.node, &on.service, on.clock.now()).await.unwrap();
    }
    on.rescue().await;
    on.service.operation(&operation.id).await.unwrap()
}

async fn states(on: &Stage, runs: &[Run]) -> Vec<RunState> {
    let mut states = Vec::new();
    for run in runs {
        states.push(on.run(run).await.state);
    }
    states
}

fn canary_state(operation: &Operation) -> CanaryState {
    operation.canary.as_ref().unwrap().state
}

pub async fn a_canary_that_succeeds_lets_the_others_follow(on: &Stage) {
    use RunState::{Dead, Ready, Succeeded};
    let name = name();
    let runs = dead(on, &name, &["1", "2", "3", "4"]).await;
    let operation = on.service.create_operation(redrive(&name, 2), None).await.unwrap();
    let waits = turn(on, &operation).await;
    assert!(waits.waits_for_canary(), "{waits:?}");
    assert_eq!((canary_state(&waits), counts(&waits)), (CanaryState::Open, (2, 2, 0, 0)));
    assert_eq!(states(on, &runs).await, [Ready, Ready, Dead, Dead]);
    let next = operations::run_once(&on.node, &on.service, on.clock.now()).await.unwrap();
    assert_eq!(next, Some(on.clock.now().plus_ms(1_000)), "the loop does not spin");
    work(on, &[DONE, DONE]).await;
    let passed = turn(on, &operation).await;
    assert_eq!((passed.state, canary_state(&passed)), (OperationState::Completed, CanaryState::Passed));
    assert_eq!(counts(&passed), (4, 4, 0, 0));
    assert_eq!(states(on, &runs).await, [Succeeded, Succeeded, Ready, Ready]);
    work(on, &[DONE, DONE]).await;
}

pub async fn a_canary_that_fails_holds_the_operation(on: &Stage) {
    use RunState::{Dead, Ready};
    let name = name();
    let runs = dead(on, &name, &["1", "2", "3"]).await;
    let operation = on.service.create_operation(redrive(&name, 2), None).await.unwrap();
    turn(on, &operation).await;
    work(on, &[DONE, Outcome::Dead]).await;
    let held = turn(on, &operation).await;
    assert_eq!((held.state, canary_state(&held)), (OperationState::Held, CanaryState::Failed));
    let failures = &held.canary.as_ref().unwrap().failures;
    let message = held.message.clone().unwrap();
    assert!(failures.len() == 1 && message.contains(&failures[0].id), "{message}");
    on.clock.advance_ms(600_000);
    assert_eq!(turn(on, &operation).await, held, "nothing happens until a user decides");
    assert_eq!(on.run(&runs[2]).await.state, Dead);
    let continued = on.service.continue_operation(&operation.id).await.unwrap();
    assert_eq!(
        (continued.state, canary_state(&continued)),
        (OperationState::Running, CanaryState::Overruled)
    );
    let ended = finish(on, &operation).await;
    on.rescue().await;
    assert_eq!(
        (ended.state, ended.message.as_ref(), counts(&ended)),
        (OperationState::Completed, None, (3, 3, 0, 0))
    );
    assert_eq!(on.run(&runs[2]).await.state, Ready);
    assert_eq!(
        on.service.continue_operation(&operation.id).await.unwrap(),
        ended,
        "there is nothing to continue"
    );
    work(on, &[DONE]).await;
}

pub async fn a_held_operation_can_be_aborted_and_is_not_pruned(on: &Stage) {
    let name = name();
    let runs = dead(on, &name, &["1", "2"]).await;
    let operation = on.service.create_operation(redrive(&name, 1), None).await.unwrap();
    turn(on, &operation).await;
    work(on, &[Outcome::Dead]).await;
    assert!(turn(on, &operation).await.is_held());
    for _ in 1..MAX_RUNNING_OPERATIONS {
        on.service.create_operation(redrive("none", 1), None).await.unwrap();
    }
    let refused = on.service.create_operation(redrive("none", 1), None).await;
    assert!(matches!(refused, Err(ServiceError::TooManyOperations)), "a held operation counts: {refused:?}");
    on.clock.advance_ms(200 * 3_600_000);
    operations::prune_once(&on.node, &on.service, on.clock.now()).await.unwrap();
    let aborted = on.service.abort_operation(&operation.id).await.unwrap();
    assert_eq!((aborted.state, counts(&aborted)), (OperationState::Aborted, (1, 1, 0, 0)));
    assert!(aborted.ended_at.is_some());
    assert_eq!(on.service.continue_operation(&operation.id).await.unwrap(), aborted);
    assert_eq!(on.run(&runs[1]).await.attempt, 1);
}

pub async fn a_run_that_cannot_be_redriven_is_no_canary(on: &Stage) {
    use RunState::{Dead, Ready};
    let name = name();
    let runs = dead(on, &name, &["1", "2", "3"]).await;
    on.service.delete(std::slice::from_ref(&runs[0].task_id)).await.unwrap();
    let operation = on.service.create_operation(redrive(&name, 1), None).await.unwrap();
    let waits = turn(on, &operation).await;
    assert!(waits.waits_for_canary(), "{waits:?}");
    assert_eq!((counts(&waits), states(on, &runs).await), ((2, 1, 0, 1), vec![Dead, Ready, Dead]));
    work(on, &[DONE]).await;
    assert_eq!(turn(on, &operation).await.state, OperationState::Completed);
    work(on, &[DONE]).await;
    let operation = on.service.create_operation(redrive(&name, 5), None).await.unwrap();
    let ended = turn(on, &operation).await;
    assert_eq!(
        (ended.state, counts(&ended)),
        (OperationState::Completed, (1, 0, 0, 1)),
        "no run can be redriven"
    );
}

pub async fn a_canary_keeps_the_rate(on: &Stage) {
    let name = name();
    dead(on, &name, &["1", "2", "3"]).await;
    let slow = NewOperation { rate_per_sec: Some(1), ..redrive(&name, 2) };
    let operation = on.service.create_operation(slow, None).await.unwrap();
    assert_eq!(counts(&turn(on, &operation).await), (2, 1, 0, 0));
    on.clock.advance_ms(1_000);
    let waits = turn(on, &operation).await;
    assert_eq!((counts(&waits), waits.waits_for_canary()), ((2, 2, 0, 0), true));
    work(on, &[DONE, DONE]).await;
    assert_eq!(finish(on, &operation).await.state, OperationState::Completed);
    on.rescue().await;
    work(on, &[DONE]).await;
}

/// A node that dies between the changes and its checkpoint, or two nodes at once.
pub async fn a_step_that_is_repeated_redrives_no_other_run(on: &Stage) {
    use RunState::{Dead, Ready};
    let name = name();
    let runs = dead(on, &name, &["1", "2", "3"]).await;
    let operation = on.service.create_operation(redrive(&name, 1), None).await.unwrap();
    operations::run_once(&on.node, &on.service, on.clock.now()).await.unwrap();
    let planned = on.service.operation(&operation.id).await.unwrap();
    assert_eq!(planned.batch.len(), 1);
    let now = on.clock.now();
    let (one, two) =
        tokio::join!(on.service.step_operation(&planned, now), on.service.step_operation(&planned, now));
    assert!(one.is_ok() && two.is_ok(), "{one:?} {two:?}");
    on.service.step_operation(&planned, now).await.unwrap();
    let waits = turn(on, &operation).await;
    assert!(waits.waits_for_canary(), "{waits:?}");
    assert_eq!(states(on, &runs).await, [Ready, Dead, Dead]);
    work(on, &[Outcome::Dead]).await;
    let (one, two) =
        tokio::join!(on.service.step_operation(&waits, now), on.service.step_operation(&waits, now));
    assert!(one.is_ok() && two.is_ok(), "{one:?} {two:?}");
    assert!(turn(on, &operation).await.is_held());
    assert_eq!(states(on, &runs).await, [Dead, Dead, Dead]);
    on.service.abort_operation(&operation.id).await.unwrap();
}

pub async fn a_patch_changes_the_payload_of_each_run(on: &Stage) {
    let name = name();
    let runs = dead(on, &name, &[r#"{"to":"x","n":1.50}"#, r#"{"n":2}"#, "text"]).await;
    let patch = Some(r#"{"to":"mia"}"#.to_owned());
    let operation =
        on.service.create_operation(NewOperation { patch, ..redrive(&name, 1) }, None).await.unwrap();
    turn(on, &operation).await;
    let first = on.run(&runs[1]).await;
    assert_eq!(first.data, r#"{"n":2,"to":"mia"}"#, "the first run has no object");
    assert_eq!(first.edited.unwrap().original.data, r#"{"n":2}"#);
    work(on, &[DONE]).await;
    let ended = turn(on, &operation).await;
    assert_eq!((ended.state, counts(&ended)), (OperationState::Completed, (3, 2, 1, 0)));
    assert_eq!(ended.failures[0].id, runs[0].id.to_string());
    assert!(ended.failures[0].error.contains("not a JSON object"), "{:?}", ended.failures);
    assert_eq!(on.run(&runs[2]).await.data, r#"{"to":"mia","n":1.50}"#);
    assert_eq!(on.run(&runs[0]).await.attempt, 1);
    work(on, &[DONE]).await;
}
