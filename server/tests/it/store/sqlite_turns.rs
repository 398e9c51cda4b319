//! Costs of turns on SQLite: they depend on the keys, whatever the backlog is.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use taskcenter_server::adapters::clock::SystemClock;
use taskcenter_server::adapters::sqlite::{SqliteStore, explained};
use taskcenter_server::core::Run;
use taskcenter_server::ports::Store as _;
use tempfile::TempDir;

use super::lists::ready;

/// Reads the first runs of 32 keys.
async fn read_turns(store: &SqliteStore, queues: &[String]) {
    let keys = store.ready_keys(queues, None, 32).await.unwrap();
    assert_eq!(keys.len(), 32);
    assert_eq!(store.ready_runs_of(&keys, 2).await.unwrap().len(), 64);
}

#[tokio::test]
async fn turns_do_not_read_the_backlog() {
    let dir = TempDir::new().unwrap();
    let (store, steps) = explained::open_counted(dir.path(), Arc::new(SystemClock)).unwrap();
    let name = |n: i64| format!("tag {:02}", n % 40);
    let few = (0..80).flat_map(|n| [ready(&name(n), &name(n), n), ready("q", &name(n), n)]);
    store.insert_runs(&few.collect::<Vec<Run>>()).await.unwrap();
    let cost = async |queues: &[String]| {
        steps.store(0, Ordering::Relaxed);
        read_turns(&store, queues).await;
        steps.load(Ordering::Relaxed)
    };
    let list = ["q".to_owned()];
    // The first calls prepare their statements.
    cost(&[]).await;
    cost(&list).await;
    let before = (cost(&[]).await, cost(&list).await);
    let crowd = (0..3_000).flat_map(|n| [ready(&name(1), &name(1), n), ready("q", &name(1), n)]);
    store.insert_runs(&crowd.collect::<Vec<Run>>()).await.unwrap();
    let after = (cost(&[]).await, cost(&list).await);
    let is_as_before = |before: u64, after: u64| after <= before + before / 20;
    assert!(is_as_before(before.0, after.0) && is_as_before(before.1, after.1), "{before:?} {after:?}");
    assert!(before.0 > 64, "the steps are counted");
}
