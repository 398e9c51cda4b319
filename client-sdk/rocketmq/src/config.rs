//! Settings of a client.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::Error;

/// TLS settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// PEM file with the CA certificate of the name servers and brokers. Default: any certificate
    /// is accepted, as in the Java client. The connection is then encrypted, but the server is not
    /// authenticated.
    pub ca_file: Option<PathBuf>,
    /// PEM files of the client certificate and of its private key. Default: none.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
    /// Name that the certificate of a server must have, sent as SNI. Default: the host of the
    /// address.
    pub server_name: Option<String>,
}

/// Access key and secret key of a broker with ACLs.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Access key.
    pub access_key: String,
    /// Secret key. It signs requests and is never sent.
    pub secret_key: String,
    /// Security token of temporary keys. Default: none.
    pub security_token: Option<String>,
}

impl Credentials {
    /// Creates credentials without a security token.
    pub fn new(access_key: impl Into<String>, secret_key: impl Into<String>) -> Self {
        Self { access_key: access_key.into(), secret_key: secret_key.into(), security_token: None }
    }
}

impl fmt::Debug for Credentials {
    /// Omits the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials([redacted])")
    }
}

/// Settings of a client. `Debug` omits the keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientConfig {
    /// Name servers as `host:port`.
    pub name_servers: Vec<String>,
    /// Keys, for brokers with ACLs. Default: none.
    pub credentials: Option<Credentials>,
    /// TLS settings. Default: no TLS.
    pub tls: Option<Tls>,
    /// Namespace of topics and groups, as in the Go client: on the wire the topic is
    /// `NAMESPACE%topic`, and the group is `NAMESPACE%group`. Default (empty): no namespace.
    pub namespace: String,
    /// Instance name, a part of the client id. Default (empty): a name that is unique per process
    /// and client. Two clients with one id in one group would get the same queues.
    pub instance_name: String,
    /// Unit name, a suffix of the client id. Default (empty): none.
    pub unit_name: String,
    /// Time limit of a request, including the wait for a connection. Default: 3 s.
    pub request_timeout: Duration,
    /// Time limit of a connection attempt, including TLS. Default: 3 s.
    pub connect_timeout: Duration,
    /// Maximum number of requests per connection that wait for their response. Further requests
    /// wait within their time limit. A consumer holds one for each queue that it reads from the broker,
    /// so a lower maximum than the number of queues delays heartbeats. Default: 4,096.
    pub max_in_flight: usize,
    /// Maximum size of a frame, in bytes. A larger frame from a server ends the connection.
    /// Default and maximum: 64 MiB.
    pub max_frame_bytes: usize,
    /// Time between two refreshes of the known routes. Default: 10 s.
    pub route_interval: Duration,
    /// Time between two heartbeats. Brokers forget a client after 120 s. Default: 10 s.
    pub heartbeat_interval: Duration,
}

/// Largest frame that the client can be configured to read, in bytes.
const MAX_FRAME_BYTES: usize = 64 * 1024 * 1024;

impl ClientConfig {
    /// Creates settings with the defaults. `name_servers` are `host:port`, joined by `;`.
    pub fn new(name_servers: impl AsRef<str>) -> Self {
        let addresses = name_servers.as_ref().split([';', ',']).map(str::trim);
        Self {
            name_servers: addresses.filter(|address| !address.is_empty()).map(str::to_owned).collect(),
            credentials: None,
            tls: None,
            namespace: String::new(),
            instance_name: String::new(),
            unit_name: String::new(),
            request_timeout: Duration::from_secs(3),
            connect_timeout: Duration::from_secs(3),
            max_in_flight: 4096,
            max_frame_bytes: MAX_FRAME_BYTES,
            route_interval: Duration::from_secs(10),
            heartbeat_interval: Duration::from_secs(10),
        }
    }

    /// Sets the keys.
    #[must_use]
    pub fn credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = Some(credentials);
        self
    }

    /// Sets TLS.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Sets the namespace.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// Sets the instance name.
    #[must_use]
    pub fn instance_name(mut self, name: impl Into<String>) -> Self {
        self.instance_name = name.into();
        self
    }

    /// Sets the unit name.
    #[must_use]
    pub fn unit_name(mut self, name: impl Into<String>) -> Self {
        self.unit_name = name.into();
        self
    }

    /// Sets the time limit of a request.
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// Sets the time limit of a connection attempt.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets the maximum number of requests per connection that wait for their response.
    #[must_use]
    pub fn max_in_flight(mut self, requests: usize) -> Self {
        self.max_in_flight = requests;
        self
    }

    /// Sets the maximum size of a frame, in bytes.
    #[must_use]
    pub fn max_frame_bytes(mut self, bytes: usize) -> Self {
        self.max_frame_bytes = bytes;
        self
    }

    /// Sets the time between two refreshes of the known routes.
    #[must_use]
    pub fn route_interval(mut self, interval: Duration) -> Self {
        self.route_interval = interval;
        self
    }

    /// Sets the time between two heartbeats.
    #[must_use]
    pub fn heartbeat_interval(mut self, interval: Duration) -> Self {
        self.heartbeat_interval = interval;
        self
    }

    /// Returns a topic or group as on the wire: with the namespace as its prefix.
    pub fn wire_name(&self, name: &str) -> String {
        let prefixed = self.namespace.is_empty()
            || name.strip_prefix(self.namespace.as_str()).is_some_and(|rest| rest.starts_with('%'));
        if prefixed { name.to_owned() } else { format!("{}%{name}", self.namespace) }
    }

    pub(crate) fn validate(&self) -> Result<(), Error> {
        let invalid = |why: &str| Err(Error::Config(why.to_owned()));
        if self.name_servers.is_empty() {
            return invalid("no name server: set at least one `host:port`");
        }
        if let Some(address) = self.name_servers.iter().find(|address| !is_address(address)) {
            return Err(Error::Config(format!("name server {address:?} is not of the form `host:port`")));
        }
        if self.max_in_flight == 0 || self.max_in_flight > 1_000_000 {
            return invalid("`max_in_flight` must be between 1 and 1,000,000");
        }
        if !(64 * 1024..=MAX_FRAME_BYTES).contains(&self.max_frame_bytes) {
            return invalid("`max_frame_bytes` must be between 64 KiB and 64 MiB");
        }
        let times =
            [self.request_timeout, self.connect_timeout, self.route_interval, self.heartbeat_interval];
        if times.iter().any(Duration::is_zero) {
            return invalid("time-outs and intervals must be longer than 0");
        }
        if self.heartbeat_interval > Duration::from_mins(1) {
            return invalid("`heartbeat_interval` must be at most 60 s: brokers forget a client after 120 s");
        }
        Ok(())
    }
}

fn is_address(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else { return false };
    !host.is_empty() && !host.contains("//") && port.parse::<u16>().is_ok_and(|port| port > 0)
}
