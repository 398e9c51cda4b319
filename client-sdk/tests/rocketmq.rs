//! Producer and consumer on a real broker. One that is not there fails the test: `cargo xtask services up` starts it.
#![cfg(feature = "rocketmq")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use taskcenter_client::rocketmq::{OutMessage, Producer, RocketMq, RocketMqConfig, RocketMqError, Tls};
use taskcenter_client::tag::Subscription;
use taskcenter_client::{Deliver, Delivery, Transport, TransportError, Verdict};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;

#[path = "../../server/tests/e2e/proxy.rs"]
mod proxy;

use proxy::Proxy;

/// Between two looks at a condition.
const TURN: Duration = Duration::from_millis(100);
/// A condition that is not met by then will not be met.
const DEADLINE: Duration = Duration::from_secs(35);

fn setting(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

/// A topic of the test's own: the broker outlives the run.
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

/// A producer whose topic exists.
async fn producer(config: &RocketMqConfig) -> Producer {
    let producer = Producer::new(config.clone());
    timeout(DEADLINE, ready(&producer)).await.expect("RocketMQ is to be there: `cargo xtask services up`");
    producer
}

/// A topic that was just created is not yet known to every name server.
async fn ready(producer: &Producer) {
    let mut turn = interval(TURN);
    while producer.probe().await.is_err() {
        turn.tick().await;
    }
}

async fn send(producer: &Producer, messages: Vec<OutMessage>) {
    for (index, answer) in producer.send(messages).await.into_iter().enumerate() {
        answer.unwrap_or_else(|failed| panic!("message {index}: {failed}"));
    }
}

type Judge = fn(&Delivery) -> Verdict;

/// Answers with `judge`, and tells the test what came.
struct Sink {
    told: mpsc::UnboundedSender<Delivery>,
    judge: Judge,
}

#[async_trait]
impl Deliver for Sink {
    async fn deliver(&self, delivery: Delivery) -> Verdict {
        let verdict = (self.judge)(&delivery);
        let _ = self.told.send(delivery);
        verdict
    }
}

struct Consumed {
    deliveries: mpsc::UnboundedReceiver<Delivery>,
    shutdown: CancellationToken,
    running: JoinHandle<Result<(), TransportError>>,
}

fn consume(config: &RocketMqConfig, tags: &str, judge: Judge) -> Consumed {
    let (told, deliveries) = mpsc::unbounded_channel();
    let (transport, shutdown) = (RocketMq::new(config.clone()), CancellationToken::new());
    let (subscription, stop): (Subscription, _) = (tags.parse().unwrap(), shutdown.clone());
    let sink = Arc::new(Sink { told, judge });
    let running = tokio::spawn(async move { transport.run(subscription, sink, stop).await });
    Consumed { deliveries, shutdown, running }
}

impl Consumed {
    async fn next(&mut self) -> Delivery {
        let next = timeout(DEADLINE, self.deliveries.recv()).await.expect("a delivery in time");
        next.expect("the consumer runs")
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
        timeout(DEADLINE, self.running).await.expect("an end in time").unwrap().unwrap();
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
async fn a_tag_filter_passes_its_tags_and_nothing_else() {
    let config = config("tags");
    let producer = producer(&config).await;
    // "Aa" and "BB" have one hash, and the broker filters by hashes only. What must not come is sent first.
    let sent = ["c", "BB", "Aa", "b", "a"];
    send(&producer, sent.iter().map(|tag| message(tag, tag)).collect()).await;
    let cases: [(&str, &[&str]); 4] =
        [("a || b", &["a", "b"]), ("a||b", &["a", "b"]), ("*", &sent), ("Aa", &["Aa"])];
    for (index, (tags, expected)) in cases.into_iter().enumerate() {
        let mut config = config.clone();
        config.group = format!("{}_{index}", config.group);
        let mut consumed = consume(&config, tags, ack);
        // The last message of the cases before is still in the topic, with a tag that may match.
        let last = format!("last {index}");
        send(&producer, vec![message("c", "c"), message(expected[0], &last)]).await;
        let mut all = BTreeSet::new();
        while !(all.contains(&last) && set(expected).is_subset(&all)) {
            all.extend(bodies(&[consumed.next().await]));
        }
        all.retain(|body| !body.starts_with("last"));
        assert_eq!(all, set(expected), "{tags}");
        consumed.stop().await;
    }
    producer.shutdown().await;
}

#[tokio::test]
async fn keys_properties_and_every_byte_arrive_as_they_were_sent() {
    let config = config("round_trip");
    let producer = producer(&config).await;
    // Large enough to be compressed, and no text.
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
    let mut consumed = consume(&config, "*", ack);
    let got = consumed.next().await;
    assert_eq!(
        (got.tag.as_str(), got.task_id.as_str(), got.delivery_attempt),
        ("订单 close", "0190-task", 1)
    );
    assert!(got.body == body, "the body has changed");
    for (name, value) in &properties {
        assert_eq!(got.properties.get(name), Some(value));
    }
    assert!(!got.message_id.is_empty());
    consumed.stop().await;
    producer.shutdown().await;
}

/// What a task without data is.
#[tokio::test]
async fn an_empty_body_arrives_empty() {
    let config = config("empty");
    let producer = producer(&config).await;
    send(&producer, vec![message("t", "before"), message("t", ""), message("t", "after")]).await;
    let mut consumed = consume(&config, "t", ack);
    assert_eq!(bodies(&consumed.take(3).await), set(&["before", "", "after"]));
    consumed.stop().await;
    producer.shutdown().await;
}

#[tokio::test]
async fn a_failed_and_a_panicked_delivery_come_again_as_the_next_attempt() {
    let config = config("again");
    let producer = producer(&config).await;
    send(&producer, vec![message("t", "retry"), message("t", "panic"), message("t", "soon")]).await;
    let mut consumed =
        consume(&config, "t", |delivery| match (&delivery.body[..], delivery.delivery_attempt) {
            (b"retry", 1) => Verdict::Retry { after: None },
            (b"soon", 1) => Verdict::Retry { after: Some(Duration::from_secs(1)) },
            // Deliverers never panic; if one does, the message and the process survive it.
            (b"panic", 1) => panic!("on purpose"),
            _ => Verdict::Ack,
        });
    // The panicking one is not told of at its first attempt.
    let deliveries = consumed.take(5).await;
    for body in ["retry", "soon"] {
        let attempts: Vec<_> = deliveries.iter().filter(|delivery| delivery.body == body).collect();
        let [first, second] = attempts[..] else { panic!("{body} came {} times", attempts.len()) };
        assert_eq!((first.delivery_attempt, second.delivery_attempt), (1, 2), "{body}");
        assert_eq!(first.message_id, second.message_id);
        assert_eq!((&first.tag, &first.task_id), (&second.tag, &second.task_id));
        assert_eq!(second.properties["run_id"], format!("run-{body}"));
    }
    let panicked: Vec<_> = deliveries.iter().filter(|delivery| delivery.body == "panic").collect();
    assert_eq!(panicked.iter().map(|delivery| delivery.delivery_attempt).collect::<Vec<_>>(), [2]);
    // Level 1 is a second, level 3, where the broker's own back-off begins, ten.
    let second =
        |body| deliveries.iter().position(|delivery| delivery.body == body && delivery.delivery_attempt == 2);
    assert!(second("soon") < second("retry"));
    consumed.stop().await;
    producer.shutdown().await;
}

#[tokio::test]
async fn a_dead_letter_goes_to_its_queue_at_once_and_a_failing_one_after_the_limit() {
    let mut config = config("dead");
    config.max_reconsume_times = 1;
    let producer = producer(&config).await;
    send(&producer, vec![message("t", "dead"), message("t", "failing")]).await;
    let mut consumed = consume(&config, "t", |delivery| match &delivery.body[..] {
        b"dead" => Verdict::DeadLetter,
        _ => Verdict::Retry { after: Some(Duration::from_secs(1)) },
    });
    let came = consumed.take(3).await;
    assert_eq!(came.iter().filter(|delivery| delivery.body == "dead").count(), 1);
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
    consumed.stop().await;
    producer.shutdown().await;
}

/// A handler that takes its time must not hold up what comes after an outage.
#[tokio::test]
async fn a_handler_that_lasts_holds_up_no_message_after_an_outage() {
    struct Patient {
        told: mpsc::UnboundedSender<Bytes>,
        released: CancellationToken,
    }
    #[async_trait]
    impl Deliver for Patient {
        async fn deliver(&self, delivery: Delivery) -> Verdict {
            let _ = self.told.send(delivery.body.clone());
            if delivery.body == "long" {
                self.released.cancelled().await;
            }
            Verdict::Ack
        }
    }
    let direct = config("outage");
    let producer = producer(&direct).await;
    let wire = Proxy::to(&direct.namesrv).await;
    let behind = RocketMqConfig { namesrv: wire.addr.clone(), ..direct.clone() };
    let (told, mut came) = mpsc::unbounded_channel();
    let (released, shutdown) = (CancellationToken::new(), CancellationToken::new());
    let sink = Arc::new(Patient { told, released: released.clone() });
    let (transport, stop) = (RocketMq::new(behind.clone()), shutdown.clone());
    let running = tokio::spawn(async move { transport.run(Subscription::All, sink, stop).await });
    send(&producer, vec![message("t", "long")]).await;
    let begun = timeout(DEADLINE, came.recv()).await.expect("it is handled").unwrap();
    assert_eq!(begun, "long");

    wire.cut();
    let watch = Producer::new(behind);
    let mut turn = interval(TURN);
    // The consumer counts two looks in vain, 2 s apart.
    let mut misses = 0;
    while misses < 30 {
        turn.tick().await;
        misses += u32::from(watch.reach().await.is_err());
    }
    wire.restore();
    // It comes again, for nobody has acknowledged it: that is the new session, and the old handler still runs.
    timeout(DEADLINE, async { while came.recv().await.unwrap() != "long" {} }).await.expect("a new session");
    send(&producer, vec![message("t", "next")]).await;
    timeout(DEADLINE, async { while came.recv().await.unwrap() != "next" {} })
        .await
        .expect("it is not held up");
    released.cancel();
    shutdown.cancel();
    timeout(DEADLINE, running).await.expect("an end in time").unwrap().unwrap();
    watch.shutdown().await;
    producer.shutdown().await;
}

/// A handler that never gets to run its messages must not hold up the others, however many there are.
#[tokio::test]
async fn as_many_messages_are_handled_at_once_as_were_asked_for() {
    struct Crowd(tokio::sync::Barrier);
    #[async_trait]
    impl Deliver for Crowd {
        async fn deliver(&self, _: Delivery) -> Verdict {
            self.0.wait().await;
            Verdict::Ack
        }
    }
    let mut config = config("crowd");
    config.max_in_flight = 24;
    let producer = producer(&config).await;
    let crowd = Arc::new(Crowd(tokio::sync::Barrier::new(25)));
    send(&producer, (0..24).map(|at| message("t", &at.to_string())).collect()).await;
    let (transport, shutdown) = (RocketMq::new(config), CancellationToken::new());
    let (sink, stop) = (Arc::clone(&crowd), shutdown.clone());
    let running = tokio::spawn(async move { transport.run(Subscription::All, sink, stop).await });
    timeout(DEADLINE, crowd.0.wait()).await.expect("all 24 at the same time");
    shutdown.cancel();
    timeout(DEADLINE, running).await.expect("an end in time").unwrap().unwrap();
    producer.shutdown().await;
}

#[tokio::test]
async fn lag_is_what_a_group_has_not_acknowledged() {
    let config = config("lag");
    let producer = producer(&config).await;
    send(&producer, (0..3).map(|at| message("t", &at.to_string())).collect()).await;
    let mut consumed = consume(&config, "t", ack);
    consumed.take(3).await;
    consumed.stop().await;
    let lag_becomes = async |waiting: u64| {
        let expected = vec![(config.group.clone(), waiting)];
        let mut turn = interval(TURN);
        while producer.lag().await.unwrap() != expected {
            turn.tick().await;
        }
    };
    timeout(DEADLINE, lag_becomes(0)).await.expect("nothing waits");
    send(&producer, (0..500).map(|at| message("t", &at.to_string())).collect()).await;
    timeout(DEADLINE, lag_becomes(500)).await.expect("500 wait");
    producer.shutdown().await;
}

#[tokio::test]
async fn an_absent_name_server_is_an_error_and_not_the_end() {
    let producer = Producer::new(config_at("127.0.0.1:1", "absent"));
    for _ in 0..3 {
        let probed = timeout(DEADLINE, producer.probe()).await.expect("an answer in time");
        assert!(matches!(probed, Err(RocketMqError::Unavailable(_))), "{probed:?}");
        let sent = timeout(DEADLINE, producer.send(vec![message("t", "1"), message("t", "2")])).await;
        let sent = sent.expect("an answer in time");
        assert!(matches!(sent[..], [Err(RocketMqError::Unavailable(_)), Err(RocketMqError::Unavailable(_))]));
    }
    let consumed = consume(&config_at("127.0.0.1:1", "absent"), "*", ack);
    assert!(!consumed.running.is_finished());
    consumed.stop().await;
    producer.shutdown().await;
}

/// Retrying it would not help, and it must not take its neighbours with it.
#[tokio::test]
async fn a_message_over_the_limit_is_refused_alone() {
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

#[tokio::test]
async fn with_its_keys_a_client_sends_consumes_and_sees_the_lag() {
    let access = setting("TASKCENTER_TEST_ROCKETMQ_ACCESS_KEY", "tcadmin");
    let secret = setting("TASKCENTER_TEST_ROCKETMQ_SECRET_KEY", "tcsecret12345");
    let config = acl("keys").keys(access, secret);
    let producer = producer(&config).await;
    send(&producer, vec![message("t", "signed"), message("t", "batch")]).await;
    let mut consumed = consume(&config, "t", ack);
    assert_eq!(bodies(&consumed.take(2).await), set(&["signed", "batch"]));
    assert!(producer.lag().await.unwrap().iter().any(|(group, _)| *group == config.group));
    consumed.stop().await;
    producer.shutdown().await;
}

#[tokio::test]
async fn with_a_wrong_key_a_client_is_refused() {
    for config in [acl("wrong").keys("tcadmin", "not-the-secret"), acl("nobody")] {
        let producer = Producer::new(config);
        let sent =
            timeout(DEADLINE, producer.send(vec![message("t", "x")])).await.expect("an answer in time");
        assert!(matches!(sent[..], [Err(RocketMqError::Refused(_))]), "{sent:?}");
        assert!(!format!("{sent:?}").contains("not-the-secret"));
        producer.shutdown().await;
    }
}

#[tokio::test]
async fn tls_reaches_the_server_whose_authority_is_trusted_and_no_other() {
    let namesrv = setting("TASKCENTER_TEST_ROCKETMQ_TLS_NAMESRV", "127.0.0.1:19878");
    let services = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/services/tls/ca.pem");
    let ca_file = setting("TASKCENTER_TEST_ROCKETMQ_TLS_CA", services);
    let config = config_at(&namesrv, "tls").tls(Tls { ca_file: Some(ca_file.into()) });
    let producer = producer(&config).await;
    send(&producer, vec![message("t", "sealed"), message("t", "batch")]).await;
    let mut consumed = consume(&config, "t", ack);
    assert_eq!(bodies(&consumed.take(2).await), set(&["sealed", "batch"]));
    consumed.stop().await;
    producer.shutdown().await;
    let plain = Producer::new(config_at(&namesrv, "tls"));
    assert!(timeout(DEADLINE, plain.probe()).await.expect("an answer in time").is_err());
    plain.shutdown().await;
}
