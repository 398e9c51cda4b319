//! Settings of RocketMQ.

use std::fmt;
use std::time::Duration;

use taskcenter_rocketmq::consumer::ConsumerConfig;
use taskcenter_rocketmq::producer::ProducerConfig;
use taskcenter_rocketmq::{ClientConfig, Credentials};

pub use taskcenter_rocketmq::Tls;
pub use taskcenter_rocketmq::consumer::StartFrom;

/// Default of [`RocketMqConfig::max_in_flight`], unless more handlers run at the same time.
const MIN_IN_FLIGHT: usize = 64;
/// Maximum number of messages of one batch. A batch goes to one queue, so larger batches are spread
/// over fewer consumers.
const MAX_BATCH_MESSAGES: usize = 64;

/// Settings of a consumer or producer.
#[derive(Clone, PartialEq, Eq)]
pub struct RocketMqConfig {
    /// Name servers as `host:port`, joined by `;`.
    pub namesrv: String,
    /// Topic.
    pub topic: String,
    /// Consumer group or producer group.
    pub group: String,
    /// Namespace of topic and group, as in the old Go client: on the wire the topic is
    /// `INSTANCE%topic`, and the group is `INSTANCE%group`. Default (empty): no namespace.
    pub instance_name: String,
    /// Access key, for a broker with ACLs. Default: none.
    pub access_key: Option<String>,
    /// Secret key of the access key. Default: none.
    pub secret_key: Option<String>,
    /// TLS settings. Default: no TLS.
    pub tls: Option<Tls>,
    /// Time limit for the confirmation of a send. Default: 3 s.
    pub send_timeout: Duration,
    /// Maximum number of messages that are handled at the same time, or that wait for a handler, 1
    /// to 10,000. A value out of these bounds ends the consumer with an error. The consumer pulls
    /// at most twice as many messages. Default: the
    /// [concurrency](crate::ConsumerBuilder::concurrency) of the consumer, and at least 64.
    pub max_in_flight: Option<usize>,
    /// Maximum number of redeliveries of one message before it goes to the dead-letter queue.
    /// Default: 16.
    pub max_reconsume_times: u32,
    /// Where a group without committed offsets starts. Default: the oldest message of the topic, so
    /// a new group also receives the messages that were sent before its first start.
    pub start_from: StartFrom,
}

impl RocketMqConfig {
    /// Creates settings with the defaults.
    pub fn new(namesrv: impl Into<String>, topic: impl Into<String>, group: impl Into<String>) -> Self {
        Self {
            namesrv: namesrv.into(),
            topic: topic.into(),
            group: group.into(),
            instance_name: String::new(),
            access_key: None,
            secret_key: None,
            tls: None,
            send_timeout: Duration::from_secs(3),
            max_in_flight: None,
            max_reconsume_times: 16,
            start_from: StartFrom::default(),
        }
    }

    /// Sets the access key and its secret key.
    #[must_use]
    pub fn keys(mut self, access_key: impl Into<String>, secret_key: impl Into<String>) -> Self {
        (self.access_key, self.secret_key) = (Some(access_key.into()), Some(secret_key.into()));
        self
    }

    /// Sets TLS.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Sets where a group without committed offsets starts.
    #[must_use]
    pub fn start_from(mut self, start: StartFrom) -> Self {
        self.start_from = start;
        self
    }

    pub(super) fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new(&self.namesrv).namespace(&self.instance_name);
        client.credentials = self
            .access_key
            .as_ref()
            .map(|key| Credentials::new(key, self.secret_key.as_deref().unwrap_or_default()));
        client.tls.clone_from(&self.tls);
        client
    }

    /// Returns the settings of a producer. A request that fails is never repeated: the caller
    /// decides, because the message may have arrived.
    pub(super) fn producer(&self) -> ProducerConfig {
        ProducerConfig::new(&self.group)
            .send_timeout(self.send_timeout)
            .max_batch_messages(MAX_BATCH_MESSAGES)
    }

    /// Returns the settings of a consumer with this number of handlers at the same time.
    pub(super) fn consumer(&self, concurrency: usize) -> ConsumerConfig {
        ConsumerConfig::new(&self.group)
            .max_in_flight(self.max_in_flight.unwrap_or(concurrency.max(MIN_IN_FLIGHT)))
            .max_reconsume_times(self.max_reconsume_times)
            .start_from(self.start_from)
    }
}

impl fmt::Debug for RocketMqConfig {
    /// Omits the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RocketMqConfig")
            .field("namesrv", &self.namesrv)
            .field("topic", &self.topic)
            .field("group", &self.group)
            .field("keys", &self.access_key.as_ref().map(|_| "[redacted]"))
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_messages_in_flight_follow_the_concurrency_unless_they_are_set() {
        let mut config = RocketMqConfig::new("ns:9876", "topic", "group");
        assert_eq!([1, 64, 200].map(|handlers| config.consumer(handlers).max_in_flight), [64, 64, 200]);
        config.max_in_flight = Some(3);
        assert_eq!(config.consumer(200).max_in_flight, 3);
    }

    #[test]
    fn debug_omits_the_keys() {
        let config = RocketMqConfig::new("ns:9876", "topic", "group").keys("canary-access", "canary-secret");
        assert!(!format!("{config:?}").contains("canary"));
    }
}
