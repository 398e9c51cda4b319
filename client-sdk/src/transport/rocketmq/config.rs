//! Connection settings of RocketMQ.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rocketmq_client_rust::{AclClientRPCHook, ClientConfig, SessionCredentials};

/// TLS settings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tls {
    /// PEM file with the CA certificate of the name servers and brokers. Default: any certificate
    /// is accepted, as in the Java client. The connection is then encrypted, but the server is not
    /// authenticated.
    pub ca_file: Option<PathBuf>,
}

/// Connection settings of a consumer or producer.
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
    /// Maximum number of messages that are handled at the same time, 1 to 1,000. Each of them
    /// occupies one thread. Default: 64.
    pub max_in_flight: usize,
    /// Maximum number of redeliveries of one message before it goes to the dead-letter queue.
    /// Default: 16.
    pub max_reconsume_times: i32,
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
            max_in_flight: 64,
            max_reconsume_times: 16,
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

    /// Returns the topic as on the wire.
    pub(super) fn wire_topic(&self) -> String {
        self.in_namespace(&self.topic)
    }

    /// Returns the group as on the wire.
    pub(super) fn wire_group(&self) -> String {
        self.in_namespace(&self.group)
    }

    fn in_namespace(&self, name: &str) -> String {
        if self.instance_name.is_empty() { name.to_owned() } else { format!("{}%{name}", self.instance_name) }
    }

    pub(super) fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client.set_namesrv_addr(self.namesrv.as_str().into());
        // A new topic or name server is noticed within this time; the client allows no shorter one.
        client.set_poll_name_server_interval(10_000);
        client.set_heartbeat_broker_interval(10_000);
        client.set_persist_consumer_offset_interval(1_000);
        if let Some(tls) = &self.tls {
            client.set_use_tls(true);
            if let Some(ca_file) = &tls.ca_file {
                client.set_tls_client_auth_server(true);
                client.set_tls_client_trust_cert_path(ca_file.to_string_lossy().into_owned());
            }
        }
        client
    }

    /// Returns a client configuration with a unique name. Clients with the same name share their
    /// connections, and so their failures.
    pub(super) fn unique_client(&self) -> ClientConfig {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let mut client = self.client();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        client.set_instance_name(format!("taskcenter-{}-{count}", std::process::id()).into());
        client
    }

    pub(super) fn credentials(&self) -> Option<Arc<AclClientRPCHook>> {
        let keys = SessionCredentials::with_keys(
            self.access_key.clone()?,
            self.secret_key.clone().unwrap_or_default(),
        );
        Some(Arc::new(AclClientRPCHook::new(keys)))
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
    fn the_instance_is_the_namespace_of_topic_and_group() {
        let plain = RocketMqConfig::new("ns:9876", "topic", "group");
        assert_eq!((plain.wire_topic(), plain.wire_group()), ("topic".to_owned(), "group".to_owned()));
        let named = RocketMqConfig { instance_name: "MQ_INST_1".to_owned(), ..plain };
        assert_eq!(named.wire_topic(), "MQ_INST_1%topic");
        assert_eq!(named.wire_group(), "MQ_INST_1%group");
    }

    #[test]
    fn debug_omits_the_keys() {
        let config = RocketMqConfig::new("ns:9876", "topic", "group").keys("canary-access", "canary-secret");
        assert!(!format!("{config:?}").contains("canary"));
    }
}
