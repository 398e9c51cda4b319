//! Producer and consumer on a real broker. `cargo xtask services up` starts the broker; without it
//! the tests fail.
#![cfg(feature = "rocketmq")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use taskcenter_client::rocketmq::{
    OutMessage, Producer, RocketMq, RocketMqConfig, RocketMqError, StartFrom, Tls,
};
use taskcenter_client::tag::Subscription;
use taskcenter_client::{Deliver, Delivery, Transport, TransportError, Verdict};
use taskcenter_rocketmq::admin::Admin;
use taskcenter_rocketmq::{Client, ClientConfig, MessageQueue};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;

#[path = "../../server/tests/e2e/proxy.rs"]
mod proxy;

#[path = "../rocketmq/tests/support/mod.rs"]
mod support;

use proxy::Proxy;
use support::cluster::Cluster;
use support::{Version, until};

/// Time between two checks of a condition.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// Time limit of a condition.
const DEADLINE: Duration = Duration::from_secs(35);

fn setting(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

/// Returns settings with a topic for this test only, because the broker keeps topics between test
/// runs.
fn config_at(namesrv: &str, name: &str) -> RocketMqConfig {
    let unique = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), std::process::id());
    let topic = format!("it_{name}_{unique:016x}");
    let group = format!("{topic}_group");
    RocketMqConfig::new(namesrv, topic, group)
}

fn config(name: &str) -> RocketMqConfig {
    config_at(&setting("TASKCENTER_TEST_ROCKETMQ_NAMESRV", "127.0.0.1:19876"), name)
}

fn message(tag: &str, body: &str) -> OutMessage {
    OutMessage {
        tag: tag.to_owned(),
        key: format!("task-{body}"),
        body: body.to_owned().into(),
        properties: vec![("run_id".to_owned(), format!("run-{body}"))],
    }
}

/// Returns a producer whose topic exists.
async fn producer(config: &RocketMqConfig) -> Producer {
    let producer = Producer::new(config.clone());
    timeout(DEADLINE, ready(&producer))
        .await
        .expect("RocketMQ is running: start it with `cargo xtask services up`");
    producer
}

/// Waits until the name server knows the new topic.
async fn ready(producer: &Producer) {
    let mut ticks = interval(CHECK_INTERVAL);
    while producer.probe().await.is_err() {
        ticks.tick().await;
    }
}

async fn send(producer: &Producer, messages: Vec<OutMessage>) {
    for (index, answer) in producer.send(messages).await.into_iter().enumerate() {
        answer.unwrap_or_else(|failed| panic!("message {index}: {failed}"));
    }
}

type Judge = fn(&Delivery) -> Verdict;

/// Answers with the verdict of `judge`, and passes the deliveries to the test.
struct Sink {
    received: mpsc::UnboundedSender<Delivery>,
    judge: Judge,
}

#[async_trait]
impl Deliver for Sink {
    async fn deliver(&self, delivery: Delivery) -> Verdict {
        let verdict = (self.judge)(&delivery);
        let _ = self.received.send(delivery);
        verdict
    }
}

struct TestConsumer {
    transport: RocketMq,
    deliveries: mpsc::UnboundedReceiver<Delivery>,
    shutdown: CancellationToken,
    running: JoinHandle<Result<(), TransportError>>,
}

fn consume(config: &RocketMqConfig, tags: &str, judge: Judge) -> TestConsumer {
    let (received, deliveries) = mpsc::unbounded_channel();
    let (transport, shutdown) = (RocketMq::new(config.clone()), CancellationToken::new());
    let (subscription, stop): (Subscription, _) = (tags.parse().unwrap(), shutdown.clone());
    let sink = Arc::new(Sink { received, judge });
    let runs = transport.clone();
    let running = tokio::spawn(async move { runs.run(subscription, sink, stop).await });
    TestConsumer { transport, deliveries, shutdown, running }
}

impl TestConsumer {
    async fn next(&mut self) -> Delivery {
        let next = timeout(DEADLINE, self.deliveries.recv()).await.expect("a delivery in time");
        next.expect("the consumer is running")
    }

    async fn take(&mut self, count: usize) -> Vec<Delivery> {
        let mut taken = Vec::new();
        while taken.len() < count {
            taken.push(self.next().await);
        }
        taken
    }

    async fn stop(self) {
        self.shutdown.cancel();
        timeout(DEADLINE, self.running).await.expect("the consumer stops in time").unwrap().unwrap();
    }
}

fn ack(_: &Delivery) -> Verdict {
    Verdict::Ack
}

fn bodies(deliveries: &[Delivery]) -> BTreeSet<String> {
    deliveries.iter().map(|delivery| String::from_utf8_lossy(&delivery.body).into_owned()).collect()
}

fn set(bodies: &[&str]) -> BTreeSet<String> {
    bodies.iter().map(|&body| body.to_owned()).collect()
}

#[tokio::test]
async fn a_subscription_receives_only_its_tags() {
    let config = config("tags");
    let producer = producer(&config).await;
    // "Aa" and "BB" have the same hash, and the broker filters only by hash. The unwanted tags are
    // sent first.
    let sent = ["c", "BB", "Aa", "b", "a"];
    send(&producer, sent.iter().map(|tag| message(tag, tag)).collect()).await;
    let cases: [(&str, &[&str]); 4] =
        [("a || b", &["a", "b"]), ("a||b", &["a", "b"]), ("*", &sent), ("Aa", &["Aa"])];
    for (index, (tags, expected)) in cases.into_iter().enumerate() {
        let mut config = config.clone();
        config.group = format!("{}_{index}", config.group);
        let mut consumer = consume(&config, tags, ack);
        // The last messages of the earlier cases are still in the topic and may match.
        let last = format!("last {index}");
        send(&producer, vec![message("c", "c"), message(expected[0], &last)]).await;
        let mut all = BTreeSet::new();
        while !(all.contains(&last) && set(expected).is_subset(&all)) {
            all.extend(bodies(&[consumer.next().await]));
        }
        all.retain(|body| !body.starts_with("last"));
        assert_eq!(all, set(expected), "{tags}");
        consumer.stop().await;
    }
    producer.shutdown().await;
}

#[tokio::test]
async fn a_message_arrives_with_its_key_properties_and_bytes() {
    let config = config("round_trip");
    let producer = producer(&config).await;
    // Binary, and large enough to be compressed.
    let body: Vec<u8> = (0..100_000_u32).map(|at| (at % 251) as u8).collect();
    let properties = [("run_id", "run-7"), ("note", "äöü 日本 \"x\" = ; ,"), ("claim", "1")];
    let properties = properties.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let sent = OutMessage {
        tag: "订单 close".to_owned(),
        key: "0190-task".to_owned(),
        body: body.clone().into(),
        properties: properties.to_vec(),
    };
    send(&producer, vec![sent]).await;
    let mut consumer = consume(&config, "*", ack);
    let got = consumer.next().await;
    assert_eq!(
        (got.tag.as_str(), got.task_id.as_str(), got.delivery_attempt),
        ("订单 close", "0190-task", 1)
    );
    assert!(got.body == body, "the body has changed");
    for (name, value) in &properties {
        assert_eq!(got.properties.get(name), Some(value));
    }
    assert!(!got.message_id.is_empty());
    consumer.stop().await;
    producer.shutdown().await;
}

/// A task without data has an empty body.
#[tokio::test]
async fn an_empty_body_arrives_empty() {
    let config = config("empty");
    let producer = producer(&config).await;
    send(&producer, vec![message("t", "before"), message("t", ""), message("t", "after")]).await;
    let mut consumer = consume(&config, "t", ack);
    assert_eq!(bodies(&consumer.take(3).await), set(&["before", "", "after"]));
    consumer.stop().await;
    producer.shutdown().await;
}

#[tokio::test]
async fn a_failed_or_panicked_delivery_is_redelivered() {
    let config = config("again");
    let producer = producer(&config).await;
    send(&producer, vec![message("t", "retry"), message("t", "panic"), message("t", "soon")]).await;
    let mut consumer =
        consume(&config, "t", |delivery| match (&delivery.body[..], delivery.delivery_attempt) {
            (b"retry", 1) => Verdict::Retry { after: None },
            (b"soon", 1) => Verdict::Retry { after: Some(Duration::from_secs(1)) },
            // A `Deliver` must not panic. If it does, the message is redelivered and the process
            // continues.
            (b"panic", 1) => panic!("injected"),
            _ => Verdict::Ack,
        });
    // The first delivery of the panicking message does not reach the test.
    let deliveries = consumer.take(5).await;
    for body in ["retry", "soon"] {
        let attempts: Vec<_> = deliveries.iter().filter(|delivery| delivery.body == body).collect();
        let [first, second] = attempts[..] else { panic!("{body} was delivered {} times", attempts.len()) };
        assert_eq!((first.delivery_attempt, second.delivery_attempt), (1, 2), "{body}");
        assert_eq!(first.message_id, second.message_id);
        assert_eq!((&first.tag, &first.task_id), (&second.tag, &second.task_id));
        assert_eq!(second.properties["run_id"], format!("run-{body}"));
    }
    let panicked: Vec<_> = deliveries.iter().filter(|delivery| delivery.body == "panic").collect();
    assert_eq!(panicked.iter().map(|delivery| delivery.delivery_attempt).collect::<Vec<_>>(), [2]);
    // Level 1 is 1 s. The back-off of the broker starts at level 3, which is 10 s.
    let second =
        |body| deliveries.iter().position(|delivery| delivery.body == body && delivery.delivery_attempt == 2);
    assert!(second("soon") < second("retry"));
    consumer.stop().await;
    producer.shutdown().await;
}

#[tokio::test]
async fn messages_reach_the_dead_letter_queue_by_verdict_or_after_the_last_redelivery() {
    let mut config = config("dead");
    config.max_reconsume_times = 1;
    let producer = producer(&config).await;
    send(&producer, vec![message("t", "dead"), message("t", "failing")]).await;
    let mut consumer = consume(&config, "t", |delivery| match &delivery.body[..] {
        b"dead" => Verdict::DeadLetter,
        _ => Verdict::Retry { after: Some(Duration::from_secs(1)) },
    });
    let received = consumer.take(3).await;
    assert_eq!(received.iter().filter(|delivery| delivery.body == "dead").count(), 1);
    let mut dead = config.clone();
    dead.topic = format!("%DLQ%{}", config.group);
    dead.group = format!("{}_dead", config.group);
    let mut dead = consume(&dead, "*", ack);
    let letters = dead.take(2).await;
    assert_eq!(bodies(&letters), set(&["dead", "failing"]));
    for letter in &letters {
        assert_eq!(letter.properties["run_id"], format!("run-{}", String::from_utf8_lossy(&letter.body)));
    }
    dead.stop().await;
    consumer.stop().await;
    producer.shutdown().await;
}

/// Holds the message "long" until it is released.
struct WaitingHandler {
    received: mpsc::UnboundedSender<Bytes>,
    released: CancellationToken,
}

#[async_trait]
impl Deliver for WaitingHandler {
    async fn deliver(&self, delivery: Delivery) -> Verdict {
        let _ = self.received.send(delivery.body.clone());
        if delivery.body == "long" {
            self.released.cancelled().await;
        }
        Verdict::Ack
    }
}

/// An outage must not start a message a second time while its handler runs, and a long-running
/// handler must not delay the messages after the outage.
#[tokio::test]
async fn an_outage_starts_no_message_twice_and_a_long_running_handler_delays_none() {
    let direct = config("outage");
    let producer = producer(&direct).await;
    let wire = Proxy::to(&direct.namesrv).await;
    let behind = RocketMqConfig { namesrv: wire.addr.clone(), ..direct.clone() };
    let (received, mut bodies) = mpsc::unbounded_channel();
    let (released, shutdown) = (CancellationToken::new(), CancellationToken::new());
    let sink = Arc::new(WaitingHandler { received, released: released.clone() });
    let (transport, stop) = (RocketMq::new(behind.clone()), shutdown.clone());
    let running = tokio::spawn(async move { transport.run(Subscription::All, sink, stop).await });
    send(&producer, vec![message("t", "long")]).await;
    let first = timeout(DEADLINE, bodies.recv()).await.expect("the message is handled").unwrap();
    assert_eq!(first, "long");

    wire.cut();
    let monitor = Producer::new(behind);
    let mut ticks = interval(CHECK_INTERVAL);
    for _ in 0..50 {
        ticks.tick().await;
        assert!(monitor.check_topic().await.is_err());
    }
    send(&producer, vec![message("t", "meanwhile")]).await;
    assert_eq!(timeout(DEADLINE, bodies.recv()).await.expect("no delay").unwrap(), "meanwhile");
    wire.restore();
    timeout(DEADLINE, ready(&monitor)).await.expect("the name server answers again");
    send(&producer, (0..20).map(|at| message("t", &at.to_string())).collect()).await;
    for _ in 0..20 {
        let body = timeout(DEADLINE, bodies.recv()).await.expect("no delay").unwrap();
        assert_ne!(body, "long", "the message was started twice");
    }
    released.cancel();
    shutdown.cancel();
    timeout(DEADLINE, running).await.expect("the consumer stops in time").unwrap().unwrap();
    assert!(bodies.recv().await.is_none(), "no message was started twice");
    monitor.shutdown().await;
    producer.shutdown().await;
}

#[tokio::test]
async fn a_released_message_arrives_again_and_counts_no_attempt() {
    struct ReleaseOnce(mpsc::UnboundedSender<u32>, std::sync::atomic::AtomicBool);
    #[async_trait]
    impl Deliver for ReleaseOnce {
        async fn deliver(&self, delivery: Delivery) -> Verdict {
            let _ = self.0.send(delivery.delivery_attempt);
            let again = self.1.swap(true, std::sync::atomic::Ordering::Relaxed);
            if again { Verdict::Ack } else { Verdict::Release }
        }
    }
    let config = config("release");
    let producer = producer(&config).await;
    let (received, mut attempts) = mpsc::unbounded_channel();
    let (transport, shutdown) = (RocketMq::new(config), CancellationToken::new());
    let (sink, stop) = (Arc::new(ReleaseOnce(received, false.into())), shutdown.clone());
    let running = tokio::spawn(async move { transport.run(Subscription::All, sink, stop).await });
    send(&producer, vec![message("t", "1")]).await;
    for _ in 0..2 {
        assert_eq!(timeout(DEADLINE, attempts.recv()).await.expect("a delivery in time"), Some(1));
    }
    shutdown.cancel();
    timeout(DEADLINE, running).await.expect("the consumer stops in time").unwrap().unwrap();
    producer.shutdown().await;
}

#[tokio::test]
async fn a_new_group_starts_where_the_settings_say() {
    let config = config("start");
    let producer = producer(&config).await;
    send(&producer, vec![message("t", "old")]).await;
    let mut last = consume(&config.clone().start_from(StartFrom::Last), "*", ack);
    reads_queues(&last.transport).await;
    send(&producer, vec![message("t", "new")]).await;
    assert_eq!(last.next().await.body, "new");
    let first = RocketMqConfig { group: format!("{}_first", config.group), ..config };
    let mut first = consume(&first, "*", ack);
    assert_eq!(bodies(&first.take(2).await), set(&["old", "new"]));
    last.stop().await;
    first.stop().await;
    producer.shutdown().await;
}

/// One broker that answers suffices for the probe, and sends avoid the other one.
#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_or_dead_broker_stops_neither_the_probe_nor_the_sends() {
    let mut cluster = Cluster::start(Version::Five).await;
    let config = config_at(&cluster.address(), "sick");
    let producer = producer(&config).await;
    stores(&producer, &config, "b").await;

    cluster.b.freeze();
    assert_eq!(failed_sends(&producer).await, 1, "one send finds out that the broker is frozen");
    let later = Producer::new(config.clone());
    later.probe().await.expect("a producer without a past needs one answer, too");
    later.shutdown().await;
    cluster.b.thaw();
    stores(&producer, &config, "b").await;

    cluster.b.kill();
    let failed = failed_sends(&producer).await;
    assert!(failed <= 2, "{failed} sends met the dead broker");
    producer.shutdown().await;
}

/// Probes and sends while the broker `b` fails. Returns the number of failed sends.
async fn failed_sends(producer: &Producer) -> usize {
    let mut failed = 0;
    for at in 0..100 {
        if at % 20 == 0 {
            producer.probe().await.expect("the other broker answers");
        }
        failed += usize::from(producer.send(vec![message("t", "1")]).await[0].is_err());
    }
    failed
}

/// Sends until the broker stores a message.
async fn stores(producer: &Producer, config: &RocketMqConfig, broker_name: &str) {
    let client = Client::new(ClientConfig::new(&config.namesrv)).expect("the configuration is valid");
    let admin = Admin::new(&client);
    let stored = async || {
        let mut stored = 0;
        for queue_id in 0..8 {
            let (topic, broker_name) = (config.topic.clone(), broker_name.to_owned());
            let queue = MessageQueue { topic, broker_name, queue_id };
            stored += admin.max_offset(&queue).await.expect("the broker answers");
        }
        stored
    };
    let before = stored().await;
    until("the broker stores a message", async || {
        // A send may still meet the failed broker.
        let _ = producer.send(vec![message("t", "1")]).await;
        stored().await > before
    })
    .await;
    client.close().await;
}

/// Waits until the consumer reads the queues of the topic.
async fn reads_queues(transport: &RocketMq) {
    let mut ticks = interval(CHECK_INTERVAL);
    let reads = async {
        while transport.health().queues < 8 {
            ticks.tick().await;
        }
    };
    timeout(DEADLINE, reads).await.expect("the consumer reads its queues");
}

#[tokio::test]
async fn the_health_shows_what_fails_until_it_succeeds() {
    let config = config("health");
    let mut consumer = consume(&config, "*", ack);
    let mut ticks = interval(CHECK_INTERVAL);
    let failing = async {
        while !consumer
            .transport
            .health()
            .problems
            .iter()
            .any(|problem| problem.error.contains(&config.topic))
        {
            ticks.tick().await;
        }
    };
    timeout(DEADLINE, failing).await.expect("the missing topic is a problem");
    let producer = producer(&config).await;
    send(&producer, vec![message("t", "1")]).await;
    assert_eq!(consumer.next().await.body, "1");
    reads_queues(&consumer.transport).await;
    let health = consumer.transport.health();
    assert!(health.running && health.problems.is_empty(), "{health:?}");
    consumer.stop().await;
    producer.shutdown().await;
}

#[tokio::test]
async fn settings_out_of_bounds_are_an_error() {
    for messages in [0, 10_001] {
        let config = RocketMqConfig { max_in_flight: Some(messages), ..config("bounds") };
        let ended = timeout(DEADLINE, consume(&config, "*", ack).running).await.expect("an answer in time");
        let error = ended.unwrap().unwrap_err().to_string();
        assert!(error.contains("`max_in_flight`") && error.contains("10000"), "{error}");
    }
    let missing = Tls { ca_file: Some("/missing/ca.pem".into()), ..Tls::default() };
    let producer = Producer::new(config("bounds").tls(missing));
    assert!(matches!(producer.probe().await, Err(RocketMqError::Config(_))));
    let sent = producer.send(vec![message("t", "1")]).await;
    assert!(matches!(sent[..], [Err(RocketMqError::Config(_))]), "{sent:?}");
}

/// All handlers up to `max_in_flight` run at the same time, without a thread for each.
#[tokio::test]
async fn max_in_flight_messages_are_handled_at_the_same_time() {
    struct BarrierHandler(tokio::sync::Barrier);
    #[async_trait]
    impl Deliver for BarrierHandler {
        async fn deliver(&self, _: Delivery) -> Verdict {
            self.0.wait().await;
            Verdict::Ack
        }
    }
    let mut config = config("concurrent");
    config.max_in_flight = Some(300);
    let producer = producer(&config).await;
    let handler = Arc::new(BarrierHandler(tokio::sync::Barrier::new(301)));
    send(&producer, (0..300).map(|at| message("t", &at.to_string())).collect()).await;
    let (transport, shutdown) = (RocketMq::new(config), CancellationToken::new());
    let (sink, stop) = (Arc::clone(&handler), shutdown.clone());
    let running = tokio::spawn(async move { transport.run(Subscription::All, sink, stop).await });
    timeout(DEADLINE, handler.0.wait()).await.expect("300 handlers run at the same time");
    shutdown.cancel();
    timeout(DEADLINE, running).await.expect("the consumer stops in time").unwrap().unwrap();
    producer.shutdown().await;
}

#[tokio::test]
async fn lag_counts_the_unacknowledged_messages_of_a_group() {
    let config = config("lag");
    let producer = producer(&config).await;
    send(&producer, (0..3).map(|at| message("t", &at.to_string())).collect()).await;
    let mut consumer = consume(&config, "t", ack);
    consumer.take(3).await;
    consumer.stop().await;
    let lag_becomes = async |waiting: u64| {
        let expected = vec![(config.group.clone(), waiting)];
        let mut ticks = interval(CHECK_INTERVAL);
        while producer.lag().await.unwrap() != expected {
            ticks.tick().await;
        }
    };
    timeout(DEADLINE, lag_becomes(0)).await.expect("the lag is 0");
    send(&producer, (0..500).map(|at| message("t", &at.to_string())).collect()).await;
    timeout(DEADLINE, lag_becomes(500)).await.expect("the lag is 500");
    producer.shutdown().await;
}

#[tokio::test]
async fn an_unreachable_name_server_is_an_error_and_the_client_stays_usable() {
    let producer = Producer::new(config_at("127.0.0.1:1", "absent"));
    for _ in 0..3 {
        let probed = timeout(DEADLINE, producer.probe()).await.expect("an answer in time");
        assert!(matches!(probed, Err(RocketMqError::Unavailable(_))), "{probed:?}");
        let sent = timeout(DEADLINE, producer.send(vec![message("t", "1"), message("t", "2")])).await;
        let sent = sent.expect("an answer in time");
        assert!(matches!(sent[..], [Err(RocketMqError::Unavailable(_)), Err(RocketMqError::Unavailable(_))]));
    }
    let consumer = consume(&config_at("127.0.0.1:1", "absent"), "*", ack);
    assert!(!consumer.running.is_finished());
    consumer.stop().await;
    producer.shutdown().await;
}

/// The other messages of the batch must not fail with the large one.
#[tokio::test]
async fn only_a_message_over_the_limit_is_refused() {
    let config = config("large");
    let producer = producer(&config).await;
    let large = OutMessage { body: vec![b'x'; 5 << 20].into(), ..message("t", "large") };
    let answers = producer.send(vec![message("t", "before"), large, message("t", "after")]).await;
    assert!(matches!(answers[..], [Ok(()), Err(RocketMqError::Refused(_)), Ok(())]), "{answers:?}");
    producer.shutdown().await;
}

fn acl(name: &str) -> RocketMqConfig {
    config_at(&setting("TASKCENTER_TEST_ROCKETMQ_ACL_NAMESRV", "127.0.0.1:19877"), name)
}

fn with_keys(config: RocketMqConfig) -> RocketMqConfig {
    let access = setting("TASKCENTER_TEST_ROCKETMQ_ACCESS_KEY", "tcadmin");
    config.keys(access, setting("TASKCENTER_TEST_ROCKETMQ_SECRET_KEY", "tcsecret12345"))
}

#[tokio::test]
async fn a_client_with_its_keys_sends_consumes_and_reads_the_lag() {
    let config = with_keys(acl("keys"));
    let producer = producer(&config).await;
    send(&producer, vec![message("t", "signed"), message("t", "batch")]).await;
    let mut consumer = consume(&config, "t", ack);
    assert_eq!(bodies(&consumer.take(2).await), set(&["signed", "batch"]));
    assert!(producer.lag().await.unwrap().iter().any(|(group, _)| *group == config.group));
    consumer.stop().await;
    producer.shutdown().await;
}

#[tokio::test]
async fn a_client_with_a_wrong_key_is_refused() {
    let existing = acl("refused");
    let owner = producer(&with_keys(existing.clone())).await;
    let wrong = |config: &RocketMqConfig| config.clone().keys("tcadmin", "not-the-secret");
    for config in [wrong(&existing), existing] {
        let producer = Producer::new(config);
        let probed = timeout(DEADLINE, producer.probe()).await.expect("an answer in time");
        assert!(matches!(probed, Err(RocketMqError::Refused(_))), "{probed:?}");
        let sent =
            timeout(DEADLINE, producer.send(vec![message("t", "x")])).await.expect("an answer in time");
        assert!(matches!(sent[..], [Err(RocketMqError::Refused(_))]), "{sent:?}");
        assert!(!format!("{sent:?}").contains("not-the-secret"));
        producer.shutdown().await;
    }
    owner.shutdown().await;
    let missing = Producer::new(wrong(&acl("missing")));
    let probed = timeout(DEADLINE, missing.probe()).await.expect("an answer in time");
    assert!(matches!(probed, Err(RocketMqError::Refused(_))), "the topic cannot be created: {probed:?}");
    missing.shutdown().await;
}

#[tokio::test]
async fn tls_connects_only_to_a_server_with_a_trusted_ca() {
    let namesrv = setting("TASKCENTER_TEST_ROCKETMQ_TLS_NAMESRV", "127.0.0.1:19878");
    let services = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/services/tls/ca.pem");
    let ca_file = setting("TASKCENTER_TEST_ROCKETMQ_TLS_CA", services);
    let config = config_at(&namesrv, "tls").tls(Tls { ca_file: Some(ca_file.into()), ..Tls::default() });
    let producer = producer(&config).await;
    send(&producer, vec![message("t", "sealed"), message("t", "batch")]).await;
    let mut consumer = consume(&config, "t", ack);
    assert_eq!(bodies(&consumer.take(2).await), set(&["sealed", "batch"]));
    consumer.stop().await;
    producer.shutdown().await;
    let plain = Producer::new(config_at(&namesrv, "tls"));
    assert!(timeout(DEADLINE, plain.probe()).await.expect("an answer in time").is_err());
    plain.shutdown().await;
}

/// The instance is the namespace on the wire, as in the Go client of the old task center.
#[tokio::test(flavor = "multi_thread")]
async fn the_instance_is_the_namespace_of_topic_and_group_on_the_wire() {
    let named = RocketMqConfig { instance_name: "MQ_INST_1".to_owned(), ..config("namespace") };
    let producer = producer(&named).await;
    let on_the_wire = RocketMqConfig::new(
        named.namesrv.clone(),
        format!("MQ_INST_1%{}", named.topic),
        format!("MQ_INST_1%{}_other", named.group),
    );
    let (mut consumer, mut plain) = (consume(&named, "t", retry_once), consume(&on_the_wire, "*", ack));
    send(&producer, vec![message("t", "1")]).await;
    assert_eq!(plain.next().await.body, "1");
    assert_eq!(consumer.next().await.delivery_attempt, 1);
    assert_eq!(consumer.next().await.delivery_attempt, 2, "the retry topic has the namespace, too");
    let mut checks = interval(CHECK_INTERVAL);
    let listed = async {
        let group = format!("MQ_INST_1%{}", named.group);
        while !producer.lag().await.is_ok_and(|lag| lag.iter().any(|(name, _)| *name == group)) {
            checks.tick().await;
        }
    };
    timeout(DEADLINE, listed).await.expect("the broker lists the group");
    consumer.stop().await;
    plain.stop().await;
    producer.shutdown().await;
}

fn retry_once(delivery: &Delivery) -> Verdict {
    if delivery.delivery_attempt == 1 {
        Verdict::Retry { after: Some(Duration::from_secs(1)) }
    } else {
        Verdict::Ack
    }
}
