//! TLS to MongoDB and Redis, with certificates that each test creates.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;

use mongodb::Client;
use mongodb::bson::doc;
use taskcenter_server::adapters::mongo::MongoStore;
use taskcenter_server::adapters::redis::RedisLock;
use taskcenter_server::ports::{Lock as _, PortError, Store as _};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::certificates::{self, Certificates};
use super::node::TIMEOUT;
use crate::store::samples::unique;

const PASSWORD: &str = "canary-7f3a";

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn spawn(command: &mut Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    command.spawn().expect("the program is installed")
}

/// Repeats a call until it succeeds.
async fn retry<T, E>(call: impl AsyncFn() -> Result<T, E>) -> T {
    let retries = async {
        loop {
            if let Ok(answer) = call().await {
                return answer;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(TIMEOUT, retries).await.expect("the back end starts in time")
}

fn redis(certificates: &Certificates, port: u16) -> Child {
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--port", "0", "--tls-port", &port.to_string()]);
    command.args(["--save", "", "--appendonly", "no", "--tls-auth-clients", "no", "--requirepass", PASSWORD]);
    command.arg("--tls-cert-file").arg(&certificates.cert).arg("--tls-key-file").arg(&certificates.key);
    command.arg("--tls-ca-cert-file").arg(&certificates.authority);
    spawn(&mut command)
}

#[tokio::test]
async fn leases_work_over_tls() {
    let (dir, other_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let certificates = certificates::create(dir.path());
    let port = free_port();
    let _server = redis(&certificates, port);
    let url = format!("rediss://:{PASSWORD}@localhost:{port}/0");
    let pem = |certificates: &Certificates| Some(std::fs::read(&certificates.authority).unwrap());
    let lock = RedisLock::trusting(&url, "it", pem(&certificates)).unwrap();
    let nodes = retry(async || lock.join("node", 60_000).await).await;
    assert_eq!(nodes, ["node"]);
    assert_eq!(lock.acquire("node", &[1, 2], 60_000).await.unwrap(), [1, 2]);
    lock.wake(&[1]).await.unwrap();

    let other = certificates::create(other_dir.path());
    let distrusting = RedisLock::trusting(&url, "it", pem(&other)).unwrap();
    let error = distrusting.join("other", 60_000).await.unwrap_err();
    assert!(matches!(error, PortError::Unavailable(..)), "{error:?}");
    assert!(!format!("{error:?}").contains(PASSWORD), "{error:?}");
    let plain = RedisLock::new(&format!("redis://:{PASSWORD}@localhost:{port}/0"), "it").unwrap();
    assert!(plain.join("other", 60_000).await.is_err());
}

/// Returns the program that `cargo xtask services up` has downloaded.
fn mongod() -> PathBuf {
    let cache = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/services/cache/mongod-6.0.5/mongod");
    let path = std::env::var_os("TASKCENTER_TEST_MONGOD").map_or_else(|| cache.into(), PathBuf::from);
    assert!(path.exists(), "{} is missing: `cargo xtask services up` fetches it", path.display());
    path
}

fn mongo(certificates: &Certificates, data: &std::path::Path, port: u16) -> Child {
    let mut command = Command::new(mongod());
    command.args([
        "--bind_ip",
        "127.0.0.1",
        "--port",
        &port.to_string(),
        "--replSet",
        "rs0",
        "--nounixsocket",
    ]);
    command.args(["--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "64", "--tlsMode", "requireTLS"]);
    command.args(["--tlsAllowConnectionsWithoutCertificates", "--dbpath"]).arg(data);
    command.arg("--tlsCertificateKeyFile").arg(&certificates.both);
    command.arg("--tlsCAFile").arg(&certificates.authority);
    spawn(&mut command)
}

#[tokio::test]
async fn the_ledger_works_over_tls() {
    let (dir, data, other_dir) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let certificates = certificates::create(dir.path());
    let port = free_port();
    let _server = mongo(&certificates, data.path(), port);
    let timeouts = "serverSelectionTimeoutMS=1000&connectTimeoutMS=1000";
    let uri = |authority: &std::path::Path, more: &str| {
        format!("mongodb://localhost:{port}/?tls=true&tlsCAFile={}&{timeouts}&{more}", authority.display())
    };
    let direct = uri(&certificates.authority, "directConnection=true");
    let client = retry(async || Client::with_uri_str(&direct).await).await;
    let member = doc! { "_id": 0, "host": format!("localhost:{port}") };
    let initiate = doc! { "replSetInitiate": { "_id": "rs0", "members": [member] } };
    let database = format!("it{:032x}", unique());
    let store = MongoStore::new(&uri(&certificates.authority, "replicaSet=rs0"), &database).await.unwrap();
    let admin = client.database("admin");
    retry(async || {
        // After the first try, the replica set is already initiated.
        let _ = admin.run_command(initiate.clone()).await;
        store.now().await
    })
    .await;
    assert!(store.queues().await.unwrap().is_empty());

    let other = certificates::create(other_dir.path());
    let distrusting = MongoStore::new(&uri(&other.authority, "replicaSet=rs0"), &database).await.unwrap();
    assert!(matches!(distrusting.now().await, Err(PortError::Unavailable(..))));
}
