//! Topics.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Admin, protocol};
use crate::protocol::codes;
use crate::protocol::json::Json;
use crate::protocol::route::{PERM_READ, PERM_WRITE};
use crate::{Command, Error};

/// Topic whose brokers get new topics, where the broker creates topics by itself.
const TEMPLATE_TOPIC: &str = "TBW102";
/// Pause between two checks whether a name server knows a new topic.
const CHECK_PAUSE: Duration = Duration::from_millis(50);

impl Admin {
    /// Creates a topic with `queues` queues on each master of the cluster, or changes it. Returns
    /// when a name server knows the topic on these brokers.
    ///
    /// `UPDATE_AND_CREATE_TOPIC` = 17 (`CreateTopicRequestHeader.java`).
    ///
    /// # Errors
    /// The error of the first broker that refuses, or [`Error::TopicNotFound`] if no name server
    /// knows the topic within the time limit of a request.
    pub async fn create_topic(&self, topic: &str, queues: u32) -> Result<(), Error> {
        let topic = self.client.config().wire_name(topic);
        let brokers = self.brokers().await?;
        if brokers.is_empty() {
            // A name server that has just started knows no broker.
            return Err(Error::TopicNotFound { topic });
        }
        for (_, address) in &brokers {
            let request = Command::request(codes::UPDATE_AND_CREATE_TOPIC)
                .field("topic", &topic)
                .field("defaultTopic", TEMPLATE_TOPIC)
                .field("readQueueNums", queues)
                .field("writeQueueNums", queues)
                .field("perm", PERM_READ | PERM_WRITE)
                .field("topicFilterType", "SINGLE_TAG")
                .field("topicSysFlag", 0)
                .field("order", false);
            self.client.ask(address, request).await?;
        }
        self.is_known(topic, brokers.into_iter().map(|(name, _)| name).collect()).await
    }

    async fn wait_for_route(&self, topic: &str, brokers: BTreeSet<String>) {
        loop {
            if let Ok(route) = self.client.refresh_route(topic).await {
                let known: BTreeSet<String> =
                    route.queues.iter().map(|range| range.broker_name.clone()).collect();
                if known.is_superset(&brokers) {
                    return;
                }
            }
            tokio::time::sleep(CHECK_PAUSE).await;
        }
    }

    /// Creates a topic as [`create_topic`](Self::create_topic) does, unless a broker has it. A name
    /// server that has just started does not know the topics yet, so its answer does not suffice.
    ///
    /// `GET_TOPIC_STATS_INFO` = 202 (`GetTopicStatsInfoRequestHeader.java`).
    ///
    /// # Errors
    /// The error of the first broker that does not answer or refuses.
    pub async fn ensure_topic(&self, topic: &str, queues: u32) -> Result<(), Error> {
        let wire_topic = self.client.config().wire_name(topic);
        let mut owners = BTreeSet::new();
        for (name, address) in self.brokers().await? {
            let request = Command::request(codes::GET_TOPIC_STATS_INFO).field("topic", &wire_topic);
            match self.client.ask(&address, request).await {
                Ok(_) => owners.extend([name]),
                Err(why) if why.code() == Some(codes::TOPIC_NOT_EXIST) => {}
                Err(why) => return Err(why),
            }
        }
        if owners.is_empty() {
            self.create_topic(topic, queues).await
        } else {
            self.is_known(wire_topic, owners).await
        }
    }

    /// Waits until a name server knows a topic on these brokers.
    async fn is_known(&self, topic: String, brokers: BTreeSet<String>) -> Result<(), Error> {
        let limit = self.client.config().request_timeout;
        let known = tokio::time::timeout(limit, self.wait_for_route(&topic, brokers)).await;
        known.map_err(|_| Error::TopicNotFound { topic })
    }

    /// Deletes a topic with its messages.
    ///
    /// `DELETE_TOPIC_IN_BROKER` = 215, `DELETE_TOPIC_IN_NAMESRV` = 216.
    ///
    /// # Errors
    /// The error of the first server that refuses.
    pub async fn delete_topic(&self, topic: &str) -> Result<(), Error> {
        let topic = self.client.config().wire_name(topic);
        for (_, address) in self.brokers().await? {
            let request = Command::request(codes::DELETE_TOPIC_IN_BROKER).field("topic", &topic);
            self.client.ask(&address, request).await?;
        }
        for address in self.client.name_servers() {
            let request = Command::request(codes::DELETE_TOPIC_IN_NAMESRV).field("topic", &topic);
            self.client.ask(address, request).await?;
        }
        Ok(())
    }

    /// Returns name and address of each master: of all brokers, or, if the name server does not
    /// allow that, of the brokers that create topics by themselves.
    ///
    /// `GET_BROKER_CLUSTER_INFO` = 106 (`ClusterInfo.java`).
    pub(super) async fn brokers(&self) -> Result<Vec<(String, String)>, Error> {
        let mut failed = None;
        for address in self.client.name_servers() {
            match self.client.ask(address, Command::request(codes::GET_BROKER_CLUSTER_INFO)).await {
                Ok(response) => return masters(&response.body).map_err(|why| protocol(address, why)),
                Err(why) => failed = Some(why),
            }
        }
        match self.client.fetch_route(TEMPLATE_TOPIC).await {
            Ok(route) => Ok(route.masters().map(|(name, at)| (name.to_owned(), at.to_owned())).collect()),
            Err(why) => Err(failed.unwrap_or(why)),
        }
    }
}

fn masters(body: &[u8]) -> Result<Vec<(String, String)>, String> {
    let json = Json::parse(body)?;
    let brokers = json.get("brokerAddrTable").map(Json::entries).unwrap_or_default();
    let masters = brokers.iter().filter_map(|(name, broker)| {
        let addresses = broker.get("brokerAddrs")?.entries();
        let (_, address) = addresses.iter().find(|(id, _)| id.as_i64() == Some(0))?;
        Some((name.as_str()?.to_owned(), address.as_str()?.to_owned()))
    });
    Ok(masters.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masters_of_a_cluster_are_read() {
        let body = br#"{"brokerAddrTable":{"a":{"brokerAddrs":{0:"h:1",1:"h:2"},"brokerName":"a"},
            "b":{"brokerAddrs":{1:"h:3"}}},"clusterAddrTable":{"c":["a","b"]}}"#;
        assert_eq!(masters(body).unwrap(), [("a".to_owned(), "h:1".to_owned())]);
    }
}
