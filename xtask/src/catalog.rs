//! The services, their ports, and the order in which they start.

use std::path::{Path, PathBuf};

use crate::process::Home;
use crate::remoting::Credentials;

/// User of the broker with access control.
pub const ACL_USER: Credentials = Credentials { access_key: "tcadmin", secret_key: "tcsecret12345" };

/// Kind of a service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// MongoDB replica set of one node.
    Mongo,
    /// Redis server.
    Redis,
    /// RocketMQ name server.
    Namesrv(Setup),
    /// RocketMQ broker, with the port of its name server.
    Broker(Setup, u16),
}

/// Version of a RocketMQ server, and what the server requires from its clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Setup {
    /// Version 5, requires nothing: plain connections, unsigned requests.
    Open,
    /// Version 5, requires signed requests.
    Acl,
    /// Version 5, requires encrypted connections.
    Tls,
    /// Version 4, requires nothing.
    Version4,
}

/// Set of services that start together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Profile {
    /// MongoDB, Redis, a RocketMQ name server and broker
    Plain,
    /// Also three more RocketMQ pairs: with access control, with TLS, and of version 4
    Secure,
}

/// One service of this checkout.
#[derive(Clone, Debug)]
pub struct Service {
    /// Name on the command line, and name of the directory.
    pub name: &'static str,
    /// Port on the loopback interface.
    pub port: u16,
    /// Kind of the service.
    pub kind: Kind,
    profile: Profile,
    root: PathBuf,
}

/// The ports differ from the defaults of the products, so that a developer's own servers stay
/// untouched.
const ALL: [(&str, u16, Kind, Profile); 10] = [
    ("mongo", 27117, Kind::Mongo, Profile::Plain),
    ("redis", 16379, Kind::Redis, Profile::Plain),
    ("namesrv", 19876, Kind::Namesrv(Setup::Open), Profile::Plain),
    ("broker", 20911, Kind::Broker(Setup::Open, 19876), Profile::Plain),
    ("acl-namesrv", 19877, Kind::Namesrv(Setup::Acl), Profile::Secure),
    ("acl-broker", 21911, Kind::Broker(Setup::Acl, 19877), Profile::Secure),
    ("tls-namesrv", 19878, Kind::Namesrv(Setup::Tls), Profile::Secure),
    ("tls-broker", 22911, Kind::Broker(Setup::Tls, 19878), Profile::Secure),
    ("v4-namesrv", 19879, Kind::Namesrv(Setup::Version4), Profile::Secure),
    ("v4-broker", 23911, Kind::Broker(Setup::Version4, 19879), Profile::Secure),
];

/// Returns all services. Their directories are below `root`.
pub fn all(root: &Path) -> Vec<Service> {
    let service =
        |(name, port, kind, profile)| Service { name, port, kind, profile, root: root.to_path_buf() };
    ALL.into_iter().map(service).collect()
}

impl Service {
    /// Returns the directory of all services and downloads.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the directory and the process of this service.
    pub fn home(&self) -> Home {
        Home::new(self.root.join(self.name))
    }

    /// Returns whether `up` with this profile starts the service. `Secure` includes `Plain`.
    pub fn belongs_to(&self, profile: Profile) -> bool {
        self.profile == Profile::Plain || self.profile == profile
    }

    /// Returns whether this is a broker. Brokers start after their name servers and stop before
    /// them.
    pub fn is_broker(&self) -> bool {
        matches!(self.kind, Kind::Broker(..))
    }

    /// Returns the address for clients.
    pub fn address(&self) -> String {
        match self.kind {
            Kind::Mongo => format!("mongodb://127.0.0.1:{}/?replicaSet=rs0", self.port),
            _ => format!("127.0.0.1:{}", self.port),
        }
    }

    /// Returns the environment variable that gives tests the address. Clients find brokers by their
    /// name server.
    pub fn variable(&self) -> Option<&'static str> {
        match self.kind {
            Kind::Mongo => Some("TASKCENTER_TEST_MONGODB_URI"),
            Kind::Redis => Some("TASKCENTER_TEST_REDIS_ADDR"),
            Kind::Namesrv(Setup::Open) => Some("TASKCENTER_TEST_ROCKETMQ_NAMESRV"),
            Kind::Namesrv(Setup::Acl) => Some("TASKCENTER_TEST_ROCKETMQ_ACL_NAMESRV"),
            Kind::Namesrv(Setup::Tls) => Some("TASKCENTER_TEST_ROCKETMQ_TLS_NAMESRV"),
            Kind::Namesrv(Setup::Version4) => Some("TASKCENTER_TEST_ROCKETMQ_4_NAMESRV"),
            Kind::Broker(..) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_and_ports_are_unique() {
        let mut names = BTreeSet::new();
        let mut ports = BTreeSet::new();
        for service in all(Path::new("/services")) {
            assert!(names.insert(service.name));
            // A broker also listens on `port + 1` and `port - 2`.
            let taken = if service.is_broker() { &[-2, 0, 1][..] } else { &[0][..] };
            for offset in taken {
                assert!(ports.insert(i32::from(service.port) + offset), "{} collides", service.name);
            }
        }
    }

    #[test]
    fn every_broker_follows_its_name_server_in_the_same_profile() {
        let services = all(Path::new("/services"));
        for (index, service) in services.iter().enumerate() {
            if let Kind::Broker(setup, port) = service.kind {
                let namesrv = services[..index].iter().find(|s| s.port == port).unwrap();
                assert_eq!(namesrv.kind, Kind::Namesrv(setup));
                assert_eq!(namesrv.profile, service.profile);
            }
        }
    }

    #[test]
    fn addresses_equal_the_defaults_of_the_tests() {
        let services = all(Path::new("/services"));
        let address = |name: &str| services.iter().find(|s| s.name == name).unwrap().address();
        assert_eq!(address("mongo"), "mongodb://127.0.0.1:27117/?replicaSet=rs0");
        assert_eq!(address("redis"), "127.0.0.1:16379");
        assert_eq!(address("namesrv"), "127.0.0.1:19876");
    }
}
