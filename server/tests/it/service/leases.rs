//! Lease, renew and settle.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use taskcenter_server::adapters::memory::MemoryRecords;
use taskcenter_server::core::headers::Headers;
use taskcenter_server::core::run::{Outcome, Progress, node_worker};
use taskcenter_server::core::submission::Submission;
use taskcenter_server::core::{Run, RunId, RunState, Schedule};
use taskcenter_server::engine::membership;
use taskcenter_server::engine::orphans;
use taskcenter_server::engine::service::{Held, LeaseTerms, Report, ServiceError, definition};

use taskcenter_server::ports::Clock as _;

use super::{NOW, Stage};

const LEASE_MS: i64 = 30_000;

fn terms(worker: &str, limit: u32) -> LeaseTerms {
    let queues = Vec::new();
    LeaseTerms {
        worker: worker.to_owned(),
        queues,
        limit,
        lease_ms: LEASE_MS,
        wait: Duration::ZERO,
        request_id: None,
    }
}

pub async fn lease(on: &Stage, worker: &str, limit: u32) -> Vec<Run> {
    on.service.lease(&terms(worker, limit)).await.unwrap()
}

pub fn report(run: &Run, outcome: Outcome) -> Report {
    Report { attempt: run.attempt, token: run.token.clone(), outcome, message: None, started_at: None }
}

fn done() -> Outcome {
    Outcome::Succeeded { result: Some("{\"total\":42}".to_owned()) }
}

pub async fn a_run_goes_to_one_worker(on: &Stage) {
    let run = on.ready("a").await;
    let other = LeaseTerms { queues: vec!["b".to_owned()], ..terms("other", 1) };
    assert!(on.service.lease(&other).await.unwrap().is_empty(), "the other queue is empty");
    let leased = lease(on, "first", 5).await;
    assert_eq!(leased.len(), 1);
    assert_eq!((&leased[0].id, leased[0].holder.as_str(), leased[0].claim), (&run.id, "first", 2));
    assert_eq!(leased[0].attention_at, Some(NOW.plus_ms(LEASE_MS)));
    assert_ne!(leased[0].token, run.token);
    assert!(lease(on, "second", 5).await.is_empty());
}

pub async fn many_workers_never_share_a_run(on: &Stage) {
    let runs = join_all((0..300).map(|_| on.ready("crowd"))).await;
    let mut leased: Vec<RunId> = Vec::new();
    while leased.len() < runs.len() {
        let workers = (0..10).map(|worker| async move { lease(on, &worker.to_string(), 7).await });
        let round: Vec<Run> = join_all(workers).await.into_iter().flatten().collect();
        assert!(!round.is_empty(), "{} runs are left", runs.len() - leased.len());
        leased.extend(round.into_iter().map(|run| run.id));
    }
    let distinct: HashSet<&RunId> = leased.iter().collect();
    assert_eq!((leased.len(), distinct.len()), (300, 300));
}

pub async fn a_run_carries_the_headers_of_its_task(on: &Stage) {
    let headers = |tenant: &str| Headers::from([("x.tenant".to_owned(), tenant.to_owned())]);
    let named = Submission { headers: headers("7"), ..Submission::named("a", "1") };
    let id = on.submit(Submission { schedule: Schedule::Every { period_ms: 1_000 }, ..named }).await;
    on.fire(&id).await;
    let task = on.store.task(&id).await.unwrap().unwrap();
    assert_eq!(task.headers, headers("7"));
    let edited = Submission { headers: headers("8"), ..definition(&task) };
    on.service.edit(&id, task.rev, edited).await.unwrap();
    on.fire(&id).await;
    let leased = lease(on, "w", 5).await;
    let mut seen: Vec<_> = leased.into_iter().map(|run| (run.rev, run.headers)).collect();
    seen.sort();
    assert_eq!(seen, [(1, headers("7")), (2, headers("8"))], "each run has the headers of its revision");
}

fn request(id: &str, limit: u32) -> LeaseTerms {
    LeaseTerms { request_id: Some(id.to_owned()), ..terms("w", limit) }
}

pub async fn a_repeated_lease_request_begins_no_grace_period(on: &Stage) {
    on.ready("a").await;
    let first = on.service.lease(&request("r", 1)).await.unwrap().remove(0);
    on.service.cancel_run(&first.id).await.unwrap();
    on.clock.advance_ms(1_000);
    let again = on.service.lease(&request("r", 1)).await.unwrap().remove(0);
    assert_eq!((&again.id, &again.token), (&first.id, &first.token));
    assert!(on.run(&first).await.attention_at > first.attention_at, "the lease is longer");
    let held = Held { run_id: first.id, attempt: 1, token: first.token, progress: None };
    let renewed = on.service.renew(&[held], 30_000).await.unwrap().remove(0).unwrap();
    assert!(
        renewed.cancel_requested,
        "the worker learns of the request here, and has the whole grace period"
    );
    assert_eq!(renewed.until, on.clock.now().plus_ms(10_000));
}

pub async fn a_repeated_lease_request_gets_the_same_attempts(on: &Stage) {
    for _ in 0..3 {
        on.ready("a").await;
    }
    let first = on.service.lease(&request("1", 2)).await.unwrap();
    assert_eq!(first.len(), 2);
    on.clock.set(NOW.plus_ms(LEASE_MS / 2));
    let again = on.service.lease(&request("1", 3)).await.unwrap();
    let attempts =
        |runs: &[Run]| -> Vec<_> { runs.iter().map(|run| (run.id.clone(), run.token.clone())).collect() };
    assert_eq!(attempts(&again), attempts(&first), "no other run is leased for the request");
    let until = NOW.plus_ms(LEASE_MS / 2 + LEASE_MS);
    assert!(again.iter().all(|run| run.attention_at == Some(until)), "the leases are renewed");

    for other in [LeaseTerms { worker: "x".to_owned(), ..request("1", 1) }, request("2", 1)] {
        let leased = on.service.lease(&other).await.unwrap();
        assert!(leased.iter().all(|run| !first.iter().any(|first| first.id == run.id)), "{other:?}");
    }
    on.service.report(&first[0].id, &report(&first[0], done())).await.unwrap();
    let left = on.service.lease(&request("1", 3)).await.unwrap();
    assert_eq!(attempts(&left), attempts(&first[1..]), "an ended run is not returned again");
    on.service.report(&first[1].id, &report(&first[1], done())).await.unwrap();
    let last = on.ready("a").await;
    assert_eq!(on.service.lease(&request("1", 3)).await.unwrap()[0].id, last.id, "the id is free again");
}

pub async fn calls_of_one_lease_request_at_once_lease_no_run_in_vain(on: &Stage) {
    let records = Arc::new(MemoryRecords::default());
    let other = Stage::on(Arc::clone(&on.store), records);
    for round in 0..40 {
        let runs = join_all((0..6).map(|_| on.ready("a"))).await;
        let id = round.to_string();
        let (first, repetition, rival) = (request(&id, 3), request(&id, 5), terms("rival", 2));
        let (first, repetition, rival) = tokio::join!(
            on.service.lease(&first),
            other.service.lease(&repetition),
            on.service.lease(&rival)
        );
        let (mut answered, rival) = (first.unwrap(), rival.unwrap());
        answered.extend(repetition.unwrap());
        let mine = on.service.lease(&request(&id, 5)).await.unwrap();
        assert!(!answered.is_empty() && !mine.is_empty(), "round {round}");
        let is_in = |runs: &[Run], run: &Run| runs.iter().any(|other| other.token == run.token);
        for run in &runs {
            let stored = on.run(run).await;
            assert_eq!(stored.attempt, 1);
            let is_known = is_in(&mine, &stored) || is_in(&rival, &stored);
            assert_eq!(is_known, stored.state == RunState::Leased, "round {round}: {stored:?}");
        }
        for run in mine.iter().chain(&rival) {
            on.service.report(&run.id, &report(run, done())).await.unwrap();
        }
        while let [run] = &lease(on, "last", 1).await[..] {
            on.service.report(&run.id, &report(run, done())).await.unwrap();
        }
    }
}

pub async fn a_waiting_worker_is_woken(on: &Stage) {
    let terms = LeaseTerms { queues: vec!["a".to_owned()], wait: Duration::from_mins(1), ..terms("w", 1) };
    let (leased, run) = tokio::join!(on.service.lease(&terms), on.ready("a"));
    assert_eq!(leased.unwrap()[0].id, run.id);
    on.node.shutdown.cancel();
    assert!(on.service.lease(&terms).await.unwrap().is_empty(), "a stopping node answers immediately");
}

pub async fn an_outcome_is_kept_with_its_result(on: &Stage) {
    let run = on.ready("a").await;
    let leased = lease(on, "w", 1).await;
    on.service.report(&run.id, &report(&leased[0], done())).await.unwrap();
    let ended = on.run(&run).await;
    assert_eq!((ended.state, ended.result.as_deref()), (RunState::Succeeded, Some("{\"total\":42}")));
    assert_eq!((ended.ended_at, ended.attention_at), (Some(NOW), None));
}

pub async fn a_repeated_outcome_is_answered_like_the_first(on: &Stage) {
    for outcome in [done(), Outcome::Failed { retry_after_ms: Some(5) }, Outcome::Dead, Outcome::Skipped] {
        on.ready("a").await;
        let leased = lease(on, "w", 1).await;
        let report = report(&leased[0], outcome);
        let first = on.service.report(&leased[0].id, &report).await.unwrap();
        assert_eq!(on.service.report(&leased[0].id, &report).await.unwrap(), first);
    }
}

pub async fn a_stale_worker_changes_nothing(on: &Stage) {
    let run = on.ready("a").await;
    let first = lease(on, "first", 1).await;
    on.clock.set(NOW.plus_ms(LEASE_MS + 1));
    on.rescue().await;
    let second = lease(on, "second", 1).await;
    assert_eq!(second[0].id, run.id);
    for report in [report(&first[0], done()), Report { attempt: 2, ..report(&first[0], done()) }] {
        let refused = on.service.report(&run.id, &report).await;
        assert!(matches!(refused, Err(ServiceError::Stale(_))), "{refused:?}");
    }
    let held = Held { run_id: run.id.clone(), attempt: 1, token: first[0].token.clone(), progress: None };
    let renewed = on.service.renew(&[held], LEASE_MS).await.unwrap();
    assert!(matches!(renewed[0], Err(ServiceError::Stale(_))), "{renewed:?}");
    assert_eq!(on.run(&run).await, second[0]);
}

pub async fn an_expired_lease_starts_another_attempt(on: &Stage) {
    let run = on.ready("a").await;
    lease(on, "lost", 1).await;
    on.clock.set(NOW.plus_ms(LEASE_MS - 1));
    on.rescue().await;
    assert_eq!(on.run(&run).await.state, RunState::Leased, "not yet");
    on.clock.set(NOW.plus_ms(LEASE_MS));
    on.rescue().await;
    let again = on.run(&run).await;
    assert_eq!((again.state, again.attempt), (RunState::Ready, 2));
    assert_eq!(again.reason.as_deref(), Some("the worker's lease expired"));
}

pub async fn a_renewed_lease_does_not_expire(on: &Stage) {
    let run = on.ready("a").await;
    let leased = lease(on, "w", 1).await;
    let held = Held { run_id: run.id.clone(), attempt: 1, token: leased[0].token.clone(), progress: None };
    let unknown =
        Held { run_id: RunId::from_text("unknown"), attempt: 1, token: "t".to_owned(), progress: None };
    on.clock.set(NOW.plus_ms(LEASE_MS - 1));
    let answers = on.service.renew(&[held.clone(), unknown.clone(), unknown, held], LEASE_MS).await.unwrap();
    let until = NOW.plus_ms(2 * LEASE_MS - 1);
    assert_eq!(answers[0].as_ref().unwrap().until, until);
    assert!(answers[1..3].iter().all(|answer| matches!(answer, Err(ServiceError::NotFound))), "{answers:?}");
    assert_eq!(answers[3].as_ref().unwrap().until, until, "the run is in the request twice");
    on.clock.set(NOW.plus_ms(LEASE_MS + 5));
    on.rescue().await;
    assert_eq!(on.run(&run).await.state, RunState::Leased);
}

pub async fn a_released_run_is_ready_immediately_and_counts_no_attempt(on: &Stage) {
    let run = on.ready("a").await;
    let leased = lease(on, "w", 1).await;
    on.service.report(&run.id, &report(&leased[0], Outcome::Released { after_ms: None })).await.unwrap();
    let again = lease(on, "other", 1).await;
    assert_eq!((&again[0].id, again[0].attempt), (&run.id, 1));
}

pub async fn a_failed_attempt_waits_for_its_pause(on: &Stage) {
    let run = on.ready("a").await;
    let leased = lease(on, "w", 1).await;
    let failed = Outcome::Failed { retry_after_ms: Some(5_000) };
    on.service.report(&run.id, &report(&leased[0], failed)).await.unwrap();
    on.rescue().await;
    assert!(lease(on, "w", 1).await.is_empty(), "the pause is not over");
    on.clock.set(NOW.plus_ms(5_000));
    on.rescue().await;
    let again = lease(on, "w", 1).await;
    assert_eq!((&again[0].id, again[0].attempt), (&run.id, 2));
}

pub async fn each_outcome_of_a_batch_has_its_own_answer(on: &Stage) {
    join_all((0..3).map(|_| on.ready("batch"))).await;
    let leased = lease(on, "w", 3).await;
    let outcome = |run: &Run, outcome| (run.id.clone(), report(run, outcome));
    let outcomes = [
        outcome(&leased[0], done()),
        (leased[1].id.clone(), Report { token: "another".to_owned(), ..report(&leased[1], done()) }),
        (RunId::from_text("unknown"), report(&leased[1], done())),
        outcome(&leased[2], Outcome::Dead),
        outcome(&leased[0], done()),
        outcome(&leased[0], Outcome::Dead),
    ];
    let answers = on.service.settle(&outcomes).await.unwrap();
    let states: Vec<Option<RunState>> =
        answers.iter().map(|answer| answer.as_ref().ok().map(|run| run.state)).collect();
    let (done, dead) = (Some(RunState::Succeeded), Some(RunState::Dead));
    assert_eq!(states, [done, None, None, dead, done, None]);
    assert!(matches!(answers[2], Err(ServiceError::NotFound)));
    assert!(matches!(answers[5], Err(ServiceError::Stale(_))), "the run has succeeded");
}

pub async fn a_hand_over_can_shorten_a_lease_and_a_renewal_cannot(on: &Stage) {
    let run = on.ready("a").await;
    let leased = lease(on, "w", 1).await;
    let held = [Held { run_id: run.id.clone(), attempt: 1, token: leased[0].token.clone(), progress: None }];
    let renewed = on.service.renew(&held, 5_000).await.unwrap();
    assert_eq!(renewed[0].as_ref().unwrap().until, NOW.plus_ms(LEASE_MS));
    let handed_over = on.service.hand_over(&held, 5_000).await.unwrap();
    assert_eq!(handed_over[0].as_ref().unwrap().until, NOW.plus_ms(5_000));
    on.clock.set(NOW.plus_ms(5_000));
    on.rescue().await;
    assert_eq!(on.run(&run).await.state, RunState::Ready);
    assert!(matches!(on.service.hand_over(&held, 5_000).await.unwrap()[0], Err(ServiceError::Stale(_))));
}

fn held(run: &Run) -> Held {
    Held { run_id: run.id.clone(), attempt: run.attempt, token: run.token.clone(), progress: None }
}

/// Passes time, and rescues.
async fn at(on: &Stage, ms: i64) {
    on.clock.set(NOW.plus_ms(ms));
    on.rescue().await;
}

/// Announces this node to the cluster, and recovers the runs of nodes that are gone.
async fn recover(on: &Stage) {
    membership::run_once(&on.node, on.clock.steady_ms()).await.unwrap();
    orphans::run_once(&on.node, on.clock.now()).await.unwrap();
}

pub async fn the_runs_of_a_stopped_node_start_again_at_once(on: &Stage) {
    let (gone, alive) = (node_worker("an earlier life"), node_worker(&on.node.name));
    let mut runs = Vec::new();
    for worker in [gone.as_str(), &gone, &alive, "remote"] {
        on.ready("a").await;
        runs.extend(lease(on, worker, 1).await);
    }
    on.service.hand_over(&[held(&runs[1])], 3_600_000).await.unwrap();
    recover(on).await;
    let after = on.run(&runs[0]).await;
    assert_eq!((after.state, after.attempt), (RunState::Ready, 2));
    assert_eq!(after.reason.as_deref(), Some("the node that worked on the run stopped"));
    for (run, why) in runs[1..].iter().zip(["another party has it", "its node lives", "no node holds it"]) {
        let after = on.run(run).await;
        assert_eq!((after.state, after.attempt), (RunState::Leased, 1), "{why}");
    }
    let stale = on.service.report(&runs[0].id, &report(&runs[0], done())).await;
    assert!(matches!(stale, Err(ServiceError::Stale(_))), "{stale:?}");
    assert_eq!(lease(on, &alive, 1).await[0].id, runs[0].id);
}

pub async fn a_run_of_a_deleted_task_ends_with_its_node(on: &Stage) {
    let run = on.ready("a").await;
    lease(on, &node_worker("an earlier life"), 1).await;
    on.service.delete(std::slice::from_ref(&run.task_id)).await.unwrap();
    recover(on).await;
    assert_eq!(on.run(&run).await.state, RunState::Cancelled);
}

pub async fn a_postponed_run_waits_and_counts_no_attempt(on: &Stage) {
    let run = on.ready("a").await;
    let mut passed = 0;
    for _ in 0..3 {
        let leased = lease(on, "w", 1).await;
        let postponed = Outcome::Released { after_ms: Some(2_000) };
        let postponed = Report { message: Some("no node".to_owned()), ..report(&leased[0], postponed) };
        let first = on.service.report(&run.id, &postponed).await.unwrap();
        assert_eq!(on.service.report(&run.id, &postponed).await.unwrap(), first, "a lost answer");
        assert_eq!((first.state, first.reason.as_deref()), (RunState::Retrying, Some("no node")));
        at(on, passed + 1_999).await;
        assert!(lease(on, "w", 1).await.is_empty(), "the pause is not over");
        passed += 2_000;
        at(on, passed).await;
        let resumed = on.run(&run).await;
        assert_eq!((resumed.state, resumed.attempt), (RunState::Ready, 1));
        assert_eq!(on.service.report(&run.id, &postponed).await.unwrap(), resumed, "a late lost answer");
    }
    let leased = lease(on, "w", 1).await;
    on.service
        .report(&run.id, &report(&leased[0], Outcome::Failed { retry_after_ms: Some(0) }))
        .await
        .unwrap();
    on.rescue().await;
    assert_eq!(on.run(&run).await.attempt, 2, "a failure counts");
}

pub async fn a_postponed_run_expires(on: &Stage) {
    let run = on.ready("a").await;
    let day_ms = 24 * 3_600_000;
    at(on, day_ms + 1).await;
    let leased = lease(on, "w", 1).await;
    let postponed = Outcome::Released { after_ms: Some(1) };
    let postponed = Report { message: Some("no node".to_owned()), ..report(&leased[0], postponed) };
    let ended = on.service.report(&run.id, &postponed).await.unwrap();
    assert_eq!((ended.state, ended.reason.as_deref()), (RunState::Dead, Some("expired: no node")));
    assert_eq!(on.service.report(&run.id, &postponed).await.unwrap(), ended, "a lost answer");
}

pub async fn renewals_do_not_extend_an_attempt_beyond_max_runtime(on: &Stage) {
    let limited = Submission { max_runtime_sec: Some(40), ..Submission::named("a", "limited") };
    let id = on.submit(limited).await;
    let run = on.fire(&id).await;
    at(on, 500_000).await;
    let leased = lease(on, "w", 1).await;
    assert_eq!(leased[0].attention_at, Some(NOW.plus_ms(530_000)), "the wait in the queue does not count");
    on.clock.set(NOW.plus_ms(525_000));
    let renewed = on.service.renew(&[held(&leased[0])], LEASE_MS).await.unwrap();
    assert_eq!(renewed[0].as_ref().unwrap().until, NOW.plus_ms(540_000));
    let handed_over = on.service.hand_over(&[held(&leased[0])], 3_600_000).await.unwrap();
    assert_eq!(handed_over[0].as_ref().unwrap().until, NOW.plus_ms(540_000));
    at(on, 539_999).await;
    assert_eq!(on.run(&run).await.state, RunState::Leased);
    at(on, 540_000).await;
    let next = on.run(&run).await;
    assert_eq!((next.state, next.attempt), (RunState::Ready, 2));
    assert_eq!(next.reason.as_deref(), Some("no outcome was reported within max_runtime"));
    let late = on.service.renew(&[held(&leased[0])], LEASE_MS).await.unwrap();
    assert!(matches!(late[0], Err(ServiceError::Stale(_))), "{late:?}");
    let again = lease(on, "w", 1).await;
    assert_eq!(again[0].attention_at, Some(NOW.plus_ms(570_000)), "each attempt has its own limit");
}

pub async fn a_renewal_carries_the_progress_of_the_attempt(on: &Stage) {
    let run = on.ready("a").await;
    let leased = lease(on, "w", 1).await.remove(0);
    let renew = async |progress: Option<Progress>| {
        on.service.renew(&[Held { progress, ..held(&leased) }], LEASE_MS).await.unwrap().remove(0).unwrap();
        on.run(&run).await.current_progress().cloned()
    };
    assert_eq!(renew(None).await, None);
    let progress = Progress { percent: 42, text: "é".repeat(200) };
    let reported = renew(Some(progress)).await.unwrap();
    assert_eq!((reported.progress.percent, reported.progress.text), (42, "é".repeat(128)));
    on.clock.set(NOW.plus_ms(1_000));
    assert_eq!(renew(None).await.unwrap().at, NOW, "a renewal without progress keeps the last one");
    at(on, LEASE_MS + 1_000).await;
    let again = lease(on, "w", 1).await.remove(0);
    assert_eq!(again.current_progress(), None, "another attempt starts without progress");
}
