//! Reads messages from the broker with the tool of RocketMQ, which shares no code with the product.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Output;

use anyhow::{Context, Result, ensure};

use crate::evidence::Message;
use crate::rocketmq;
use crate::time;

/// Reads complete topics.
#[derive(Debug, Clone)]
pub struct Reader {
    pub jars: PathBuf,
    pub dir: PathBuf,
    pub namesrv: String,
}

/// Maximum time of a read. The broker may have just restarted.
const MAX_READ_MS: i64 = 60_000;

impl Reader {
    /// Returns all messages of a topic.
    pub async fn read(&self, topic: &str) -> Result<Vec<Message>> {
        let mut read = Err(anyhow::anyhow!("the tool did not run"));
        let tried = time::wait_until("the tool of RocketMQ reads the topic", MAX_READ_MS, async || {
            read = self.try_read(topic).await;
            read.is_ok()
        });
        // The error of the tool says more than the timeout.
        let _ = tried.await;
        read.with_context(|| format!("the tool of RocketMQ cannot read the topic {topic}"))
    }

    async fn try_read(&self, topic: &str) -> Result<Vec<Message>> {
        let mut command =
            rocketmq::java(&self.jars, &self.dir, "256m", "org.apache.rocketmq.tools.command.MQAdminStartup");
        command.args(["printMsg", "-n", &self.namesrv, "-t", topic, "-d", "false"]);
        let Output { status, stdout, stderr } =
            tokio::task::spawn_blocking(move || command.output()).await??;
        ensure!(status.success(), "{}", String::from_utf8_lossy(&stderr));
        messages(&String::from_utf8_lossy(&stdout))
    }
}

/// Parses the output of the tool: one line per queue with its offsets, one line per message.
pub fn messages(printed: &str) -> Result<Vec<Message>> {
    let queues = printed.lines().filter(|line| line.starts_with("minOffset="));
    let mut expected = 0;
    for queue in queues {
        expected += number(queue, "maxOffset=")? - number(queue, "minOffset=")?;
    }
    let lines = printed.lines().filter(|line| line.starts_with("MSGID: "));
    let messages = lines.map(message).collect::<Result<Vec<_>>>()?;
    ensure!(printed.contains("minOffset="), "the topic has no queue: {printed}");
    ensure!(
        messages.len() as i64 == expected,
        "the tool printed {} messages; expected {expected}",
        messages.len()
    );
    Ok(messages)
}

fn message(line: &str) -> Result<Message> {
    let (_, rest) = line.split_once(", properties={").context("a message has no properties")?;
    let (properties, _) = rest.split_once('}').context("the properties have no end")?;
    let properties: HashMap<&str, &str> =
        properties.split(", ").filter_map(|property| property.split_once('=')).collect();
    let text = |name: &str| properties.get(name).copied().with_context(|| format!("no {name} in: {line}"));
    Ok(Message {
        place: format!("{}-{}", number(line, " queueId=")?, number(line, " queueOffset=")?),
        name: text("UNIQ_KEY")?.to_owned(),
        run_id: text("TC_RUN_ID")?.to_owned(),
        task_id: text("KEYS")?.to_owned(),
        attempt: text("TC_ATTEMPT")?.parse()?,
        scheduled_at: text("TC_SCHEDULED_AT")?.parse()?,
        stored_at: number(line, " storeTimestamp=")?,
    })
}

/// Returns the number after `name`.
fn number(line: &str, name: &str) -> Result<i64> {
    let (_, rest) = line.split_once(name).with_context(|| format!("no {name} in: {line}"))?;
    let digits = rest.split(|digit: char| !digit.is_ascii_digit()).next().unwrap_or_default();
    digits.parse().with_context(|| format!("{name} is not a number in: {line}"))
}
