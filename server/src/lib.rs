//! The task center: creates one run for each due moment of each task, delivers the run, and records
//! its outcome.

#[macro_use]
pub mod failpoint;

pub mod adapters;
pub mod compat;
pub mod config;
pub mod console;
pub mod core;
pub mod engine;
pub mod http;
pub mod ports;
pub mod wire;
pub mod workers;

mod back_ends;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::adapters::clock::SystemClock;
use crate::adapters::webhook::Webhook;
use crate::back_ends::BackEnds;
use crate::compat::{Compat, Outside, ReadTopic};
use crate::config::{BusKind, Config};
use crate::console::Console;
use crate::core::run::node_worker;
use crate::engine::alerting::Alerting;
use crate::engine::backlog::Backlog;
use crate::engine::ids::Ids;
use crate::engine::membership;
use crate::engine::node::{Node, NodePorts};
use crate::engine::service::{Caller, Ports, Service};
use crate::engine::settings::Settings;
use crate::http::{CrossOrigin, HttpState, Mount, SessionRoutes};
use crate::ports::{AlertSink, Clock};
use crate::workers::local::LocalApi;
use crate::workers::{Workers, WorkersError};

/// Runs a node on `listener` until `shutdown`, then drains it.
///
/// Back ends need not be reachable: `/readyz` reports them, and the node continues as soon as they
/// answer.
///
/// # Errors When an address in the configuration is invalid, the data directory cannot be opened,
/// or the listener fails.
pub fn run(
    config: Config,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> BoxFuture<'static, anyhow::Result<()>> {
    // Boxed, so that the whole server is compiled once and not again in each caller.
    serve(config, listener, shutdown).boxed()
}

async fn serve(config: Config, listener: TcpListener, shutdown: CancellationToken) -> anyhow::Result<()> {
    // rustls needs one provider for the process. Another part of the process may have installed it
    // already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let tls = http::tls(&config.server.tls.cert, &config.server.tls.key)?;
    warn_of_plain_http(&config, &listener, tls.is_some())?;
    choose_zones(&config)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let back_ends = BackEnds::open(&config, &clock).await?;
    let (records, read_topic) = (Arc::clone(&back_ends.records), back_ends.read_topic.clone());
    let node = Arc::new(node(&config, back_ends, clock));
    let ports = Ports {
        store: Arc::clone(&node.store),
        lock: Arc::clone(&node.lock),
        records,
        clock: node.command_clock(),
        has_bus: config.back_ends().bus != BusKind::None,
    };
    let alerting = Arc::new(alerting(&config, &node)?);
    let (ids, hints) = (Arc::clone(&node.ids), Arc::clone(&node.hints));
    let service = Service::new(ports, ids, hints, node.settings.clone(), shutdown.clone());
    let service = service.with_access(config.access.clone(), adapters::entropy::fill);
    let service = service.with_lease_clock(node.lease_clock()).with_metrics(Arc::clone(&node.metrics));
    let service = service.with_patches(http::patch_definition);
    let service = service.with_alerting(Arc::clone(&alerting));
    let service = service.with_node(&node);
    let state = HttpState {
        service,
        health: Arc::clone(&node.health),
        metrics: Arc::clone(&node.metrics),
        ids: Arc::clone(&node.ids),
        legacy_ack: config.compat.taskcenter.wait_for_reports,
    };
    node.hints.changes.limit_viewers(config.server.max_viewers);
    tracing::info!(node = node.name, zones = crate::core::zone::database_version(), "starting");
    node.metrics.zone_database(crate::core::zone::database_version());
    // HTTP closes before the engine stops, so that the engine still fires what was accepted last.
    let backlog = Backlog::of(&node, Arc::clone(&alerting));
    let engine = tokio::spawn(engine::run(Arc::clone(&node), backlog, state.service.clone()));
    let checks = engine::alerts::run(Arc::clone(&node), alerting, state.service.for_caller(Caller::node()));
    let checks = tokio::spawn(checks);
    let mount = fronts(config.compat.clone(), Console::new(Arc::clone(&node.health)));
    let own = listener.local_addr().context("the listener has no address")?;
    let outside = || outside(&config, own, read_topic);
    let background = compat::start(&state.service, &config.compat, outside, &shutdown)?;
    let stop = shutdown.child_token();
    let workers = built_in_workers(&config, own, &state.service, &node.name);
    let workers = workers.context("the built-in workers")?;
    let workers = tokio::spawn(workers.run_until(stop.clone()));
    let served = http::serve_over(listener, tls, state, config.http_limits(), mount, shutdown).await;
    // Workers settle their runs while the engine still runs.
    background.wait().await;
    stop.cancel();
    // A worker that failed has logged its error.
    let _ended = workers.await.context("the built-in workers stopped")?;
    node.shutdown.cancel();
    engine.await.context("the engine stopped")?;
    checks.await.context("the alert checks stopped")?;
    node.store.close().await;
    tracing::info!(node = node.name, "stopped");
    served.context("the HTTP server stopped")
}

/// Selects the database of time zones, unless another node of this process has selected it.
fn choose_zones(config: &Config) -> anyhow::Result<()> {
    crate::core::zone::choose(adapters::zones::newest(&config.zones.path)?);
    Ok(())
}

/// Warns when tokens would cross the network in plain text.
fn warn_of_plain_http(config: &Config, listener: &TcpListener, encrypted: bool) -> anyhow::Result<()> {
    let address = listener.local_addr().context("the listener has no address")?;
    if !address.ip().is_loopback() && !encrypted {
        tracing::warn!(
            %address,
            required = ?config.access.required,
            "other machines can reach this address without TLS: set server.tls, or use a proxy with TLS; create tokens for them with \
             `taskcenter token add` on this machine"
        );
    }
    Ok(())
}

/// The built-in workers. Without `script.enabled`, scripts wait for a worker in another process.
fn built_in_workers(
    config: &Config,
    own: SocketAddr,
    service: &Service,
    node: &str,
) -> Result<Workers, WorkersError> {
    let mut settings = config.workers();
    settings.workers.queues.retain(|queue| config.script.enabled || queue != workers::script::QUEUE);
    let api = LocalApi::new(service);
    let workers =
        workers::Builder::new(api.clone(), api, settings).own_addresses(vec![own]).name(node_worker(node));
    workers.callback_formats(compat::callback_formats()).start()
}

/// Returns the routes of the enabled legacy APIs.
pub fn legacy_apis(settings: Compat) -> Mount {
    let (paths, origins) = compat::cross_origin(&settings);
    let cross_origin = CrossOrigin { paths, origins };
    let large_answers = compat::LARGE_ANSWERS.to_vec();
    let add = Box::new(move |routes| compat::mount(routes, &settings));
    Mount { add, cross_origin, sessions: None, large_answers }
}

/// Returns the routes of the enabled legacy APIs and of the console.
pub fn fronts(settings: Compat, console: Console) -> Mount {
    let Mount { add, cross_origin, mut large_answers, .. } = legacy_apis(settings);
    let of_refusals = console.clone();
    let sessions = Some(SessionRoutes {
        has: console::has,
        is_public: console::is_public,
        cookie: console::SESSION_COOKIE,
        refuse: Arc::new(move |request, denied| {
            console::refuse(of_refusals.clone(), request, denied).boxed()
        }),
        reopen: console::reopen,
    });
    large_answers.extend(console::LARGE_ANSWERS);
    let add = Box::new(move |routes| add(console::mount(routes, console)));
    Mount { add, cross_origin, sessions, large_answers }
}

/// The ways to other programs for the legacy APIs.
fn outside(config: &Config, own: SocketAddr, read_topic: Option<ReadTopic>) -> anyhow::Result<Outside> {
    let outbound = workers::outbound(&config.callback, &[own], compat::SERVICE_REPLY_BYTES);
    let outbound = outbound.context("callback.allow or callback.deny")?;
    let post_form = move |url, form| {
        let outbound = outbound.clone();
        async move { outbound.post_form(url, form, compat::SERVICE_TIMEOUT).await }.boxed()
    };
    Ok(Outside { post_form: Arc::new(post_form), read_topic })
}

fn node(config: &Config, back_ends: BackEnds, clock: Arc<dyn Clock>) -> Node {
    let BackEnds { store, bus, lock, .. } = back_ends;
    let ids = Arc::new(Ids::new(seed()));
    let name = format!("{}-{}", std::process::id(), ids.token(clock.now()));
    let name = membership::name_with_zones(&name, crate::core::zone::database_version());
    let settings = Settings { alert_windows: config.alert_windows(), ..config.engine.clone() };
    Node::new(name, NodePorts { store, bus, lock, clock }, ids, settings)
}

/// The alerts with their destinations.
fn alerting(config: &Config, node: &Node) -> anyhow::Result<Alerting> {
    let mut sinks: Vec<Arc<dyn AlertSink>> = Vec::new();
    let alerts = &config.alerts;
    if !alerts.webhook_url.is_empty() {
        let timeout = Duration::from_millis(alerts.webhook_timeout_ms);
        let webhook = Webhook::start(alerts.webhook_url.expose(), timeout, alerts.webhook_attempts);
        sinks.push(Arc::new(webhook.context("alerts.webhook_url")?));
    }
    sinks.extend(back_ends::channels(alerts, &node.clock)?);
    Ok(Alerting::new(Arc::clone(&node.metrics), config.alert_rules(), sinks))
}

/// Differs in every process: the operating system seeds the hash maps of the standard library.
fn seed() -> u64 {
    std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), std::process::id())
}
