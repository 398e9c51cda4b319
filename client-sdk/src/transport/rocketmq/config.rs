//! How to reach RocketMQ.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rocketmq_client_rust::{AclClientRPCHook, ClientConfig, SessionCredentials};

/// How the connection is secured.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tls {
    /// PEM file with the authority that signed the servers' certificates. Without one any certificate is taken, as the Java
    /// client does by default: the wire is encrypted, and nobody is proven to be at its other end.
    pub ca_file: Option<PathBuf>,
}

/// How to reach RocketMQ, and as whom.
#[derive(Clone, PartialEq, Eq)]
pub struct RocketMqConfig {
    /// Name servers, `host:port`, several separated by `;`.
    pub namesrv: String,
    /// The topic.
    pub topic: String,
    /// Consumer group, or producer group.
    pub group: String,
    /// What this client is called in the broker's lists, with a number behind it; empty: `taskcenter`.
    pub instance_name: String,
    /// Access key, where the broker asks for one.
    pub access_key: Option<String>,
    /// Secret key to the access key.
    pub secret_key: Option<String>,
    /// Speak TLS.
    pub tls: Option<Tls>,
    /// Longest time for a send to be confirmed.
    pub send_timeout: Duration,
    /// Messages handled at the same time, at most; each one takes a thread while it is handled.
    pub max_in_flight: usize,
    /// Redeliveries of one message before it goes to the dead-letter queue.
    pub max_reconsume_times: i32,
}

impl RocketMqConfig {
    /// Without keys and TLS; 16 redeliveries, 64 messages at a time, 3 s for a send.
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

    /// With an access key and its secret.
    #[must_use]
    pub fn keys(mut self, access_key: impl Into<String>, secret_key: impl Into<String>) -> Self {
        (self.access_key, self.secret_key) = (Some(access_key.into()), Some(secret_key.into()));
        self
    }

    /// Over TLS.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    pub(super) fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client.set_namesrv_addr(self.namesrv.as_str().into());
        // A topic that does not exist yet, or a name server that comes up late, is noticed within this; less is not allowed.
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

    /// Clients of one name share their connections, and with them their failures: each one gets a name of its own.
    pub(super) fn client_of_its_own(&self) -> ClientConfig {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = if self.instance_name.is_empty() { "taskcenter" } else { &self.instance_name };
        let mut client = self.client();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        client.set_instance_name(format!("{name}-{}-{count}", std::process::id()).into());
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
    /// Without the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RocketMqConfig")
            .field("namesrv", &self.namesrv)
            .field("topic", &self.topic)
            .field("group", &self.group)
            .field("keys", &self.access_key.as_ref().map(|_| "(not shown)"))
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_is_shown() {
        let config = RocketMqConfig::new("ns:9876", "topic", "group").keys("canary-access", "canary-secret");
        assert!(!format!("{config:?}").contains("canary"));
    }
}
