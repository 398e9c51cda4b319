//! World of one history: the back ends, the nodes with their lives, and the faults by time.

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
use super::life::{Environment, Life, LifePlan};
use super::locks::Locks;
use super::profile::{Profile, Rates};
use super::time::{OffClock, Time, sleep_ms};
use super::witness::{WitnessBus, WitnessStore};
use super::{consumers, holds, panics, users, workers};

/// Time without faults before the final check, in milliseconds.
const QUIET_MS: u64 = 130_000;

/// The backlog is counted, but no alert fires.
const NO_ALERTS: Limits =
    Limits { fires: (0, 0), due: (0, 0), unreported: (0, 0), lag: (0, 0), clear_ratio: 0.8, remind_ms: None };

/// Summary of a history.
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

/// One history in progress.
pub struct World {
    pub environment: Arc<Environment>,
    pub checker: Arc<Checker>,
    pub store: Arc<dyn Store>,
    pub bus: Arc<MemoryBus>,
    records: Arc<MemoryRecords>,
    pub defect: Option<Defect>,
    rng: Mutex<fastrand::Rng>,
    locks: Locks,
    lives: Mutex<Vec<Option<Arc<Running>>>>,
    started: AtomicUsize,
}

/// A running life of a node, with its service.
pub struct Running {
    pub life: Arc<Life>,
    pub service: Service,
    shutdown: CancellationToken,
}

/// Plays the history of a seed, and checks it.
pub fn play(seed: u64, defect: Option<Defect>) -> Outcome {
    let gate = Arc::new(Gate::new(seed));
    let turns = Arc::clone(&gate);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .on_thread_park(move || turns.release_one())
        .build()
        .expect("a runtime without I/O always starts");
    panics::start_recording();
    let world = runtime.block_on(async { World::new(seed, gate, defect) });
    // A panic of the history itself is recorded like any other panic.
    let _ = catch_unwind(AssertUnwindSafe(|| runtime.block_on(world.run())));
    runtime.block_on(async {
        panics::take_recorded().iter().for_each(|panic| world.checker.panicked(panic));
        world.outcome(seed)
    })
}

impl World {
    fn new(seed: u64, gate: Arc<Gate>, defect: Option<Defect>) -> Arc<Self> {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (time, profile) = (Time::start(), Profile::draw(&mut rng));
        let clock: Arc<dyn Clock> = Arc::new(OffClock::new(time, broken::store_ahead_ms(defect)));
        let memory = broken::break_store(defect, Arc::new(memory(seed, &clock)));
        let (skew_ms, in_one_write) = (2 * profile.skew_ms + 2, memory.fires_in_one_write());
        let checker = Arc::new(Checker::new(time, Arc::clone(&gate), skew_ms, in_one_write));
        checker.log(|| format!("{profile:?}"));
        let store = WitnessStore { inner: memory, checker: Arc::clone(&checker) };
        let until_ms = AtomicI64::new(time.now().plus_ms(profile.faults_ms).ms());
        let nodes = profile.nodes;
        let environment = Environment {
            gate,
            time,
            profile,
            until_ms,
            bus_down: AtomicBool::new(false),
            crashes: AtomicUsize::new(0),
            freezes: AtomicUsize::new(0),
        };
        Arc::new(Self {
            environment: Arc::new(environment),
            checker,
            store: Arc::new(store),
            bus: Arc::default(),
            records: Arc::new(MemoryRecords::default()),
            defect,
            rng: Mutex::new(rng),
            locks: Locks::new(clock),
            lives: Mutex::new(vec![None; nodes]),
            started: AtomicUsize::new(0),
        })
    }

    pub fn now(&self) -> Moment {
        self.environment.time.now()
    }

    /// Returns whether faults still happen and users still act.
    pub fn has_faults(&self) -> bool {
        self.environment.has_faults()
    }

    /// Returns when the faults end.
    pub fn faults_end(&self) -> Moment {
        Moment::from_ms(self.environment.until_ms.load(Ordering::Relaxed))
    }

    /// Returns a random number generator for one actor.
    pub fn fork_rng(&self) -> fastrand::Rng {
        self.rng.lock().unwrap_or_else(PoisonError::into_inner).fork()
    }

    fn lives(&self) -> MutexGuard<'_, Vec<Option<Arc<Running>>>> {
        self.lives.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns one of the running nodes.
    pub fn any_node(&self, rng: &mut fastrand::Rng) -> Option<Arc<Running>> {
        let up: Vec<Arc<Running>> = self.lives().iter().flatten().cloned().collect();
        (!up.is_empty()).then(|| Arc::clone(&up[rng.usize(..up.len())]))
    }

    async fn run(self: &Arc<Self>) {
        for slot in 0..self.environment.profile.nodes {
            tokio::spawn(keep_alive(Arc::clone(self), slot));
        }
        for _ in 0..self.environment.profile.users {
            tokio::spawn(users::run(Arc::clone(self)));
        }
        for n in 0..self.environment.profile.workers {
            tokio::spawn(workers::run(Arc::clone(self), format!("worker-{n}")));
        }
        tokio::spawn(consumers::run(Arc::clone(self)));
        tokio::spawn(holds::run(Arc::clone(self)));
        tokio::spawn(disturb(Arc::clone(self)));
        sleep_ms(self.environment.profile.faults_ms as u64 + QUIET_MS).await;
        self.checker.finish(&*self.store).await;
    }

    fn outcome(&self, seed: u64) -> Outcome {
        let (tasks, runs) = self.checker.size();
        let (steps, hash) = (self.environment.gate.steps(), self.environment.gate.hash());
        let (crashes, freezes) = (&self.environment.crashes, &self.environment.freezes);
        let (crashes, freezes) = (crashes.load(Ordering::Relaxed), freezes.load(Ordering::Relaxed));
        Outcome { seed, steps, hash, tasks, runs, crashes, freezes, violations: self.checker.violations() }
    }

    /// Starts a node with a new name.
    fn start(self: &Arc<Self>, rng: &mut fastrand::Rng) -> (Arc<Running>, tokio::task::JoinHandle<()>) {
        let name = format!("node-{}", self.started.fetch_add(1, Ordering::Relaxed));
        self.checker.log(|| format!("{name} starts"));
        let skew_ms = if self.has_faults() { self.environment.profile.skew_ms } else { 0 };
        let clock = OffClock::new(self.environment.time, rng.i64(-skew_ms..=skew_ms));
        let life = Arc::new(Life::new(name, clock, Arc::clone(&self.environment), rng.u64(..)));
        let node = Arc::new(self.node(&life, rng.u64(..)));
        let ports = Ports {
            store: Arc::clone(&node.store),
            lock: Arc::clone(&node.lock),
            records: self.records.clone(),
            clock: Arc::clone(&node.clock),
            has_bus: true,
        };
        let (ids, hints, shutdown) = (Arc::clone(&node.ids), Arc::clone(&node.hints), node.shutdown.clone());
        let service = Service::new(ports, ids, hints, node.settings.clone(), shutdown.clone());
        let service = service.with_lease_clock(node.lease_clock()).for_caller(Caller::node());
        let (store, bus, metrics) =
            (Arc::clone(&node.store), Arc::clone(&node.bus), Arc::clone(&node.metrics));
        let backlog = Backlog::new(store, bus, metrics, NO_ALERTS, Vec::new());
        let engine = tokio::spawn(taskcenter_server::engine::run(node, backlog, service.clone()));
        (Arc::new(Running { life, service, shutdown }), engine)
    }

    fn node(&self, life: &Arc<Life>, seed: u64) -> Node {
        let plan =
            |port: &'static str, rates: Rates| Arc::new(LifePlan { life: Arc::clone(life), port, rates });
        let profile = &self.environment.profile;
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

/// Returns a ledger that fires in two steps, like MongoDB, or in one write, like SQLite.
fn memory(seed: u64, clock: &Arc<dyn Clock>) -> MemoryStore {
    let clock = Arc::clone(clock);
    if seed.is_multiple_of(2) { MemoryStore::new(clock) } else { MemoryStore::firing_in_one_write(clock) }
}

/// Runs the lives of a node, one after the other.
async fn keep_alive(world: Arc<World>, slot: usize) {
    let mut rng = world.fork_rng();
    loop {
        let (running, engine) = world.start(&mut rng);
        world.lives()[slot] = Some(Arc::clone(&running));
        let lifetime_ms = rng.u64(20_000..200_000);
        let is_stopped = tokio::select! {
            biased;
            () = running.life.dead.cancelled() => false,
            () = sleep_ms(lifetime_ms) => world.has_faults(),
        };
        if is_stopped {
            // A graceful shutdown: the work in progress is finished.
            running.shutdown.cancel();
            let _ = tokio::time::timeout(std::time::Duration::from_secs(20), engine).await;
        } else if !running.life.dead.is_cancelled() {
            running.life.dead.cancelled().await;
        }
        world.checker.log(|| format!("{} ends", running.life.name));
        world.lives()[slot] = None;
        // The remaining actors of this life block at their next call, or see the shutdown.
        running.life.dead.cancel();
        running.shutdown.cancel();
        sleep_ms(rng.u64(100..15_000)).await;
    }
}

/// Causes the faults that depend on time and not on a call.
async fn disturb(world: Arc<World>) {
    let mut rng = world.fork_rng();
    let environment = &world.environment;
    while world.has_faults() {
        sleep_ms(rng.u64(500..15_000)).await;
        let Some(running) = world.any_node(&mut rng) else { continue };
        let skew_ms = environment.profile.skew_ms;
        match rng.u32(..4) {
            0 if environment.profile.bus_outages => {
                environment.bus_down.store(true, Ordering::Relaxed);
                sleep_ms(rng.u64(500..20_000)).await;
                environment.bus_down.store(false, Ordering::Relaxed);
            }
            1 if environment.profile.lock_flushes => world.locks.flush(),
            2 if skew_ms > 0 => {
                running.life.record_trouble();
                running.life.clock.set_ahead(rng.i64(-skew_ms..=skew_ms));
            }
            _ => {}
        }
    }
    environment.bus_down.store(false, Ordering::Relaxed);
    for running in world.lives().iter().flatten() {
        running.life.clock.set_ahead(0);
    }
}
