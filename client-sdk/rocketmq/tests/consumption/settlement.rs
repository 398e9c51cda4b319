//! Verdicts: redelivery, dead letters, release, shutdown.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use taskcenter_rocketmq::ClientConfig;
use taskcenter_rocketmq::consumer::{ConsumerConfig, Disposition};
use tokio::sync::Semaphore;

use crate::harness::{Log, Member, Setup, unique};
use crate::support::until;

async fn a_retried_message_arrives_again_after_the_pause(config: ClientConfig) {
    let setup = Setup::new(config, 2).await;
    let log = Log::default();
    let records = log.clone();
    let member = setup.start(setup.member(), "*", move |message, _| {
        records.add(&message);
        let done = message.reconsume_times == 2;
        async move {
            if done { Disposition::Ack } else { Disposition::Retry { after: Some(Duration::from_secs(1)) } }
        }
    });
    setup.send_message(setup.message("a", "key").property("p", "v")).await;
    let all = log.reaches(3).await;
    for (times, message) in all.iter().enumerate() {
        assert_eq!(message.reconsume_times as usize, times);
        assert_eq!((message.topic.as_str(), &message.body[..]), (setup.topic.as_str(), &b"key"[..]));
        assert_eq!((message.keys.as_deref(), message.tag.as_deref()), (Some("key"), Some("a")));
        assert_eq!(message.properties["p"], "v");
        assert_eq!(message.message_id, all[0].message_id);
    }
    // By the broker's clock. It counts the pause of 1 s from the send-back on.
    for pair in all.windows(2) {
        assert!(pair[1].stored_ms - pair[0].stored_ms >= 900, "{pair:?}");
    }
    assert_eq!(all[1].queue.topic, format!("%RETRY%{}", setup.group));
    member.leave().await;
}

/// The broker's own back-off begins with 10 s.
async fn a_panic_and_a_retry_without_a_delay_get_the_back_off_of_the_broker(config: ClientConfig) {
    let setup = Setup::new(config, 1).await;
    let log = Log::default();
    let records = log.clone();
    let member = setup.start(setup.member(), "*", move |message, _| {
        records.add(&message);
        let (again, panics) = (message.reconsume_times == 0, message.body == "panic");
        async move {
            assert!(!(again && panics), "a panic that the test wants");
            if again { Disposition::Retry { after: None } } else { Disposition::Ack }
        }
    });
    setup.send("a", "panic").await;
    setup.send("a", "retry").await;
    let all = log.reaches(4).await;
    let first = all.iter().filter(|message| message.reconsume_times == 0).map(|message| message.stored_ms);
    let first = first.max().unwrap();
    for again in all.iter().filter(|message| message.reconsume_times == 1) {
        assert!(again.stored_ms - first >= 9_500);
    }
    member.leave().await;
}

async fn dead_letters_go_to_their_queue_at_once_or_after_the_last_redelivery(config: ClientConfig) {
    let setup = Setup::new(config, 2).await;
    let log = Log::default();
    let records = log.clone();
    let config = setup.member().max_reconsume_times(1);
    let member = setup.start(config, "*", move |message, _| {
        records.add(&message);
        let at_once = message.body == "at once";
        async move {
            if at_once {
                Disposition::DeadLetter
            } else {
                Disposition::Retry { after: Some(Duration::from_secs(1)) }
            }
        }
    });
    setup.send("a", "at once").await;
    setup.send("a", "later").await;
    log.reaches(3).await;
    let (dead, dead_log) = dead_letters(&setup);
    let all = dead_log.reaches(2).await;
    assert_eq!(dead_log.bodies(), ["at once", "later"]);
    assert!(all.iter().all(|message| message.keys.is_some() && message.topic == setup.topic));
    dead.leave().await;
    member.leave().await;
    assert_eq!(log.bodies(), ["at once", "later", "later"]);
}

fn dead_letters(setup: &Setup) -> (Member, Log) {
    let log = Log::default();
    let records = log.clone();
    let topic = format!("%DLQ%{}", setup.group);
    let config = ConsumerConfig::new(unique("dead"));
    let member = Member::start(setup.config.clone(), config, &topic, "*", move |message, _| {
        records.add(&message);
        async { Disposition::Ack }
    });
    (member, log)
}

async fn a_released_message_starts_again_without_an_attempt(config: ClientConfig) {
    let setup = Setup::new(config, 1).await;
    let log = Log::default();
    let records = log.clone();
    let member = setup.start(setup.member(), "*", move |message, _| {
        records.add(&message);
        let done = records.all().len() == 3;
        async move { if done { Disposition::Ack } else { Disposition::Release } }
    });
    setup.send("a", "1").await;
    let all = log.reaches(3).await;
    assert!(all.iter().all(|message| message.reconsume_times == 0));
    member.leave().await;
}

/// The finished messages are committed, and those that did not start are untouched.
async fn a_shutdown_commits_the_finished_and_leaves_the_others_untouched(config: ClientConfig) {
    let setup = Setup::new(config, 1).await;
    setup.send_many(0..20).await;
    let (log, gate) = (Log::default(), Arc::new(Semaphore::new(0)));
    let (records, open) = (log.clone(), Arc::clone(&gate));
    let config = setup.member().max_in_flight(2);
    let member = setup.start(config, "*", move |message, _| {
        records.add(&message);
        let open = Arc::clone(&open);
        async move {
            open.acquire().await.unwrap().forget();
            Disposition::Ack
        }
    });
    log.reaches(2).await;
    until("the member pulls ahead", async || member.health().pulled > 2).await;
    member.stop();
    gate.add_permits(100);
    member.end().await.unwrap();
    let started = log.bodies();
    assert_eq!(started, ["0", "1"], "nothing starts during the shutdown");

    let (next, next_log) = setup.start_recorder(setup.member(), "*");
    let rest = next_log.reaches(18).await;
    assert!(rest.iter().all(|message| message.reconsume_times == 0));
    next.leave().await;
    let mut all = [started, next_log.bodies()].concat();
    all.sort_by_key(|body| body.parse::<usize>().unwrap());
    assert_eq!(all, (0..20).map(|body| body.to_string()).collect::<Vec<_>>());
}

/// A released message stays at its place during the shutdown, too.
async fn a_message_released_by_a_shutdown_goes_to_the_next_member_without_an_attempt(config: ClientConfig) {
    let setup = Setup::new(config, 1).await;
    setup.send("a", "1").await;
    let (log, gate) = (Log::default(), Arc::new(Semaphore::new(0)));
    let (records, open) = (log.clone(), Arc::clone(&gate));
    let member = setup.start(setup.member(), "*", move |message, _| {
        records.add(&message);
        let open = Arc::clone(&open);
        async move {
            open.acquire().await.unwrap().forget();
            Disposition::Release
        }
    });
    log.reaches(1).await;
    member.stop();
    gate.add_permits(1);
    member.end().await.unwrap();
    let (next, next_log) = setup.start_recorder(setup.member(), "*");
    let all = next_log.reaches(1).await;
    assert_eq!((all[0].body.as_ref(), all[0].reconsume_times), (&b"1"[..], 0));
    next.leave().await;
}

/// A handler may run longer than rebalances and heartbeats.
async fn a_long_handler_keeps_its_message(config: ClientConfig) {
    let setup = Setup::new(config, 1).await;
    let gate = Arc::new(Semaphore::new(0));
    let (starts, others) = (Arc::new(AtomicUsize::new(0)), Log::default());
    let (open, count, records) = (Arc::clone(&gate), Arc::clone(&starts), others.clone());
    let config = ConsumerConfig { rebalance_interval: Duration::from_millis(100), ..setup.member() };
    let member = setup.start(config, "*", move |message, _| {
        let (open, long) = (Arc::clone(&open), message.body == "long");
        if long {
            count.fetch_add(1, Ordering::Relaxed);
        } else {
            records.add(&message);
        }
        async move {
            if long {
                open.acquire().await.unwrap().forget();
            }
            Disposition::Ack
        }
    });
    setup.send("a", "long").await;
    for number in 0..5 {
        // Each pause of the broker lasts longer than some rebalances.
        setup.send("a", &number.to_string()).await;
        others.reaches(number + 1).await;
        let (other, other_log) = setup.start_recorder(ConsumerConfig::new(unique("other")), "*");
        other_log.reaches(number + 2).await;
        other.leave().await;
    }
    gate.add_permits(10);
    member.leave().await;
    assert_eq!(starts.load(Ordering::Relaxed), 1);
    assert_eq!(others.bodies().len(), 5);
    // All is committed: the next member receives new messages only.
    let (next, next_log) = setup.start_recorder(setup.member(), "*");
    setup.send("a", "new").await;
    next_log.reaches(1).await;
    next.leave().await;
    assert_eq!(next_log.bodies(), ["new"]);
}

crate::harness::on_both_versions! {
    a_retried_message_arrives_again_after_the_pause,
    a_panic_and_a_retry_without_a_delay_get_the_back_off_of_the_broker,
    dead_letters_go_to_their_queue_at_once_or_after_the_last_redelivery,
    a_released_message_starts_again_without_an_attempt,
    a_shutdown_commits_the_finished_and_leaves_the_others_untouched,
    a_message_released_by_a_shutdown_goes_to_the_next_member_without_an_attempt,
    a_long_handler_keeps_its_message,
}
