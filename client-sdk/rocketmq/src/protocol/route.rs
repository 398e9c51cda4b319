//! Routes of topics.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::json::Json;

/// Bit of the permission to read.
pub const PERM_READ: i32 = 4;
/// Bit of the permission to write.
pub const PERM_WRITE: i32 = 2;
/// Id of a master among the brokers with one name.
pub const MASTER_ID: i64 = 0;

/// Brokers and queues of a topic (`TopicRouteData.java`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Route {
    /// Queues of the topic, per broker name.
    pub queues: Vec<QueueRange>,
    /// Brokers, per broker name.
    pub brokers: Vec<Broker>,
    /// Masters that have left the route, by broker name.
    pub(crate) absent: BTreeMap<String, AbsentMaster>,
}

/// A master that has left a route. A name server forgets a broker when the connection to it ends, and
/// a broker that is back may register again only after its period (10 s or more), so the master is
/// looked for at its last address meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AbsentMaster {
    /// Last known address as `host:port`.
    pub address: String,
    /// Last known queues.
    pub queues: Vec<QueueRange>,
    /// When the absence counts as permanent.
    pub until: Instant,
}

/// Queues of a topic on the brokers with one name (`QueueData.java`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueueRange {
    /// Name of the broker.
    pub broker_name: String,
    /// Number of queues to read: ids 0 to `read - 1`.
    pub read: i32,
    /// Number of queues to write: ids 0 to `write - 1`.
    pub write: i32,
    /// Permissions: [`PERM_READ`], [`PERM_WRITE`].
    pub perm: i32,
    /// System flags of the topic.
    pub topic_sys_flag: i32,
}

/// A master and its slaves (`BrokerData.java`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Broker {
    /// Name of the cluster.
    pub cluster: String,
    /// Name of the broker.
    pub name: String,
    /// Addresses as `host:port`, by broker id. The id of the master is [`MASTER_ID`].
    pub addresses: BTreeMap<i64, String>,
}

/// A queue of a topic (`MessageQueue.java`). Ordered by topic, broker name and queue id.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageQueue {
    /// Topic as on the wire.
    pub topic: String,
    /// Name of the broker.
    pub broker_name: String,
    /// Id of the queue within the topic and broker.
    pub queue_id: i32,
}

impl Route {
    /// Returns the queues that consumers read, ordered.
    pub fn read_queues(&self, topic: &str) -> Vec<MessageQueue> {
        let ranges = self.queues.iter().filter(|range| range.perm & PERM_READ != 0);
        expand(topic, ranges.map(|range| (range, range.read)))
    }

    /// Returns the queues that producers write, ordered: those with a master, which may have left the
    /// route a short time ago.
    pub fn write_queues(&self, topic: &str) -> Vec<MessageQueue> {
        let present = |name: &str| self.queues.iter().any(|range| range.broker_name == name);
        let absent = self.absent.values().flat_map(|master| &master.queues);
        let absent = absent.filter(|range| !present(&range.broker_name));
        let ranges = self.queues.iter().filter(|range| self.master(&range.broker_name).is_some());
        let ranges = ranges.chain(absent).filter(|range| range.perm & PERM_WRITE != 0);
        expand(topic, ranges.map(|range| (range, range.write)))
    }

    /// Returns the broker with this name.
    pub fn broker(&self, name: &str) -> Option<&Broker> {
        self.brokers.iter().find(|broker| broker.name == name)
    }

    /// Returns the address of the master of a broker name. For a master that has left the route a short
    /// time ago, this is its last address.
    pub fn master(&self, broker_name: &str) -> Option<&str> {
        let present = self.broker(broker_name).and_then(|broker| broker.addresses.get(&MASTER_ID));
        present.map(String::as_str).or_else(|| self.absent_master(broker_name))
    }

    /// Returns the address of the broker with this name and id, otherwise of the master,
    /// otherwise of any slave, otherwise of a master that has left the route a short time ago.
    pub fn address(&self, broker_name: &str, broker_id: i64) -> Option<&str> {
        let addresses = self.broker(broker_name).map(|broker| &broker.addresses);
        let present = addresses.and_then(|all| all.get(&broker_id).or_else(|| all.values().next()));
        present.map(String::as_str).or_else(|| self.absent_master(broker_name))
    }

    fn absent_master(&self, broker_name: &str) -> Option<&str> {
        self.absent.get(broker_name).map(|master| master.address.as_str())
    }

    /// Returns this route with the masters that were present in an earlier one and are not in this one.
    /// They count until `until`, if they have left now, and not at all if that moment is over.
    pub(crate) fn with_absent(mut self, previous: &Self, now: Instant, until: Instant) -> Self {
        let left = previous.masters().map(|(name, address)| {
            let queues = previous.queues.iter().filter(|range| range.broker_name == name).cloned().collect();
            (name.to_owned(), AbsentMaster { address: address.to_owned(), queues, until })
        });
        let known = previous.absent.clone().into_iter().filter(|(_, master)| now < master.until);
        for (name, master) in known.chain(left) {
            if self.masters().all(|(present, _)| present != name) {
                self.absent.insert(name, master);
            }
        }
        self
    }

    /// Returns the addresses of all masters in the route.
    pub fn masters(&self) -> impl Iterator<Item = (&str, &str)> {
        self.brokers
            .iter()
            .filter_map(|broker| Some((broker.name.as_str(), broker.addresses.get(&MASTER_ID)?.as_str())))
    }
}

/// Returns the queues of ranges with their lengths, ordered.
fn expand<'a>(topic: &str, ranges: impl Iterator<Item = (&'a QueueRange, i32)>) -> Vec<MessageQueue> {
    let queue = |range: &QueueRange, queue_id| MessageQueue {
        topic: topic.to_owned(),
        broker_name: range.broker_name.clone(),
        queue_id,
    };
    let mut queues: Vec<_> =
        ranges.flat_map(|(range, number)| (0..number).map(move |id| queue(range, id))).collect();
    queues.sort();
    queues
}

/// Largest number of queues per broker that is accepted.
const MAX_QUEUES: i64 = 65_536;
/// Largest number of queues over all brokers that is accepted.
const MAX_ROUTE_QUEUES: i64 = 1_000_000;
/// Largest number of brokers that is accepted.
const MAX_BROKERS: usize = 10_000;

impl Route {
    /// Reads the answer of a name server. Its broker ids are keys without quotes in old versions.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, String> {
        let json = Json::parse(body)?;
        if json.get("queueDatas").is_none() {
            return Err("a route without queues".to_owned());
        }
        let list = |name: &str| json.get(name).map(Json::items).unwrap_or_default();
        let (queues, brokers) = (list("queueDatas"), list("brokerDatas"));
        if queues.len() > MAX_BROKERS || brokers.len() > MAX_BROKERS {
            return Err(format!("more than {MAX_BROKERS} brokers in one route"));
        }
        let queues: Vec<_> = queues.iter().map(QueueRange::parse).collect();
        let number = |range: &QueueRange| i64::from(range.read.max(range.write));
        if queues.iter().map(number).sum::<i64>() > MAX_ROUTE_QUEUES {
            return Err(format!("more than {MAX_ROUTE_QUEUES} queues in one route"));
        }
        Ok(Self { queues, brokers: brokers.iter().map(Broker::parse).collect(), ..Self::default() })
    }
}

impl QueueRange {
    fn parse(json: &Json) -> Self {
        let number = |name| json.int_of(name).clamp(0, MAX_QUEUES) as i32;
        Self {
            broker_name: json.text_of("brokerName"),
            read: number("readQueueNums"),
            write: number("writeQueueNums"),
            perm: json.int_of("perm") as i32,
            topic_sys_flag: json.int_of("topicSysFlag") as i32,
        }
    }
}

impl Broker {
    fn parse(json: &Json) -> Self {
        let addresses = json.get("brokerAddrs").map(Json::entries).unwrap_or_default();
        let addresses = addresses.iter().filter_map(|(id, address)| Some((id.as_i64()?, address.as_str()?)));
        Self {
            cluster: json.text_of("cluster"),
            name: json.text_of("brokerName"),
            addresses: addresses.map(|(id, address)| (id, address.to_owned())).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"brokerDatas":[
        {"brokerAddrs":{0:"10.0.0.1:10911",1:"10.0.0.2:10911"},"brokerName":"b","cluster":"c"},
        {"brokerAddrs":{1:"10.0.0.3:10911"},"brokerName":"a","cluster":"c"}],
        "filterServerTable":{},"queueDatas":[
        {"brokerName":"b","perm":6,"readQueueNums":2,"topicSysFlag":0,"writeQueueNums":1},
        {"brokerName":"a","perm":6,"readQueueNums":1,"topicSysFlag":0,"writeQueueNums":1},
        {"brokerName":"x","perm":2,"readQueueNums":1,"topicSysFlag":0,"writeQueueNums":1}]}"#;

    fn names(queues: &[MessageQueue]) -> Vec<(&str, i32)> {
        queues.iter().map(|queue| (queue.broker_name.as_str(), queue.queue_id)).collect()
    }

    #[test]
    fn queues_are_ordered_and_have_the_permission() {
        let route = Route::parse(BODY).unwrap();
        assert_eq!(names(&route.read_queues("t")), [("a", 0), ("b", 0), ("b", 1)]);
        assert_eq!(names(&route.write_queues("t")), [("b", 0)]);
    }

    #[test]
    fn a_missing_broker_id_is_replaced() {
        let route = Route::parse(BODY).unwrap();
        assert_eq!(route.master("b"), Some("10.0.0.1:10911"));
        assert_eq!((route.master("a"), route.address("a", 0)), (None, Some("10.0.0.3:10911")));
        assert_eq!(route.address("b", 1), Some("10.0.0.2:10911"));
        assert_eq!((route.address("b", 7), route.address("y", 0)), (Some("10.0.0.1:10911"), None));
    }

    #[test]
    fn a_hostile_route_is_bounded() {
        let body = br#"{"queueDatas":[{"brokerName":"b","perm":6,"readQueueNums":2000000000}]}"#;
        assert_eq!(Route::parse(body).unwrap().read_queues("t").len(), 65_536);
        let range = r#"{"brokerName":"b","perm":6,"readQueueNums":65536}"#;
        let body = format!(r#"{{"queueDatas":[{}{range}]}}"#, format!("{range},").repeat(15));
        assert!(Route::parse(body.as_bytes()).unwrap_err().contains("queues in one route"));
        assert!(Route::parse(b"<html>").is_err());
    }
}
