//! The built-in workers, on the commands and on real sockets and processes.

mod callback;
pub mod callee;
mod rpc;
mod script;
mod ssrf;

use std::time::Duration;

use serde_json::Value;
use taskcenter_server::core::submission::{Dedup, Submission};
use taskcenter_server::core::{Run, RunState};
use taskcenter_server::workers::directory::Directory;
use taskcenter_server::workers::inside::Inside;
use taskcenter_server::workers::settings::Settings;
use taskcenter_server::workers::{Builder, QUEUES};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::service::Stage;

/// Asks until it holds.
pub async fn until<F: AsyncFnMut() -> bool>(what: &str, mut holds: F) {
    let mut turn = tokio::time::interval(Duration::from_millis(10));
    let held = async {
        while !holds().await {
            turn.tick().await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_mins(1), held).await.is_ok(), "it never came true: {what}");
}

/// Workers that may call this machine.
pub fn settings(queues: &[&str]) -> Settings {
    let mut settings = Settings::default();
    settings.workers.queues = queues.iter().map(|queue| (*queue).to_owned()).collect();
    settings.callback.allow = vec!["127.0.0.1".to_owned()];
    settings.callback.health_interval_ms = 50;
    settings
}

/// Commands with workers on them.
pub struct Bench {
    pub stage: Stage,
    stop: CancellationToken,
    working: JoinHandle<()>,
}

impl Bench {
    pub fn on(stage: Stage, settings: Settings) -> Self {
        let inside = Inside::new(&stage.service);
        Self::with(stage, settings, inside)
    }

    /// Workers that find their services there.
    pub fn with(stage: Stage, settings: Settings, directory: impl Directory) -> Self {
        let inside = Inside::new(&stage.service);
        let builder = Builder::new(inside, directory, settings).launcher(env!("CARGO_BIN_EXE_taskcenter"));
        let stop = CancellationToken::new();
        let working = tokio::spawn(builder.start().unwrap().run_until(stop.clone()));
        Self { stage, stop, working }
    }

    /// A run of a task with this data.
    pub async fn fire(&self, queue: &str, data: &Value) -> Run {
        assert!(QUEUES.contains(&queue));
        let submission = Submission {
            queue: Some(queue.to_owned()),
            dedup: Dedup::Nothing,
            ..Submission::named("shop.task", data.to_string())
        };
        let id = self.stage.submit(submission).await;
        self.stage.fire(&id).await
    }

    /// The run, once its attempt has an outcome.
    pub async fn outcome(&self, run: &Run) -> Run {
        self.in_state(run, &[RunState::Succeeded, RunState::Dead, RunState::Retrying]).await
    }

    pub async fn in_state(&self, run: &Run, states: &[RunState]) -> Run {
        until(&format!("{} is one of {states:?}", run.id), async || {
            states.contains(&self.stage.run(run).await.state)
        })
        .await;
        self.stage.run(run).await
    }

    /// Fires a run and waits for its outcome.
    pub async fn work(&self, queue: &str, data: &Value) -> Run {
        let run = self.fire(queue, data).await;
        self.outcome(&run).await
    }

    /// Lets the time pass up to the run's next attempt, and makes it.
    pub async fn again(&self, run: &Run) -> Run {
        self.stage.clock.set(run.attention_at.unwrap());
        self.stage.rescue().await;
        until("the attempt is made", async || {
            let now = self.stage.run(run).await;
            now.attempt > run.attempt && !matches!(now.state, RunState::Ready | RunState::Leased)
        })
        .await;
        self.stage.run(run).await
    }

    pub async fn stop(self) -> Stage {
        self.stop.cancel();
        self.working.await.unwrap();
        self.stage
    }
}

/// What a success gave back.
pub fn message(run: &Run) -> String {
    assert_eq!(run.state, RunState::Succeeded, "{:?}", run.reason);
    let result: Value = serde_json::from_str(run.result.as_deref().unwrap()).unwrap();
    result["message"].as_str().unwrap().to_owned()
}

/// Runs a case of this suite on a store.
pub async fn on_store(fixture: Box<dyn crate::store::Fixture>, case: impl AsyncFnOnce(Stage)) {
    case(Stage::on(fixture.one(), fixture.records())).await;
    fixture.close().await;
}

on_every_store! {
    suite workers;
    rpc:
        a_call_is_made_and_its_answer_is_kept
        a_list_of_pauses_is_used_up_and_then_there_is_an_end
        an_outcome_after_the_lease_was_lost_changes_nothing;
    callback:
        a_callback_goes_round_the_nodes_of_its_service
        a_callback_is_signed
        an_accepted_callback_is_confirmed_over_the_api
        a_confirmation_after_its_time_is_refused_and_the_callback_made_again;
}

/// A stage in memory, for what no store matters to.
pub async fn stage() -> Stage {
    use crate::store::Fixture as _;
    let fixture = crate::store::memory::MemoryFixture::open().await;
    Stage::on(fixture.one(), fixture.records())
}
