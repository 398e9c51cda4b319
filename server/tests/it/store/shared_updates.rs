//! Runs with equal changes: MongoDB replaces them by shared statements.

use mongodb::bson::{Document, doc};
use taskcenter_server::adapters::mongo::{MongoStore, explained};
use taskcenter_server::core::retry::RetryPolicy;
use taskcenter_server::core::run::{LeaseSlots, Outcome};
use taskcenter_server::core::{Moment, Run, Task};
use taskcenter_server::ports::Store;

use super::Fixture;
use super::mongo::MongoFixture;
use super::samples::{PAST, full_run, run_until, task, unique};

/// Inserts `count` runs in `firing`.
async fn insert_firing(store: &MongoStore, count: usize) -> Vec<Run> {
    let queued = Task { queue: Some("q".to_owned()), ..task() };
    let fresh = |_| run_until(&Task { id: task().id, ..queued.clone() }, PAST);
    let runs: Vec<Run> = (0..count).map(fresh).collect();
    store.insert_runs(&runs).await.unwrap();
    runs
}

fn fire(runs: &mut [Run]) {
    runs.iter_mut().for_each(|run| run.mark_fired(PAST.plus_ms(5)).unwrap());
}

fn raise_versions(runs: &mut [Run]) {
    runs.iter_mut().for_each(|run| run.version += 1);
}

fn lease(runs: &mut [Run], slots: &LeaseSlots) {
    for (position, run) in runs.iter_mut().enumerate() {
        run.lease("worker", format!("token-{}", unique()), PAST, PAST.plus_ms(9)).unwrap();
        run.lease_slot = Some(slots.name(position));
    }
}

fn succeed(runs: &mut [Run]) {
    let outcome = Outcome::Succeeded { result: None };
    let report = |run: &mut Run| run.report(&outcome, None, &RetryPolicy::default(), PAST.plus_ms(7));
    runs.iter_mut().for_each(|run| report(run).unwrap());
}

/// Replaces the runs. Returns the number of update statements that MongoDB ran.
async fn statements_of(store: &MongoStore, runs: &[Run]) -> u64 {
    let db = store.database();
    let profile = db.collection::<Document>("system.profile");
    let updates = doc! { "op": "update", "ns": format!("{}.runs", db.name()) };
    let before = profile.count_documents(updates.clone()).await.unwrap();
    db.run_command(doc! { "profile": 2 }).await.unwrap();
    let answers = store.update_runs(runs).await.unwrap();
    db.run_command(doc! { "profile": 0 }).await.unwrap();
    assert!(answers.iter().all(|is_replaced| *is_replaced));
    profile.count_documents(updates).await.unwrap() - before
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_changes_of_many_runs_are_one_statement() {
    let fixture = MongoFixture::open().await;
    let store = &fixture.one;
    let mut fired = insert_firing(store, 1_000).await;
    fire(&mut fired);
    let command = explained::update_many(store, &fired).await.unwrap();
    assert_eq!(command.get_array("updates").unwrap().len(), 1);
    assert_eq!(statements_of(store, &fired).await, 1);

    let mut queued = insert_firing(store, 100).await;
    queued.iter_mut().for_each(|run| run.enqueue(PAST.plus_ms(5)).unwrap());
    assert_eq!(statements_of(store, &queued).await, 1);
    raise_versions(&mut queued);
    lease(&mut queued, &LeaseSlots::of(&["shared"]));
    assert_eq!(statements_of(store, &queued).await, 100, "each lease has a token and a slot of its own");
    raise_versions(&mut queued);
    queued.iter_mut().for_each(|run| run.attention_at = Some(PAST.plus_ms(30)));
    assert_eq!(statements_of(store, &queued).await, 1, "renewals");
    raise_versions(&mut queued);
    succeed(&mut queued);
    assert_eq!(statements_of(store, &queued).await, 1);
    Box::new(fixture).close().await;
}

/// Returns the run after `step`, one of several kinds of changes.
fn changed(run: &Run, step: usize, at: Moment) -> Run {
    let mut run = run.clone();
    match step % 6 {
        0 => run.claim("node-b", at),
        1 => run.cancel("cancelled by the test", at).unwrap(),
        2 => run = Run { id: run.id, task_id: run.task_id, version: run.version, ..full_run() },
        3 => run.token = format!("token-{}", unique()),
        4 => run.attempt += 1,
        _ => run.attention_at = Some(at),
    }
    run
}

async fn documents(store: &MongoStore, runs: &[Run]) -> Vec<Document> {
    let rows = store.database().collection::<Document>("runs");
    let mut documents = Vec::new();
    for run in runs {
        let row = rows.find_one(doc! { "_id": run.id.as_str() }).projection(doc! { "write_id": 0 });
        documents.push(row.await.unwrap().unwrap());
    }
    documents
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shared_update_stores_the_document_of_a_single_update() {
    let (shared, single) = (MongoFixture::open().await, MongoFixture::open().await);
    let plain: Vec<Run> = (0..30).map(|_| run_until(&task(), PAST)).collect();
    let mut runs: Vec<Run> = plain.into_iter().chain((0..30).map(|_| full_run())).collect();
    shared.one.insert_runs(&runs).await.unwrap();
    single.one.insert_runs(&runs).await.unwrap();
    let mut rng = fastrand::Rng::with_seed(7);
    for round in 0..8 {
        let step = |run: &Run| changed(run, rng.usize(..6), PAST.plus_ms(round));
        runs = runs.iter().filter(|run| !run.has_ended()).map(step).collect();
        assert_eq!(shared.one.update_runs(&runs).await.unwrap(), vec![true; runs.len()]);
        for run in &runs {
            assert_eq!(single.one.update_runs(std::slice::from_ref(run)).await.unwrap(), [true]);
        }
        let stored = documents(&single.one, &runs).await;
        for (one, other) in documents(&shared.one, &runs).await.iter().zip(&stored) {
            assert_eq!(one.to_string(), other.to_string(), "round {round}");
        }
        raise_versions(&mut runs);
    }
    Box::new(shared).close().await;
    Box::new(single).close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_shared_update_returns_the_runs_that_it_replaced() {
    let fixture = MongoFixture::open().await;
    let mut runs = insert_firing(&fixture.one, 90).await;
    let moved: Vec<Run> = runs.iter().step_by(3).map(|run| changed(run, 5, PAST.plus_ms(1))).collect();
    fire(&mut runs);
    // Another call has made an equal change of every third run.
    let equal: Vec<Run> = runs.iter().step_by(3).skip(15).cloned().collect();
    fixture.two.update_runs(&moved[..15]).await.unwrap();
    fixture.two.update_runs(&equal).await.unwrap();
    let answers = explained::repeated_update(&fixture.one, &runs).await.unwrap();
    let expected: Vec<bool> = (0..90).map(|n| n % 3 != 0).collect();
    assert_eq!(answers, expected);
    Box::new(fixture).close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_concurrent_shared_updates_replaces_each_run() {
    let fixture = MongoFixture::open().await;
    let mut runs = insert_firing(&fixture.one, 500).await;
    fire(&mut runs);
    for _ in 0..10 {
        let (one, two) = tokio::join!(fixture.one.update_runs(&runs), fixture.two.update_runs(&runs));
        let mut answers = one.unwrap().into_iter().zip(two.unwrap());
        assert!(answers.all(|(one, two)| one != two), "each run is replaced by one of the two calls");
        raise_versions(&mut runs);
    }
    Box::new(fixture).close().await;
}
