//! A topic, a group and their members for one test.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use taskcenter_rocketmq::admin::Admin;
use taskcenter_rocketmq::consumer::{
    Consumer, ConsumerConfig, Disposition, Handler, Health, Received, Subscription,
};
use taskcenter_rocketmq::producer::{Message, Producer, ProducerConfig};
use taskcenter_rocketmq::{Client, ClientConfig, Credentials, Error, Tls};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::support::{DEADLINE, Version, until};

/// Returns the settings of a variable of `cargo xtask services up --profile secure`.
fn setting(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

/// Returns the configuration of a client of the plain broker.
pub fn plain() -> ClientConfig {
    ClientConfig::new(Version::Five.name_server())
}

/// Returns the configuration of a client of the broker of version 4.9.
pub fn four() -> ClientConfig {
    ClientConfig::new(Version::Four.name_server())
}

/// Runs tests on the brokers of both versions.
macro_rules! on_both_versions {
    ($($test:ident,)*) => {
        mod version_5 {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::harness::plain()).await;
            })*
        }

        mod version_4 {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::harness::four()).await;
            })*
        }
    };
}
pub(crate) use on_both_versions;

/// Returns the configuration of a client of the broker with access control.
pub fn acl() -> ClientConfig {
    let access = setting("TASKCENTER_TEST_ROCKETMQ_ACCESS_KEY", "tcadmin");
    let secret = setting("TASKCENTER_TEST_ROCKETMQ_SECRET_KEY", "tcsecret12345");
    ClientConfig::new(setting("TASKCENTER_TEST_ROCKETMQ_ACL_NAMESRV", "127.0.0.1:19877"))
        .credentials(Credentials::new(access, secret))
}

/// Returns the configuration of a client of the broker with TLS.
pub fn tls() -> ClientConfig {
    let ca = crate::support::workspace().join("target/services/tls/ca.pem");
    let ca = setting("TASKCENTER_TEST_ROCKETMQ_TLS_CA", &ca.to_string_lossy());
    ClientConfig::new(setting("TASKCENTER_TEST_ROCKETMQ_TLS_NAMESRV", "127.0.0.1:19878"))
        .tls(Tls { ca_file: Some(ca.into()), ..Tls::default() })
}

/// Returns a name that no other test uses.
pub fn unique(name: &str) -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    crate::support::unique(&format!("{name}_{count}"))
}

/// A topic and a group.
pub struct Setup {
    pub config: ClientConfig,
    pub client: Client,
    pub topic: String,
    pub group: String,
    producer: Producer,
}

impl Setup {
    /// Creates a topic with this number of queues on the broker of the configuration.
    pub async fn new(config: ClientConfig, queues: u32) -> Self {
        let setup = Self::without_topic(config);
        setup.create_topic(queues).await;
        setup
    }

    /// Like `new`, without the topic.
    pub fn without_topic(config: ClientConfig) -> Self {
        let client = Client::new(config.clone()).expect("the configuration is valid");
        let producer =
            Producer::new(&client, ProducerConfig::new("producers").max_batch_messages(20)).expect("valid");
        Self { config, client, topic: unique("topic"), group: unique("group"), producer }
    }

    pub async fn create_topic(&self, queues: u32) {
        Admin::new(&self.client).create_topic(&self.topic, queues).await.expect("the topic is created");
    }

    /// Returns the settings of a member.
    pub fn member(&self) -> ConsumerConfig {
        ConsumerConfig::new(&self.group)
    }

    /// Sends a message with this tag and key. The body is the key.
    pub async fn send(&self, tag: &str, key: &str) {
        self.send_message(self.message(tag, key)).await;
    }

    /// Sends a message, and returns whether the broker confirmed it.
    pub async fn try_send(&self, key: &str) -> bool {
        self.producer.send(self.message("a", key)).await.is_ok()
    }

    pub fn message(&self, tag: &str, key: &str) -> Message {
        Message::new(&self.topic, key.to_owned()).tag(tag).keys(key)
    }

    pub async fn send_message(&self, message: Message) {
        self.producer.send(message).await.expect("the message is stored");
    }

    /// Sends messages with the keys of the range, in batches.
    pub async fn send_many(&self, keys: std::ops::Range<usize>) {
        let messages: Vec<_> = keys.map(|key| self.message("a", &key.to_string())).collect();
        for sent in self.producer.send_batch(messages).await {
            sent.expect("the message is stored");
        }
    }

    /// Starts a member with this subscription.
    pub fn start<F, R>(&self, config: ConsumerConfig, tags: &str, handler: F) -> Member
    where
        F: Fn(Received, CancellationToken) -> R + Send + Sync + 'static,
        R: Future<Output = Disposition> + Send + 'static,
    {
        Member::start(self.config.clone(), config, &self.topic, tags, handler)
    }

    /// Starts a member that acknowledges all messages.
    pub fn start_recorder(&self, config: ConsumerConfig, tags: &str) -> (Member, Log) {
        let log = Log::default();
        let records = log.clone();
        let member = self.start(config, tags, move |message, _| {
            records.add(&message);
            async { Disposition::Ack }
        });
        (member, log)
    }
}

type Answer = Pin<Box<dyn Future<Output = Disposition> + Send>>;

struct Function<F>(F);

#[async_trait]
impl<F> Handler for Function<F>
where
    F: Fn(Received, CancellationToken) -> Answer + Send + Sync + 'static,
{
    async fn handle(&self, message: Received, lost: CancellationToken) -> Disposition {
        (self.0)(message, lost).await
    }
}

/// A member that runs.
pub struct Member {
    consumer: Arc<Consumer>,
    shutdown: CancellationToken,
    run: JoinHandle<Result<(), Error>>,
}

impl Member {
    pub fn start<F, R>(
        client: ClientConfig,
        config: ConsumerConfig,
        topic: &str,
        tags: &str,
        handler: F,
    ) -> Self
    where
        F: Fn(Received, CancellationToken) -> R + Send + Sync + 'static,
        R: Future<Output = Disposition> + Send + 'static,
    {
        let client = Client::new(client).expect("the configuration is valid");
        let consumer = Consumer::new(client.clone(), config).expect("the configuration is valid");
        let consumer = Arc::new(consumer);
        let handler = Function(move |message, lost| Box::pin(handler(message, lost)) as Answer);
        let (running, shutdown) = (Arc::clone(&consumer), CancellationToken::new());
        let topics = BTreeMap::from([(topic.to_owned(), Subscription::parse(tags))]);
        let token = shutdown.clone();
        let run = tokio::spawn(async move {
            let result = running.run(topics, Arc::new(handler), token).await;
            client.close().await;
            result
        });
        Self { consumer, shutdown, run }
    }

    pub fn health(&self) -> Health {
        self.consumer.health()
    }

    /// Waits until the member reads this number of queues.
    pub async fn reads(&self, queues: usize) {
        let read = async || self.health().queues == queues;
        until(&format!("the member reads {queues} queues: {:?}", self.health()), read).await;
    }

    /// Starts the shutdown without waiting for its end.
    pub fn stop(&self) {
        self.shutdown.cancel();
    }

    /// Waits until the run has ended.
    pub async fn end(self) -> Result<(), Error> {
        timeout(DEADLINE, self.run).await.expect("the member ends").expect("the member has not panicked")
    }

    /// Leaves the group.
    pub async fn leave(self) {
        self.stop();
        self.end().await.expect("the run ends without an error");
    }
}

/// Received messages.
#[derive(Clone)]
pub struct Log {
    all: Arc<Mutex<Vec<Received>>>,
    count: watch::Sender<usize>,
}

impl Default for Log {
    fn default() -> Self {
        Self { all: Arc::default(), count: watch::Sender::new(0) }
    }
}

impl Log {
    pub fn add(&self, message: &Received) {
        self.all.lock().unwrap().push(message.clone());
        self.count.send_modify(|count| *count += 1);
    }

    pub fn all(&self) -> Vec<Received> {
        self.all.lock().unwrap().clone()
    }

    /// Returns the sorted bodies.
    pub fn bodies(&self) -> Vec<String> {
        let body = |message: Received| String::from_utf8(message.body.to_vec()).unwrap();
        let mut bodies: Vec<_> = self.all().into_iter().map(body).collect();
        bodies.sort();
        bodies
    }

    /// Waits until this number of messages has arrived.
    pub async fn reaches(&self, count: usize) -> Vec<Received> {
        let mut counts = self.count.subscribe();
        let reached = timeout(DEADLINE, counts.wait_for(|present| *present >= count)).await;
        let arrived = matches!(reached, Ok(Ok(_)));
        assert!(arrived, "{} of {count} messages arrived: {:?}", self.all().len(), self.bodies());
        self.all()
    }
}
