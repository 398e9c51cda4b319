//! Compares this client with Apache's Java client on one broker, in turns: messages per second,
//! processor time per message, and memory.
//!
//! ```sh
//! cargo xtask services up && source target/services/env
//! cargo run --release -p taskcenter-rocketmq --example bench
//! ```
//!
//! Single sends and batches of 32, with 64 requests in flight and 1 KiB per message, and consumption
//! with 64 handlers that do nothing. Sent messages are counted by the offsets of the broker. The Java
//! programs are `org.apache.rocketmq.example.benchmark` and `client-sdk/tests/apache/java/Drain.java`.
#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use taskcenter_rocketmq::admin::Admin;
use taskcenter_rocketmq::consumer::{Consumer, ConsumerConfig, Disposition, Handler, Received, Subscription};
use taskcenter_rocketmq::producer::{Message, Producer, ProducerConfig};
use taskcenter_rocketmq::{Client, ClientConfig};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio_util::sync::CancellationToken;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const IN_FLIGHT: usize = 64;
const BODY: usize = 1024;
const QUEUES: u32 = 8;
/// Time before a measurement of sends, in which Java compiles.
const WARM_UP: Duration = Duration::from_secs(5);
const MEASURED: Duration = Duration::from_secs(5);
/// Messages of a measurement of consumption.
const BACKLOG: usize = 300_000;
const ROUNDS: usize = 3;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match *arguments {
        ["send", namesrv, topic, batch] => send(namesrv, topic, batch.parse()?).await,
        ["drain", namesrv, topic, group, number] => drain(namesrv, topic, group, number.parse()?).await,
        [] => compare().await,
        _ => Err("this benchmark has no arguments".into()),
    }
}

/// Runs all measurements, in turns of both clients.
async fn compare() -> Result<()> {
    let variable = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    let bench = Bench {
        namesrv: variable("TASKCENTER_TEST_ROCKETMQ_NAMESRV", "127.0.0.1:19876"),
        jars: variable("TASKCENTER_TEST_ROCKETMQ_JARS", "target/services/cache/rocketmq-5.5.0/lib"),
        run: format!("bench_{:08x}", fastrand::u32(..)),
    };
    let client = Client::new(ClientConfig::new(&bench.namesrv))?;
    let admin = Admin::new(&client);
    bench.fill(&admin).await?;
    println!("{:12} {:5} {:>12} {:>14} {:>8}", "what", "", "messages/s", "CPU/message", "memory");
    for round in 0..ROUNDS {
        for (what, batch) in [("single", 1), ("batch of 32", 32)] {
            // The second one finds a busier or a calmer broker: they change places.
            for ours in [round % 2 == 0, round % 2 != 0] {
                let topic = format!("{}_{round}_{batch}_{ours}", bench.run);
                admin.create_topic(&topic, QUEUES).await?;
                report(what, ours, bench.sends(&client, &admin, &topic, batch, ours).await?);
            }
        }
        for ours in [round % 2 == 0, round % 2 != 0] {
            report("consume", ours, bench.drains(round, ours).await?);
        }
    }
    client.close().await;
    Ok(())
}

fn report(what: &str, ours: bool, Figures { messages, took, cpu, memory }: Figures) {
    println!(
        "{what:12} {:5} {:>12.0} {:>11.1} µs {:>5} MB",
        if ours { "Rust" } else { "Java" },
        messages as f64 / took.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / messages as f64,
        memory / 1_000_000,
    );
}

/// Result of a measurement.
struct Figures {
    messages: usize,
    took: Duration,
    /// Processor time of the client.
    cpu: Duration,
    /// Largest resident memory of the client, in bytes.
    memory: usize,
}

struct Bench {
    namesrv: String,
    jars: String,
    /// Prefix of topics and groups.
    run: String,
}

impl Bench {
    fn backlog(&self) -> String {
        format!("{}_backlog", self.run)
    }

    /// Stores the messages of the measurements of consumption.
    async fn fill(&self, admin: &Admin) -> Result<()> {
        admin.create_topic(&self.backlog(), QUEUES).await?;
        let client = Client::new(ClientConfig::new(&self.namesrv))?;
        let producer = Producer::new(&client, producer_config())?;
        let mut left = BACKLOG;
        while left > 0 {
            let sent = producer.send_batch(messages(&self.backlog(), left.min(1_000))).await;
            left -= sent.into_iter().flatten().count();
        }
        client.close().await;
        Ok(())
    }

    async fn sends(
        &self,
        client: &Client,
        admin: &Admin,
        topic: &str,
        batch: usize,
        ours: bool,
    ) -> Result<Figures> {
        let (batch_text, in_flight) = (batch.to_string(), IN_FLIGHT.to_string());
        let mut command = if ours {
            this_program(&["send", &self.namesrv, topic, &batch_text])
        } else {
            let class = if batch == 1 { "Producer" } else { "BatchProducer" };
            let mut java = self.java();
            java.arg(format!("org.apache.rocketmq.example.benchmark.{class}"));
            java.args(["-n", &self.namesrv, "-t", topic, "-w", &in_flight, "-s", "1024"]);
            if batch > 1 {
                java.args(["-b", &batch_text])
            } else {
                &mut java
            };
            java
        };
        let mut program = Program::start(&mut command)?;
        tokio::time::sleep(WARM_UP).await;
        let (start, before, cpu) = (Instant::now(), stored(client, admin, topic).await?, program.cpu()?);
        tokio::time::sleep(MEASURED).await;
        let after = stored(client, admin, topic).await?;
        let figures = Figures {
            messages: after - before,
            took: start.elapsed(),
            cpu: program.cpu()?.saturating_sub(cpu),
            memory: program.memory()?,
        };
        program.child.kill().await?;
        Ok(figures)
    }

    async fn drains(&self, round: usize, ours: bool) -> Result<Figures> {
        let (topic, group) = (self.backlog(), format!("{}_{round}_{ours}", self.run));
        let number = BACKLOG.to_string();
        let mut command = if ours {
            this_program(&["drain", &self.namesrv, &topic, &group, &number])
        } else {
            let mut java = self.java();
            java.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/apache/java/Drain.java"));
            java.args([&self.namesrv, &topic, &group, &number]);
            java
        };
        let mut program = Program::start(&mut command)?;
        program.wait_for("warm").await?;
        let (start, cpu) = (Instant::now(), program.cpu()?);
        program.wait_for("done").await?;
        let figures = Figures {
            messages: BACKLOG - BACKLOG / 5,
            took: start.elapsed(),
            cpu: program.cpu()?.saturating_sub(cpu),
            memory: program.memory()?,
        };
        program.child.kill().await?;
        Ok(figures)
    }

    fn java(&self) -> Command {
        let mut java = Command::new("java");
        java.args(["-Xmx1g", "-cp", &format!("{}/*", self.jars)]);
        java.arg(format!("-Duser.home={}", std::env::temp_dir().display()));
        java
    }
}

fn this_program(arguments: &[&str]) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.args(arguments);
    command
}

/// Returns the number of messages that the broker has stored in a topic.
async fn stored(client: &Client, admin: &Admin, topic: &str) -> Result<usize> {
    let mut stored = 0;
    for queue in client.route(topic).await?.read_queues(topic) {
        stored += usize::try_from(admin.max_offset(&queue).await?)?;
    }
    Ok(stored)
}

/// A client under measurement. A drop kills it.
struct Program {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Program {
    fn start(command: &mut Command) -> Result<Self> {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true).spawn()?;
        let output = child.stdout.take().ok_or("the output is piped")?;
        Ok(Self { child, lines: BufReader::new(output).lines() })
    }

    async fn wait_for(&mut self, line: &str) -> Result<()> {
        while let Some(next) = self.lines.next_line().await? {
            if next == line {
                return Ok(());
            }
        }
        Err("the program has ended".into())
    }

    fn proc(&self, file: &str) -> Result<String> {
        let pid = self.child.id().ok_or("the program has ended")?;
        Ok(std::fs::read_to_string(format!("/proc/{pid}/{file}"))?)
    }

    /// Returns the processor time of all threads.
    fn cpu(&self) -> Result<Duration> {
        const TICKS_PER_SECOND: f64 = 100.0;
        let stat = self.proc("stat")?;
        let fields = stat.rsplit_once(')').ok_or("no name")?.1.split_whitespace();
        let ticks: Vec<f64> =
            fields.skip(11).take(2).map(str::parse).collect::<std::result::Result<_, _>>()?;
        Ok(Duration::from_secs_f64(ticks.iter().sum::<f64>() / TICKS_PER_SECOND))
    }

    /// Returns the largest resident memory, in bytes.
    fn memory(&self) -> Result<usize> {
        let status = self.proc("status")?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).ok_or("no VmHWM")?;
        Ok(line.split_whitespace().nth(1).ok_or("no number")?.parse::<usize>()? * 1024)
    }
}

fn producer_config() -> ProducerConfig {
    ProducerConfig::new("bench").max_batch_messages(32)
}

fn messages(topic: &str, number: usize) -> Vec<Message> {
    (0..number).map(|_| Message::new(topic, vec![b'x'; BODY])).collect()
}

/// Sends until the program is killed.
async fn send(namesrv: &str, topic: &str, batch: usize) -> Result<()> {
    let client = Client::new(ClientConfig::new(namesrv))?;
    let producer = Producer::new(&client, producer_config())?;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let (producer, topic) = (producer.clone(), topic.to_owned());
        tasks.spawn(async move {
            loop {
                // A busy broker refuses some: only stored messages count.
                if batch == 1 {
                    let _ = producer.send(Message::new(&topic, vec![b'x'; BODY])).await;
                } else {
                    producer.send_batch(messages(&topic, batch)).await;
                }
            }
        });
    }
    while tasks.join_next().await.is_some() {}
    Ok(())
}

struct Counter {
    received: AtomicUsize,
    number: usize,
}

#[async_trait]
impl Handler for Counter {
    async fn handle(&self, _message: Received, _lost: CancellationToken) -> Disposition {
        let received = self.received.fetch_add(1, Ordering::Relaxed) + 1;
        if received == self.number / 5 {
            println!("warm");
        }
        if received == self.number {
            println!("done");
        }
        Disposition::Ack
    }
}

/// Consumes until the program is killed.
async fn drain(namesrv: &str, topic: &str, group: &str, number: usize) -> Result<()> {
    let client = Client::new(ClientConfig::new(namesrv))?;
    let consumer = Consumer::new(client, ConsumerConfig::new(group).max_in_flight(IN_FLIGHT))?;
    let topics = BTreeMap::from([(topic.to_owned(), Subscription::parse("*"))]);
    let counter = Arc::new(Counter { received: AtomicUsize::new(0), number });
    consumer.run(topics, counter, CancellationToken::new()).await?;
    Ok(())
}
