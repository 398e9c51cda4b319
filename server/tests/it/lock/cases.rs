//! Cases of the conformance suite of [`Lock`].

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use taskcenter_server::ports::Lock;

use super::Fixture;

/// Longer than every test.
const LONG_MS: u64 = 60_000;
const SHORT_MS: u64 = 50;
const DEADLINE: Duration = Duration::from_secs(10);

/// Repeats a condition until it is true.
async fn eventually<F: Future<Output = bool>>(mut condition: impl FnMut() -> F) {
    let is_true = async { while !condition().await {} };
    tokio::time::timeout(DEADLINE, is_true).await.expect("the condition becomes true in time");
}

async fn acquire(lock: &Arc<dyn Lock>, node: &str, shards: &[u16]) -> Vec<u16> {
    lock.acquire(node, shards, LONG_MS).await.unwrap()
}

pub async fn a_shard_has_one_holder(on: &dyn Fixture) {
    let all: Vec<u16> = (0..64).collect();
    let (one, two) = (on.one(), on.two());
    let (a, b) = tokio::join!(acquire(&one, "a", &all), acquire(&two, "b", &all));
    let mut both = [a, b].concat();
    both.sort_unstable();
    assert_eq!(both, all);
    assert_eq!(acquire(&one, "a", &[]).await, [] as [u16; 0]);
}

pub async fn a_holder_renews_its_leases(on: &dyn Fixture) {
    assert_eq!(on.one().acquire("a", &[3, 5], SHORT_MS).await.unwrap(), [3, 5]);
    assert_eq!(acquire(&on.one(), "a", &[5]).await, [5]);
    // After the lease on shard 3 has expired, the lease on shard 5 would have expired too.
    eventually(async || acquire(&on.two(), "b", &[3]).await == [3]).await;
    assert_eq!(acquire(&on.two(), "b", &[3, 5]).await, [3]);
}

pub async fn another_node_acquires_an_expired_lease(on: &dyn Fixture) {
    assert_eq!(on.one().acquire("a", &[7], SHORT_MS).await.unwrap(), [7]);
    eventually(async || acquire(&on.two(), "b", &[7]).await == [7]).await;
    assert_eq!(acquire(&on.one(), "a", &[7]).await, [] as [u16; 0]);
}

pub async fn only_the_holder_releases_a_lease(on: &dyn Fixture) {
    assert_eq!(acquire(&on.one(), "a", &[1, 2]).await, [1, 2]);
    on.two().release("b", &[1, 2], false).await.unwrap();
    assert_eq!(acquire(&on.two(), "b", &[1, 2]).await, [] as [u16; 0]);
    on.one().release("a", &[1], false).await.unwrap();
    assert_eq!(acquire(&on.two(), "b", &[1, 2]).await, [1]);
}

pub async fn announced_nodes_are_listed_until_they_leave(on: &dyn Fixture) {
    assert_eq!(on.one().join("a", LONG_MS).await.unwrap(), ["a"]);
    assert_eq!(on.two().join("b", LONG_MS).await.unwrap(), ["a", "b"]);
    on.one().release("a", &[], false).await.unwrap();
    assert_eq!(on.two().join("b", LONG_MS).await.unwrap(), ["a", "b"]);
    on.one().release("a", &[], true).await.unwrap();
    assert_eq!(on.two().join("b", LONG_MS).await.unwrap(), ["b"]);
}

pub async fn an_announcement_expires(on: &dyn Fixture) {
    on.one().join("a", SHORT_MS).await.unwrap();
    eventually(async || on.two().join("b", LONG_MS).await.unwrap() == ["b"]).await;
}

pub async fn a_description_is_listed_until_it_expires(on: &dyn Fixture) {
    on.one().describe("a", "first", LONG_MS).await.unwrap();
    on.one().describe("a", "{\"second\": true}", LONG_MS).await.unwrap();
    assert_eq!(on.two().descriptions().await.unwrap(), ["{\"second\": true}"]);
    on.two().describe("b", "short", SHORT_MS).await.unwrap();
    eventually(async || on.one().descriptions().await.unwrap().len() == 1).await;
    on.two().describe("b", "other", LONG_MS).await.unwrap();
    let mut all = on.one().descriptions().await.unwrap();
    all.sort_unstable();
    assert_eq!(all, ["other", "{\"second\": true}"]);
}

/// Sends a hint until it arrives: a hint from before the subscription is lost.
async fn wake_until<T>(lock: &Arc<dyn Lock>, shards: &[u16], arrived: impl Future<Output = T>) -> T {
    let waking = async {
        loop {
            lock.wake(shards).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let received = async {
        tokio::select! {
            never = waking => never,
            answer = arrived => answer,
        }
    };
    tokio::time::timeout(DEADLINE, received).await.expect("a hint arrives in time")
}

pub async fn a_hint_reaches_every_node(on: &dyn Fixture) {
    let (one, two) = (on.one(), on.two());
    let both = async { tokio::join!(one.next_hint(), two.next_hint()) };
    let (a, b) = wake_until(&on.one(), &[1, 63], both).await;
    assert_eq!(a.unwrap(), [1, 63]);
    assert_eq!(b.unwrap(), [1, 63]);
}

pub async fn a_cancelled_wait_loses_no_hint(on: &dyn Fixture) {
    let (one, two) = (on.one(), on.two());
    wake_until(&two, &[1], async { one.next_hint().await.unwrap() }).await;
    {
        let waiting = one.next_hint();
        tokio::pin!(waiting);
        let _ = futures_util::poll!(&mut waiting);
    }
    two.wake(&[9]).await.unwrap();
    let until_nine = async { while one.next_hint().await.unwrap() != [9] {} };
    tokio::time::timeout(DEADLINE, until_nine).await.expect("the hint arrives");
}

pub async fn nodes_with_viewers_are_listed_until_they_expire(on: &dyn Fixture) {
    let (one, two) = (on.one(), on.two());
    assert!(one.viewers(None, LONG_MS).await.unwrap().is_empty());
    assert_eq!(one.viewers(Some("a"), LONG_MS).await.unwrap(), ["a"]);
    assert_eq!(two.viewers(None, LONG_MS).await.unwrap(), ["a"]);
    let mut both = two.viewers(Some("b"), SHORT_MS).await.unwrap();
    both.sort_unstable();
    assert_eq!(both, ["a", "b"]);
    eventually(async || one.viewers(None, LONG_MS).await.unwrap() == ["a"]).await;
    assert_eq!(one.join("c", LONG_MS).await.unwrap(), ["c"], "viewers are no announcements of nodes");
}

pub async fn changes_reach_every_listener(on: &dyn Fixture) {
    let (one, two) = (on.one(), on.two());
    one.send_changes("before").await.unwrap();
    let (mut first, mut second) = (one.changes().await.unwrap(), two.changes().await.unwrap());
    let sent = ["{\"a\": \"\u{4efb}\n\"}", "next"];
    for message in sent {
        one.send_changes(message).await.unwrap();
    }
    for listener in [&mut first, &mut second] {
        for message in sent {
            let arrived = tokio::time::timeout(DEADLINE, listener.next()).await.expect("a message arrives");
            assert_eq!(arrived.as_deref(), Some(message));
        }
    }
}
