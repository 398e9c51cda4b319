//! RocketMQ: commands and configuration of name server and broker, and a probe that sends and pulls
//! a message.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::catalog::{ACL_USER, Service, Setup};
use crate::download;
use crate::net;
use crate::remoting::{Answer, Credentials, Request, call, code};
use crate::tls;

const PROBE_TOPIC: &str = "xtask_probe";
/// Topic that the broker copies when it creates a topic on first use.
const TEMPLATE_TOPIC: &str = "TBW102";
/// Maximum number of pulls of the probe. A message is visible a few milliseconds after the answer
/// to its send.
const MAX_PULLS: usize = 50;

/// Returns the command of a name server.
pub fn namesrv(service: &Service, setup: Setup) -> Result<Command> {
    let config = format!("listenPort={}\nbindAddress=127.0.0.1\n", service.port);
    let mut command = java(service, setup, &["-Xms64m", "-Xmx256m"])?;
    command.arg("org.apache.rocketmq.namesrv.NamesrvStartup");
    configure(service, command, &config)
}

/// Returns the command of a broker that registers with the name server on port `namesrv`.
pub fn broker(service: &Service, setup: Setup, namesrv: u16) -> Result<Command> {
    let config = broker_config(service.home().dir(), service.port, setup, namesrv);
    let mut command = java(service, setup, &["-Xms256m", "-Xmx1g", "-XX:MaxDirectMemorySize=1g"])?;
    command.arg("org.apache.rocketmq.broker.BrokerStartup");
    configure(service, command, &config)
}

fn configure(service: &Service, mut command: Command, config: &str) -> Result<Command> {
    let file = service.home().dir().join("server.conf");
    fs::create_dir_all(service.home().dir())?;
    fs::write(&file, config)?;
    command.arg("-c").arg(file);
    Ok(command)
}

/// Writes the settings of the log. A server of version 4 does not start without them.
fn configure_logs(dir: &Path) -> Result<()> {
    let settings = "<configuration><appender name=\"file\" class=\"ch.qos.logback.core.FileAppender\">\
                    <file>server.log</file><encoder><pattern>%d %p %t - %m%n</pattern></encoder></appender>\
                    <root level=\"WARN\"><appender-ref ref=\"file\"/></root></configuration>\n";
    fs::create_dir_all(dir.join("conf"))?;
    for server in ["namesrv", "broker"] {
        fs::write(dir.join(format!("conf/logback_{server}.xml")), settings)?;
    }
    Ok(())
}

fn java(service: &Service, setup: Setup, memory: &[&str]) -> Result<Command> {
    let home = service.home();
    let jars = if setup == Setup::Version4 {
        configure_logs(home.dir())?;
        download::rocketmq_4(service.root())?
    } else {
        download::rocketmq(service.root())?
    };
    let mut command = Command::new("java");
    // The mapped files of the broker use internals that JDK 17 does not export.
    command.args([
        "--add-exports=java.base/sun.nio.ch=ALL-UNNAMED",
        "--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED",
        "--add-opens=java.base/java.nio=ALL-UNNAMED",
    ]);
    // A broker of version 4 reads these bounds of the disk from properties only. The defaults stop it
    // on a disk that is 90 % full.
    command.args([
        "-Drocketmq.broker.diskSpaceCleanForciblyRatio=0.98",
        "-Drocketmq.broker.diskSpaceWarningLevelRatio=0.99",
    ]);
    command.args(memory);
    // Logs, and all files without a setting for their place, are written below `user.home`.
    command.arg(format!("-Duser.home={}", home.dir().display()));
    if setup == Setup::Tls {
        command.args(tls::server_properties(service.root())?);
    }
    command.arg("-cp").arg(jars.join("*"));
    command.env("ROCKETMQ_HOME", home.dir());
    Ok(command)
}

fn broker_config(dir: &Path, port: u16, setup: Setup, namesrv: u16) -> String {
    let store = dir.join("store");
    let store = store.display();
    let mut config = format!(
        "brokerClusterName=taskcenter\nbrokerName=broker-a\nbrokerId=0\n\
         listenPort={port}\nbindAddress=127.0.0.1\nbrokerIP1=127.0.0.1\nbrokerIP2=127.0.0.1\nnamesrvAddr=127.0.0.1:{namesrv}\n\
         storePathRootDir={store}\nstorePathCommitLog={store}/commitlog\n\
         autoCreateTopicEnable=true\nautoCreateSubscriptionGroup=true\nenableMixedMessageType=true\n"
    );
    // Minimum: a restarted name server knows the broker after 10 s instead of 30 s.
    config += "registerNameServerPeriod=10000\n";
    // Small files: a test broker starts fast and uses little disk space.
    config += "mappedFileSizeCommitLog=134217728\nmappedFileSizeConsumeQueue=600000\nmaxHashSlotNum=100000\n\
               maxIndexNum=400000\nmappedFileSizeTimerLog=1048576\n";
    // See `java` for the reason of the bounds.
    config += "diskMaxUsedSpaceRatio=95\ndiskSpaceCleanForciblyRatio=98\ndiskSpaceWarningLevelRatio=99\n";
    if setup == Setup::Acl {
        config += &acl_config();
    }
    config
}

fn acl_config() -> String {
    let Credentials { access_key, secret_key } = ACL_USER;
    let provider = "org.apache.rocketmq.auth";
    format!(
        "authenticationEnabled=true\n\
         authenticationProvider={provider}.authentication.provider.DefaultAuthenticationProvider\n\
         authenticationMetadataProvider={provider}.authentication.provider.LocalAuthenticationMetadataProvider\n\
         initAuthenticationUser={{\"username\":\"{access_key}\",\"password\":\"{secret_key}\"}}\n\
         innerClientAuthenticationCredentials={{\"accessKey\":\"{access_key}\",\"secretKey\":\"{secret_key}\"}}\n\
         authorizationEnabled=true\n\
         authorizationProvider={provider}.authorization.provider.DefaultAuthorizationProvider\n\
         authorizationMetadataProvider={provider}.authorization.provider.LocalAuthorizationMetadataProvider\n"
    )
}

/// Fails unless the name server answers. An empty list of brokers is a valid answer.
pub fn probe_namesrv(service: &Service, setup: Setup) -> Result<()> {
    call_port(service, service.port, setup, &Request::new(code::GET_CLUSTER, []))?.success()?;
    Ok(())
}

/// Fails unless the name server knows the broker, and the broker stores a message and returns it.
pub fn probe_broker(service: &Service, setup: Setup, namesrv: u16) -> Result<()> {
    let route =
        Request::new(code::GET_ROUTE, [("topic", TEMPLATE_TOPIC), ("acceptStandardJsonOnly", "true")]);
    let route = call_port(service, namesrv, setup, &route)?;
    let credentials = (setup == Setup::Acl).then_some(ACL_USER);
    if !route.body.contains(&service.address()) {
        call_port(service, service.port, setup, &register().signed(credentials))?.success()?;
        bail!("the name server does not know the broker yet");
    }
    if setup == Setup::Acl {
        let unsigned = call_port(service, service.port, setup, &send())?;
        ensure!(unsigned.code == code::NO_PERMISSION, "the broker accepts an unsigned message");
    }
    let sent = call_port(service, service.port, setup, &send().signed(credentials))?.success()?;
    let offset = sent.field("queueOffset");
    for _ in 0..MAX_PULLS {
        let pulled = call_port(service, service.port, setup, &pull(offset).signed(credentials))?;
        if pulled.code == code::SUCCESS && pulled.body.contains(PROBE_TOPIC) {
            return Ok(());
        }
        ensure!(pulled.code != code::NO_PERMISSION, "the broker refuses a pull: {}", pulled.remark);
        sleep(Duration::from_millis(20));
    }
    bail!("the broker did not return a message that it has stored");
}

/// Request that makes a broker register at once. A broker registers at its start, often before it
/// finds its name server, and then after its period. A write of its (default) permission triggers a
/// registration and changes nothing.
fn register() -> Request {
    Request::new(code::UPDATE_BROKER_CONFIG, []).body(b"brokerPermission=6")
}

fn send() -> Request {
    let fields = [
        ("producerGroup", "xtask_probe"),
        ("topic", PROBE_TOPIC),
        ("defaultTopic", TEMPLATE_TOPIC),
        ("defaultTopicQueueNums", "1"),
        ("queueId", "0"),
        ("sysFlag", "0"),
        ("bornTimestamp", "0"),
        ("flag", "0"),
        ("reconsumeTimes", "0"),
    ];
    Request::new(code::SEND_MESSAGE, fields).body(b"probe")
}

fn pull(offset: &str) -> Request {
    let fields = [
        ("consumerGroup", "xtask_probe"),
        ("topic", PROBE_TOPIC),
        ("queueId", "0"),
        ("queueOffset", offset),
        ("maxMsgNums", "1"),
        // The request contains the subscription: no consumer is registered.
        ("sysFlag", "4"),
        ("subscription", "*"),
        ("subVersion", "0"),
        ("commitOffset", "0"),
        ("suspendTimeoutMillis", "0"),
    ];
    Request::new(code::PULL_MESSAGE, fields)
}

fn call_port(service: &Service, port: u16, setup: Setup, request: &Request) -> Result<Answer> {
    let mut stream = open(service.root(), port, setup)?;
    call(&mut stream, request).with_context(|| format!("on port {port}"))
}

fn open(root: &Path, port: u16, setup: Setup) -> Result<Box<dyn Stream>> {
    let plain = net::connect(port)?;
    if setup == Setup::Tls {
        return Ok(Box::new(tls::connect(root, port)?));
    }
    Ok(Box::new(plain))
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_broker_with_access_control_has_users() {
        let dir = Path::new("/services/broker");
        let open = broker_config(dir, 20911, Setup::Open, 19876);
        let acl = broker_config(dir, 21911, Setup::Acl, 19877);
        assert!(!open.contains("authentication"));
        assert!(acl.contains("authorizationEnabled=true"));
        assert!(acl.contains(r#"initAuthenticationUser={"username":"tcadmin","password":"tcsecret12345"}"#));
    }

    #[test]
    fn a_broker_uses_only_the_loopback_interface_and_its_directory() {
        let config = broker_config(Path::new("/services/broker"), 20911, Setup::Open, 19876);
        for line in
            ["bindAddress=127.0.0.1", "brokerIP1=127.0.0.1", "storePathRootDir=/services/broker/store"]
        {
            assert!(config.lines().any(|found| found == line), "{line} is missing");
        }
    }
}
