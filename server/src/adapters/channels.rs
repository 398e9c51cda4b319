//! Channels of alerts. Each channel has a bounded queue and a task of its own, so that a channel that is
//! slow or fails delays neither another channel nor the engine.

mod delivery;
mod dingtalk;
mod email;
mod feishu;
mod robot;
mod signature;
mod slack;
#[cfg(test)]
mod tests;
mod webhook;
mod wecom;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc::{self, Sender};

use self::delivery::{Delivery, Pauses};
pub use self::email::{Mail, MailEncryption};
pub use self::robot::Robot;
use crate::core::Moment;
use crate::core::alert::AlertEvent;
use crate::core::alert::channel::Channel;
use crate::core::alert::message::{Message, render_test};
use crate::ports::{AlertSink, Clock};

/// Largest number of waiting evaluations.
const QUEUE: usize = 64;

/// How a channel reaches its receiver. Has no `Debug`, because it holds secrets.
pub enum Receiver {
    Webhook(Robot),
    Dingtalk(Robot),
    Feishu(Robot),
    Wecom(Robot),
    Slack(Robot),
    Email(Box<Mail>),
}

/// Settings of a channel.
pub struct ChannelSettings {
    pub channel: Channel,
    pub receiver: Receiver,
    /// Longest time of one attempt.
    pub timeout: Duration,
    /// Maximum number of attempts for one message, beside those that a rate limit refuses.
    pub attempts: u32,
    /// Address of the console for links in messages. Empty: no links.
    pub link: String,
}

/// A message on its way.
struct Outgoing<'a> {
    /// The same in every attempt of a message.
    id: &'a str,
    message: &'a Message,
    /// Empty for a test message.
    events: &'a [AlertEvent],
    now: Moment,
}

/// Why a message was not accepted. The text has no address and no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
enum SendError {
    /// Repeating does not help.
    Refused(String),
    /// The message may have arrived. The same message may be sent again.
    Temporary(String),
    /// The rate limit of the receiver; the message has not arrived.
    Limited(Option<Duration>),
}

/// A way to a receiver.
#[async_trait]
trait Transport: Send + Sync {
    /// Sends a message once.
    async fn send(&self, outgoing: &Outgoing<'_>) -> Result<(), SendError>;
    /// Shortest time between two messages.
    fn gap(&self) -> Duration {
        Duration::ZERO
    }
}

/// A running channel.
pub struct RunningChannel {
    delivery: Arc<Delivery>,
    queue: Sender<Vec<AlertEvent>>,
}

impl RunningChannel {
    /// Starts the task of a channel, on the current Tokio runtime.
    ///
    /// # Errors
    /// If the client cannot be created.
    pub fn start(settings: ChannelSettings, clock: Arc<dyn Clock>) -> Result<Self, String> {
        Self::start_with(settings, clock, Pauses::default())
    }

    fn start_with(settings: ChannelSettings, clock: Arc<dyn Clock>, pauses: Pauses) -> Result<Self, String> {
        let ChannelSettings { channel, receiver, timeout, attempts, link } = settings;
        let transport = transport(receiver, timeout)?;
        let status = Mutex::default();
        let delivery = Delivery { channel, transport, clock, timeout, attempts, link, pauses, status };
        let delivery = Arc::new(delivery);
        let (queue, waiting) = mpsc::channel(QUEUE);
        tokio::spawn(Arc::clone(&delivery).run(waiting));
        Ok(Self { delivery, queue })
    }
}

fn transport(receiver: Receiver, timeout: Duration) -> Result<Box<dyn Transport>, String> {
    Ok(match receiver {
        Receiver::Webhook(robot) => Box::new(webhook::Webhook(robot)),
        Receiver::Dingtalk(robot) => Box::new(dingtalk::Dingtalk(robot)),
        Receiver::Feishu(robot) => Box::new(feishu::Feishu(robot)),
        Receiver::Wecom(robot) => Box::new(wecom::Wecom(robot)),
        Receiver::Slack(robot) => Box::new(slack::Slack(robot)),
        Receiver::Email(mail) => Box::new(email::Email::new(*mail, timeout)?),
    })
}

#[async_trait]
impl AlertSink for RunningChannel {
    fn send(&self, events: &[AlertEvent]) {
        let channel = &self.delivery.channel;
        let wanted: Vec<_> = events.iter().filter(|event| channel.wants(event)).cloned().collect();
        if wanted.is_empty() {
            return;
        }
        let alerts = wanted.len();
        if self.queue.try_send(wanted).is_err() {
            tracing::warn!(channel = channel.name, alerts, "channel queue full; alerts dropped");
        }
    }

    fn channel(&self) -> Option<&Channel> {
        Some(&self.delivery.channel)
    }

    fn last_error(&self) -> Option<String> {
        self.delivery.status().last_error
    }

    fn last_delivered_at(&self) -> Option<Moment> {
        self.delivery.status().last_delivered_at
    }

    async fn test(&self) -> Result<(), String> {
        let (channel, now) = (&self.delivery.channel, self.delivery.clock.now());
        let message = render_test(&channel.name, now, channel.language, &self.delivery.link);
        let sent = self.delivery.send_once(&message, &[], now).await;
        let sent = sent.map_err(|error| match error {
            SendError::Refused(why) | SendError::Temporary(why) => why,
            SendError::Limited(_) => "the receiver has reached its rate limit".to_owned(),
        });
        self.delivery.note(sent.as_ref().err());
        sent
    }
}
