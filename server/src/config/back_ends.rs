//! The store, the bus and the lock of a node, and the sections that configure them.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Config, MongoUri, Secret};

/// Preset for the store, the bus and the lock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// `sqlite`, `none` and `local`: one node that needs no other program.
    #[default]
    Embedded,
    /// `mongodb`, `rocketmq` and `redis`: one of several nodes.
    Cluster,
}

/// Where tasks and runs are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// A file in the data directory of this node.
    Sqlite,
    /// A MongoDB replica set that nodes share.
    Mongodb,
}

/// How due runs reach consumers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BusKind {
    /// Workers lease runs from queues over HTTP.
    None,
    /// RocketMQ delivers runs that have no queue.
    Rocketmq,
}

/// How nodes divide the shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LockKind {
    /// This node takes every shard.
    Local,
    /// Nodes lease shards in Redis.
    Redis,
}

/// The back ends of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackEnds {
    /// The store.
    pub store: StoreKind,
    /// The bus.
    pub bus: BusKind,
    /// The lock.
    pub lock: LockKind,
}

impl Mode {
    /// The back ends that the preset stands for.
    pub fn back_ends(self) -> BackEnds {
        match self {
            Self::Embedded => {
                BackEnds { store: StoreKind::Sqlite, bus: BusKind::None, lock: LockKind::Local }
            }
            Self::Cluster => {
                BackEnds { store: StoreKind::Mongodb, bus: BusKind::Rocketmq, lock: LockKind::Redis }
            }
        }
    }
}

impl BackEnds {
    /// Whether this node uses a back end that other nodes can use too. Needs the feature `cluster`.
    pub fn shared(self) -> bool {
        self != Mode::Embedded.back_ends()
    }
}

/// The node that needs no other program.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Embedded {
    /// Data directory. Empty: `taskcenter` in the user's data directory.
    pub data_dir: String,
}

impl Embedded {
    /// The data directory. `None` when the setting is empty and the user has no data directory.
    pub fn directory(&self) -> Option<PathBuf> {
        if self.data_dir.is_empty() {
            return dirs::data_dir().map(|data| data.join("taskcenter"));
        }
        Some(PathBuf::from(&self.data_dir))
    }
}

/// The store `mongodb`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mongodb {
    /// Connection string of a replica set.
    pub uri: MongoUri,
    /// Database name.
    pub db: String,
}

impl Default for Mongodb {
    fn default() -> Self {
        Self { uri: MongoUri::new("mongodb://127.0.0.1:27017/?replicaSet=rs0"), db: "taskcenter".to_owned() }
    }
}

/// The lock `redis`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Redis {
    /// Host and port.
    pub addr: String,
    /// Password. Empty: none.
    pub password: Secret,
    /// Database number.
    pub db: u32,
    /// Prefix of every key, so that several clusters can share a server.
    pub key_prefix: String,
    /// Whether to connect with TLS.
    pub tls: bool,
    /// PEM file of the authority that signed the server's certificate. Empty: the authorities that
    /// the system trusts.
    pub tls_ca_file: String,
}

impl Default for Redis {
    fn default() -> Self {
        Self {
            addr: "127.0.0.1:6379".to_owned(),
            password: Secret::default(),
            db: 0,
            key_prefix: "taskcenter".to_owned(),
            tls: false,
            tls_ca_file: String::new(),
        }
    }
}

impl Redis {
    /// Returns the connection URL for the client. The URL contains the password: never print it.
    pub fn url(&self) -> String {
        use fmt::Write as _;
        let mut login = String::new();
        // A character with a meaning in URLs must not end the password early.
        for byte in self.password.expose().bytes() {
            let _ = write!(login, "%{byte:02X}");
        }
        let login = if login.is_empty() { login } else { format!(":{login}@") };
        let scheme = if self.tls { "rediss" } else { "redis" };
        format!("{scheme}://{login}{}/{}", self.addr, self.db)
    }
}

/// The bus `rocketmq`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rocketmq {
    /// Name servers, each as `host:port`.
    pub namesvr: Vec<String>,
    /// Topic of every message.
    pub topic: String,
    /// Producer group.
    pub group_id: String,
    /// Namespace of topic and groups: on the wire, the topic is `INSTANCE%topic`. Empty: none.
    pub instance_name: String,
    /// ACL access key. Empty: no ACL.
    pub access_key: Secret,
    /// ACL secret key.
    pub secret_key: Secret,
    /// Whether to connect to name servers and brokers with TLS.
    pub tls: bool,
    /// PEM file of the authority that signed the servers' certificates. Empty: any certificate is
    /// accepted.
    pub tls_ca_file: String,
    /// Longest time until the broker must confirm a send.
    pub send_timeout_ms: u64,
}

impl Default for Rocketmq {
    fn default() -> Self {
        Self {
            namesvr: vec!["127.0.0.1:9876".to_owned()],
            topic: "taskcenter".to_owned(),
            group_id: "taskcenter".to_owned(),
            instance_name: String::new(),
            access_key: Secret::default(),
            secret_key: Secret::default(),
            tls: false,
            tls_ca_file: String::new(),
            send_timeout_ms: 3_000,
        }
    }
}

impl Config {
    /// The back ends in effect: `server.store`, `server.bus` and `server.lock`, where empty the
    /// preset of `server.mode`.
    pub fn back_ends(&self) -> BackEnds {
        let (server, preset) = (&self.server, self.server.mode.back_ends());
        BackEnds {
            store: server.store.unwrap_or(preset.store),
            bus: server.bus.unwrap_or(preset.bus),
            lock: server.lock.unwrap_or(preset.lock),
        }
    }
}

/// An optional word whose absence is written as an empty string.
pub(super) mod word_or_empty {
    use serde::de::IntoDeserializer as _;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(clippy::ref_option, reason = "serde passes the field by reference")]
    pub fn serialize<T: Serialize, S: Serializer>(
        value: &Option<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => value.serialize(serializer),
            None => serializer.serialize_str(""),
        }
    }

    pub fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<T>, D::Error> {
        let word = String::deserialize(deserializer)?;
        if word.is_empty() { Ok(None) } else { T::deserialize(word.into_deserializer()).map(Some) }
    }
}
