//! Turns of tags at the lease.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use taskcenter_server::core::Run;
use taskcenter_server::core::hold::HoldScope;
use taskcenter_server::engine::service::{LeaseTerms, NewHold};

use super::Stage;
use super::leases::lease;
use crate::store::lists::ready;

/// Stores `count` ready runs, one due each millisecond.
async fn insert_crowd(on: &Stage, queue: &str, tag: &str, count: i64) {
    let runs: Vec<Run> = (0..count).map(|n| ready(queue, tag, n)).collect();
    on.store.insert_runs(&runs).await.unwrap();
}

/// Stores one run that is due after each run of a crowd.
async fn insert_late(on: &Stage, queue: &str, tag: &str) {
    on.store.insert_runs(&[ready(queue, tag, 100_000)]).await.unwrap();
}

async fn lease_from(on: &Stage, queues: &[&str], limit: u32) -> Vec<Run> {
    let queues = queues.iter().map(|queue| (*queue).to_owned()).collect();
    let (worker, wait, lease_ms) = ("w".to_owned(), Duration::ZERO, 30_000);
    let terms = LeaseTerms { worker, queues, limit, lease_ms, wait, request_id: None };
    on.service.lease(&terms).await.unwrap()
}

fn count_by_tag(runs: &[Run]) -> BTreeMap<&str, usize> {
    runs.iter().fold(BTreeMap::new(), |mut counts, run| {
        *counts.entry(run.tag.as_str()).or_default() += 1;
        counts
    })
}

pub async fn a_backlog_of_a_tag_does_not_delay_another_tag(on: &Stage) {
    insert_crowd(on, "crowd", "crowd", 5_000).await;
    insert_late(on, "other", "other").await;
    let leased = lease(on, "w", 64).await;
    assert_eq!(count_by_tag(&leased), BTreeMap::from([("crowd", 63), ("other", 1)]), "the lease is full");
    assert_eq!(count_by_tag(&lease(on, "w", 64).await), BTreeMap::from([("crowd", 64)]));
}

pub async fn tags_with_a_backlog_share_a_lease(on: &Stage) {
    insert_crowd(on, "old", "old", 500).await;
    let later: Vec<Run> = (0..500).map(|n| ready("new", "new", 10_000 + n)).collect();
    on.store.insert_runs(&later).await.unwrap();
    let leased = lease(on, "w", 64).await;
    assert_eq!(count_by_tag(&leased), BTreeMap::from([("old", 32), ("new", 32)]));
    let of_new: BTreeSet<_> = leased.iter().filter(|run| run.tag == "new").map(|run| &run.id).collect();
    assert_eq!(of_new, later[..32].iter().map(|run| &run.id).collect(), "the earliest runs of the tag");
}

pub async fn each_of_many_tags_has_its_turn(on: &Stage) {
    insert_crowd(on, "crowd", "crowd", 3_000).await;
    let tags: Vec<String> = (0..100).map(|n| format!("tag {n:03}")).collect();
    let runs: Vec<Run> = tags.iter().flat_map(|tag| (0..10).map(|n| ready(tag, tag, 10_000 + n))).collect();
    on.store.insert_runs(&runs).await.unwrap();
    let mut seen = BTreeSet::new();
    for _ in 0..=101_usize.div_ceil(32) {
        let leased = lease(on, "w", 64).await;
        assert_eq!(leased.len(), 64);
        seen.extend(leased.into_iter().map(|run| run.tag));
    }
    assert_eq!(seen.len(), 101, "{seen:?}");
}

pub async fn single_runs_are_leased_in_turn(on: &Stage) {
    insert_crowd(on, "a", "a", 50).await;
    insert_crowd(on, "b", "b", 50).await;
    insert_late(on, "c", "c").await;
    let mut tags = String::new();
    for _ in 0..7 {
        let leased = lease(on, "w", 1).await;
        tags.push_str(&leased[0].tag);
    }
    assert_eq!(tags, "abcabab");
}

pub async fn workers_of_single_runs_serve_different_tags(on: &Stage) {
    insert_crowd(on, "crowd", "crowd", 500).await;
    for n in 0..20 {
        insert_late(on, &format!("tag {n:02}"), &format!("tag {n:02}")).await;
    }
    let mut runs = lease(on, "w", 1).await;
    assert_eq!(runs[0].tag, "crowd");
    let workers = (0..20).map(|worker| async move { lease(on, &worker.to_string(), 1).await });
    runs.extend(join_all(workers).await.concat());
    assert_eq!(count_by_tag(&runs).len(), 21, "each tag has had its turn");
}

pub async fn the_tags_of_a_queue_take_turns(on: &Stage) {
    insert_crowd(on, "mail", "newsletter", 3_000).await;
    for (queue, tag) in [("mail", "mail"), ("mail", "invoice"), ("sms", "code"), ("other", "other")] {
        insert_late(on, queue, tag).await;
    }
    let leased = lease_from(on, &["sms", "mail"], 64).await;
    let wanted = BTreeMap::from([("newsletter", 61), ("mail", 1), ("invoice", 1), ("code", 1)]);
    assert_eq!(count_by_tag(&leased), wanted);
}

pub async fn lists_of_queues_have_their_own_turns(on: &Stage) {
    for queue in ["a", "b", "c", "d"] {
        insert_crowd(on, queue, queue, 20).await;
    }
    let mut tags = String::new();
    for _ in 0..3 {
        for list in [["a", "b"], ["c", "d"]] {
            tags.push_str(&lease_from(on, &list, 1).await[0].tag);
        }
    }
    assert_eq!(tags, "acbdac");
}

pub async fn few_ready_runs_are_leased_in_turn(on: &Stage) {
    insert_crowd(on, "crowd", "crowd", 10).await;
    insert_late(on, "other", "other").await;
    let leased = lease(on, "w", 64).await;
    assert_eq!(count_by_tag(&leased), BTreeMap::from([("crowd", 10), ("other", 1)]));
    let second = leased.get(1).map(|run| run.tag.as_str());
    assert_eq!(second, Some("other"), "the first run of each tag comes first");
}

pub async fn a_held_tag_does_not_use_up_the_turns(on: &Stage) {
    insert_crowd(on, "crowd", "crowd", 2_000).await;
    insert_crowd(on, "held", "held", 2_000).await;
    insert_late(on, "other", "other").await;
    let hold = NewHold { scope: HoldScope::Tag, name: "held".to_owned(), reason: String::new(), until: None };
    on.service.hold(hold).await.unwrap();
    let leased = lease(on, "w", 64).await;
    assert_eq!(count_by_tag(&leased), BTreeMap::from([("crowd", 63), ("other", 1)]));
}

pub async fn workers_at_once_get_full_leases(on: &Stage) {
    insert_crowd(on, "crowd", "crowd", 2_000).await;
    insert_late(on, "other", "other").await;
    let leases = join_all((0..8).map(|worker| async move { lease(on, &worker.to_string(), 20).await })).await;
    assert_eq!(leases.iter().map(Vec::len).collect::<Vec<_>>(), [20; 8]);
    let runs = leases.concat();
    let distinct: BTreeSet<_> = runs.iter().map(|run| &run.id).collect();
    assert_eq!((distinct.len(), count_by_tag(&runs)["other"]), (160, 1));
}
