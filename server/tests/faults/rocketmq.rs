//! RocketMQ name server and broker, with a proxy in front of the broker. Scenarios stop and kill
//! the broker.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use tokio::net::TcpStream;

use crate::broker::Reader;
use crate::ports;
use crate::process::Program;
use crate::proxy::Proxy;
use crate::time;

/// Clients get the address of the broker from the name server, so the proxy must listen on the
/// announced address. All of 127/8 is the loopback interface: the broker listens on one address and
/// announces another.
const ANNOUNCED: &str = "127.0.0.2";

/// Name server and broker.
pub struct RocketMq {
    jars: PathBuf,
    dir: PathBuf,
    namesrv: u16,
    broker: u16,
    /// Runs without faults.
    _namesrv: Program,
    program: Option<Program>,
    /// Proxy between the broker and all clients.
    pub wire: Proxy,
}

impl RocketMq {
    pub async fn start(jars: &Path, dir: &Path) -> Result<Self> {
        let dir = dir.join("rocketmq");
        std::fs::create_dir_all(&dir)?;
        let (namesrv, broker) = (ports::free()?, ports::free_for_a_broker()?);
        std::fs::write(dir.join("namesrv.conf"), format!("listenPort={namesrv}\nbindAddress=127.0.0.1\n"))?;
        std::fs::write(dir.join("broker.conf"), broker_config(&dir, namesrv, broker))?;
        let command =
            server(jars, &dir, "128m", "org.apache.rocketmq.namesrv.NamesrvStartup", "namesrv.conf");
        let program = Program::start(&command, &dir.join("namesrv.log"))?;
        listens("the name server", namesrv).await?;
        let wire = Proxy::open(&format!("{ANNOUNCED}:{broker}"), &format!("127.0.0.1:{broker}")).await?;
        let jars = jars.to_owned();
        let mut both = Self { jars, dir, namesrv, broker, _namesrv: program, program: None, wire };
        both.restart().await?;
        Ok(both)
    }

    pub fn namesrv(&self) -> String {
        format!("127.0.0.1:{}", self.namesrv)
    }

    /// Returns a reader that does not use the product.
    pub fn reader(&self) -> Reader {
        Reader { jars: self.jars.clone(), dir: self.dir.clone(), namesrv: self.namesrv() }
    }

    /// Starts the broker and waits until it accepts connections.
    pub async fn restart(&mut self) -> Result<()> {
        let command =
            server(&self.jars, &self.dir, "512m", "org.apache.rocketmq.broker.BrokerStartup", "broker.conf");
        self.program = Some(Program::start(&command, &self.dir.join("broker.log"))?);
        listens("the broker", self.broker).await
    }

    pub fn kill(&mut self) -> Result<()> {
        self.program.as_mut().context("the broker does not run")?.kill()
    }

    pub async fn stop(&mut self) -> Result<()> {
        self.program.as_mut().context("the broker does not run")?.terminate(40_000).await
    }
}

async fn listens(what: &str, port: u16) -> Result<()> {
    time::wait_until(&format!("{what} listens"), 60_000, async || {
        TcpStream::connect(("127.0.0.1", port)).await.is_ok()
    })
    .await
}

fn server(jars: &Path, dir: &Path, heap: &str, class: &str, config: &str) -> Command {
    let mut command = java(jars, dir, heap, class);
    command.arg("-c").arg(dir.join(config));
    command
}

/// Returns the command of a Java program of RocketMQ.
pub fn java(jars: &Path, dir: &Path, heap: &str, class: &str) -> Command {
    let mut command = Command::new("java");
    // The mapped files of the broker use internals that JDK 17 does not export.
    command.args([
        "--add-exports=java.base/sun.nio.ch=ALL-UNNAMED",
        "--add-opens=java.base/java.nio=ALL-UNNAMED",
    ]);
    command.args(["-Xms64m", &format!("-Xmx{heap}"), "-XX:MaxDirectMemorySize=512m"]);
    command.arg(format!("-Duser.home={}", dir.display())).arg("-cp").arg(jars.join("*")).arg(class);
    command.current_dir(dir).env("ROCKETMQ_HOME", dir);
    command
}

fn broker_config(dir: &Path, namesrv: u16, broker: u16) -> String {
    let store = dir.join("store").display().to_string();
    format!(
        "brokerClusterName=faults\nbrokerName=broker-a\nbrokerId=0\n\
         listenPort={broker}\nbindAddress=127.0.0.1\nbrokerIP1={ANNOUNCED}\nbrokerIP2=127.0.0.1\n\
         namesrvAddr=127.0.0.1:{namesrv}\nregisterNameServerPeriod=10000\n\
         storePathRootDir={store}\nstorePathCommitLog={store}/commitlog\n\
         autoCreateTopicEnable=true\nautoCreateSubscriptionGroup=true\nenableMixedMessageType=true\n\
         mappedFileSizeCommitLog=134217728\nmappedFileSizeConsumeQueue=600000\nmaxHashSlotNum=100000\n\
         maxIndexNum=400000\nmappedFileSizeTimerLog=1048576\n\
         diskMaxUsedSpaceRatio=95\ndiskSpaceCleanForciblyRatio=98\ndiskSpaceWarningLevelRatio=99\n"
    )
}
