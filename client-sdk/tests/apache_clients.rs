//! Consumers with Apache's own clients receive the messages of this SDK's producer: in a namespace, by tag, byte
//! for byte, and again after a failure.
//!
//! Needs the broker and the jars of `cargo xtask services up`, a JDK, and Go.
#![cfg(feature = "rocketmq")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use taskcenter_client::rocketmq::{OutMessage, Producer, RocketMqConfig};
use taskcenter_client::wire::property;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{interval, timeout};

/// Time limit of a condition. Covers the compilers of Go and Java.
const DEADLINE: Duration = Duration::from_mins(5);
const INSTANCE: &str = "MQ_INST_1";

fn setting(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

fn sources(language: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/apache").join(language)
}

/// Returns settings with a topic for this test only.
fn config(name: &str) -> RocketMqConfig {
    let unique = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), std::process::id());
    let namesrv = setting("TASKCENTER_TEST_ROCKETMQ_NAMESRV", "127.0.0.1:19876");
    let config = RocketMqConfig::new(namesrv, format!("it_{name}_{unique:016x}"), format!("it_{name}"));
    RocketMqConfig { instance_name: INSTANCE.to_owned(), ..config }
}

/// A delivery as an Apache client printed it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    tag: String,
    key: String,
    body: Vec<u8>,
    redeliveries: u32,
    run_id: String,
    empty: String,
}

impl Line {
    fn parse(line: &str) -> Self {
        let [tag, key, body, redeliveries, run_id, empty] = *line.split('\t').collect::<Vec<_>>() else {
            panic!("not a delivery: {line:?}")
        };
        let byte = |at: usize| u8::from_str_radix(&body[at..at + 2], 16).unwrap();
        let body = (0..body.len()).step_by(2).map(byte).collect();
        let redeliveries = redeliveries.parse().unwrap();
        let [tag, key, run_id, empty] = [tag, key, run_id, empty].map(str::to_owned);
        Self { tag, key, body, redeliveries, run_id, empty }
    }
}

/// Sent messages: tag and body.
const MESSAGES: [(&str, &str); 5] = [
    ("a", "{\"id\":42}"),
    ("b", "\u{0}\u{1}\r\n\t\u{1F980} 任务 \u{7f}"),
    ("c", "not for every consumer"),
    ("again", "twice"),
    ("a", ""),
];

fn message(number: usize, tag: &str, body: &str) -> OutMessage {
    OutMessage {
        tag: tag.to_owned(),
        key: format!("task-{number}"),
        body: body.to_owned().into(),
        properties: vec![(property::RUN_ID.to_owned(), format!("run-{number}"))],
    }
}

/// Returns the deliveries that a subscription to these tags must get.
fn expected(tags: &[&str]) -> BTreeSet<Line> {
    let mut lines = BTreeSet::new();
    for (number, (tag, body)) in MESSAGES.iter().enumerate().filter(|(_, (tag, _))| tags.contains(tag)) {
        let body = if body.is_empty() { " " } else { body };
        let empty = if body == " " { "1" } else { "" };
        let line = Line {
            tag: (*tag).to_owned(),
            key: format!("task-{number}"),
            body: body.as_bytes().to_vec(),
            redeliveries: 0,
            run_id: format!("run-{number}"),
            empty: empty.to_owned(),
        };
        if *tag == "again" {
            lines.insert(Line { redeliveries: 1, ..line.clone() });
        }
        lines.insert(line);
    }
    lines
}

/// A consumer program.
struct Program {
    child: Child,
    received: Vec<Line>,
}

impl Program {
    fn start(mut command: Command, config: &RocketMqConfig, group: &str, expression: &str) -> Self {
        command.args([config.namesrv.as_str(), INSTANCE, &config.topic, group, expression]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn();
        Self { child: child.expect("the consumer program starts"), received: Vec::new() }
    }

    /// Reads until all expected deliveries were printed, and asserts that there are no others.
    async fn expect(&mut self, tags: &[&str]) {
        let expected = expected(tags);
        let stdout = self.child.stdout.take().expect("the output is piped");
        let mut lines = BufReader::new(stdout).lines();
        let read = async {
            while self.received.iter().cloned().collect::<BTreeSet<_>>() != expected {
                let line = lines.next_line().await.unwrap().expect("the consumer program is running");
                let line = Line::parse(&line);
                assert!(expected.contains(&line), "{line:?} is not expected");
                self.received.push(line);
            }
        };
        let outcome = timeout(DEADLINE, read).await;
        assert!(outcome.is_ok(), "received {:?} of {expected:?}", self.received);
        assert_eq!(self.received.len(), expected.len(), "duplicates: {:?}", self.received);
    }
}

async fn check(name: &str, program: impl Fn() -> Command) {
    let config = config(name);
    let producer = Producer::new(config.clone());
    let mut checks = interval(Duration::from_millis(100));
    let ready = async {
        while producer.probe().await.is_err() {
            checks.tick().await;
        }
    };
    timeout(DEADLINE, ready).await.expect("RocketMQ is running: start it with `cargo xtask services up`");
    let messages = MESSAGES.iter().enumerate().map(|(number, (tag, body))| message(number, tag, body));
    for sent in producer.send(messages.collect()).await {
        sent.expect("the broker confirms the message");
    }
    let group = |suffix: &str| format!("{}_{suffix}", config.topic);
    let mut some = Program::start(program(), &config, &group("some"), "a || b || again");
    let mut all = Program::start(program(), &config, &group("all"), "*");
    tokio::join!(some.expect(&["a", "b", "again"]), all.expect(&["a", "b", "c", "again"]));
    producer.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_java_client_receives_our_messages() {
    let jars = setting("TASKCENTER_TEST_ROCKETMQ_JARS", "../target/services/cache/rocketmq-5.5.0/lib");
    let source = sources("java").join("Consume.java");
    check("apache_java", || {
        let mut java = Command::new("java");
        java.arg("-cp").arg(format!("{jars}/*")).arg(&source);
        java
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_go_client_receives_our_messages() {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("apache-go-consumer");
    let mut build = Command::new("go");
    // Without C and without the commit: neither a C compiler nor access to the repository is needed.
    build.args(["build", "-mod=readonly", "-buildvcs=false", "-o"]).arg(&program).arg(".");
    build.current_dir(sources("go")).env("CGO_ENABLED", "0");
    let output =
        timeout(DEADLINE, build.output()).await.expect("Go builds in time").expect("Go is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    check("apache_go", || Command::new(&program)).await;
}
