//! Groups with several members.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use taskcenter_rocketmq::admin::Admin;
use taskcenter_rocketmq::consumer::{ConsumerConfig, Disposition};
use taskcenter_rocketmq::{ClientConfig, Error};
use tokio::sync::Semaphore;

use crate::harness::{Log, Setup};
use crate::support::until;

/// Each message arrives once, although members join and leave while messages arrive.
async fn two_members_share_the_queues_while_one_joins_and_leaves(config: ClientConfig) {
    let setup = Setup::new(config, 8).await;
    let (first, first_log) = setup.start_recorder(setup.member(), "*");
    first.reads(8).await;
    setup.send_many(0..200).await;
    first_log.reaches(200).await;

    let (second, second_log) = setup.start_recorder(setup.member(), "*");
    first.reads(4).await;
    second.reads(4).await;
    setup.send_many(200..400).await;
    let total = || first_log.all().len() + second_log.all().len();
    until("all messages arrive", async || total() >= 400).await;
    assert!(!second_log.all().is_empty());

    second.leave().await;
    first.reads(8).await;
    setup.send_many(400..600).await;
    until("all messages arrive", async || total() >= 600).await;
    first.leave().await;
    let mut keys: Vec<usize> =
        [first_log.bodies(), second_log.bodies()].concat().iter().map(|key| key.parse().unwrap()).collect();
    keys.sort_unstable();
    assert_eq!(keys, (0..600).collect::<Vec<_>>(), "each message arrives once");
}

/// The first members give up half of their queues before their groups have any offset. A broker may forget
/// one of two first commits that arrive together.
async fn new_groups_hand_over_their_queues(config: ClientConfig) {
    const QUEUES: usize = 8;
    let setup = Setup::new(config, 8).await;
    for key in 0..QUEUES {
        setup.send("a", &key.to_string()).await;
    }
    let members = || (0..16).map(|number| ConsumerConfig::new(format!("{}_{number}", setup.group)));
    let start = |member| setup.start_recorder(member, "*");
    let first: Vec<_> = members().map(start).collect();
    for (_, log) in &first {
        log.reaches(QUEUES).await;
    }
    let second: Vec<_> = members().map(start).collect();
    for (member, _) in first.iter().chain(&second) {
        member.reads(QUEUES / 2).await;
    }
    for key in QUEUES..2 * QUEUES {
        setup.send("a", &key.to_string()).await;
    }
    for (_, log) in &second {
        // In each queue a repeated message would come before the new one.
        let arrived = log.reaches(QUEUES / 2).await;
        assert!(arrived.iter().all(|message| message.queue_offset > 0), "repeated: {arrived:?}");
    }
    for (member, _) in first.into_iter().chain(second) {
        member.leave().await;
    }
}

/// Members that join and leave while messages arrive cause no duplicates as long as handlers are
/// short: the old owner of a queue commits before the new one reads.
async fn a_handover_in_traffic_repeats_nothing(config: ClientConfig) {
    let setup = Arc::new(Setup::new(config, 8).await);
    let (first, first_log) = setup.start_recorder(setup.member(), "*");
    first.reads(8).await;
    let stop = Arc::new(AtomicUsize::new(0));
    let traffic = tokio::spawn({
        let (setup, stop) = (Arc::clone(&setup), Arc::clone(&stop));
        async move {
            let mut sent = 0;
            while stop.load(Ordering::Relaxed) == 0 {
                setup.send_many(sent..sent + 16).await;
                sent += 16;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            sent
        }
    });
    let mut logs = vec![first_log];
    for _ in 0..3 {
        let (other, log) = setup.start_recorder(setup.member(), "*");
        first.reads(4).await;
        log.reaches(20).await;
        other.leave().await;
        first.reads(8).await;
        logs.push(log);
    }
    stop.store(1, Ordering::Relaxed);
    let sent = traffic.await.unwrap();
    let total = || logs.iter().map(|log| log.all().len()).sum::<usize>();
    until("all messages arrive", async || total() >= sent).await;
    first.leave().await;
    let mut keys: Vec<usize> =
        logs.iter().flat_map(Log::bodies).map(|key| key.parse::<usize>().unwrap()).collect();
    keys.sort_unstable();
    assert_eq!(keys, (0..sent).collect::<Vec<_>>(), "each message arrives once");
}

async fn a_lost_and_regained_queue_starts_nothing_twice(config: ClientConfig) {
    let setup = Setup::new(config, 2).await;
    let (gate, log) = (Arc::new(Semaphore::new(0)), Log::default());
    let lost_count = Arc::new(AtomicUsize::new(0));
    let (open, records, count) = (Arc::clone(&gate), log.clone(), Arc::clone(&lost_count));
    let member = setup.start(setup.member(), "*", move |message, lost| {
        records.add(&message);
        let (open, count) = (Arc::clone(&open), Arc::clone(&count));
        async move {
            let mut is_lost = false;
            loop {
                tokio::select! {
                    () = lost.cancelled(), if !is_lost => {
                        is_lost = true;
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    permit = open.acquire() => {
                        permit.unwrap().forget();
                        return Disposition::Ack;
                    }
                }
            }
        }
    });
    setup.send_many(0..1).await;
    setup.send_many(1..2).await;
    // Messages may share a queue: enough messages reach both.
    setup.send_many(2..20).await;
    log.reaches(20).await;

    let other_log = Log::default();
    let records = other_log.clone();
    let other = setup.start(setup.member(), "*", move |message, _| {
        records.add(&message);
        async { Disposition::Release }
    });
    other_log.reaches(1).await;
    assert!(lost_count.load(Ordering::Relaxed) > 0, "the handler learns of the loss");
    other.leave().await;
    member.reads(2).await;
    // The regained queue is read again up to the end.
    setup.send_many(20..40).await;
    log.reaches(40).await;
    gate.add_permits(100);
    member.leave().await;
    let mut keys: Vec<usize> = log.bodies().iter().map(|key| key.parse().unwrap()).collect();
    keys.sort_unstable();
    assert_eq!(keys, (0..40).collect::<Vec<_>>(), "each message starts once");

    // The verdicts count, those of the time without the queue as well.
    let (next, next_log) = setup.start_recorder(setup.member(), "*");
    setup.send("a", "new").await;
    next_log.reaches(1).await;
    next.leave().await;
    assert_eq!(next_log.bodies(), ["new"]);
}

async fn members_with_different_tags_are_noticed(config: ClientConfig) {
    let setup = Setup::new(config, 1).await;
    let (member, log) = setup.start_recorder(setup.member(), "a");
    setup.send("a", "1").await;
    log.reaches(1).await;
    assert!(member.health().problems.is_empty(), "{:?}", member.health());

    let config = ConsumerConfig { compare_interval: Duration::from_millis(100), ..setup.member() };
    let refused = setup.start_recorder(config.clone().refuse_other_subscriptions(), "b").0;
    let error = refused.end().await.unwrap_err();
    assert!(matches!(&error, Error::Config(text) if text.contains("\"a\"")), "{error}");

    let (other, _) = setup.start_recorder(config.clone(), "b");
    until("the difference is a problem", async || {
        other.health().problems.iter().any(|problem| problem.error.contains("subscription"))
    })
    .await;
    other.leave().await;
    member.leave().await;

    let (equal, equal_log) = setup.start_recorder(config.refuse_other_subscriptions(), " a ");
    setup.send("a", "2").await;
    equal_log.reaches(1).await;
    assert!(equal.health().problems.is_empty());
    equal.leave().await;
}

/// A member that runs continues at the offset, and commits it.
async fn an_operator_resets_the_offsets_of_a_running_member(config: ClientConfig) {
    let setup = Setup::new(config, 1).await;
    let (member, log) = setup.start_recorder(setup.member(), "*");
    setup.send_many(0..20).await;
    log.reaches(20).await;
    let admin = Admin::new(&setup.client);
    let committed = async || {
        let lag = admin.lag(&setup.topic, &setup.group).await.expect("the broker answers");
        let mut queues = lag.iter().filter(|lag| lag.queue.topic == setup.topic);
        let consumed: i64 = queues.clone().map(|lag| lag.consumer_offset).sum();
        consumed == 20 && queues.all(|lag| lag.waiting() == 0)
    };
    until("all offsets are committed", committed).await;
    admin.reset_offsets(&setup.topic, &setup.group, 0).await.expect("the offsets are reset");
    log.reaches(40).await;
    until("all offsets are committed again", committed).await;
    member.leave().await;
    let mut keys: Vec<usize> = log.bodies().iter().map(|key| key.parse().unwrap()).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!((keys.len(), log.all().len()), (20, 40), "each message arrives twice");
}

crate::harness::on_both_versions! {
    an_operator_resets_the_offsets_of_a_running_member,
    two_members_share_the_queues_while_one_joins_and_leaves,
    new_groups_hand_over_their_queues,
    a_handover_in_traffic_repeats_nothing,
    a_lost_and_regained_queue_starts_nothing_twice,
    members_with_different_tags_are_noticed,
}
