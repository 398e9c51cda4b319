//! A node that dies and restarts on the same ledger, on a manual clock, and clients that repeat
//! each call until they get an answer.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::FutureExt;
use taskcenter_server::adapters::clock::ManualClock;
use taskcenter_server::adapters::fault::Faulty;
use taskcenter_server::adapters::local::LocalLock;
use taskcenter_server::core::task::SHARDS;
use taskcenter_server::core::{Moment, Run, Task, TaskId, TaskState};
use taskcenter_server::engine::ids::Ids;
use taskcenter_server::engine::node::{Node, NodePorts};
use taskcenter_server::engine::service::{Caller, Ports, Service, ServiceError};
use taskcenter_server::engine::settings::Settings;
use taskcenter_server::engine::{admission, dispatch, rescue, scan};
use taskcenter_server::ports::{Bus, Clock, Lock, PortError, Records, RunFilter, RunPage, Store};

use crate::back_end::{BackEnd, Kind};
use crate::bus::RecordingBus;
use crate::judge::Book;
use crate::life::{self, Armed, Crash, Interleaving, Life};

/// Long past for MongoDB's own clock, so that all moments of the tests are due there.
const BEGIN: Moment = Moment::from_sec(1_000_000_000);
/// Time between the death of a node and the start of the next one, in milliseconds.
const RESTART_MS: i64 = 1_300;

/// Answer of a node.
pub trait Answer {
    /// Returns whether the answer says what happened. On a busy machine, the store may not answer
    /// in time.
    fn is_known(&self) -> bool;
}

impl Answer for () {
    fn is_known(&self) -> bool {
        true
    }
}

impl<T> Answer for Result<T, ServiceError> {
    fn is_known(&self) -> bool {
        !matches!(self, Err(ServiceError::Port(PortError::Unavailable(..))))
    }
}

impl<T> Answer for Result<T, PortError> {
    fn is_known(&self) -> bool {
        !matches!(self, Err(PortError::Unavailable(..)))
    }
}

/// Node in one of its lives.
pub struct Running {
    pub life: Arc<Life>,
    pub node: Arc<Node>,
    pub service: Service,
}

pub struct Stage {
    pub back_end: BackEnd,
    pub clock: Arc<ManualClock>,
    pub broker: Arc<RecordingBus>,
    pub book: Book,
    pub interleaving: Arc<Interleaving>,
    pub rng: fastrand::Rng,
    pub settings: Settings,
    armed: Arc<Armed>,
    running: Option<Arc<Running>>,
    kind: Kind,
}

impl Stage {
    pub async fn new(kind: Kind, name: &str, seed: u64) -> Self {
        let clock = Arc::new(ManualClock::new(BEGIN));
        let settings = Settings { run_lease_ms: 2_000, keep_hours: 1, ..Settings::default() };
        let mut stage = Self {
            back_end: BackEnd::new(kind, &clock, name).await,
            broker: Arc::new(RecordingBus::new(clock.clone())),
            clock,
            book: Book::default(),
            interleaving: Arc::default(),
            rng: fastrand::Rng::with_seed(seed),
            settings,
            armed: Arc::new(Armed::at("", 0)),
            running: None,
            kind,
        };
        stage.restart().await;
        stage
    }

    /// Ends all further lives at this point.
    pub async fn arm(&mut self, armed: &Arc<Armed>) {
        self.armed = Arc::clone(armed);
        self.restart().await;
    }

    /// Starts the next life. It may repeat a message only if the previous life sent it without
    /// recording it.
    pub async fn restart(&mut self) {
        self.running = None;
        self.back_end.reopen(&self.clock).await;
        self.book.note_unmarked(&*self.back_end.store(), &self.broker).await;
        self.clock.advance_ms(RESTART_MS);
        let life = Arc::new(Life::new(Arc::clone(&self.armed), Arc::clone(&self.interleaving)));
        life::begin(&life, self.kind == Kind::Sqlite);
        self.interleaving.is_blocked.store(false, Ordering::Relaxed);
        self.running = Some(Arc::new(self.start(life)));
    }

    fn start(&mut self, life: Arc<Life>) -> Running {
        let store: Arc<dyn Store> = Arc::new(Faulty::new(self.back_end.store(), life.clone()));
        let records: Arc<dyn Records> = Arc::new(Faulty::new(self.back_end.records(), life.clone()));
        let broker: Arc<dyn Bus> = self.broker.clone();
        let bus: Arc<dyn Bus> = Arc::new(Faulty::new(broker, life.clone()));
        let clock: Arc<dyn Clock> = self.clock.clone();
        let lock: Arc<dyn Lock> = Arc::new(LocalLock::new(clock.clone()));
        let node = Arc::new(Node::new(
            format!("node-{:x}", self.rng.u64(..)),
            NodePorts { store: store.clone(), bus, lock: lock.clone(), clock: clock.clone() },
            Arc::new(Ids::new(self.rng.u64(..))),
            self.settings.clone(),
        ));
        let ports = Ports { store, lock, records, clock, has_bus: true };
        let (ids, hints, settings) = (node.ids.clone(), node.hints.clone(), node.settings.clone());
        let service = Service::new(ports, ids, hints, settings, node.shutdown.clone())
            .for_caller(Caller::of_a_message("operator"));
        Running { life, node, service }
    }

    /// Repeats a call until it has an answer, as a client does after a crash or an unavailable
    /// store.
    pub async fn call<T: Answer>(&mut self, request: impl AsyncFn(&Running) -> T) -> T {
        loop {
            let running = self.running.clone().expect("a node is running");
            let answer = until_death(&running.life, request(&running)).await;
            drop(running);
            match answer {
                Some(answer) if answer.is_known() => return answer,
                Some(_) => {}
                None => self.restart().await,
            }
        }
    }

    /// Advances the clock, and runs each loop once.
    pub async fn pass(&mut self, ms: i64) {
        self.clock.advance_ms(ms);
        self.call(async |running| run_loops(&running.node).await).await.expect("the store answers");
    }

    /// Repeats a call until it has an answer, while `beside` runs in parallel outside the node.
    pub async fn call_beside<T>(
        &mut self,
        request: impl AsyncFn(&Running) -> T,
        beside: impl AsyncFn(&dyn Store),
    ) -> T {
        loop {
            let (running, store) = (self.running.clone().expect("a node is running"), self.back_end.store());
            let both = async {
                let never = async {
                    beside(&*store).await;
                    std::future::pending().await
                };
                tokio::select! {
                    biased;
                    answer = request(&running) => answer,
                    answer = never => answer,
                }
            };
            let answer = until_death(&running.life, both).await;
            drop((running, store));
            match answer {
                Some(answer) => return answer,
                None => self.restart().await,
            }
        }
    }

    /// Returns whether these tasks have no open run and no moment within the next half hour.
    pub async fn are_over(&self, tasks: &[TaskId]) -> bool {
        let (store, soon) = (self.back_end.store(), self.clock.now().plus_ms(1_800_000));
        let stored = store.tasks(tasks).await.expect("the store answers").rows;
        let is_due = |task: &Task| task.next_due_at.is_some_and(|due| due < soon);
        if stored.iter().any(|task| task.state == TaskState::Active && is_due(task)) {
            return false;
        }
        for id in tasks {
            if !store.open_runs(id, None, 1).await.expect("the store answers").is_empty() {
                return false;
            }
        }
        true
    }

    /// Returns a stored task.
    pub async fn task(&self, id: &TaskId) -> Task {
        let task = self.back_end.store().task(id).await.expect("the store answers");
        task.unwrap_or_else(|| panic!("an acknowledged task is lost: {id}"))
    }

    /// Returns the stored runs of a task, earliest first.
    pub async fn runs(&self, task: &TaskId) -> Vec<Run> {
        runs_of(&*self.back_end.store(), task).await
    }

    /// Drops the node and its database.
    pub async fn close(mut self) {
        self.running = None;
        self.back_end.close().await;
    }

    /// Prevents further deaths, at the end of a story.
    pub async fn disarm(&mut self) {
        self.armed.disarm();
        self.call(async |_| ()).await;
    }
}

/// Returns the stored runs of a task, earliest first.
pub async fn runs_of(store: &dyn Store, task: &TaskId) -> Vec<Run> {
    let filter = RunFilter { task_id: Some(task.clone()), ..RunFilter::default() };
    let page = RunPage { limit: 1_000, before: None };
    let mut runs = store.list_runs(&filter, &page).await.expect("the store answers");
    runs.reverse();
    runs
}

/// Runs `work` in a life; `None` if the life ends during the work.
async fn until_death<T>(life: &Life, work: impl Future<Output = T>) -> Option<T> {
    let result = tokio::select! {
        biased;
        () = life.dead.cancelled() => return None,
        result = AssertUnwindSafe(work).catch_unwind() => result,
    };
    match result {
        Ok(answer) => Some(answer),
        Err(cause) if cause.is::<Crash>() => None,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Runs the scan, dispatch and rescue loops once.
async fn run_loops(node: &Arc<Node>) -> Result<(), PortError> {
    let now = node.clock.now();
    let shards: Vec<u16> = (0..SHARDS).collect();
    scan::run_once(node, &shards, now).await?;
    while dispatch::run_once(node, now).await > 0 {}
    while rescue::run_once(node, now).await? {}
    admission::run_once(node, now).await
}
