//! The task center: hands each due moment of each task over exactly once in its ledger, and can prove it.

// The RocketMQ client's types are nested deeper than the compiler looks by default.
#![recursion_limit = "256"]

#[macro_use]
pub mod failpoint;

pub mod adapters;
pub mod compat;
pub mod config;
pub mod core;
pub mod engine;
pub mod http;
pub mod ports;
pub mod workers;

use std::sync::Arc;

use std::time::Duration;

use anyhow::Context;
use futures_util::FutureExt;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use taskcenter_client::Verdict;
use taskcenter_client::rocketmq::{RocketMqConfig, Tls};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::adapters::absent::NoBus;
use crate::adapters::clock::SystemClock;
use crate::adapters::local::LocalLock;
use crate::adapters::mongo::MongoStore;
use crate::adapters::redis::RedisLock;
use crate::adapters::rocketmq::RocketMqBus;
use crate::adapters::sqlite::SqliteStore;
use crate::adapters::webhook::Webhook;
use crate::compat::taskdash;
use crate::config::{Config, Mode};
use crate::engine::backlog::Backlog;
use crate::engine::ids::Ids;
use crate::engine::metrics::Metrics;
use crate::engine::node::Node;
use crate::engine::service::{Caller, Ports, Service, on_behalf_of};
use crate::engine::shards::Shards;
use crate::engine::skew::{CommandClock, Skew};
use crate::engine::window::Window;
use crate::http::HttpState;
use crate::ports::{AlertSink, Bus, Clock, Lock, Records, Store};
use crate::workers::inside::Inside;
use crate::workers::outbound::{Call, Outbound};
use crate::workers::{Workers, WorkersError};

/// What a TaskDash service is asked with.
const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");
const QUESTION_TIMEOUT: Duration = Duration::from_secs(10);
/// What is read of its list of tasks.
const TASK_LIST_BYTES: usize = 8 * 1024 * 1024;

/// Runs a node on `listener` until `shutdown`, then drains it. The only place where ports meet adapters.
///
/// Back ends need not be there: the node says so by `/readyz`, waits for them, and goes on by itself.
///
/// # Errors
/// When an address in the configuration cannot be used, or the listener breaks.
pub async fn run(config: Config, listener: TcpListener, shutdown: CancellationToken) -> anyhow::Result<()> {
    // One provider for everything that speaks TLS; another part of the process may have chosen it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let tls = http::tls(&config.server.tls.cert, &config.server.tls.key)?;
    warn_of_bare_listening(&config, &listener, tls.is_some())?;
    let (node, records) = node(&config).await?;
    let node = Arc::new(node);
    let ports = Ports {
        store: Arc::clone(&node.store),
        lock: Arc::clone(&node.lock),
        records,
        clock: Arc::new(CommandClock(Arc::clone(&node))),
        has_bus: config.server.mode == Mode::Cluster,
    };
    let (ids, hints) = (Arc::clone(&node.ids), Arc::clone(&node.hints));
    let service = Service::new(ports, ids, hints, node.settings.clone(), shutdown.clone());
    let service = service.with_access(config.access.clone(), adapters::entropy::fill);
    let state = HttpState {
        service: Arc::new(service),
        health: Arc::clone(&node.health),
        metrics: Arc::clone(&node.metrics),
        ids: Arc::clone(&node.ids),
    };
    tracing::info!(node = node.name, "starting");
    // The front is closed before the engine stops: what it has accepted can still be woken for.
    let engine = tokio::spawn(engine::run(Arc::clone(&node), backlog(&config, &node)?));
    let (fronts, commands) = (config.compat.clone(), Arc::clone(&state.service));
    let mount = Box::new(move |routes| compat::mount(routes, &commands, &fronts));
    let chores = chores(&config, &state.service, &shutdown)?;
    let stop = shutdown.child_token();
    let workers = built_in(&config, &state.service).context("the built-in workers")?;
    let workers = tokio::spawn(workers.run_until(stop.clone()));
    let served = http::serve_over(listener, tls, state, config.http_limits(), mount, shutdown).await;
    // What they have in their hands is settled while the engine still runs.
    chores.wait().await;
    stop.cancel();
    workers.await.context("the built-in workers stopped")?;
    node.shutdown.cancel();
    engine.await.context("the engine stopped")?;
    tracing::info!(node = node.name, "stopped");
    served.context("the HTTP server stopped")
}

/// Tokens that go over the network as they are can be read on their way.
fn warn_of_bare_listening(config: &Config, listener: &TcpListener, encrypted: bool) -> anyhow::Result<()> {
    let address = listener.local_addr().context("the listener has no address")?;
    if !address.ip().is_loopback() && !encrypted {
        tracing::warn!(
            %address,
            required = ?config.access.required,
            "other machines can reach this address without TLS: set server.tls, or let a proxy encrypt for it; they need a token, \
             which `taskcenter token add` on this machine makes"
        );
    }
    Ok(())
}

/// The workers of this node. Scripts wait for one elsewhere where they are not switched on here.
fn built_in(config: &Config, service: &Arc<Service>) -> Result<Workers, WorkersError> {
    let mut settings = config.workers();
    settings.workers.queues.retain(|queue| config.script.enabled || queue != workers::script::QUEUE);
    let inside = Inside::new(Arc::clone(service));
    workers::Builder::new(inside.clone(), inside, settings).start()
}

/// What the fronts do beside answering, until `shutdown`.
fn chores(
    config: &Config,
    service: &Arc<Service>,
    shutdown: &CancellationToken,
) -> anyhow::Result<TaskTracker> {
    let chores = TaskTracker::new();
    if config.compat.taskdash.enabled {
        let outbound = workers::outbound(&config.callback, TASK_LIST_BYTES).context("compat.taskdash")?;
        let reply: taskdash::Reply = Arc::new(move |url| {
            let outbound = outbound.clone();
            async move { question(&outbound, url).await }.boxed()
        });
        chores.spawn(taskdash::run(Arc::clone(service), reply, shutdown.clone()));
        if config.server.mode == Mode::Cluster {
            for topic in taskdash::TOPICS {
                chores.spawn(adapters::rocketmq::read(
                    topic_of(config, topic),
                    board(service, topic),
                    shutdown.clone(),
                ));
            }
        }
    }
    chores.close();
    Ok(chores)
}

/// Asks a TaskDash service for its tasks.
async fn question(outbound: &Outbound, url: String) -> Result<Vec<u8>, String> {
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, FORM)]);
    let body = taskdash::QUESTION.to_owned();
    let call = Call { method: Method::POST, url, headers, body, timeout: QUESTION_TIMEOUT };
    match outbound.make(call).await {
        Ok(answer) if answer.status == 200 => Ok(answer.body.into_bytes()),
        Ok(answer) => Err(format!("it answered {}", answer.status)),
        Err(error) => Err(error.to_string()),
    }
}

/// A topic beside the one of the runs. Members of one group must read the same, so each topic has a group of its own.
fn topic_of(config: &Config, topic: &str) -> RocketMqConfig {
    let mut client = rocketmq(&config.rocketmq);
    client.group = format!("{}_{topic}", client.group);
    client.topic = format!("{}{topic}", config.compat.taskdash.topic_prefix);
    client.max_in_flight = 4;
    client
}

/// Puts a topic's messages on the board. One that could not be stored comes again; one that never can be is put where a person looks.
fn board(service: &Arc<Service>, topic: &'static str) -> adapters::rocketmq::Take {
    let service = Arc::clone(service);
    Arc::new(move |body| {
        let service = Arc::clone(&service);
        let taken = async move {
            let sender = Caller::of_a_message(topic);
            match on_behalf_of(sender, taskdash::take(&service, topic, &body)).await {
                taskdash::Taken::Done => Verdict::Ack,
                taskdash::Taken::Refused(why) => {
                    tracing::warn!(topic, why, "a message is refused");
                    Verdict::DeadLetter
                }
                taskdash::Taken::Failed(why) => {
                    tracing::info!(topic, why, "a message is not stored; it comes again");
                    Verdict::Retry { after: None }
                }
            }
        };
        taken.boxed()
    })
}

/// What a node stands on.
struct BackEnds {
    store: Arc<dyn Store>,
    records: Arc<dyn Records>,
    bus: Arc<dyn Bus>,
    lock: Arc<dyn Lock>,
}

async fn back_ends(config: &Config, clock: &Arc<dyn Clock>) -> anyhow::Result<BackEnds> {
    match config.server.mode {
        Mode::Embedded => embedded(config, clock).await,
        Mode::Cluster => cluster(config).await,
    }
}

async fn embedded(config: &Config, clock: &Arc<dyn Clock>) -> anyhow::Result<BackEnds> {
    let directory = config.embedded.directory();
    let directory = directory.context("there is no data directory: set embedded.data_dir, or HOME")?;
    let of_store = Arc::clone(clock);
    // Opening may bring an older file forward, which takes its time.
    let opened = tokio::task::spawn_blocking(move || SqliteStore::open(&directory, of_store));
    let store = opened.await.context("opening the data directory broke off")??;
    let store = Arc::new(store);
    Ok(BackEnds {
        records: store.clone(),
        store,
        bus: Arc::new(NoBus),
        lock: Arc::new(LocalLock::new(Arc::clone(clock))),
    })
}

async fn cluster(config: &Config) -> anyhow::Result<BackEnds> {
    let store = MongoStore::new(config.mongodb.uri.expose(), &config.mongodb.db).await;
    let lock = RedisLock::trusting(&config.redis.url(), &config.redis.key_prefix, redis_authority(config)?);
    let store = Arc::new(store.context("mongodb.uri or mongodb.db")?);
    Ok(BackEnds {
        records: store.clone(),
        store,
        bus: Arc::new(RocketMqBus::new(rocketmq(&config.rocketmq))),
        lock: Arc::new(lock.context("redis.addr")?),
    })
}

fn redis_authority(config: &Config) -> anyhow::Result<Option<Vec<u8>>> {
    let file = &config.redis.tls_ca_file;
    if file.is_empty() {
        return Ok(None);
    }
    std::fs::read(file).map(Some).with_context(|| format!("redis.tls_ca_file {file}"))
}

async fn node(config: &Config) -> anyhow::Result<(Node, Arc<dyn Records>)> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let BackEnds { store, records, bus, lock } = back_ends(config, &clock).await?;
    let ids = Arc::new(Ids::new(seed()));
    let name = format!("{}-{}", std::process::id(), ids.token(clock.now()));
    let node = Node {
        name,
        store,
        bus,
        lock,
        clock,
        ids,
        settings: config.engine.clone(),
        health: Arc::default(),
        hints: Arc::default(),
        metrics: Arc::new(Metrics::new()),
        shards: Shards::default(),
        window: Window::default(),
        skew: Skew::default(),
        shutdown: CancellationToken::new(),
    };
    Ok((node, records))
}

fn backlog(config: &Config, node: &Node) -> anyhow::Result<Backlog> {
    let mut sinks: Vec<Arc<dyn AlertSink>> = Vec::new();
    let alerts = &config.alerts;
    if !alerts.webhook_url.is_empty() {
        let timeout = Duration::from_millis(alerts.webhook_timeout_ms);
        let webhook = Webhook::start(alerts.webhook_url.expose(), timeout, alerts.webhook_attempts);
        sinks.push(Arc::new(webhook.context("alerts.webhook_url")?));
    }
    let (store, bus, metrics) = (Arc::clone(&node.store), Arc::clone(&node.bus), Arc::clone(&node.metrics));
    Ok(Backlog::new(store, bus, metrics, config.alert_limits(), sinks))
}

fn rocketmq(config: &config::Rocketmq) -> RocketMqConfig {
    let mut client = RocketMqConfig::new(config.namesvr.join(";"), &config.topic, &config.group_id);
    if !config.access_key.is_empty() {
        client = client.keys(config.access_key.expose(), config.secret_key.expose());
    }
    if config.tls {
        let ca_file = (!config.tls_ca_file.is_empty()).then(|| config.tls_ca_file.clone().into());
        client = client.tls(Tls { ca_file });
    }
    client.instance_name.clone_from(&config.instance_name);
    client.send_timeout = Duration::from_millis(config.send_timeout_ms);
    client
}

/// Differs in every process: the standard library's hash maps are seeded by the operating system.
fn seed() -> u64 {
    std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), std::process::id())
}
