//! Hostile servers: none causes a panic, takes much memory, or disturbs the work with the others.

#[path = "hostile/fake.rs"]
mod fake;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Once};
use std::time::Duration;

use async_trait::async_trait;
use fake::{Attack, Fake, Store, TOPIC, route, stored};
use taskcenter_rocketmq::consumer::{Consumer, ConsumerConfig, Disposition, Handler, Received, Subscription};
use taskcenter_rocketmq::producer::{Message, Producer, ProducerConfig};
use taskcenter_rocketmq::protocol::message::decode_messages;
use taskcenter_rocketmq::{Client, ClientConfig};
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Time limit of a condition. Means "never", so it is long.
const DEADLINE: Duration = Duration::from_mins(1);
const REQUEST_TIMEOUT: Duration = Duration::from_millis(300);
const MAX_FRAME: usize = 1 << 20;
/// Maximum growth of the memory of this process, in bytes. All tests share it.
const MAX_GROWTH: usize = 128 << 20;

/// Number of panics in any thread. Runtimes catch the panics of their tasks.
static PANICS: AtomicUsize = AtomicUsize::new(0);

/// Counts panics from now on.
fn count_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.fetch_add(1, Ordering::Relaxed);
            print(panic);
        }));
    });
}

/// Returns the largest memory that this process had, in bytes.
fn peak_memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

fn config(name_servers: &str) -> ClientConfig {
    ClientConfig::new(name_servers)
        .request_timeout(REQUEST_TIMEOUT)
        .connect_timeout(REQUEST_TIMEOUT)
        .route_interval(REQUEST_TIMEOUT)
        .heartbeat_interval(REQUEST_TIMEOUT)
        .max_frame_bytes(MAX_FRAME)
}

/// Held by the test that runs. Panics and memory are those of the process, and the attacks of three tests
/// at once would leave no time for the honest servers.
static ALONE: Mutex<()> = Mutex::const_new(());

/// Runs a check against every attack.
async fn withstand<F: Future<Output = ()>>(mut check: impl FnMut(Attack, Fake) -> F) {
    let _alone = ALONE.lock().await;
    count_panics();
    let (memory, panics) = (peak_memory(), PANICS.load(Ordering::Relaxed));
    for attack in Attack::ALL {
        println!("{attack:?}");
        let bad = Fake::hostile(attack, MAX_FRAME).await;
        timeout(DEADLINE, check(attack, bad)).await.unwrap_or_else(|_| panic!("{attack:?} stops the client"));
        assert_eq!(PANICS.load(Ordering::Relaxed), panics, "{attack:?} causes a panic");
        // The kernel sums the pages of its processors roughly, so that its peak can seem to fall.
        let growth = peak_memory().saturating_sub(memory);
        assert!(growth < MAX_GROWTH, "{attack:?} costs {} MiB", growth >> 20);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_name_server_hides_no_honest_one() {
    withstand(|attack, bad| async move {
        let honest = Fake::honest(|_| route(&[("good", "127.0.0.1:1")])).await;
        let client = Client::new(config(&format!("{};{}", bad.address, honest.address))).unwrap();
        for _ in 0..4 {
            let route = client.refresh_route(TOPIC).await.unwrap();
            let queues = route.read_queues(TOPIC).len() + route.write_queues(TOPIC).len();
            // An answer with absurd numbers has the form of a route.
            let is_honest = attack != Attack::WrongNumbers;
            assert!(!is_honest || (route.master("good"), queues) == (Some("127.0.0.1:1"), 8), "{attack:?}");
        }
        timeout(DEADLINE, client.close()).await.expect("a client closes in time");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_broker_takes_no_message_of_the_others() {
    withstand(|attack, bad| async move {
        let good = Fake::honest(|request| Store::default().answer(request)).await;
        let brokers = route(&[("bad", &bad.address), ("good", &good.address)]);
        let name_server = Fake::honest(move |_| brokers.clone()).await;
        let client = Client::new(config(&name_server.address)).unwrap();
        let sends = ProducerConfig::new("p").send_timeout(REQUEST_TIMEOUT);
        let producer = Producer::new(&client, sends).unwrap();
        let mut confirmed = 0;
        // On a busy machine, a flood of requests delays the answers of a round beyond the timeout.
        for _ in 0..5 {
            let mut sent = tokio::task::JoinSet::new();
            for _ in 0..40 {
                let producer = producer.clone();
                sent.spawn(async move { producer.send(Message::new(TOPIC, "body")).await });
            }
            let sent = sent.join_all().await.into_iter().flatten();
            confirmed = sent.filter(|sent| sent.queue.broker_name == "good").count();
            if confirmed >= 10 {
                break;
            }
        }
        assert!(confirmed >= 10, "the honest broker gets its share of the messages");
        // By now the hostile broker is avoided, unless it seems to work.
        let seems_to_work =
            [Attack::EmptyAnswers, Attack::DeepJson, Attack::ManyValues, Attack::WrongNumbers];
        // A flood can delay an answer of the honest broker beyond the timeout, but not forever.
        let mut in_a_row = 0;
        while in_a_row < 20 && !seems_to_work.contains(&attack) {
            let sent = producer.send(Message::new(TOPIC, "body")).await;
            in_a_row = if sent.is_ok() { in_a_row + 1 } else { 0 };
        }
        timeout(DEADLINE, client.close()).await.expect("a client closes in time");
    })
    .await;
}

/// Reports the ids of the messages.
struct Reporter(mpsc::UnboundedSender<String>);

#[async_trait]
impl Handler for Reporter {
    async fn handle(&self, message: Received, _lost: CancellationToken) -> Disposition {
        let _ = self.0.send(format!("{} of {}", message.message_id, message.queue.broker_name));
        Disposition::Ack
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_broker_stops_no_consumer_of_the_others() {
    const MESSAGES: i64 = 100;
    withstand(|attack, bad| async move {
        let store = Store::of(MESSAGES);
        let good = Fake::honest(move |request| store.answer(request)).await;
        let brokers = route(&[("bad", &bad.address), ("good", &good.address)]);
        let name_server = Fake::honest(move |_| brokers.clone()).await;
        let client = Client::new(config(&name_server.address)).unwrap();
        let settings = ConsumerConfig { rebalance_interval: REQUEST_TIMEOUT, ..ConsumerConfig::new("g") };
        let consumer = Arc::new(Consumer::new(client.clone(), settings).unwrap());
        let (report, mut reports) = mpsc::unbounded_channel();
        let (shutdown, topics) =
            (CancellationToken::new(), BTreeMap::from([(TOPIC.to_owned(), Subscription::parse("*"))]));
        let (stop, running) = (shutdown.clone(), Arc::clone(&consumer));
        let run = tokio::spawn(async move { running.run(topics, Arc::new(Reporter(report)), stop).await });
        let mut received = BTreeSet::new();
        // 4 queues have the messages.
        while received.iter().filter(|id: &&String| id.contains("good")).count() < 4 * MESSAGES as usize {
            let id = timeout(DEADLINE / 2, reports.recv()).await;
            let id = id.unwrap_or_else(|_| panic!("{} received; {:?}", received.len(), consumer.health()));
            received.insert(id.expect("the consumer runs"));
        }
        shutdown.cancel();
        timeout(DEADLINE, run).await.expect("the consumer ends in time").unwrap().unwrap();
        timeout(DEADLINE, client.close()).await.expect("a client closes in time");
        println!("{attack:?}: {:?} connections or requests", bad.load);
    })
    .await;
}

#[test]
fn a_stored_batch_does_not_multiply_its_memory() {
    /// A message of an inner batch without body and properties.
    const EMPTY: [u8; 22] = {
        let mut empty = [0; 22];
        empty[3] = 22;
        empty
    };
    const INNER_BATCH: i32 = 0xC0;
    let _alone = ALONE.blocking_lock();
    let memory = peak_memory();
    let batch = stored("id", &"t".repeat(255), 0, INNER_BATCH, &EMPTY.repeat(200_000));
    let (messages, _) = decode_messages(&batch);
    println!("{} messages", messages.len());
    let growth = peak_memory() - memory;
    assert!(growth < MAX_GROWTH, "{} bytes cost {} MiB", batch.len(), growth >> 20);
}
