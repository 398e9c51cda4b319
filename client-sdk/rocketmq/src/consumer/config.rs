//! Settings of a consumer.

use std::time::{Duration, SystemTime};

use crate::Error;

/// Where a group without a committed offset starts in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum StartFrom {
    /// The oldest message. A new group receives the whole retention of the topic.
    #[default]
    First,
    /// The first message after the start of the group.
    Last,
    /// The first message that the broker stored at this time or later. Brokers before 5.0 may begin
    /// with the message before it.
    Time(SystemTime),
}

/// Settings of a consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerConfig {
    /// Consumer group, without the namespace.
    pub group: String,
    /// Maximum number of messages that are handled at the same time, 1 to 10,000. Default: 64. The
    /// consumer pulls at most twice as many messages.
    pub max_in_flight: usize,
    /// Maximum size of the pulled messages over all queues, in bytes, 64 KiB to 4 GiB. Default:
    /// 64 MiB. A single larger message passes alone. Compressed bodies count as stored, and are
    /// decompressed when their handler starts.
    pub max_bytes: usize,
    /// Maximum size of a decompressed body, in bytes. A message with a larger body goes to the
    /// dead-letter queue. Default: 64 MiB.
    pub max_body_bytes: usize,
    /// Maximum number of redeliveries of a message before the broker moves it to the dead-letter
    /// queue. Default: 16.
    pub max_reconsume_times: u32,
    /// Where the group starts in a queue without a committed offset. Default: the oldest message.
    pub start_from: StartFrom,
    /// Maximum number of messages of one pull, 1 to 1,024. Default: 32.
    pub pull_batch: usize,
    /// Maximum number of messages of one queue from the lowest unfinished one on, 1 to 65,535.
    /// Default: 2,000. Pulling from the queue stops beyond the maximum, because a crash would
    /// deliver all of them again.
    pub max_span: usize,
    /// Time between two rebalances without a notification of the broker. Default: 20 s, as in Java.
    pub rebalance_interval: Duration,
    /// Time between two commits of offsets. Default: 1 s.
    pub commit_interval: Duration,
    /// Time that a new owner of a queue leaves the old owner to commit its offset. Default: 1 s. The
    /// only member of a group does not wait.
    pub takeover_delay: Duration,
    /// Time limit of sending verdicts and offsets to the broker during shutdown, after the last
    /// handler ended. Default: 5 s. What is not sent is delivered again.
    pub settle_timeout: Duration,
    /// Time between two comparisons with the subscriptions of the other members of the group.
    /// Default: 10 minutes.
    pub compare_interval: Duration,
    /// Whether [`run`](super::Consumer::run) fails at its start if the group has members with
    /// another subscription. Such a group loses messages. Default: false, a warning.
    pub refuse_other_subscriptions: bool,
}

impl ConsumerConfig {
    /// Creates settings with the defaults.
    pub fn new(group: impl Into<String>) -> Self {
        Self {
            group: group.into(),
            max_in_flight: 64,
            max_bytes: 64 << 20,
            max_body_bytes: 64 << 20,
            max_reconsume_times: 16,
            start_from: StartFrom::default(),
            pull_batch: 32,
            max_span: 2_000,
            rebalance_interval: Duration::from_secs(20),
            commit_interval: Duration::from_secs(1),
            takeover_delay: Duration::from_secs(1),
            settle_timeout: Duration::from_secs(5),
            compare_interval: Duration::from_mins(10),
            refuse_other_subscriptions: false,
        }
    }

    /// Sets the maximum number of messages that are handled at the same time.
    #[must_use]
    pub fn max_in_flight(mut self, messages: usize) -> Self {
        self.max_in_flight = messages;
        self
    }

    /// Sets the maximum size of the pulled messages over all queues, in bytes.
    #[must_use]
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Sets the maximum number of redeliveries of a message.
    #[must_use]
    pub fn max_reconsume_times(mut self, times: u32) -> Self {
        self.max_reconsume_times = times;
        self
    }

    /// Sets where the group starts in a queue without a committed offset.
    #[must_use]
    pub fn start_from(mut self, start: StartFrom) -> Self {
        self.start_from = start;
        self
    }

    /// Makes [`run`](super::Consumer::run) fail at its start if the group has members with another
    /// subscription.
    #[must_use]
    pub fn refuse_other_subscriptions(mut self) -> Self {
        self.refuse_other_subscriptions = true;
        self
    }

    pub(crate) fn validate(&self) -> Result<(), Error> {
        if self.group.is_empty() {
            return Err(Error::Config("`group` is empty: set the name of a consumer group".to_owned()));
        }
        within("max_in_flight", self.max_in_flight, 1, 10_000)?;
        within("max_bytes", self.max_bytes, 64 << 10, 4 << 30)?;
        within("max_body_bytes", self.max_body_bytes, 1, 4 << 30)?;
        within("max_reconsume_times", self.max_reconsume_times as usize, 0, i32::MAX as usize)?;
        within("pull_batch", self.pull_batch, 1, 1_024)?;
        within("max_span", self.max_span, 1, 65_535)?;
        let intervals = [self.rebalance_interval, self.commit_interval, self.compare_interval];
        if intervals.iter().any(Duration::is_zero) {
            return Err(Error::Config("intervals must be longer than 0".to_owned()));
        }
        Ok(())
    }
}

fn within(name: &str, value: usize, min: usize, max: usize) -> Result<(), Error> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(Error::Config(format!("`{name}` is {value}: use a value from {min} to {max}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_checked() {
        let config = ConsumerConfig::new("group");
        assert_eq!(config.validate(), Ok(()));
        assert!(ConsumerConfig::new("").validate().is_err());
        for messages in [0, 10_001] {
            assert!(config.clone().max_in_flight(messages).validate().is_err());
        }
        assert!(config.clone().max_bytes(1_000).validate().is_err());
        assert!(ConsumerConfig { max_span: 0, ..config.clone() }.validate().is_err());
        assert!(ConsumerConfig { commit_interval: Duration::ZERO, ..config }.validate().is_err());
    }
}
