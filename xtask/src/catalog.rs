//! Which services there are, on which ports, and in which order they start.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::process::Home;
use crate::remoting::Credentials;
use crate::{mongo, redis, rocketmq};

/// The user of the broker with access control.
pub const ACL_USER: Credentials = Credentials { access_key: "tcadmin", secret_key: "tcsecret12345" };

/// What a service is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A MongoDB replica set of one node.
    Mongo,
    /// A Redis.
    Redis,
    /// A RocketMQ name server.
    Namesrv(Security),
    /// A RocketMQ broker, and the port of its name server.
    Broker(Security, u16),
}

/// What a RocketMQ server demands of its clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Security {
    /// Nothing.
    Open,
    /// Signed requests.
    Acl,
    /// Encrypted connections.
    Tls,
}

/// A set of services that start together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Profile {
    /// MongoDB, Redis, a RocketMQ name server and broker
    Plain,
    /// Two more RocketMQ pairs: one with access control, one that enforces TLS
    Secure,
}

/// One service of this checkout.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its name on the command line, and of its directory.
    pub name: &'static str,
    /// The port it serves on the loopback interface.
    pub port: u16,
    /// What it is.
    pub kind: Kind,
    profile: Profile,
    root: PathBuf,
}

/// The fixed ports are none of the products' defaults, so that a developer's own servers are never touched.
const ALL: [(&str, u16, Kind, Profile); 8] = [
    ("mongo", 27117, Kind::Mongo, Profile::Plain),
    ("redis", 16379, Kind::Redis, Profile::Plain),
    ("namesrv", 19876, Kind::Namesrv(Security::Open), Profile::Plain),
    ("broker", 20911, Kind::Broker(Security::Open, 19876), Profile::Plain),
    ("acl-namesrv", 19877, Kind::Namesrv(Security::Acl), Profile::Secure),
    ("acl-broker", 21911, Kind::Broker(Security::Acl, 19877), Profile::Secure),
    ("tls-namesrv", 19878, Kind::Namesrv(Security::Tls), Profile::Secure),
    ("tls-broker", 22911, Kind::Broker(Security::Tls, 19878), Profile::Secure),
];

/// Every service; their directories are below `root`.
pub fn all(root: &Path) -> Vec<Service> {
    let service =
        |(name, port, kind, profile)| Service { name, port, kind, profile, root: root.to_path_buf() };
    ALL.into_iter().map(service).collect()
}

impl Service {
    /// The directory below which all services and downloads live.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Its own directory and process.
    pub fn home(&self) -> Home {
        Home::new(self.root.join(self.name))
    }

    /// Whether `up` with this profile starts it; the secure one comes on top of the plain one.
    pub fn belongs_to(&self, profile: Profile) -> bool {
        self.profile == Profile::Plain || self.profile == profile
    }

    /// Brokers start after, and stop before, the name servers that they register with.
    pub fn is_broker(&self) -> bool {
        matches!(self.kind, Kind::Broker(..))
    }

    /// Where clients find it.
    pub fn address(&self) -> String {
        match self.kind {
            Kind::Mongo => format!("mongodb://127.0.0.1:{}/?replicaSet=rs0", self.port),
            _ => format!("127.0.0.1:{}", self.port),
        }
    }

    /// The variable by which tests learn the address; brokers are found by their name server.
    pub fn variable(&self) -> Option<&'static str> {
        match self.kind {
            Kind::Mongo => Some("TASKCENTER_TEST_MONGODB_URI"),
            Kind::Redis => Some("TASKCENTER_TEST_REDIS_ADDR"),
            Kind::Namesrv(Security::Open) => Some("TASKCENTER_TEST_ROCKETMQ_NAMESRV"),
            Kind::Namesrv(Security::Acl) => Some("TASKCENTER_TEST_ROCKETMQ_ACL_NAMESRV"),
            Kind::Namesrv(Security::Tls) => Some("TASKCENTER_TEST_ROCKETMQ_TLS_NAMESRV"),
            Kind::Broker(..) => None,
        }
    }

    /// The command that runs it in the foreground; downloads what that needs.
    pub fn command(&self) -> Result<Command> {
        match self.kind {
            Kind::Mongo => mongo::command(self),
            Kind::Redis => redis::command(self),
            Kind::Namesrv(security) => rocketmq::namesrv(self, security),
            Kind::Broker(security, namesrv) => rocketmq::broker(self, security, namesrv),
        }
    }

    /// Whether it does its work, not just listens.
    pub fn probe(&self) -> Result<()> {
        match self.kind {
            Kind::Mongo => mongo::probe(self),
            Kind::Redis => redis::probe(self),
            Kind::Namesrv(security) => rocketmq::probe_namesrv(self, security),
            Kind::Broker(security, namesrv) => rocketmq::probe_broker(self, security, namesrv),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_services_share_a_name_or_a_port() {
        let mut names = BTreeSet::new();
        let mut ports = BTreeSet::new();
        for service in all(Path::new("/services")) {
            assert!(names.insert(service.name));
            // A broker also takes the port after its own, and the second before.
            let taken = if service.is_broker() { &[-2, 0, 1][..] } else { &[0][..] };
            for offset in taken {
                assert!(ports.insert(i32::from(service.port) + offset), "{} collides", service.name);
            }
        }
    }

    #[test]
    fn every_broker_has_its_name_server_before_it_in_the_same_profile() {
        let services = all(Path::new("/services"));
        for (index, service) in services.iter().enumerate() {
            if let Kind::Broker(security, port) = service.kind {
                let namesrv = services[..index].iter().find(|s| s.port == port).unwrap();
                assert_eq!(namesrv.kind, Kind::Namesrv(security));
                assert_eq!(namesrv.profile, service.profile);
            }
        }
    }

    #[test]
    fn the_addresses_are_those_that_tests_assume() {
        let services = all(Path::new("/services"));
        let address = |name: &str| services.iter().find(|s| s.name == name).unwrap().address();
        assert_eq!(address("mongo"), "mongodb://127.0.0.1:27117/?replicaSet=rs0");
        assert_eq!(address("redis"), "127.0.0.1:16379");
        assert_eq!(address("namesrv"), "127.0.0.1:19876");
    }
}
