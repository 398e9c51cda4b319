//! Everything of one history: the back ends, the nodes with their lives, and the order in which things go wrong.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use taskcenter_server::adapters::fault::Faulty;
use taskcenter_server::adapters::memory::{MemoryBus, MemoryRecords, MemoryStore};
use taskcenter_server::core::Moment;
use taskcenter_server::core::alert::Limits;
use taskcenter_server::engine::backlog::Backlog;
use taskcenter_server::engine::ids::Ids;
use taskcenter_server::engine::node::{Node, NodePorts};
use taskcenter_server::engine::service::{Caller, Ports, Service};
use taskcenter_server::ports::{Bus, Clock, Lock, Store};
use tokio_util::sync::CancellationToken;

use super::broken::{self, Defect};
use super::checker::Checker;
use super::gate::Gate;
use super::life::{Life, LifePlan, Weather};
use super::locks::Locks;
use super::profile::{Profile, Rates};
use super::time::{OffClock, Time, sleep_ms};
use super::witness::{WitnessBus, WitnessStore};
use super::{consumers, panics, users, workers};

/// How long everything is well before the last judgement, in milliseconds.
const QUIET_MS: u64 = 130_000;

/// The backlog is counted, and nobody is told of it.
const NO_ALERTS: Limits =
    Limits { fires: (0, 0), due: (0, 0), unreported: (0, 0), lag: (0, 0), clear_ratio: 0.8, remind_ms: None };

/// What a history came to.
#[derive(Debug)]
pub struct Outcome {
    pub seed: u64,
    pub steps: u64,
    pub hash: u64,
    pub tasks: usize,
    pub runs: usize,
    pub crashes: usize,
    pub freezes: usize,
    pub violations: Vec<String>,
}

/// One history under way.
pub struct World {
    pub weather: Arc<Weather>,
    pub checker: Arc<Checker>,
    pub store: Arc<dyn Store>,
    pub bus: Arc<MemoryBus>,
    lots: Mutex<fastrand::Rng>,
    locks: Locks,
    lives: Mutex<Vec<Option<Arc<Running>>>>,
    born: AtomicUsize,
}

/// A life of a node with what runs in it.
pub struct Running {
    pub life: Arc<Life>,
    pub service: Service,
    shutdown: CancellationToken,
}

/// Plays a seed's history from its beginning to its judgement.
pub fn play(seed: u64, defect: Option<Defect>) -> Outcome {
    let gate = Arc::new(Gate::new(seed));
    let turns = Arc::clone(&gate);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .on_thread_park(move || turns.turn())
        .build()
        .expect("a runtime without I/O needs nothing");
    panics::begin();
    let world = runtime.block_on(async { World::new(seed, gate, defect) });
    // One of the history itself is kept like any other.
    let _ = catch_unwind(AssertUnwindSafe(|| runtime.block_on(world.run())));
    runtime.block_on(async {
        panics::end().iter().for_each(|panic| world.checker.panicked(panic));
        world.outcome(seed)
    })
}

impl World {
    fn new(seed: u64, gate: Arc<Gate>, defect: Option<Defect>) -> Arc<Self> {
        let mut lots = fastrand::Rng::with_seed(seed);
        let (time, profile) = (Time::begin(), Profile::draw(&mut lots));
        let checker = Arc::new(Checker::new(time, Arc::clone(&gate), 2 * profile.skew_ms + 2));
        checker.log(|| format!("{profile:?}"));
        let clock: Arc<dyn Clock> = Arc::new(OffClock::new(time, broken::store_ahead_ms(defect)));
        let memory = broken::store(defect, Arc::new(MemoryStore::new(Arc::clone(&clock))));
        let store = WitnessStore { inner: memory, checker: Arc::clone(&checker) };
        let until_ms = AtomicI64::new(time.now().plus_ms(profile.rough_ms).ms());
        let nodes = profile.nodes;
        let weather = Weather {
            gate,
            time,
            profile,
            until_ms,
            bus_down: AtomicBool::new(false),
            crashes: AtomicUsize::new(0),
            freezes: AtomicUsize::new(0),
        };
        Arc::new(Self {
            weather: Arc::new(weather),
            checker,
            store: Arc::new(store),
            bus: Arc::default(),
            lots: Mutex::new(lots),
            locks: Locks::new(clock),
            lives: Mutex::new(vec![None; nodes]),
            born: AtomicUsize::new(0),
        })
    }

    /// Now.
    pub fn now(&self) -> Moment {
        self.weather.time.now()
    }

    /// Whether things go wrong still, and users act.
    pub fn is_rough(&self) -> bool {
        self.weather.is_rough()
    }

    /// A source of lots for one actor.
    pub fn lots(&self) -> fastrand::Rng {
        self.lots.lock().unwrap_or_else(PoisonError::into_inner).fork()
    }

    fn lives(&self) -> MutexGuard<'_, Vec<Option<Arc<Running>>>> {
        self.lives.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One of the nodes that are up.
    pub fn any_node(&self, lots: &mut fastrand::Rng) -> Option<Arc<Running>> {
        let up: Vec<Arc<Running>> = self.lives().iter().flatten().cloned().collect();
        (!up.is_empty()).then(|| Arc::clone(&up[lots.usize(..up.len())]))
    }

    async fn run(self: &Arc<Self>) {
        for slot in 0..self.weather.profile.nodes {
            tokio::spawn(keep_alive(Arc::clone(self), slot));
        }
        for _ in 0..self.weather.profile.users {
            tokio::spawn(users::live(Arc::clone(self)));
        }
        for n in 0..self.weather.profile.workers {
            tokio::spawn(workers::live(Arc::clone(self), format!("worker-{n}")));
        }
        tokio::spawn(consumers::live(Arc::clone(self)));
        tokio::spawn(storm(Arc::clone(self)));
        sleep_ms(self.weather.profile.rough_ms as u64 + QUIET_MS).await;
        self.checker.finish(&*self.store).await;
    }

    fn outcome(&self, seed: u64) -> Outcome {
        let (tasks, runs) = self.checker.size();
        let (steps, hash) = (self.weather.gate.steps(), self.weather.gate.hash());
        let (crashes, freezes) = (&self.weather.crashes, &self.weather.freezes);
        let (crashes, freezes) = (crashes.load(Ordering::Relaxed), freezes.load(Ordering::Relaxed));
        Outcome { seed, steps, hash, tasks, runs, crashes, freezes, violations: self.checker.violations() }
    }

    /// Starts a node under a new name.
    fn start(self: &Arc<Self>, lots: &mut fastrand::Rng) -> (Arc<Running>, tokio::task::JoinHandle<()>) {
        let name = format!("node-{}", self.born.fetch_add(1, Ordering::Relaxed));
        self.checker.log(|| format!("{name} starts"));
        let skew_ms = if self.is_rough() { self.weather.profile.skew_ms } else { 0 };
        let clock = OffClock::new(self.weather.time, lots.i64(-skew_ms..=skew_ms));
        let life = Arc::new(Life::new(name, clock, Arc::clone(&self.weather), lots.u64(..)));
        let node = Arc::new(self.node(&life, lots.u64(..)));
        let ports = Ports {
            store: Arc::clone(&node.store),
            lock: Arc::clone(&node.lock),
            records: Arc::new(MemoryRecords::default()),
            clock: Arc::clone(&node.clock),
            has_bus: true,
        };
        let (ids, hints, shutdown) = (Arc::clone(&node.ids), Arc::clone(&node.hints), node.shutdown.clone());
        let service = Service::new(ports, ids, hints, node.settings.clone(), shutdown.clone());
        let service = service.with_lease_clock(node.lease_clock()).for_caller(Caller::node());
        let (store, bus, metrics) =
            (Arc::clone(&node.store), Arc::clone(&node.bus), Arc::clone(&node.metrics));
        let backlog = Backlog::new(store, bus, metrics, NO_ALERTS, Vec::new());
        let engine = tokio::spawn(taskcenter_server::engine::run(node, backlog));
        (Arc::new(Running { life, service, shutdown }), engine)
    }

    fn node(&self, life: &Arc<Life>, seed: u64) -> Node {
        let plan =
            |port: &'static str, rates: Rates| Arc::new(LifePlan { life: Arc::clone(life), port, rates });
        let profile = &self.weather.profile;
        let bus: Arc<dyn Bus> = Arc::new(WitnessBus {
            inner: self.bus.clone(),
            life: Arc::clone(life),
            checker: Arc::clone(&self.checker),
        });
        let lock: Arc<dyn Lock> = self.locks.handle();
        Node::new(
            life.name.clone(),
            NodePorts {
                store: Arc::new(Faulty::new(Arc::clone(&self.store), plan("store", profile.store))),
                bus: Arc::new(Faulty::new(bus, plan("bus", profile.bus))),
                lock: Arc::new(Faulty::new(lock, plan("lock", profile.lock))),
                clock: Arc::new(life.clock.clone()),
            },
            Arc::new(Ids::new(seed)),
            profile.settings.clone(),
        )
    }
}

/// A node's lives, one after the other.
async fn keep_alive(world: Arc<World>, slot: usize) {
    let mut lots = world.lots();
    loop {
        let (running, engine) = world.start(&mut lots);
        world.lives()[slot] = Some(Arc::clone(&running));
        let stays_ms = lots.u64(20_000..200_000);
        let is_stopped = tokio::select! {
            biased;
            () = running.life.dead.cancelled() => false,
            () = sleep_ms(stays_ms) => world.is_rough(),
        };
        if is_stopped {
            // In order: what is under way is finished.
            running.shutdown.cancel();
            let _ = tokio::time::timeout(std::time::Duration::from_secs(20), engine).await;
        } else if !running.life.dead.is_cancelled() {
            running.life.dead.cancelled().await;
        }
        world.checker.log(|| format!("{} ends", running.life.name));
        world.lives()[slot] = None;
        // Whatever is left of it waits for ever at its next call, or sees that it is over.
        running.life.dead.cancel();
        running.shutdown.cancel();
        sleep_ms(lots.u64(100..15_000)).await;
    }
}

/// What goes wrong by the clock and not by the call.
async fn storm(world: Arc<World>) {
    let mut lots = world.lots();
    let weather = &world.weather;
    while world.is_rough() {
        sleep_ms(lots.u64(500..15_000)).await;
        let Some(running) = world.any_node(&mut lots) else { continue };
        let skew_ms = weather.profile.skew_ms;
        match lots.u32(..4) {
            0 if weather.profile.bus_outages => {
                weather.bus_down.store(true, Ordering::Relaxed);
                sleep_ms(lots.u64(500..20_000)).await;
                weather.bus_down.store(false, Ordering::Relaxed);
            }
            1 if weather.profile.lock_flushes => world.locks.flush(),
            2 if skew_ms > 0 => {
                running.life.trouble();
                running.life.clock.set_ahead(lots.i64(-skew_ms..=skew_ms));
            }
            _ => {}
        }
    }
    weather.bus_down.store(false, Ordering::Relaxed);
    for running in world.lives().iter().flatten() {
        running.life.clock.set_ahead(0);
    }
}
