//! A cluster of its own for one test: a name server, the masters `a` and `b`, and a slave of `a`.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};

use taskcenter_rocketmq::{Client, ClientConfig};
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::server::Server;
use super::{Version, until};

/// Processes of the cluster. A drop kills them.
pub struct Cluster {
    /// Name server.
    pub name_server: Server,
    /// Master without a slave.
    pub b: Server,
    /// Slave of `a`.
    pub slave: Server,
    /// Master with a slave.
    pub a: Server,
    ports: Ports,
    _dir: TempDir,
}

/// Ports of the cluster.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    pub name_server: u16,
    pub a: u16,
    pub b: u16,
    pub slave: u16,
}

impl Cluster {
    /// Starts the cluster and waits until clients see all of it.
    pub async fn start(version: Version) -> Self {
        let dir = tempfile::tempdir().expect("the temporary directory is writable");
        let jars = version.jars();
        let ports = Ports { name_server: free(1), a: free(4) + 2, b: free(4) + 2, slave: free(4) + 2 };
        let server = |name, class, memory: &str, config: &str| {
            let home = dir.path().join(name);
            Server::start(name, &java(&home, &jars, class, memory, config, &[]), &home)
        };
        let config = format!("listenPort={}\nbindAddress=127.0.0.1\n", ports.name_server);
        let name_server = server("namesrv", "namesrv.NamesrvStartup", "64m", &config);
        let broker = |name, port, identity| {
            let config = broker_config(&dir.path().join(name), port, ports.name_server, identity);
            server(name, "broker.BrokerStartup", "256m", &config)
        };
        listens("the name server", ports.name_server).await;
        let a = broker("a", ports.a, "brokerName=a\nbrokerId=0\nbrokerRole=ASYNC_MASTER\n");
        let b = broker("b", ports.b, "brokerName=b\nbrokerId=0\nbrokerRole=ASYNC_MASTER\n");
        let slave = broker("slave", ports.slave, "brokerName=a\nbrokerId=1\nbrokerRole=SLAVE\n");
        let cluster = Self { name_server, b, slave, a, ports, _dir: dir };
        cluster.is_complete().await;
        cluster
    }

    /// Returns the address of the name server.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.name_server)
    }

    /// Returns the ports of the servers.
    pub fn ports(&self) -> Ports {
        self.ports
    }

    /// Waits until a broker or the name server accepts connections.
    pub async fn listens(&self, port: u16) {
        listens("the server", port).await;
    }

    /// Waits until the name server knows both masters and the slave.
    pub async fn is_complete(&self) {
        let client = Client::new(ClientConfig::new(self.address())).expect("the configuration is valid");
        until("the cluster is complete", async || {
            // Every broker copies this topic when it creates another one.
            let Ok(route) = client.refresh_route("TBW102").await else { return false };
            route.brokers.iter().map(|broker| broker.addresses.len()).sum::<usize>() == 3
        })
        .await;
        client.close().await;
    }
}

/// Waits until a server accepts connections.
pub(super) async fn listens(what: &str, port: u16) {
    until(&format!("{what} listens"), async || TcpStream::connect(("127.0.0.1", port)).await.is_ok()).await;
}

/// Returns the command of a server. `properties` are properties of the JVM.
pub(super) fn java(
    home: &Path,
    jars: &Path,
    class: &str,
    memory: &str,
    config: &str,
    properties: &[String],
) -> Command {
    let file = home.join("server.conf");
    let logs = home.join("conf");
    fs::create_dir_all(&logs).expect("the directory is writable");
    fs::write(&file, config).expect("the directory is writable");
    // Servers of version 4 do not start without these files.
    for server in ["namesrv", "broker"] {
        let file = logs.join(format!("logback_{server}.xml"));
        fs::write(file, "<configuration/>\n").expect("the directory is writable");
    }
    let mut command = Command::new("java");
    command.args([
        // The mapped files of the broker use internals that JDK 17 does not export.
        "--add-exports=java.base/sun.nio.ch=ALL-UNNAMED",
        "--add-opens=java.base/java.nio=ALL-UNNAMED",
        // The machine may have 2 cores for all servers.
        "-XX:TieredStopAtLevel=1",
        "-XX:+UseSerialGC",
        "-Xms32m",
        &format!("-Xmx{memory}"),
        "-XX:MaxDirectMemorySize=256m",
    ]);
    command.arg(format!("-Duser.home={}", home.display())).args(properties);
    command.arg("-cp").arg(jars.join("*")).arg(format!("org.apache.rocketmq.{class}")).arg("-c").arg(file);
    command.env("ROCKETMQ_HOME", home);
    command
}

/// Returns the settings of a broker. `identity` has its name, id and role.
pub(super) fn broker_config(home: &Path, port: u16, name_server: u16, identity: &str) -> String {
    let store = home.join("store");
    let store = store.display();
    format!(
        "brokerClusterName=faults\n{identity}\
         listenPort={port}\nbindAddress=127.0.0.1\nbrokerIP1=127.0.0.1\nbrokerIP2=127.0.0.1\n\
         namesrvAddr=127.0.0.1:{name_server}\nregisterNameServerPeriod=10000\n\
         storePathRootDir={store}\nstorePathCommitLog={store}/commitlog\n\
         autoCreateTopicEnable=true\nautoCreateSubscriptionGroup=true\nenableMixedMessageType=true\n\
         mappedFileSizeCommitLog=33554432\nmappedFileSizeConsumeQueue=600000\nmaxHashSlotNum=100000\n\
         maxIndexNum=400000\nmappedFileSizeTimerLog=1048576\n\
         diskMaxUsedSpaceRatio=95\ndiskSpaceCleanForciblyRatio=98\ndiskSpaceWarningLevelRatio=99\n"
    )
}

/// First port of the range. Below the ports of outgoing connections, which could take the port of a
/// server while it is down. Above the ports of the services and of the fault harness.
const FIRST: u16 = 28_000;
const COUNT: u16 = 4_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// Returns the first of `number` consecutive free ports. Never returns a port twice.
pub(super) fn free(number: u16) -> u16 {
    // Two test programs on one machine start at different ports.
    let begin = std::process::id() as u16 % COUNT;
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    for _ in 0..COUNT {
        let at = (begin + NEXT.fetch_add(number, Ordering::Relaxed)) % COUNT;
        let port = FIRST + at;
        if (port..port + number).all(is_free) {
            return port;
        }
    }
    panic!("no free port from {FIRST} to {}", FIRST + COUNT);
}
