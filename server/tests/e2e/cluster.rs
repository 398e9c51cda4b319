//! Server processes, each test with databases, topics and directories of its own.

use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use taskcenter_client::TaskCenter;

use crate::wait;

/// Back ends of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// MongoDB, Redis and RocketMQ, with any number of nodes.
    Cluster,
    /// A data directory. One node at a time, always with the same address.
    Embedded,
}

/// Makes each named case, a function of the mode, a test in both modes.
macro_rules! in_both_modes {
    ($($case:ident)*) => {
        mod on_a_cluster {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                super::$case(crate::cluster::Mode::Cluster).await;
            })*
        }
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                super::$case(crate::cluster::Mode::Embedded).await;
            })*
        }
    };
}
pub(crate) use in_both_modes;

/// The back ends of one test. Tests share nothing in them.
pub struct Cluster {
    /// Name of the database, key prefix, topic, groups and data directory of this test.
    pub id: String,
    pub mode: Mode,
    /// Data directory of an embedded node.
    pub data_dir: String,
    /// Port of an embedded node, the same after a restart.
    port: u16,
    /// More lines for the configuration file.
    pub extra: String,
    /// MongoDB URI, for example that of a [`crate::proxy::Proxy`].
    pub mongodb: String,
    /// Redis address.
    pub redis: String,
    /// Log level.
    pub level: &'static str,
    /// Name server of the broker, and access key and secret key, if required.
    pub rocketmq: (String, Option<(&'static str, &'static str)>),
}

fn env(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

pub fn mongodb_uri() -> String {
    env("TASKCENTER_TEST_MONGODB_URI", "mongodb://127.0.0.1:27117/?replicaSet=rs0")
}

pub fn redis_addr() -> String {
    env("TASKCENTER_TEST_REDIS_ADDR", "127.0.0.1:16379")
}

pub fn namesrv() -> String {
    env("TASKCENTER_TEST_ROCKETMQ_NAMESRV", "127.0.0.1:19876")
}

/// Name server of the broker that requires keys. Only one test uses the broker and may stop it.
pub fn guarded_namesrv() -> String {
    env("TASKCENTER_TEST_ROCKETMQ_ACL_NAMESRV", "127.0.0.1:19877")
}

impl Cluster {
    pub fn new(name: &str) -> Self {
        Self::on(Mode::Cluster, name)
    }

    pub fn on(mode: Mode, name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let id = format!("e2e_{name}_{}_{count}", wait::now_ms());
        Self {
            data_dir: format!("{}/{id}.data", env!("CARGO_TARGET_TMPDIR")),
            id,
            mode,
            port: free_port(),
            extra: String::new(),
            mongodb: mongodb_uri(),
            redis: redis_addr(),
            level: "info",
            rocketmq: (namesrv(), None),
        }
    }

    fn config(&self) -> String {
        let Self { id, extra, mongodb, redis, level, rocketmq: (namesrv, keys), .. } = self;
        let log = format!(
            "[log]\nlevel = \"{level}\"\nformat = \"json\"\n{extra}\n[compat.taskcenter]\nwait_for_reports = true\n"
        );
        if self.mode == Mode::Embedded {
            return format!("[embedded]\ndata_dir = \"{}\"\n{log}", self.data_dir);
        }
        let (access_key, secret_key) = keys.unwrap_or_default();
        format!(
            "[mongodb]\nuri = \"{mongodb}\"\ndb = \"{id}\"\n\
             [redis]\naddr = \"{redis}\"\nkey_prefix = \"{id}\"\n\
             [rocketmq]\nnamesvr = \"{namesrv}\"\ntopic = \"{id}\"\n\
             access_key = \"{access_key}\"\nsecret_key = \"{secret_key}\"\nsend_timeout_ms = 1000\n{log}"
        )
    }

    /// Changes the port of embedded nodes that start from now on.
    pub fn another_port(&mut self) {
        self.port = free_port();
    }

    /// URL of an embedded node.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Starts a second node, if the mode supports one.
    pub async fn another(&self) -> Option<Server> {
        match self.mode {
            Mode::Cluster => Some(self.start().await),
            Mode::Embedded => None,
        }
    }

    /// Returns the node that continues: the second one, or a restarted one.
    pub async fn next_node(&self, another: Option<Server>) -> Server {
        match another {
            Some(another) => another,
            None => self.start().await,
        }
    }

    /// Starts a node and waits until it is ready.
    pub async fn start(&self) -> Server {
        let server = self.spawn("");
        server.until_status("ready").await;
        server
    }

    /// Starts a node that aborts at `failpoint`, and waits until it is ready.
    pub async fn start_to_die_at(&self, failpoint: &str) -> Server {
        let server = self.spawn(&format!("{failpoint}=return(abort)"));
        server.until_status("ready").await;
        server
    }

    /// Starts a node.
    pub fn spawn(&self, failpoints: &str) -> Server {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let base = format!("{}/{}_{count}", env!("CARGO_TARGET_TMPDIR"), self.id);
        let config = format!("{base}.toml");
        std::fs::write(&config, self.config()).expect("the configuration is written");
        let log = std::fs::File::create(format!("{base}.log")).expect("the log is created");
        let port = if self.mode == Mode::Embedded { self.port } else { free_port() };
        let child = Command::new(env!("CARGO_BIN_EXE_taskcenter"))
            .args(["serve", "--config", &config, "--listen", &format!("127.0.0.1:{port}")])
            .env("FAILPOINTS", failpoints)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log is shared"))
            .stderr(log)
            .spawn()
            .expect("the server starts");
        Server {
            child: Mutex::new(child),
            url: format!("http://127.0.0.1:{port}"),
            log: format!("{base}.log"),
            http: http_client(),
        }
    }
}

/// Returns an HTTP client that needs no server in this process to set up TLS first.
pub fn http_client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("the listener has an address").port()
}

/// A running node. Dropping it kills the process.
pub struct Server {
    child: Mutex<Child>,
    pub url: String,
    pub log: String,
    /// Reuses its connections to the node.
    pub http: reqwest::Client,
}

impl Server {
    pub fn client(&self) -> TaskCenter {
        TaskCenter::new(&self.url).expect("the URL is valid")
    }

    /// Returns the status of `/readyz`, or `None` without an answer.
    pub async fn status(&self) -> Option<String> {
        let answer = self.http.get(format!("{}/readyz", self.url)).send().await.ok()?;
        let answer: serde_json::Value = serde_json::from_slice(&answer.bytes().await.ok()?).ok()?;
        answer["status"].as_str().map(str::to_owned)
    }

    pub async fn until_status(&self, wanted: &str) {
        let what = format!("{} is {wanted} (its log is {})", self.url, self.log);
        wait::until(&what, async || {
            assert!(self.ended().is_none(), "the node ended before {what}");
            self.status().await.as_deref() == Some(wanted)
        })
        .await;
    }

    /// Kills the process with SIGKILL.
    pub fn kill(&mut self) {
        let child = self.child.get_mut().expect("no thread panicked with the lock");
        child.kill().expect("the process can be killed");
        child.wait().expect("it has ended");
    }

    /// Asks it to stop, and waits until it has; its exit code.
    pub async fn stop(&mut self) -> Option<i32> {
        let pid = self.child.get_mut().expect("no thread panicked with the lock").id().to_string();
        Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
        self.died().await
    }

    /// Waits until the process has ended. Returns its exit code.
    pub async fn died(&mut self) -> Option<i32> {
        let what = format!("the node has ended (its log is {})", self.log);
        wait::until(&what, async || self.ended().is_some()).await;
        self.ended().and_then(|status| status.code())
    }

    fn ended(&self) -> Option<ExitStatus> {
        let mut child = self.child.lock().expect("no thread panicked with the lock");
        child.try_wait().expect("the process can be waited for")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(child) = self.child.get_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
