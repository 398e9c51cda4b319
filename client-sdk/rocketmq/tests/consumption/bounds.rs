//! Bounds of the messages in flight and of the pulled messages.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use taskcenter_rocketmq::ClientConfig;
use taskcenter_rocketmq::consumer::{ConsumerConfig, Disposition};
use taskcenter_rocketmq::producer::Message;
use tokio::sync::{Barrier, Semaphore};

use crate::harness::{Log, Setup};
use crate::support::until;

async fn handlers_run_at_the_same_time(config: ClientConfig) {
    let setup = Setup::new(config, 8).await;
    let (log, barrier) = (Log::default(), Arc::new(Barrier::new(24)));
    let records = log.clone();
    let member = setup.start(setup.member().max_in_flight(24), "*", move |message, _| {
        let (barrier, records) = (Arc::clone(&barrier), records.clone());
        async move {
            // Opens when 24 handlers wait.
            barrier.wait().await;
            records.add(&message);
            Disposition::Ack
        }
    });
    setup.send_many(0..24).await;
    log.reaches(24).await;
    member.leave().await;
}

async fn the_number_of_messages_is_bounded(config: ClientConfig) {
    let setup = Setup::new(config, 4).await;
    setup.send_many(0..200).await;
    let (gate, running, log) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)), Log::default());
    let (open, count, records) = (Arc::clone(&gate), Arc::clone(&running), log.clone());
    let member = setup.start(setup.member().max_in_flight(5), "*", move |message, _| {
        let (open, count, records) = (Arc::clone(&open), Arc::clone(&count), records.clone());
        async move {
            assert!(count.fetch_add(1, Ordering::SeqCst) < 5);
            open.acquire().await.unwrap().forget();
            count.fetch_sub(1, Ordering::SeqCst);
            records.add(&message);
            Disposition::Ack
        }
    });
    until("five messages run and five wait", async || {
        let health = member.health();
        assert!(health.pulled <= 10 && health.in_flight <= 5, "{health:?}");
        health.pulled == 10 && health.in_flight == 5
    })
    .await;
    for _ in 0..200 {
        gate.add_permits(1);
        tokio::task::yield_now().await;
        assert!(member.health().pulled <= 10);
    }
    log.reaches(200).await;
    member.leave().await;
    let mut keys: Vec<usize> = log.bodies().iter().map(|body| body.parse().unwrap()).collect();
    keys.sort_unstable();
    assert_eq!(keys, (0..200).collect::<Vec<_>>());
}

async fn the_size_of_the_messages_is_bounded(config: ClientConfig) {
    const BOUND: usize = 300_000;
    let setup = Setup::new(config, 4).await;
    // Random bytes, so that compression does not shrink them. One body is larger than the bound.
    for length in [1_000, 100_000, 350_000, 100_000, 100_000, 1_000, 100_000, 90_000, 50_000] {
        let body: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(length).collect();
        setup.send_message(Message::new(&setup.topic, body)).await;
    }
    let (gate, log) = (Arc::new(Semaphore::new(0)), Log::default());
    let (open, records) = (Arc::clone(&gate), log.clone());
    let config = setup.member().max_bytes(BOUND);
    let member = setup.start(config, "*", move |message, _| {
        records.add(&message);
        let open = Arc::clone(&open);
        async move {
            open.acquire().await.unwrap().forget();
            Disposition::Ack
        }
    });
    for count in 1..=9 {
        log.reaches(count).await;
        assert!(member.health().pulled_bytes <= BOUND);
        gate.add_permits(1);
    }
    member.leave().await;
    assert_eq!(log.all().len(), 9);
}

/// A message that runs long stops its queue when `max_span` messages wait behind it.
async fn the_span_of_a_queue_is_bounded(config: ClientConfig) {
    let setup = Setup::new(config, 1).await;
    let (gate, log) = (Arc::new(Semaphore::new(0)), Log::default());
    let (open, records) = (Arc::clone(&gate), log.clone());
    let config = ConsumerConfig { max_span: 20, ..setup.member() };
    let member = setup.start(config, "*", move |message, _| {
        records.add(&message);
        let (open, gated) = (Arc::clone(&open), message.body == "0");
        async move {
            if gated {
                open.acquire().await.unwrap().forget();
            }
            Disposition::Ack
        }
    });
    setup.send("a", "0").await;
    log.reaches(1).await;
    setup.send_many(1..100).await;
    log.reaches(20).await;
    until("only the long message is left", async || member.health().pulled == 1).await;
    assert_eq!(log.all().len(), 20);
    gate.add_permits(1);
    log.reaches(100).await;
    member.leave().await;
    assert_eq!(log.all().len(), 100);
}

crate::harness::on_both_versions! {
    handlers_run_at_the_same_time,
    the_number_of_messages_is_bounded,
    the_size_of_the_messages_is_bounded,
    the_span_of_a_queue_is_bounded,
}
