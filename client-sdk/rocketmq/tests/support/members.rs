//! Members of a consumer group, with this client and with Apache's clients.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use taskcenter_rocketmq::consumer::{Consumer, ConsumerConfig, Disposition, Handler, Received, Subscription};
use taskcenter_rocketmq::{Client, ClientConfig};
use tokio::process::ChildStdin;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::support::apache::{Language, Program};
use crate::support::{DEADLINE, Version};

/// Client of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// This crate.
    Ours,
    Apache(Language),
}

/// A delivery to a member.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Delivery {
    /// Name of the member.
    pub member: String,
    pub message: Message,
    /// Number of the queue.
    pub queue: i32,
}

/// A message as a member received it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Message {
    pub key: String,
    pub redeliveries: u32,
    pub tag: String,
    /// Length of the body.
    pub length: usize,
    /// CRC-32 of the body.
    pub sum: u32,
    /// Property `note`.
    pub note: String,
}

impl Message {
    /// Returns the message that a producer program sends: its body repeats the key and "|".
    pub fn expected(key: &str, tag: &str, length: usize) -> Self {
        let sum = crc(&body(key, length));
        let (key, tag, note) = (key.to_owned(), tag.to_owned(), NOTE.to_owned());
        Self { key, redeliveries: 0, tag, length, sum, note }
    }
}

/// Value of the property `note` of all messages.
pub const NOTE: &str = "ä任务\u{1F980} = ; \"";

/// Returns the body of a message with this key.
pub fn body(key: &str, length: usize) -> Vec<u8> {
    format!("{key}|").into_bytes().into_iter().cycle().take(length).collect()
}

fn crc(body: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(body);
    crc.sum()
}

/// A consumer group whose members report to one receiver.
#[derive(Clone)]
pub struct Group {
    pub version: Version,
    pub namespace: &'static str,
    pub topic: String,
    pub name: String,
    /// Maximum number of redeliveries.
    pub max_redeliveries: u32,
    deliveries: mpsc::UnboundedSender<Delivery>,
}

impl Group {
    /// Creates a group without members, and the receiver of its deliveries.
    pub fn new(version: Version, topic: &str, name: &str) -> (Self, mpsc::UnboundedReceiver<Delivery>) {
        let (deliveries, received) = mpsc::unbounded_channel();
        let (topic, name) = (topic.to_owned(), name.to_owned());
        (Self { version, namespace: "", topic, name, max_redeliveries: 2, deliveries }, received)
    }

    /// Sets the namespace of topic and group.
    #[must_use]
    pub fn in_namespace(self, namespace: &'static str) -> Self {
        Self { namespace, ..self }
    }

    /// Starts a member.
    pub fn join(&self, kind: Kind, name: &str) -> Member {
        let running = match kind {
            Kind::Ours => self.start_ours(name),
            Kind::Apache(language) => self.start_apache(language, name),
        };
        Member { running }
    }

    fn start_ours(&self, name: &str) -> Running {
        let client = ClientConfig::new(self.version.name_server()).namespace(self.namespace);
        let client = Client::new(client).expect("the configuration is valid");
        let config = ConsumerConfig::new(&self.name).max_reconsume_times(self.max_redeliveries);
        let consumer = Consumer::new(client.clone(), config).expect("the configuration is valid");
        let topics = BTreeMap::from([(self.topic.clone(), Subscription::parse("*"))]);
        let handler = Arc::new(Reporter { member: name.to_owned(), deliveries: self.deliveries.clone() });
        let shutdown = CancellationToken::new();
        let token = shutdown.clone();
        let run = tokio::spawn(async move {
            consumer.run(topics, handler, token).await.expect("the consumer runs until its shutdown");
            client.close().await;
        });
        Running::Ours(shutdown, run)
    }

    fn start_apache(&self, language: Language, name: &str) -> Running {
        let address = self.version.name_server();
        let redeliveries = self.max_redeliveries.to_string();
        let arguments = [address.as_str(), self.namespace, &self.topic, &self.name, &redeliveries];
        let mut program = Program::start(language, self.version, "Member", &arguments);
        let input = program.take_input();
        let (member, deliveries) = (name.to_owned(), self.deliveries.clone());
        let run = tokio::spawn(async move {
            while let Some(line) = program.line().await {
                let Some((message, queue)) = parse(&line) else { continue };
                let _ = deliveries.send(Delivery { member: member.clone(), message, queue });
            }
            program.end().await;
        });
        Running::Apache(input, run)
    }
}

/// Reads the line of a member program. Clients also print log lines.
fn parse(line: &str) -> Option<(Message, i32)> {
    let [key, redeliveries, queue, tag, length, sum, note] = *line.split('\t').collect::<Vec<_>>() else {
        return None;
    };
    let digit = |at: usize| u8::from_str_radix(&note[at..at + 2], 16).expect("two hexadecimal digits");
    let note = (0..note.len()).step_by(2).map(digit).collect();
    let message = Message {
        key: key.to_owned(),
        redeliveries: redeliveries.parse().expect("a number"),
        tag: tag.to_owned(),
        length: length.parse().expect("a number"),
        sum: u32::from_str_radix(sum, 16).expect("a CRC"),
        note: String::from_utf8(note).expect("the note is UTF-8"),
    };
    Some((message, queue.parse().expect("a number")))
}

/// A member that runs. A drop kills it.
pub struct Member {
    running: Running,
}

enum Running {
    Ours(CancellationToken, JoinHandle<()>),
    Apache(Option<ChildStdin>, JoinHandle<()>),
}

impl Member {
    /// Leaves the group, and waits until the member has ended.
    pub async fn leave(self) {
        let run = match self.running {
            Running::Ours(shutdown, run) => {
                shutdown.cancel();
                run
            }
            Running::Apache(input, run) => {
                drop(input);
                run
            }
        };
        let ended = timeout(DEADLINE, run).await;
        ended.expect("the member ends in time").expect("the member has not failed");
    }
}

/// Handles messages as the programs in `client-sdk/tests/apache` do.
struct Reporter {
    member: String,
    deliveries: mpsc::UnboundedSender<Delivery>,
}

#[async_trait]
impl Handler for Reporter {
    async fn handle(&self, message: Received, _lost: CancellationToken) -> Disposition {
        let (tag, queue) = (message.tag.unwrap_or_default(), message.queue.queue_id);
        let disposition = if fails(&tag, message.reconsume_times) {
            Disposition::Retry { after: Some(Duration::from_secs(1)) }
        } else {
            Disposition::Ack
        };
        let message = Message {
            key: message.keys.unwrap_or_default(),
            redeliveries: message.reconsume_times,
            tag,
            length: message.body.len(),
            sum: crc(&message.body),
            note: message.properties.get("note").cloned().unwrap_or_default(),
        };
        let _ = self.deliveries.send(Delivery { member: self.member.clone(), message, queue });
        disposition
    }
}

fn fails(tag: &str, redeliveries: u32) -> bool {
    tag.strip_prefix("fail-").map_or(tag == "dead", |times| redeliveries < times.parse().expect("a number"))
}
