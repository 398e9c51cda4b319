//! A node that dies and comes back on the same ledger, on a clock that is turned by hand, and those who ask it for something until
//! they have an answer.

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
use taskcenter_server::engine::{dispatch, rescue, scan};
use taskcenter_server::ports::{Bus, Clock, Lock, PortError, Records, RunFilter, RunPage, Store};

use crate::back_end::{BackEnd, Kind};
use crate::bus::Post;
use crate::judge::Book;
use crate::life::{self, Armed, Crash, Life, Overtaken};

/// Long past for MongoDB's clock, so that whatever is due here is due for it.
const BEGIN: Moment = Moment::from_sec(1_000_000_000);
/// What passes between a node's death and the next one's start, in milliseconds.
const DEAD_MS: i64 = 1_300;

/// What a node answers.
pub trait Answer {
    /// Whether it says what happened. A machine that is busy with other things may keep a store from answering in time.
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

/// A node in one of its lives.
pub struct Running {
    pub life: Arc<Life>,
    pub node: Arc<Node>,
    pub service: Service,
}

pub struct Stage {
    pub back_end: BackEnd,
    pub clock: Arc<ManualClock>,
    pub post: Arc<Post>,
    pub book: Book,
    pub overtaken: Arc<Overtaken>,
    pub lots: fastrand::Rng,
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
            post: Arc::new(Post::new(clock.clone())),
            clock,
            book: Book::default(),
            overtaken: Arc::default(),
            lots: fastrand::Rng::with_seed(seed),
            settings,
            armed: Arc::new(Armed::at("", 0)),
            running: None,
            kind,
        };
        stage.restart().await;
        stage
    }

    /// From here on lives end at that point.
    pub async fn arm(&mut self, armed: &Arc<Armed>) {
        self.armed = Arc::clone(armed);
        self.restart().await;
    }

    /// The next life. What the last one had sent and not yet written down may be sent again, and nothing else.
    pub async fn restart(&mut self) {
        self.running = None;
        self.back_end.reopen(&self.clock).await;
        self.book.note_unmarked(&*self.back_end.store(), &self.post).await;
        self.clock.advance_ms(DEAD_MS);
        let life = Arc::new(Life::new(Arc::clone(&self.armed), Arc::clone(&self.overtaken)));
        life::begin(&life, self.kind == Kind::Sqlite);
        self.overtaken.is_held.store(false, Ordering::Relaxed);
        self.running = Some(Arc::new(self.start(life)));
    }

    fn start(&mut self, life: Arc<Life>) -> Running {
        let store: Arc<dyn Store> = Arc::new(Faulty::new(self.back_end.store(), life.clone()));
        let records: Arc<dyn Records> = Arc::new(Faulty::new(self.back_end.records(), life.clone()));
        let post: Arc<dyn Bus> = self.post.clone();
        let bus: Arc<dyn Bus> = Arc::new(Faulty::new(post, life.clone()));
        let clock: Arc<dyn Clock> = self.clock.clone();
        let lock: Arc<dyn Lock> = Arc::new(LocalLock::new(clock.clone()));
        let node = Arc::new(Node::new(
            format!("node-{:x}", self.lots.u64(..)),
            NodePorts { store: store.clone(), bus, lock: lock.clone(), clock: clock.clone() },
            Arc::new(Ids::new(self.lots.u64(..))),
            self.settings.clone(),
        ));
        let ports = Ports { store, lock, records, clock, has_bus: true };
        let (ids, hints, settings) = (node.ids.clone(), node.hints.clone(), node.settings.clone());
        let service =
            Service::new(ports, ids, hints, settings, node.shutdown.clone()).for_caller(Caller::node());
        Running { life, node, service }
    }

    /// Asks until there is an answer, as a client does whose server died over its question or could not reach its store.
    pub async fn ask<T: Answer>(&mut self, question: impl AsyncFn(&Running) -> T) -> T {
        loop {
            let running = self.running.clone().expect("a node runs");
            let answer = unless_it_dies(&running.life, question(&running)).await;
            drop(running);
            match answer {
                Some(answer) if answer.is_known() => return answer,
                Some(_) => {}
                None => self.restart().await,
            }
        }
    }

    /// Lets time pass, and the loops turn once.
    pub async fn pass(&mut self, ms: i64) {
        self.clock.advance_ms(ms);
        self.ask(async |running| turn(&running.node).await).await.expect("the store answers");
    }

    /// The same, while something else happens beside it that no node does.
    pub async fn ask_beside<T>(
        &mut self,
        question: impl AsyncFn(&Running) -> T,
        beside: impl AsyncFn(&dyn Store),
    ) -> T {
        loop {
            let (running, store) = (self.running.clone().expect("a node runs"), self.back_end.store());
            let both = async {
                let never = async {
                    beside(&*store).await;
                    std::future::pending().await
                };
                tokio::select! {
                    biased;
                    answer = question(&running) => answer,
                    answer = never => answer,
                }
            };
            let answer = unless_it_dies(&running.life, both).await;
            drop((running, store));
            match answer {
                Some(answer) => return answer,
                None => self.restart().await,
            }
        }
    }

    /// Whether these tasks have no run that is open, and no moment to come within the hour.
    pub async fn are_over(&self, tasks: &[TaskId]) -> bool {
        let (store, soon) = (self.back_end.store(), self.clock.now().plus_ms(1_800_000));
        let stored = store.tasks(tasks).await.expect("the store answers");
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

    /// A task as it is stored.
    pub async fn task(&self, id: &TaskId) -> Task {
        let task = self.back_end.store().task(id).await.expect("the store answers");
        task.unwrap_or_else(|| panic!("an acknowledged task is lost: {id}"))
    }

    /// A task's runs as they are stored, earliest first.
    pub async fn runs(&self, task: &TaskId) -> Vec<Run> {
        runs_of(&*self.back_end.store(), task).await
    }

    /// Nothing of it is left.
    pub async fn close(mut self) {
        self.running = None;
        self.back_end.close().await;
    }

    /// The story is over: nobody dies any more.
    pub async fn calm(&mut self) {
        self.armed.disarm();
        self.ask(async |_| ()).await;
    }
}

/// A task's runs as they are stored, earliest first.
pub async fn runs_of(store: &dyn Store, task: &TaskId) -> Vec<Run> {
    let filter = RunFilter { task_id: Some(task.clone()), ..RunFilter::default() };
    let page = RunPage { limit: 1_000, before: None };
    let mut runs = store.list_runs(&filter, &page).await.expect("the store answers");
    runs.reverse();
    runs
}

/// `None`: the life ended over it.
async fn unless_it_dies<T>(life: &Life, work: impl Future<Output = T>) -> Option<T> {
    let answered = tokio::select! {
        biased;
        () = life.dead.cancelled() => return None,
        answered = AssertUnwindSafe(work).catch_unwind() => answered,
    };
    match answered {
        Ok(answer) => Some(answer),
        Err(cause) if cause.is::<Crash>() => None,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// One turn of the loops that fire and that look after runs.
async fn turn(node: &Arc<Node>) -> Result<(), PortError> {
    let now = node.clock.now();
    let shards: Vec<u16> = (0..SHARDS).collect();
    scan::run_once(node, &shards, now).await?;
    while dispatch::run_once(node, now).await > 0 {}
    while rescue::run_once(node, now).await? {}
    Ok(())
}
