//! This client beside Apache's Java and Go clients, on RocketMQ 4.9 and 5.5.
//!
//! Needs `cargo xtask services up --profile secure`, a JDK, and Go.

#[path = "support/members.rs"]
mod members;
mod support;

use std::collections::{BTreeMap, BTreeSet};

use members::{Delivery, Group, Kind, Member, Message, NOTE, body};
use support::apache::{Language, Program};
use support::{DEADLINE, Version, unique, until};
use taskcenter_rocketmq::admin::Admin;
use taskcenter_rocketmq::producer::{self, Producer, ProducerConfig};
use taskcenter_rocketmq::{Client, ClientConfig};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

const KINDS: [Kind; 3] = [Kind::Ours, Kind::Apache(Language::Java), Kind::Apache(Language::Go)];
/// Number of queues of each topic.
const QUEUES: u32 = 8;

/// A topic of this test only.
struct Stage {
    version: Version,
    namespace: &'static str,
    topic: String,
    admin: Admin,
    producer: Producer,
    client: Client,
}

impl Stage {
    async fn open(version: Version, namespace: &'static str, name: &str) -> Self {
        let config = ClientConfig::new(version.name_server()).namespace(namespace);
        let client = Client::new(config).expect("the configuration is valid");
        let admin = Admin::new(&client);
        let topic = unique(name);
        admin
            .create_topic(&topic, QUEUES)
            .await
            .expect("the servers run: `cargo xtask services up --profile secure`");
        let producer = Producer::new(
            &client,
            ProducerConfig::new("interop").send_timeout(DEADLINE).max_batch_messages(32),
        );
        let producer = producer.expect("the configuration is valid");
        Self { version, namespace, topic, admin, producer, client }
    }

    /// Returns a group without members.
    fn group(&self, name: &str) -> TestGroup {
        let (group, deliveries) = Group::new(self.version, &self.topic, &format!("{}_{name}", self.topic));
        TestGroup { group: group.in_namespace(self.namespace), deliveries }
    }

    fn message(&self, key: &str, tag: &str, length: usize) -> producer::Message {
        producer::Message::new(&self.topic, body(key, length)).keys(key).tag(tag).property("note", NOTE)
    }

    /// Sends one message and waits for its confirmation.
    async fn send(&self, key: &str, tag: &str, length: usize) {
        self.send_batch(vec![self.message(key, tag, length)]).await;
    }

    /// Sends messages, several ones in batches. Repeats those that a busy broker has refused.
    async fn send_batch(&self, mut messages: Vec<producer::Message>) {
        while !messages.is_empty() {
            let sent = if messages.len() == 1 {
                vec![self.producer.send(messages[0].clone()).await]
            } else {
                self.producer.send_batch(messages.clone()).await
            };
            let mut sent = sent.into_iter();
            messages.retain(|_| match sent.next().expect("each message has a result") {
                Ok(_) => false,
                Err(error) => {
                    assert!(error.is_transient() && !error.may_have_arrived(), "{error}");
                    true
                }
            });
        }
    }

    /// Waits until the group has committed everything.
    async fn settled(&self, group: &Group) {
        until("the group has no lag", async || {
            let Ok(lag) = self.admin.lag(&self.topic, &group.name).await else { return false };
            // Before its first commit, a group has no queues.
            lag.len() >= QUEUES as usize && lag.iter().all(|queue| queue.waiting() == 0)
        })
        .await;
    }

    async fn close(self) {
        self.client.close().await;
    }
}

/// A group and the deliveries to its members.
struct TestGroup {
    group: Group,
    deliveries: UnboundedReceiver<Delivery>,
}

/// Tag of messages that only show who reads which queue.
const PROBE: &str = "probe";

impl TestGroup {
    async fn next(&mut self) -> Delivery {
        let next = timeout(DEADLINE, self.deliveries.recv()).await.expect("another delivery in time");
        next.expect("the group is open")
    }

    /// Returns a number of deliveries other than probes.
    async fn take(&mut self, number: usize) -> Vec<Delivery> {
        let mut taken = Vec::new();
        while taken.len() < number {
            let next = self.next().await;
            if next.message.tag != PROBE {
                taken.push(next);
            }
        }
        taken
    }

    /// Returns the deliveries until all members have ended.
    async fn rest(self) -> Vec<Delivery> {
        let Self { group, mut deliveries } = self;
        drop(group);
        let mut rest = Vec::new();
        while let Some(next) = timeout(DEADLINE, deliveries.recv()).await.expect("all members have left") {
            if next.message.tag != PROBE {
                rest.push(next);
            }
        }
        rest
    }

    /// Waits until the members share the queues evenly and each queue has one owner.
    async fn shared_by(&mut self, stage: &Stage, members: usize) {
        let mut calm = 0;
        for round in 0.. {
            let prefix = format!("probe-{members}-{round}-");
            let owners = timeout(DEADLINE, self.owners(stage, &prefix)).await.expect("probes arrive in time");
            calm = if is_even(&owners, members) { calm + 1 } else { 0 };
            assert!(round < 1_000, "never shared by {members} members: {owners:?}");
            if calm == 2 {
                break;
            }
        }
    }

    /// Sends probes to every queue, and returns who received those of each queue.
    async fn owners(&mut self, stage: &Stage, prefix: &str) -> BTreeMap<i32, Vec<String>> {
        for number in 0..2 * QUEUES {
            stage.send(&format!("{prefix}{number}"), PROBE, 10).await;
        }
        let (mut owners, mut keys) = (BTreeMap::<i32, Vec<String>>::new(), BTreeSet::new());
        while keys.len() < 2 * QUEUES as usize {
            let next = self.next().await;
            if next.message.key.starts_with(prefix) {
                keys.insert(next.message.key);
                owners.entry(next.queue).or_default().push(next.member);
            }
        }
        owners
    }
}

/// Returns whether every queue has one owner, and the members have their share
/// (`AllocateMessageQueueAveragely.java`). Each queue has two probes.
fn is_even(owners: &BTreeMap<i32, Vec<String>>, members: usize) -> bool {
    let mut shares = BTreeMap::<&str, usize>::new();
    for probes in owners.values() {
        if probes.len() != 2 || probes[0] != probes[1] {
            return false;
        }
        *shares.entry(&probes[0]).or_default() += 1;
    }
    let queues = QUEUES as usize;
    let mut shares: Vec<usize> = shares.into_values().collect();
    shares.sort_unstable_by(|one, other| other.cmp(one));
    let share = |member| queues / members + usize::from(member < queues % members);
    shares == (0..members).map(share).collect::<Vec<_>>()
}

/// Asserts that the deliveries are these messages, each once.
fn assert_equal(what: &str, deliveries: Vec<Delivery>, expected: &BTreeSet<Message>) {
    let number = deliveries.len();
    let received: BTreeSet<Message> = deliveries.into_iter().map(|delivery| delivery.message).collect();
    let missing: Vec<_> = expected.difference(&received).take(3).collect();
    let surplus: Vec<_> = received.difference(expected).take(3).collect();
    assert!(missing.is_empty() && surplus.is_empty(), "{what} misses {missing:?} and has {surplus:?}");
    assert_eq!(number, expected.len(), "{what} has duplicates");
}

/// Sends single messages, compressed ones, and batches with each client. Returns all of them.
async fn produce(stage: &Stage) -> BTreeSet<Message> {
    const SIZES: [(&str, usize, usize); 3] = [("small", 100, 1), ("large", 6_000, 1), ("batch", 100, 4)];
    const COUNT: usize = 20;
    let mut expected = BTreeSet::new();
    for (name, size, batch) in SIZES {
        for language in [Language::Java, Language::Go] {
            let tag = format!("{language:?}").to_lowercase();
            let prefix = format!("{tag}-{name}-");
            let (address, size_text, batch) =
                (stage.version.name_server(), size.to_string(), batch.to_string());
            let arguments = [
                address.as_str(),
                stage.namespace,
                &stage.topic,
                &prefix,
                &COUNT.to_string(),
                &size_text,
                &batch,
            ];
            let sent = Program::start(language, stage.version, "Produce", &arguments).all_lines().await;
            let keys: Vec<_> = sent.iter().filter(|line| line.starts_with(&prefix)).collect();
            assert_eq!(keys.len(), COUNT, "{sent:?}");
            expected.extend(keys.into_iter().map(|key| Message::expected(key, &tag, size)));
        }
        let keys: Vec<String> = (0..COUNT).map(|number| format!("ours-{name}-{number}")).collect();
        if batch > 1 {
            stage.send_batch(keys.iter().map(|key| stage.message(key, "ours", size)).collect()).await;
        } else {
            for key in &keys {
                stage.send(key, "ours", size).await;
            }
        }
        expected.extend(keys.iter().map(|key| Message::expected(key, "ours", size)));
    }
    expected
}

async fn every_consumer_receives_from_every_producer(version: Version, namespace: &'static str) {
    let stage = Stage::open(version, namespace, "interop").await;
    let expected = produce(&stage).await;
    let check = async |kind: Kind, name: &str| {
        let mut group = stage.group(name);
        let member = group.group.join(kind, "only");
        let mut received = group.take(expected.len()).await;
        stage.settled(&group.group).await;
        member.leave().await;
        received.extend(group.rest().await);
        assert_equal(name, received, &expected);
    };
    tokio::join!(check(KINDS[0], "ours"), check(KINDS[1], "java"), check(KINDS[2], "go"));
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_consumer_receives_from_every_producer_on_4() {
    every_consumer_receives_from_every_producer(Version::Four, "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_consumer_receives_from_every_producer_on_5() {
    every_consumer_receives_from_every_producer(Version::Five, "MQ_INST_1").await;
}

/// Messages by tag, and the number of their redeliveries.
const FAILURES: [(&str, u32); 5] = [("fine", 0), ("fail-1", 1), ("fail-2", 2), ("dead", 2), ("dead", 2)];

/// Checks the redeliveries and the dead letters of a group with these members.
async fn redelivers(version: Version, namespace: &'static str, members: &[Kind]) {
    let stage = Stage::open(version, namespace, "retries").await;
    let mut group = stage.group("group");
    create_retry_topic(&stage, &group.group).await;
    let joined: Vec<Member> =
        members.iter().map(|kind| group.group.join(*kind, &format!("{kind:?}"))).collect();
    group.shared_by(&stage, members.len()).await;
    let mut expected = BTreeSet::new();
    for (number, (tag, redeliveries)) in FAILURES.into_iter().enumerate() {
        let key = format!("{tag}-{number}");
        stage.send(&key, tag, 100).await;
        let message = Message::expected(&key, tag, 100);
        expected.extend((0..=redeliveries).map(|redeliveries| Message { redeliveries, ..message.clone() }));
    }
    let mut received = group.take(expected.len()).await;
    let dead = dead_letters(&stage, &group.group).await;
    assert_eq!(dead, BTreeSet::from(["dead-3".to_owned(), "dead-4".to_owned()]), "{members:?}");
    stage.settled(&group.group).await;
    for member in joined {
        member.leave().await;
    }
    received.extend(group.rest().await);
    assert_equal(&format!("{members:?}"), received, &expected);
    stage.close().await;
}

async fn redeliveries_and_dead_letters_agree(version: Version, namespace: &'static str) {
    let [ours, java, go] = KINDS.map(|kind| [kind]);
    tokio::join!(
        Box::pin(redelivers(version, namespace, &ours)),
        Box::pin(redelivers(version, namespace, &java)),
        Box::pin(redelivers(version, namespace, &go)),
        Box::pin(redelivers(version, namespace, &KINDS)),
    );
}

/// Creates the retry topic of a group. Otherwise the first member creates it, and Apache's clients
/// find a topic that appears after their start within 30 s.
async fn create_retry_topic(stage: &Stage, group: &Group) {
    let wire_group = stage.client.config().wire_name(&group.name);
    let client = stage.version.client();
    let created = Admin::new(&client).create_topic(&format!("%RETRY%{wire_group}"), 1).await;
    created.expect("the broker creates the topic");
    client.close().await;
}

/// Returns the keys of two dead letters of a group.
async fn dead_letters(stage: &Stage, group: &Group) -> BTreeSet<String> {
    let wire_group = stage.client.config().wire_name(&group.name);
    let topic = format!("%DLQ%{wire_group}");
    until("the group has dead letters", async || stage.client.refresh_route(&topic).await.is_ok()).await;
    let (readers, mut letters) = Group::new(stage.version, &topic, &format!("{}_dead", group.name));
    let reader = readers.join(Kind::Ours, "reader");
    let mut keys = BTreeSet::new();
    while keys.len() < 2 {
        let letter = timeout(DEADLINE, letters.recv()).await.expect("a dead letter in time");
        keys.insert(letter.expect("the group is open").message.key);
    }
    reader.leave().await;
    keys
}

#[tokio::test(flavor = "multi_thread")]
async fn redeliveries_and_dead_letters_agree_on_4() {
    redeliveries_and_dead_letters_agree(Version::Four, "MQ_INST_1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redeliveries_and_dead_letters_agree_on_5() {
    redeliveries_and_dead_letters_agree(Version::Five, "").await;
}

/// A group whose members join and leave.
struct Waves {
    stage: Stage,
    group: TestGroup,
    members: BTreeMap<&'static str, Member>,
    /// Members that received each message.
    received: BTreeMap<String, Vec<String>>,
    sent: usize,
}

impl Waves {
    async fn start(version: Version) -> Self {
        let stage = Stage::open(version, "", "waves").await;
        let group = stage.group("group");
        Self { stage, group, members: BTreeMap::new(), received: BTreeMap::new(), sent: 0 }
    }

    fn join(&mut self, kind: Kind, name: &'static str) {
        self.members.insert(name, self.group.group.join(kind, name));
    }

    async fn leave(&mut self, name: &str) {
        self.members.remove(name).expect("the member has joined").leave().await;
    }

    /// Waits for the new shares, sends messages, and waits until the group has handled them.
    async fn play(&mut self, number: usize) {
        self.group.shared_by(&self.stage, self.members.len()).await;
        let keys = self.sent..self.sent + number;
        self.sent = keys.end;
        let messages = keys.map(|key| self.stage.message(&key.to_string(), "wave", 100));
        self.stage.send_batch(messages.collect()).await;
        let mut active = BTreeSet::new();
        while self.received.len() < self.sent {
            let next = self.group.take(1).await.remove(0);
            active.insert(next.member.clone());
            self.received.entry(next.message.key).or_default().push(next.member);
        }
        let members: BTreeSet<String> = self.members.keys().map(|name| (*name).to_owned()).collect();
        assert_eq!(active, members, "every member takes part");
        self.stage.settled(&self.group.group).await;
    }

    /// Ends all members and asserts that every message was received once.
    async fn end(mut self) {
        for member in std::mem::take(&mut self.members).into_values() {
            member.leave().await;
        }
        for late in self.group.rest().await {
            self.received.entry(late.message.key).or_default().push(late.member);
        }
        let twice: Vec<_> = self.received.iter().filter(|(_, members)| members.len() > 1).collect();
        assert!(twice.is_empty(), "{} messages were received twice, such as {:?}", twice.len(), twice[0]);
        assert_eq!(self.received.len(), self.sent);
        self.stage.close().await;
    }
}

/// Members join and leave while no message waits, so nothing explains a duplicate.
async fn a_mixed_group_receives_20_000_messages_once(version: Version) {
    const WAVE: usize = 2_500;
    let [ours, java, go] = KINDS;
    let mut waves = Waves::start(version).await;
    waves.join(ours, "ours-1");
    waves.play(WAVE).await;
    waves.join(java, "java-1");
    waves.play(WAVE).await;
    waves.join(go, "go-1");
    waves.play(WAVE).await;
    waves.leave("ours-1").await;
    waves.play(WAVE).await;
    waves.join(ours, "ours-2");
    waves.play(WAVE).await;
    waves.leave("java-1").await;
    waves.play(WAVE).await;
    waves.leave("go-1").await;
    waves.join(ours, "ours-3");
    waves.play(WAVE).await;
    waves.join(java, "java-2");
    waves.play(WAVE).await;
    assert_eq!(waves.sent, 20_000);
    waves.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mixed_group_receives_20_000_messages_once_on_4() {
    a_mixed_group_receives_20_000_messages_once(Version::Four).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mixed_group_receives_20_000_messages_once_on_5() {
    a_mixed_group_receives_20_000_messages_once(Version::Five).await;
}
