//! The built-in workers, with real sockets and processes.

mod callback;
pub mod endpoint;
mod rpc;
mod script;
mod ssrf;

use std::time::Duration;

use serde_json::Value;
use taskcenter_client::TransportError;
use taskcenter_server::compat::callback_formats;
use taskcenter_server::core::submission::{Dedup, Submission};
use taskcenter_server::core::{Run, RunState};
use taskcenter_server::workers::directory::Directory;
use taskcenter_server::workers::local::LocalApi;
use taskcenter_server::workers::settings::Settings;
use taskcenter_server::workers::{Builder, QUEUES};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::service::Stage;

/// Header `traceparent` of every task.
pub const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Waits until a condition holds. Panics after a minute.
pub async fn until<F: AsyncFnMut() -> bool>(condition: &str, mut holds: F) {
    let mut turn = tokio::time::interval(Duration::from_millis(10));
    let held = async {
        while !holds().await {
            turn.tick().await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_mins(1), held).await.is_ok(), "timeout: {condition}");
}

/// Settings of workers that may call loopback addresses.
pub fn settings(queues: &[&str]) -> Settings {
    let mut settings = Settings::default();
    settings.workers.queues = queues.iter().map(|queue| (*queue).to_owned()).collect();
    settings.callback.allow = vec!["127.0.0.1".to_owned()];
    settings.callback.health_interval_ms = 50;
    settings
}

/// A node with running built-in workers.
pub struct Bench {
    pub stage: Stage,
    stop: CancellationToken,
    working: JoinHandle<Result<(), TransportError>>,
}

impl Bench {
    pub fn on(stage: Stage, settings: Settings) -> Self {
        let api = LocalApi::new(&stage.service);
        Self::with(stage, settings, api)
    }

    /// Starts workers that look up services in `directory`.
    pub fn with(stage: Stage, settings: Settings, directory: impl Directory) -> Self {
        let api = LocalApi::new(&stage.service);
        let builder = Builder::new(api, directory, settings)
            .launcher(env!("CARGO_BIN_EXE_taskcenter"))
            .callback_formats(callback_formats());
        let stop = CancellationToken::new();
        let working = tokio::spawn(builder.start().unwrap().run_until(stop.clone()));
        Self { stage, stop, working }
    }

    /// Creates a task with this data and fires it.
    pub async fn fire(&self, queue: &str, data: &Value) -> Run {
        assert!(QUEUES.contains(&queue));
        let submission = Submission {
            queue: Some(queue.to_owned()),
            dedup: Dedup::Nothing,
            headers: [("traceparent", TRACE), ("X-Mine", "task")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            ..Submission::named("shop.task", data.to_string())
        };
        let id = self.stage.submit(submission).await;
        self.stage.fire(&id).await
    }

    /// Waits until the attempt has an outcome.
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

    /// Advances the clock to the next attempt of a run and waits until the attempt ends.
    pub async fn retry(&self, run: &Run) -> Run {
        self.stage.clock.set(run.attention_at.unwrap());
        self.stage.rescue().await;
        until("the attempt has ended", async || {
            let now = self.stage.run(run).await;
            now.attempt > run.attempt && !matches!(now.state, RunState::Ready | RunState::Leased)
        })
        .await;
        self.stage.run(run).await
    }

    pub async fn stop(self) -> Stage {
        self.stop.cancel();
        self.working.await.unwrap().unwrap();
        self.stage
    }
}

/// Returns the message in the result of a succeeded run.
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
        a_call_is_made_and_its_answer_is_stored
        a_run_is_dead_after_its_last_listed_retry
        an_outcome_after_the_lease_expired_changes_nothing;
    callback:
        callbacks_alternate_between_the_nodes_of_a_service
        a_callback_is_signed
        an_accepted_callback_is_confirmed_over_the_api
        a_late_confirmation_is_refused_and_the_callback_is_repeated;
}

/// A node on the in-memory store, for tests that do not depend on the store.
pub async fn stage() -> Stage {
    use crate::store::Fixture as _;
    let fixture = crate::store::memory::MemoryFixture::open().await;
    Stage::on(fixture.one(), fixture.records())
}
