//! Stage of one scenario: servers with their own database and topic, consumers, and the recorder.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use taskcenter_client::Consumer;
use tokio::task::JoinHandle;

use crate::backends::Backends;
use crate::broker::Reader;
use crate::bus;
use crate::evidence::{Evidence, Message, Recorder, TaskRow};
use crate::handlers::{self, Addresses, RAW_QUEUE, SDK_QUEUE, SILENT_QUEUE};
use crate::node::{Node, Wires};
use crate::proxy::{Balancer, Proxy};
use crate::store::Source;
use crate::time;

/// Short leases: other nodes take over the work of a dead node soon.
pub const RUN_LEASE_MS: i64 = 2_000;
pub const SHARD_LEASE_MS: i64 = 1_500;

/// Configuration of a stage.
#[derive(Debug, Clone)]
pub struct Setting {
    pub nodes: usize,
    /// Server program. Default: the current build.
    pub binary: Option<PathBuf>,
    /// Additional configuration: more keys of `[engine]`, then other sections.
    pub extra: String,
    /// Whether each node has its own proxies to MongoDB and Redis.
    pub wires: bool,
    /// Embedded node without back ends.
    pub embedded: bool,
}

impl Default for Setting {
    fn default() -> Self {
        Self { nodes: 2, binary: None, extra: String::new(), wires: false, embedded: false }
    }
}

/// Running stage.
pub struct Stage {
    pub name: String,
    pub dir: PathBuf,
    pub nodes: Vec<Node>,
    pub server_url: String,
    pub recorder: Arc<Recorder>,
    pub source: Source,
    /// Reader and topic, with a bus.
    bus: Option<(Reader, String)>,
    consumers: Vec<Consumer>,
    tasks: Vec<JoinHandle<()>>,
    _balancer: Balancer,
}

fn engine(extra: &str) -> String {
    format!(
        "[engine]\nrun_lease_ms = {RUN_LEASE_MS}\nshard_lease_ms = {SHARD_LEASE_MS}\nrescue_ms = 100\n{extra}\n"
    )
}

async fn config(backends: &Backends, id: &str, setting: &Setting) -> Result<(String, Option<Wires>)> {
    let mut uri = format!("{}&serverSelectionTimeoutMS=2000", backends.mongo.uri());
    let mut redis = backends.redis.addr();
    let mut wires = None;
    if setting.wires {
        // A replica set sends the addresses of its members to the driver. A direct connection stays
        // on the proxy.
        let primary = backends.mongo.until_primary().await?;
        let mongo = Proxy::open("127.0.0.1:0", &backends.mongo.host(primary)).await?;
        let to_redis = Proxy::open("127.0.0.1:0", &redis).await?;
        uri = format!("mongodb://{}/?directConnection=true&serverSelectionTimeoutMS=2000", mongo.addr);
        redis.clone_from(&to_redis.addr);
        wires = Some(Wires { mongo, redis: to_redis });
    }
    let namesrv = backends.rocketmq.namesrv();
    let text = format!(
        "[mongodb]\nuri = \"{uri}\"\ndb = \"{id}\"\n[redis]\naddr = \"{redis}\"\nkey_prefix = \"{id}\"\n\
         [rocketmq]\nnamesvr = \"{namesrv}\"\ntopic = \"{id}\"\nsend_timeout_ms = 1000\n\
         [log]\nlevel = \"info,taskcenter_server::access=off\"\nformat = \"json\"\n{}",
        engine(&setting.extra)
    );
    Ok((text, wires))
}

impl Stage {
    /// Starts servers and consumers, and waits until all servers are ready.
    pub async fn set_up(
        root: &Path,
        binary: &Path,
        backends: Option<&Backends>,
        name: &str,
        setting: Setting,
    ) -> Result<Self> {
        let dir = root.join(name);
        std::fs::create_dir_all(&dir)?;
        let id = format!("faults_{}_{}", name.replace('-', "_"), time::now_ms());
        let recorder = Arc::new(Recorder::default());
        let mut nodes = Vec::new();
        for number in 0..setting.nodes {
            let (config, wires) = match backends {
                Some(backends) if !setting.embedded => config(backends, &id, &setting).await?,
                _ => (embedded(&dir, &setting), None),
            };
            nodes.push(Node::new(
                setting.binary.as_deref().unwrap_or(binary),
                &dir,
                &format!("node-{number}"),
                &config,
                wires,
            )?);
        }
        let balancer = Balancer::open(nodes.iter().map(|node| node.addr.clone()).collect()).await?;
        let source = match backends {
            Some(backends) if !setting.embedded => Source::mongo(&backends.mongo.client().await?, &id),
            _ => Source::Sqlite(dir.join("data/taskcenter.db")),
        };
        let mut stage = Self {
            name: name.to_owned(),
            server_url: balancer.url.clone(),
            tasks: source.watch(Arc::clone(&recorder)).await?.into_iter().collect(),
            dir,
            nodes,
            recorder,
            source,
            bus: None,
            consumers: Vec::new(),
            _balancer: balancer,
        };
        stage.tasks.push(stage.print_progress());
        stage.start_all().await?;
        stage.source.begin_journal()?;
        if let (Some(backends), false) = (backends, setting.embedded) {
            stage.bus = Some((backends.rocketmq.reader(), id.clone()));
            let place = Addresses {
                namesrv: backends.rocketmq.namesrv(),
                topic: id,
                server_url: stage.server_url.clone(),
            };
            stage.consumers.push(handlers::on_bus(&place, &stage.recorder)?);
        }
        stage.start_workers()?;
        Ok(stage)
    }

    pub async fn start_all(&mut self) -> Result<()> {
        for node in &mut self.nodes {
            node.start()?;
        }
        self.all_ready(60_000).await
    }

    pub async fn all_ready(&mut self, limit_ms: i64) -> Result<()> {
        for node in &mut self.nodes {
            node.until(&["ready"], limit_ms).await?;
        }
        Ok(())
    }

    /// Prints a line every ten seconds.
    fn print_progress(&self) -> JoinHandle<()> {
        let (name, recorder, begun) = (self.name.clone(), Arc::clone(&self.recorder), time::now_ms());
        tokio::spawn(async move {
            let mut turn = time::ticks(10_000);
            turn.tick().await;
            loop {
                turn.tick().await;
                println!(
                    "   {name} {:>3} s: {}",
                    (time::now_ms() - begun) / 1_000,
                    recorder.get().progress()
                );
            }
        })
    }

    fn start_workers(&mut self) -> Result<()> {
        for name in ["sdk-1", "sdk-2"] {
            self.consumers.push(handlers::on_queue(&self.server_url, name, SDK_QUEUE, &self.recorder)?);
        }
        for queue in [RAW_QUEUE, SILENT_QUEUE] {
            self.tasks.push(handlers::raw(&self.server_url, queue, &self.recorder)?);
        }
        Ok(())
    }

    /// Waits until every task and run has ended and every run is delivered. Then stops the stage
    /// and returns the evidence.
    pub async fn take_down(mut self, limit_ms: i64) -> Result<Evidence> {
        let settled = time::wait_until("all runs have ended and are delivered", limit_ms, async || {
            self.settled().await
        })
        .await;
        // A duplicate arrives at the latest when a lease has expired.
        time::sleep(RUN_LEASE_MS + 1_000).await;
        let (tasks, runs) = (self.source.tasks().await?, self.source.runs().await?);
        let journal = self.source.journal()?;
        let messages = self.messages(&tasks).await?;
        for node in &mut self.nodes {
            node.ensure_running()?;
            let _ = node.kill();
        }
        for consumer in self.consumers {
            let _ = consumer.shutdown().await;
        }
        for task in &self.tasks {
            task.abort();
        }
        let mut evidence = std::mem::take(&mut *self.recorder.get());
        (evidence.tasks, evidence.runs) = (tasks, runs);
        evidence.steps.extend(journal);
        evidence.messages = messages;
        evidence.unsettled = settled.err().map(|why| why.to_string());
        let file = std::fs::File::create(self.dir.join("evidence.json"))?;
        serde_json::to_writer(std::io::BufWriter::new(file), &evidence)
            .context("cannot store the evidence")?;
        if let Source::Mongo(db) = &self.source {
            db.drop().await?;
        }
        Ok(evidence)
    }

    /// Returns the messages on the broker. Waits for their delivery; the checker reports messages
    /// that never arrive.
    async fn messages(&self, tasks: &[TaskRow]) -> Result<Option<Vec<Message>>> {
        const MAX_DELIVERY_MS: i64 = 15_000;
        let Some((reader, topic)) = &self.bus else { return Ok(None) };
        let messages = reader.read(topic).await?;
        let all_arrived =
            async || bus::not_delivered(&messages, tasks, &self.recorder.get().deliveries).is_empty();
        let _ =
            time::wait_until("all messages on the broker are delivered", MAX_DELIVERY_MS, all_arrived).await;
        Ok(Some(messages))
    }

    async fn settled(&self) -> bool {
        if !matches!(self.source.open().await, Ok((0, 0))) {
            return false;
        }
        let Ok(runs) = self.source.runs().await else { return false };
        let evidence = self.recorder.get();
        let arrived: HashSet<&str> =
            evidence.deliveries.iter().map(|delivery| delivery.run_id.as_str()).collect();
        let handed_over = |state: &str| matches!(state, "fired" | "succeeded");
        runs.iter().all(|run| !handed_over(&run.state) || arrived.contains(run.id.as_str()))
    }
}

fn embedded(dir: &Path, setting: &Setting) -> String {
    let data = dir.join("data").display().to_string();
    let engine = engine(&setting.extra);
    format!(
        "[embedded]\ndata_dir = \"{data}\"\n[log]\nlevel = \"info,taskcenter_server::access=off\"\nformat = \"json\"\n{engine}"
    )
}
