//! Groups.

use std::collections::BTreeSet;

use serde_json::json;

use super::{Admin, protocol};
use crate::protocol::codes;
use crate::protocol::json::Json;
use crate::{Command, Error, MessageQueue};

/// Settings of a new group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSettings {
    /// Number of redeliveries before a message goes to the dead-letter queue. Default: 16.
    pub max_reconsume_times: i32,
    /// Number of queues of the retry topic. Default: 1.
    pub retry_queues: i32,
}

impl Default for GroupSettings {
    fn default() -> Self {
        Self { max_reconsume_times: 16, retry_queues: 1 }
    }
}

/// Offsets of a group in one queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueLag {
    /// Queue, also of the retry topic of the group.
    pub queue: MessageQueue,
    /// Offset of the next message that the broker will store.
    pub broker_offset: i64,
    /// Committed offset of the group.
    pub consumer_offset: i64,
    /// When the broker stored the last message that the group consumed, in milliseconds since the
    /// Unix epoch.
    pub last_timestamp: i64,
}

impl QueueLag {
    /// Returns the number of messages that wait.
    pub fn waiting(&self) -> u64 {
        self.broker_offset.saturating_sub(self.consumer_offset).max(0) as u64
    }
}

/// Consumers of a group that are connected to one broker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupConnections {
    /// Name of the broker.
    pub broker_name: String,
    /// Consumers.
    pub clients: Vec<GroupClient>,
    /// Subscriptions of the group. The last heartbeat of any member decides them.
    pub subscriptions: Vec<GroupSubscription>,
}

/// A consumer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupClient {
    /// Client id.
    pub id: String,
    /// Address as `host:port`.
    pub address: String,
    /// Language of the client, for example `JAVA`.
    pub language: String,
}

/// A subscription of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupSubscription {
    /// Topic as on the wire.
    pub topic: String,
    /// Expression: `*`, or tags joined by `||`.
    pub expression: String,
}

impl Admin {
    /// Creates a group on each master of the cluster, or changes it.
    ///
    /// `UPDATE_AND_CREATE_SUBSCRIPTIONGROUP` = 200 (`SubscriptionGroupConfig.java`).
    ///
    /// # Errors
    /// The error of the first broker that refuses.
    pub async fn create_group(&self, group: &str, settings: &GroupSettings) -> Result<(), Error> {
        let group = self.client.config().wire_name(group);
        let body = json!({
            "groupName": group,
            "consumeEnable": true,
            "consumeFromMinEnable": true,
            "consumeBroadcastEnable": true,
            "retryQueueNums": settings.retry_queues,
            "retryMaxTimes": settings.max_reconsume_times,
            "brokerId": 0,
            "whichBrokerWhenConsumeSlowly": 1,
            "notifyConsumerIdsChangedEnable": true,
        });
        let body = body.to_string();
        for (_, address) in self.brokers().await? {
            let request = Command::request(codes::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP);
            self.client.ask(&address, request.with_body(body.clone())).await?;
        }
        Ok(())
    }

    /// Returns the groups that have consumed a topic, as on the wire, sorted.
    ///
    /// `QUERY_TOPIC_CONSUME_BY_WHO` = 300 (`GroupList.java`).
    ///
    /// # Errors
    /// The error of the first broker that does not answer.
    pub async fn groups(&self, topic: &str) -> Result<Vec<String>, Error> {
        let topic = self.client.config().wire_name(topic);
        let route = self.client.route(&topic).await?;
        let mut groups = BTreeSet::new();
        for (_, address) in route.masters() {
            let request = Command::request(codes::QUERY_TOPIC_CONSUME_BY_WHO).field("topic", &topic);
            let response = self.client.ask(address, request).await?;
            let json = Json::parse(&response.body).map_err(|why| protocol(address, why))?;
            let names = json.get("groupList").map(Json::items).unwrap_or_default();
            groups.extend(names.iter().filter_map(Json::as_str).map(str::to_owned));
        }
        Ok(groups.into_iter().collect())
    }

    /// Returns the offsets of a group in the queues of a topic and of its retry topic, over all
    /// brokers of the topic. The retry topic has the messages that wait for redelivery. A group
    /// that never consumed has no queues.
    ///
    /// `GET_CONSUME_STATS` = 208 (`GetConsumeStatsRequestHeader.java`, `ConsumeStats.java`).
    ///
    /// # Errors
    /// The error of the first broker that does not answer.
    pub async fn lag(&self, topic: &str, group: &str) -> Result<Vec<QueueLag>, Error> {
        let (topic, group) = (self.client.config().wire_name(topic), self.client.config().wire_name(group));
        let retry_topic = format!("%RETRY%{group}");
        let route = self.client.route(&topic).await?;
        let mut lag = Vec::new();
        for (_, address) in route.masters() {
            // Without a topic the answer includes the retry topic.
            let request = Command::request(codes::GET_CONSUME_STATS).field("consumerGroup", &group);
            let response = self.client.ask(address, request).await?;
            let queues = queue_lags(&response.body).map_err(|why| protocol(address, why))?;
            lag.extend(
                queues.into_iter().filter(|lag| lag.queue.topic == topic || lag.queue.topic == retry_topic),
            );
        }
        lag.sort_by(|a, b| a.queue.cmp(&b.queue));
        Ok(lag)
    }

    /// Sets the offsets of a group in all queues of a topic to the first message that was stored at a
    /// time or later. `timestamp_ms` is in milliseconds since the Unix epoch. Running consumers
    /// continue there within about 15 s. Brokers before 5.0 need a running consumer.
    ///
    /// `INVOKE_BROKER_TO_RESET_OFFSET` = 222 (`ResetOffsetRequestHeader.java`).
    ///
    /// # Errors
    /// The error of the first broker that refuses.
    pub async fn reset_offsets(&self, topic: &str, group: &str, timestamp_ms: i64) -> Result<(), Error> {
        let (topic, group) = (self.client.config().wire_name(topic), self.client.config().wire_name(group));
        let route = self.client.route(&topic).await?;
        for (_, address) in route.masters() {
            let request = Command::request(codes::INVOKE_BROKER_TO_RESET_OFFSET)
                .field("topic", &topic)
                .field("group", &group)
                .field("timestamp", timestamp_ms)
                .field("isForce", true);
            self.client.ask(address, request).await?;
        }
        Ok(())
    }

    /// Returns the consumers of a group, per broker of the topic. Brokers without a consumer of the
    /// group are absent.
    ///
    /// `GET_CONSUMER_CONNECTION_LIST` = 203 (`ConsumerConnection.java`).
    ///
    /// # Errors
    /// The error of the first broker that does not answer.
    pub async fn connections(&self, topic: &str, group: &str) -> Result<Vec<GroupConnections>, Error> {
        let (topic, group) = (self.client.config().wire_name(topic), self.client.config().wire_name(group));
        let route = self.client.route(&topic).await?;
        let mut connections = Vec::new();
        for (broker_name, address) in route.masters() {
            let request =
                Command::request(codes::GET_CONSUMER_CONNECTION_LIST).field("consumerGroup", &group);
            match self.client.ask(address, request).await {
                Ok(response) => {
                    let json = Json::parse(&response.body).map_err(|why| protocol(address, why))?;
                    connections.push(group_connections(broker_name, &json));
                }
                Err(why) if why.code() == Some(codes::CONSUMER_NOT_ONLINE) => {}
                Err(why) => return Err(why),
            }
        }
        Ok(connections)
    }
}

fn queue_lags(body: &[u8]) -> Result<Vec<QueueLag>, String> {
    let json = Json::parse(body)?;
    let table = json.get("offsetTable").map(Json::entries).unwrap_or_default();
    let lag = |(queue, offsets): &(Json, Json)| QueueLag {
        queue: MessageQueue {
            topic: queue.text_of("topic"),
            broker_name: queue.text_of("brokerName"),
            queue_id: queue.int_of("queueId") as i32,
        },
        broker_offset: offsets.int_of("brokerOffset"),
        consumer_offset: offsets.int_of("consumerOffset"),
        last_timestamp: offsets.int_of("lastTimestamp"),
    };
    Ok(table.iter().map(lag).collect())
}

fn group_connections(broker_name: &str, json: &Json) -> GroupConnections {
    let clients = json.get("connectionSet").map(Json::items).unwrap_or_default();
    let subscriptions = json.get("subscriptionTable").map(Json::entries).unwrap_or_default();
    GroupConnections {
        broker_name: broker_name.to_owned(),
        clients: clients
            .iter()
            .map(|client| GroupClient {
                id: client.text_of("clientId"),
                address: client.text_of("clientAddr"),
                language: client.text_of("language"),
            })
            .collect(),
        subscriptions: subscriptions
            .iter()
            .map(|(topic, data)| GroupSubscription {
                topic: topic.as_str().unwrap_or_default().to_owned(),
                expression: data.text_of("subString"),
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_of_a_broker_is_read() {
        let body = br#"{"consumeTps":0.0,"offsetTable":{{"brokerName":"b","queueId":2,"topic":"t"}:
            {"brokerOffset":9,"consumerOffset":4,"lastTimestamp":7,"pullOffset":5}}}"#;
        let lag = queue_lags(body).unwrap();
        assert_eq!((lag.len(), lag[0].waiting(), lag[0].queue.queue_id), (1, 5, 2));
    }
}
