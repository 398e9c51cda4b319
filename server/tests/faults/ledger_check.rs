//! Checks the checker with a real ledger: the engine runs on a file with one defect, and the
//! readers, the recorder and the checker must find the defect.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rusqlite::Connection;
use taskcenter_server::adapters::absent::NoBus;
use taskcenter_server::adapters::clock::ManualClock;
use taskcenter_server::adapters::local::LocalLock;
use taskcenter_server::adapters::memory::MemoryRecords;
use taskcenter_server::adapters::sqlite::SqliteStore;
use taskcenter_server::core::run::Outcome;
use taskcenter_server::core::submission::Submission;
use taskcenter_server::core::task::SHARDS;
use taskcenter_server::core::{Moment, Run, Schedule};
use taskcenter_server::engine::ids::Ids;
use taskcenter_server::engine::node::{Node, NodePorts};
use taskcenter_server::engine::service::{Caller, LeaseTerms, Ports, Report, Service};
use taskcenter_server::engine::settings::Settings;
use taskcenter_server::engine::{dispatch, rescue, scan};
use taskcenter_server::ports::{Clock, Lock, Store};
use tempfile::TempDir;

use crate::check::check;
use crate::evidence::{Answer, Created, Delivery, Evidence, ExpectedTask, Recorder, Rhythm};
use crate::handlers::RAW_QUEUE;
use crate::store::Source;
use crate::verdict::{Kind, Verdict};

const START: i64 = 1_000_000_000_000;
const PERIOD_MS: i64 = 1_000;
const FIRES: u64 = 12;
const LOOPS: usize = 2;

/// Defect in the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Defect {
    /// The store loses an acknowledged task.
    LosesATask,
    /// The store loses a run.
    LosesARun,
    /// The store returns to the state before an acknowledged outcome.
    ForgetsAnOutcome,
    /// A moment has a second row, and both rows have an effect.
    DoublesARun,
    /// Two workers get the same claim.
    GivesAClaimTwice,
    /// The clock of node and store is fast.
    FiresEarly,
    /// No loop runs for a while.
    Freezes,
    /// A run leaves a terminal state.
    ForcesAStep,
    /// The journal lacks a version.
    HidesAStep,
}

const DEFECTS: [(Defect, Kind); 9] = [
    (Defect::LosesATask, Kind::Lost),
    (Defect::LosesARun, Kind::Missing),
    (Defect::ForgetsAnOutcome, Kind::Lost),
    (Defect::DoublesARun, Kind::DoubledEffect),
    (Defect::GivesAClaimTwice, Kind::DoubledEffect),
    (Defect::FiresEarly, Kind::Early),
    (Defect::Freezes, Kind::Late),
    (Defect::ForcesAStep, Kind::Illegal),
    (Defect::HidesAStep, Kind::Unseen),
];

/// Fails if the checker has findings in a valid history, or misses a defect. Returns the number of
/// defects.
pub async fn run() -> Result<usize> {
    let sound = play(None).await?;
    ensure!(sound.is_sound(), "the checker has findings in a valid history: {:?}", sound.found);
    let figures = &sound.figures;
    ensure!(
        figures.moments == LOOPS * FIRES as usize && figures.effects == figures.moments,
        "the valid history is too small: {sound}"
    );
    // Insert, lease, outcome.
    ensure!(figures.steps == 3 * figures.moments, "the journal has {} versions", figures.steps);
    for (defect, kind) in DEFECTS {
        let verdict = play(Some(defect)).await?;
        ensure!(verdict.count(kind) > 0, "the checker misses {defect:?}; findings: {:?}", verdict.found);
    }
    Ok(DEFECTS.len())
}

async fn play(defect: Option<Defect>) -> Result<Verdict> {
    let mut stage = Stage::open(defect)?;
    for number in 0..LOOPS {
        stage.submit(number).await?;
    }
    while stage.now < START + FIRES as i64 * PERIOD_MS {
        stage.pass(PERIOD_MS / 2).await?;
    }
    stage.damage_rows()?;
    Ok(check(&stage.evidence().await?))
}

/// One node on a file, and a worker.
struct Stage {
    defect: Option<Defect>,
    clock: Arc<ManualClock>,
    node: Arc<Node>,
    service: Service,
    recorder: Recorder,
    source: Source,
    /// True time in milliseconds.
    now: i64,
    dir: TempDir,
}

impl Stage {
    fn open(defect: Option<Defect>) -> Result<Self> {
        let (dir, clock) = (TempDir::new()?, Arc::new(ManualClock::new(Moment::from_ms(START - 2_000))));
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(dir.path(), clock.clone())?);
        let source = Source::Sqlite(dir.path().join("taskcenter.db"));
        source.begin_journal()?;
        let node = Arc::new(node(store, &clock));
        let ports = Ports {
            store: Arc::clone(&node.store),
            lock: Arc::clone(&node.lock),
            records: Arc::new(MemoryRecords::default()),
            clock: Arc::clone(&node.clock),
            has_bus: false,
        };
        let (ids, hints) = (Arc::clone(&node.ids), Arc::clone(&node.hints));
        let service = Service::new(ports, ids, hints, node.settings.clone(), node.shutdown.clone());
        let service = service.for_caller(Caller::node());
        let now = START - 2_000;
        Ok(Self { defect, clock, node, service, recorder: Recorder::default(), source, now, dir })
    }

    async fn submit(&mut self, number: usize) -> Result<()> {
        let expected = expected_task(number);
        let submission = Submission {
            schedule: Schedule::Every { period_ms: PERIOD_MS },
            start_at: Some(Moment::from_ms(expected.start_at)),
            max_fires: expected.max_fires,
            queue: expected.queue.clone(),
            ..Submission::named(&expected.name, format!("{}#1", expected.key))
        };
        let answer = Answer::Acknowledged(self.service.submit(submission).await?.id.to_string());
        let (sent_at, answered_at) = (self.now, self.now);
        self.recorder.get().created.push(Created { expected, sent_at, answered_at, answer });
        Ok(())
    }

    /// Advances the clock, runs the loops once, and handles the leased runs.
    async fn pass(&mut self, ms: i64) -> Result<()> {
        const AHEAD_MS: i64 = 700;
        const FROZEN: std::ops::Range<i64> = START + 2_000..START + 9_000;
        self.now += ms;
        if self.defect == Some(Defect::Freezes) && FROZEN.contains(&self.now) {
            return Ok(());
        }
        let ahead_ms = if self.defect == Some(Defect::FiresEarly) { AHEAD_MS } else { 0 };
        self.clock.set(Moment::from_ms(self.now + ahead_ms));
        run_loops_once(&self.node).await?;
        for run in self.service.lease(&terms()).await? {
            self.handle(&run).await?;
        }
        Ok(())
    }

    async fn handle(&mut self, run: &Run) -> Result<()> {
        let delivery = self.delivery(run);
        if self.defect == Some(Defect::GivesAClaimTwice) {
            self.recorder.handle(delivery.clone());
        }
        self.recorder.handle(delivery);
        let outcome = Outcome::Succeeded { result: None };
        let report = Report {
            attempt: run.attempt,
            token: run.token.clone(),
            outcome,
            message: None,
            started_at: None,
        };
        let done = self.service.report(&run.id, &report).await?;
        self.recorder.get().acknowledged_outcomes.push(done.id.to_string());
        Ok(())
    }

    fn delivery(&self, run: &Run) -> Delivery {
        Delivery {
            run_id: run.id.to_string(),
            task_id: run.task_id.to_string(),
            data: run.data.clone(),
            attempt: run.attempt.into(),
            claim: run.claim.into(),
            scheduled_at: run.scheduled_at.ms(),
            arrived_at: self.now,
            message_id: String::new(),
            on_bus: false,
        }
    }

    /// Damages rows as a defect of the store would.
    fn damage_rows(&self) -> Result<()> {
        let Some(sql) = self.defect.and_then(damage) else { return Ok(()) };
        let db = Connection::open(self.dir.path().join("taskcenter.db"))?;
        db.execute_batch(sql)?;
        if self.defect == Some(Defect::DoublesARun) {
            let twin = self.recorder.get().deliveries.last().cloned().context("no run was delivered")?;
            self.recorder.handle(Delivery { run_id: format!("{}-twin", twin.run_id), ..twin });
        }
        Ok(())
    }

    async fn evidence(self) -> Result<Evidence> {
        let (tasks, runs, steps) =
            (self.source.tasks().await?, self.source.runs().await?, self.source.journal()?);
        let gathered = std::mem::take(&mut *self.recorder.get());
        Ok(Evidence { tasks, runs, steps, ..gathered })
    }
}

/// Returns the SQL statement of a defect of the store.
fn damage(defect: Defect) -> Option<&'static str> {
    match defect {
        Defect::LosesATask => Some("DELETE FROM tasks WHERE rowid = 1"),
        Defect::LosesARun => Some("DELETE FROM runs WHERE rowid = 5"),
        Defect::ForgetsAnOutcome => Some(
            "UPDATE runs SET state = 'ready', version = 1, attention_at = 1, ended_at = NULL,
             doc = json_set(doc, '$.state', 'ready', '$.version', 1, '$.attention_at', 1) WHERE rowid = 5",
        ),
        Defect::DoublesARun => Some(
            "INSERT INTO runs (id, task_id, shard, tag, queue, state, scheduled_at, attention_at, ended_at, version, doc)
             SELECT id || '-twin', task_id, shard, tag, queue, state, scheduled_at, attention_at, ended_at, version, json_set(doc, '$.id', id || '-twin') FROM runs ORDER BY rowid DESC LIMIT 1",
        ),
        Defect::ForcesAStep => Some(
            "UPDATE runs SET state = 'fired', version = version + 1,
             doc = json_set(doc, '$.state', 'fired', '$.version', version + 1) WHERE rowid = 5",
        ),
        Defect::HidesAStep => Some(
            "DELETE FROM harness_journal WHERE version = 2 AND run_id = (SELECT id FROM runs WHERE rowid = 5)",
        ),
        Defect::GivesAClaimTwice | Defect::FiresEarly | Defect::Freezes => None,
    }
}

fn expected_task(number: usize) -> ExpectedTask {
    ExpectedTask {
        key: format!("k{number}"),
        name: "ledger_check".to_owned(),
        rhythm: Rhythm::Every(PERIOD_MS),
        start_at: START,
        end_at: None,
        max_fires: Some(FIRES),
        ack: false,
        queue: Some(RAW_QUEUE.to_owned()),
        end_state: None,
    }
}

fn terms() -> LeaseTerms {
    LeaseTerms {
        worker: "raw".to_owned(),
        queues: vec![RAW_QUEUE.to_owned()],
        limit: 100,
        lease_ms: 2_000,
        wait: Duration::ZERO,
        request_id: None,
    }
}

fn node(store: Arc<dyn Store>, clock: &Arc<ManualClock>) -> Node {
    let clock: Arc<dyn Clock> = clock.clone();
    let lock: Arc<dyn Lock> = Arc::new(LocalLock::new(Arc::clone(&clock)));
    Node::new(
        "node",
        NodePorts { store, bus: Arc::new(NoBus), lock, clock },
        Arc::new(Ids::new(1)),
        Settings::default(),
    )
}

/// Runs scan, dispatch and rescue once.
async fn run_loops_once(node: &Arc<Node>) -> Result<()> {
    let (now, shards): (Moment, Vec<u16>) = (node.clock.now(), (0..SHARDS).collect());
    scan::run_once(node, &shards, now).await?;
    while dispatch::run_once(node, now).await > 0 {}
    while rescue::run_once(node, now).await? {}
    Ok(())
}
