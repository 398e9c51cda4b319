//! The work that is done while things break: tasks of every kind, spread over the time, and changes of some of them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use taskcenter_client::resources::{ChangedTask, Retry, ScheduleSpec, TaskSpec};
use taskcenter_client::{Error, TaskCenter, Timestamp};
use tokio::task::JoinSet;

use crate::evidence::{Answer, Change, Created, Deed, Done, Recorder, Rhythm, Wanted};
use crate::handlers::{self, RAW_QUEUE, SDK_QUEUE};
use crate::stage::Stage;
use crate::time;

/// How much of everything.
#[derive(Debug, Clone, Copy)]
pub struct Amount {
    pub seconds: i64,
    pub once_per_sec: i64,
    pub loops: usize,
    pub crons: usize,
    /// Loops of their own that are paused, edited, deleted, triggered.
    pub changed: usize,
    /// There is a bus.
    pub bus: bool,
}

impl Amount {
    pub fn lasting(seconds: i64) -> Self {
        Self { seconds, once_per_sec: 6, loops: 12, crons: 4, changed: 12, bus: true }
    }
}

/// How long a call is repeated before its answer counts as unknown.
const INSIST_MS: i64 = 40_000;

/// A load that is under way.
pub struct Load {
    calls: JoinSet<()>,
    pub ends_at: i64,
}

impl Load {
    /// Starts it.
    pub fn start(stage: &Stage, amount: Amount, rng: &mut fastrand::Rng) -> Result<Self> {
        let begins_at = time::now_ms() + 3_000;
        let ends_at = begins_at + amount.seconds * 1_000;
        let mut plan = Plan { amount, begins_at, ends_at, rng, count: 0 };
        let caller = Caller::new(&stage.front, &stage.recorder)?;
        let mut calls = JoinSet::new();
        for wanted in plan.steady() {
            let lead = plan.rng.i64(1_000..4_000);
            let caller = caller.clone();
            calls.spawn(async move {
                time::moment(wanted.start_at - lead).await;
                caller.create(wanted).await;
            });
        }
        for (wanted, deed, after) in plan.changed() {
            let caller = caller.clone();
            calls.spawn(async move { caller.create_and_change(wanted, deed, after).await });
        }
        Ok(Self { calls, ends_at })
    }

    /// Waits until the last moment is over and the last call has its answer.
    pub async fn over(mut self) {
        time::moment(self.ends_at).await;
        while self.calls.join_next().await.is_some() {}
    }
}

struct Plan<'a> {
    amount: Amount,
    begins_at: i64,
    ends_at: i64,
    rng: &'a mut fastrand::Rng,
    count: usize,
}

impl Plan<'_> {
    fn wanted(&mut self, rhythm: Rhythm, start_at: i64) -> Wanted {
        self.count += 1;
        // One in three waits in a queue, and of the messages one in three wants an outcome.
        let queue = match self.count % 6 {
            _ if !self.amount.bus && self.count.is_multiple_of(2) => Some(RAW_QUEUE),
            _ if !self.amount.bus => Some(SDK_QUEUE),
            1 => Some(SDK_QUEUE),
            4 => Some(RAW_QUEUE),
            _ => None,
        };
        Wanted {
            key: format!("k{}", self.count),
            name: format!("load{}", self.count % 5),
            rhythm,
            start_at,
            end_at: None,
            max_fires: None,
            ack: queue.is_none() && self.count.is_multiple_of(3),
            queue: queue.map(str::to_owned),
            ends: None,
        }
    }

    fn steady(&mut self) -> Vec<Wanted> {
        let Amount { seconds, once_per_sec, loops, crons, .. } = self.amount;
        let mut all = Vec::new();
        for _ in 0..seconds * once_per_sec {
            let at = self.rng.i64(self.begins_at..self.ends_at);
            all.push(self.wanted(Rhythm::Once, at));
        }
        for number in 0..loops {
            let period = [500, 1_000, 2_000][number % 3];
            let start_at = self.rng.i64(self.begins_at..self.begins_at + (self.ends_at - self.begins_at) / 3);
            let fires = (self.ends_at - start_at) / period;
            let counted = number.is_multiple_of(2).then_some(fires.max(1) as u64);
            let until = counted.is_none().then_some(self.ends_at);
            all.push(Wanted {
                max_fires: counted,
                end_at: until,
                ..self.wanted(Rhythm::Every(period), start_at)
            });
        }
        for _ in 0..crons {
            let start_at = self.begins_at;
            all.push(Wanted { end_at: Some(self.ends_at), ..self.wanted(Rhythm::EachSecond, start_at) });
        }
        all
    }

    /// Loops that a person meddles with, one way each, so much later than their start.
    fn changed(&mut self) -> Vec<(Wanted, Deed, i64)> {
        const DEEDS: [Deed; 5] = [Deed::Pause, Deed::Edit, Deed::Delete, Deed::Trigger, Deed::Cancel];
        let mut all = Vec::new();
        for number in 0..self.amount.changed {
            let start_at = self.rng.i64(self.begins_at..self.begins_at + (self.ends_at - self.begins_at) / 2);
            let wanted = Wanted { end_at: Some(self.ends_at), ..self.wanted(Rhythm::Every(1_000), start_at) };
            let after = self.rng.i64(0..(self.ends_at - start_at).max(2));
            all.push((wanted, DEEDS[number % DEEDS.len()], after));
        }
        all
    }
}

/// One call.
enum Call<'a> {
    Create(&'a Wanted),
    Change { id: &'a str, key: &'a str, deed: Deed },
}

/// Calls the API, repeats what was not answered, and writes down what came of it.
#[derive(Clone)]
pub struct Caller {
    client: TaskCenter,
    /// Repeats by itself, under one key.
    patient: TaskCenter,
    recorder: Arc<Recorder>,
}

impl Caller {
    pub fn new(front: &str, recorder: &Arc<Recorder>) -> Result<Self> {
        let patient = TaskCenter::builder(front).retries(10, Duration::from_millis(200));
        let patient = patient.timeout(Duration::from_secs(5)).build()?;
        Ok(Self { client: handlers::hasty(front)?, patient, recorder: Arc::clone(recorder) })
    }

    /// Hands a task in; its id, where that was acknowledged.
    pub async fn create(&self, wanted: Wanted) -> Option<String> {
        let asked_at = time::now_ms();
        let answer = match self.insist(&Call::Create(&wanted)).await {
            Answer::Acknowledged(done) => Answer::Acknowledged(done.open_runs.concat()),
            Answer::Unknown => Answer::Unknown,
            Answer::Refused(status) => Answer::Refused(status),
        };
        let id = if let Answer::Acknowledged(id) = &answer { Some(id.clone()) } else { None };
        self.recorder.get().created.push(Created { wanted, asked_at, answered_at: time::now_ms(), answer });
        id
    }

    /// Repeats a call until there is a definite answer. A no after an unknown is unknown: the first may have been done.
    async fn insist(&self, call: &Call<'_>) -> Answer<Done> {
        let end = time::now_ms() + INSIST_MS;
        let mut unknown = false;
        let mut turn = time::ticks(300);
        loop {
            turn.tick().await;
            match self.call(call).await {
                Ok(answer) => return Answer::Acknowledged(answer),
                Err(error) => match error.status() {
                    Some(status @ 400..=499) if status != 408 && !unknown => return Answer::Refused(status),
                    Some(status @ 400..=499) if status != 408 => return Answer::Unknown,
                    _ => unknown = true,
                },
            }
            if time::now_ms() > end {
                return Answer::Unknown;
            }
        }
    }

    async fn create_and_change(&self, wanted: Wanted, deed: Deed, after: i64) {
        let (at, key) = (wanted.start_at + after, wanted.key.clone());
        time::moment(wanted.start_at - 2_500).await;
        let Some(id) = self.create(wanted).await else { return };
        time::moment(at).await;
        self.change(&id, &key, deed).await;
        if deed == Deed::Pause {
            time::pass(2_500).await;
            self.change(&id, &key, Deed::Resume).await;
        }
    }

    async fn change(&self, id: &str, key: &str, deed: Deed) {
        let asked_at = time::now_ms();
        let answer = self.insist(&Call::Change { id, key, deed }).await;
        let change = Change { task_id: id.to_owned(), deed, asked_at, answered_at: time::now_ms(), answer };
        self.recorder.get().changes.push(change);
    }

    async fn call(&self, call: &Call<'_>) -> Result<Done, Error> {
        let (id, key, deed) = match call {
            Call::Create(wanted) => {
                let task = self.client.create_task_once(&spec(wanted), &wanted.key).await?;
                return Ok(Done { rev: 1, open_runs: vec![task.id] });
            }
            Call::Change { id, key, deed } => (id, key, deed),
        };
        let changed = match deed {
            Deed::Pause => self.client.pause_task(id).await?,
            Deed::Resume => self.client.resume_task(id).await?,
            Deed::Delete => self.client.delete_task(id).await?,
            Deed::Cancel => self.client.cancel_task(id).await?,
            Deed::Edit => {
                let rev = self.client.get_task(id).await?.map_or(0, |task| task.rev);
                self.client.edit_task(id, rev, &json!({ "data": format!("{key}#2") })).await?
            }
            Deed::Trigger => {
                let run = self.patient.trigger_task(id).await?;
                return Ok(Done { rev: 0, open_runs: vec![run.run_id] });
            }
        };
        Ok(done(changed))
    }
}

fn done(changed: ChangedTask) -> Done {
    Done { rev: i64::from(changed.task.rev), open_runs: changed.open_runs }
}

/// The task as the API takes it.
fn spec(wanted: &Wanted) -> TaskSpec {
    let at = |ms: i64| Timestamp::from_millisecond(ms).ok();
    TaskSpec {
        name: wanted.name.clone(),
        data: format!("{}#1", wanted.key),
        schedule: match wanted.rhythm {
            Rhythm::Once => ScheduleSpec::Once {},
            Rhythm::Every(period_ms) => ScheduleSpec::Every { period_ms },
            Rhythm::EachSecond => ScheduleSpec::Cron { cron: "* * * * * *".to_owned(), zone: None },
        },
        start_at: at(wanted.start_at),
        end_at: wanted.end_at.and_then(at),
        max_fires: wanted.max_fires,
        ack: wanted.ack,
        max_runtime_sec: wanted.ack.then_some(3),
        queue: wanted.queue.clone(),
        // Enough for every fault here; what is dead in the end was lost to something else. The handlers' scenario sets its own.
        retry: Some(Retry {
            max_attempts: if wanted.ends == Some("dead") { 3 } else { 60 },
            backoff_ms: 300,
            max_backoff_ms: 2_000,
        }),
        ..TaskSpec::default()
    }
}
