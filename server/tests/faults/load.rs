//! Load during the faults: tasks of every kind, spread over the time, and changes of some of them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use taskcenter_client::resources::{ChangedTask, Retry, ScheduleSpec, TaskSpec};
use taskcenter_client::{Error, TaskCenter, Timestamp};
use tokio::task::JoinSet;

use crate::evidence::{Action, Answer, Change, ChangeResult, Created, ExpectedTask, Recorder, Rhythm};
use crate::handlers::{self, RAW_QUEUE, SDK_QUEUE};
use crate::stage::Stage;
use crate::time;

/// Size of a load.
#[derive(Debug, Clone, Copy)]
pub struct Amount {
    pub seconds: i64,
    pub once_per_sec: i64,
    pub loops: usize,
    pub crons: usize,
    /// Repeating tasks that are paused, edited, deleted, triggered or cancelled.
    pub changed: usize,
    /// Whether there is a bus.
    pub bus: bool,
}

impl Amount {
    pub fn lasting(seconds: i64) -> Self {
        Self { seconds, once_per_sec: 6, loops: 12, crons: 4, changed: 12, bus: true }
    }
}

/// Time after which a call without a definite answer counts as unknown.
const MAX_CALL_MS: i64 = 40_000;

/// Running load.
pub struct Load {
    calls: JoinSet<()>,
    pub ends_at: i64,
}

impl Load {
    /// Starts a load.
    pub fn start(stage: &Stage, amount: Amount, rng: &mut fastrand::Rng) -> Result<Self> {
        let begins_at = time::now_ms() + 3_000;
        let ends_at = begins_at + amount.seconds * 1_000;
        let mut plan = Plan { amount, begins_at, ends_at, rng, count: 0 };
        let caller = Caller::new(&stage.server_url, &stage.recorder)?;
        let mut calls = JoinSet::new();
        for expected in plan.steady() {
            let lead = plan.rng.i64(1_000..4_000);
            let caller = caller.clone();
            calls.spawn(async move {
                time::sleep_until(expected.start_at - lead).await;
                caller.create(expected).await;
            });
        }
        for (expected, action, after) in plan.changed() {
            let caller = caller.clone();
            calls.spawn(async move { caller.create_and_change(expected, action, after).await });
        }
        Ok(Self { calls, ends_at })
    }

    /// Waits for the last moment and for the answers to all calls.
    pub async fn wait_for_end(mut self) {
        time::sleep_until(self.ends_at).await;
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
    fn expected_task(&mut self, rhythm: Rhythm, start_at: i64) -> ExpectedTask {
        self.count += 1;
        // One of three tasks uses a queue, and one of three messages needs an outcome.
        let queue = match self.count % 6 {
            _ if !self.amount.bus && self.count.is_multiple_of(2) => Some(RAW_QUEUE),
            _ if !self.amount.bus => Some(SDK_QUEUE),
            1 => Some(SDK_QUEUE),
            4 => Some(RAW_QUEUE),
            _ => None,
        };
        ExpectedTask {
            key: format!("k{}", self.count),
            name: format!("load{}", self.count % 5),
            rhythm,
            start_at,
            end_at: None,
            max_fires: None,
            ack: queue.is_none() && self.count.is_multiple_of(3),
            queue: queue.map(str::to_owned),
            end_state: None,
        }
    }

    fn steady(&mut self) -> Vec<ExpectedTask> {
        let Amount { seconds, once_per_sec, loops, crons, .. } = self.amount;
        let mut all = Vec::new();
        for _ in 0..seconds * once_per_sec {
            let at = self.rng.i64(self.begins_at..self.ends_at);
            all.push(self.expected_task(Rhythm::Once, at));
        }
        for number in 0..loops {
            let period = [500, 1_000, 2_000][number % 3];
            let start_at = self.rng.i64(self.begins_at..self.begins_at + (self.ends_at - self.begins_at) / 3);
            let fires = (self.ends_at - start_at) / period;
            let counted = number.is_multiple_of(2).then_some(fires.max(1) as u64);
            let until = counted.is_none().then_some(self.ends_at);
            all.push(ExpectedTask {
                max_fires: counted,
                end_at: until,
                ..self.expected_task(Rhythm::Every(period), start_at)
            });
        }
        for _ in 0..crons {
            let start_at = self.begins_at;
            all.push(ExpectedTask {
                end_at: Some(self.ends_at),
                ..self.expected_task(Rhythm::EachSecond, start_at)
            });
        }
        all
    }

    /// Repeating tasks, each with one action and its delay after the start.
    fn changed(&mut self) -> Vec<(ExpectedTask, Action, i64)> {
        const ACTIONS: [Action; 5] =
            [Action::Pause, Action::Edit, Action::Delete, Action::Trigger, Action::Cancel];
        let mut all = Vec::new();
        for number in 0..self.amount.changed {
            let start_at = self.rng.i64(self.begins_at..self.begins_at + (self.ends_at - self.begins_at) / 2);
            let expected = ExpectedTask {
                end_at: Some(self.ends_at),
                ..self.expected_task(Rhythm::Every(1_000), start_at)
            };
            let after = self.rng.i64(0..(self.ends_at - start_at).max(2));
            all.push((expected, ACTIONS[number % ACTIONS.len()], after));
        }
        all
    }
}

/// One call.
enum Call<'a> {
    Create(&'a ExpectedTask),
    Change { id: &'a str, key: &'a str, action: Action },
}

/// Calls the API, repeats calls without a definite answer, and records the answers.
#[derive(Clone)]
pub struct Caller {
    client: TaskCenter,
    /// Repeats a request with one idempotency key.
    retrying_client: TaskCenter,
    recorder: Arc<Recorder>,
}

impl Caller {
    pub fn new(server_url: &str, recorder: &Arc<Recorder>) -> Result<Self> {
        let retrying = TaskCenter::builder(server_url).retries(10, Duration::from_millis(200));
        let retrying_client = retrying.timeout(Duration::from_secs(5)).build()?;
        Ok(Self {
            client: handlers::client_without_retries(server_url)?,
            retrying_client,
            recorder: Arc::clone(recorder),
        })
    }

    /// Creates a task. Returns its id if the server acknowledged the call.
    pub async fn create(&self, expected: ExpectedTask) -> Option<String> {
        let sent_at = time::now_ms();
        let answer = match self.call_until_definite(&Call::Create(&expected)).await {
            Answer::Acknowledged(done) => Answer::Acknowledged(done.open_runs.concat()),
            Answer::Unknown => Answer::Unknown,
            Answer::Refused(status) => Answer::Refused(status),
        };
        let id = if let Answer::Acknowledged(id) = &answer { Some(id.clone()) } else { None };
        self.recorder.get().created.push(Created { expected, sent_at, answered_at: time::now_ms(), answer });
        id
    }

    /// Repeats a call until there is a definite answer. A refusal after an unknown answer is
    /// unknown: the first try may have succeeded.
    async fn call_until_definite(&self, call: &Call<'_>) -> Answer<ChangeResult> {
        let end = time::now_ms() + MAX_CALL_MS;
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

    async fn create_and_change(&self, expected: ExpectedTask, action: Action, after: i64) {
        let (at, key) = (expected.start_at + after, expected.key.clone());
        time::sleep_until(expected.start_at - 2_500).await;
        let Some(id) = self.create(expected).await else { return };
        time::sleep_until(at).await;
        self.change(&id, &key, action).await;
        if action == Action::Pause {
            time::sleep(2_500).await;
            self.change(&id, &key, Action::Resume).await;
        }
    }

    async fn change(&self, id: &str, key: &str, action: Action) {
        let sent_at = time::now_ms();
        let answer = self.call_until_definite(&Call::Change { id, key, action }).await;
        let change = Change { task_id: id.to_owned(), action, sent_at, answered_at: time::now_ms(), answer };
        self.recorder.get().changes.push(change);
    }

    async fn call(&self, call: &Call<'_>) -> Result<ChangeResult, Error> {
        let (id, key, action) = match call {
            Call::Create(expected) => {
                let task = self.client.create_task_once(&spec(expected), &expected.key).await?;
                return Ok(ChangeResult { rev: 1, open_runs: vec![task.id] });
            }
            Call::Change { id, key, action } => (id, key, action),
        };
        let changed = match action {
            Action::Pause => self.client.pause_task(id).await?,
            Action::Resume => self.client.resume_task(id).await?,
            Action::Delete => self.client.delete_task(id).await?,
            Action::Cancel => self.client.cancel_task(id).await?,
            Action::Edit => {
                let rev = self.client.get_task(id).await?.map_or(0, |task| task.rev);
                self.client.edit_task(id, rev, &json!({ "data": format!("{key}#2") })).await?
            }
            Action::Trigger => {
                let run = self.retrying_client.trigger_task(id).await?;
                return Ok(ChangeResult { rev: 0, open_runs: vec![run.run_id] });
            }
        };
        Ok(change_result(changed))
    }
}

fn change_result(changed: ChangedTask) -> ChangeResult {
    ChangeResult { rev: i64::from(changed.task.rev), open_runs: changed.open_runs }
}

/// Returns the task as a request of the API.
fn spec(expected: &ExpectedTask) -> TaskSpec {
    let at = |ms: i64| Timestamp::from_millisecond(ms).ok();
    TaskSpec {
        name: expected.name.clone(),
        data: format!("{}#1", expected.key),
        schedule: match expected.rhythm {
            Rhythm::Once => ScheduleSpec::Once {},
            Rhythm::Every(period_ms) => ScheduleSpec::Every { period_ms },
            Rhythm::EachSecond => ScheduleSpec::cron("* * * * * *", None),
        },
        start_at: at(expected.start_at),
        end_at: expected.end_at.and_then(at),
        max_fires: expected.max_fires,
        ack: expected.ack,
        max_runtime_sec: expected.ack.then_some(3),
        queue: expected.queue.clone(),
        // Enough attempts for every fault: only a defect makes a run dead. The scenario `handlers`
        // expects dead runs.
        retry: Some(Retry::doubling(if expected.end_state == Some("dead") { 3 } else { 60 }, 300, 2_000)),
        ..TaskSpec::default()
    }
}
