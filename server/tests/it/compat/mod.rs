//! The fronts for older systems' clients, on every store: what goes in, what comes out, byte for byte.

mod kingtask;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, header};
use serde_json::Value;
use taskcenter_server::compat::{Compat, mount};
use taskcenter_server::core::run::Outcome;
use taskcenter_server::core::{Run, TaskId};
use taskcenter_server::engine::metrics::Metrics;
use taskcenter_server::engine::service::{LeaseTerms, Report};
use taskcenter_server::http::{HttpState, router};
use tower::ServiceExt;

use crate::http::LIMITS;
use crate::service::Stage;
use crate::store::Fixture;

/// A server with its fronts, without its loops and its socket.
pub struct Desk {
    pub stage: Stage,
    routes: Router,
}

/// An answer as it went out.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub kind: String,
    pub body: String,
}

impl Desk {
    pub fn on(fixture: &dyn Fixture, fronts: Compat) -> Self {
        let stage = Stage::on(fixture.one(), fixture.records());
        let state = HttpState {
            service: Arc::clone(&stage.service),
            health: Arc::default(),
            metrics: Arc::new(Metrics::new()),
            ids: Arc::clone(&stage.node.ids),
        };
        let service = Arc::clone(&stage.service);
        let routes = router(state, LIMITS, Box::new(move |routes| mount(routes, &service, &fronts)));
        Self { stage, routes }
    }

    /// The same node after a restart: nothing that was in memory is left.
    pub fn again(fixture: &dyn Fixture, fronts: Compat, before: &Self) -> Self {
        use taskcenter_server::ports::Clock as _;
        let desk = Self::on(fixture, fronts);
        desk.stage.clock.set(before.stage.clock.now());
        desk
    }

    pub async fn send(&self, request: Request<Body>) -> Response<Body> {
        self.routes.clone().oneshot(request).await.unwrap()
    }

    pub async fn post(&self, path: &str, body: &str) -> Answer {
        answer(self.send(Request::post(path).body(Body::from(body.to_owned())).unwrap()).await).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        answer(self.send(Request::get(path).body(Body::empty()).unwrap()).await).await
    }

    /// Fires the task's next moment, and takes its run as a worker of its queue.
    pub async fn take(&self, id: &TaskId, queue: &str) -> Run {
        self.stage.fire(id).await;
        self.lease(queue).await.expect("its run is ready")
    }

    /// What a worker of a queue gets.
    pub async fn lease(&self, queue: &str) -> Option<Run> {
        let terms = LeaseTerms {
            worker: "worker".to_owned(),
            queues: vec![queue.to_owned()],
            limit: 1,
            lease_ms: 60_000,
            wait: Duration::ZERO,
        };
        self.stage.service.lease(&terms).await.unwrap().pop()
    }

    /// What a worker says of the run that it holds.
    pub async fn settle(&self, run: &Run, outcome: Outcome, message: Option<&str>) {
        let message = message.map(str::to_owned);
        let report = Report { attempt: run.attempt, token: run.token.clone(), outcome, message };
        self.stage.service.report(&run.id, &report).await.unwrap();
    }

    /// What a worker does whose job went well.
    pub async fn succeed(&self, run: &Run, message: &str) {
        let result = serde_json::json!({ "message": message }).to_string();
        self.settle(run, Outcome::Succeeded { result: Some(result) }, None).await;
    }
}

pub async fn answer(response: Response<Body>) -> Answer {
    let kind = response.headers().get(header::CONTENT_TYPE).map(|kind| kind.to_str().unwrap().to_owned());
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let body = String::from_utf8(body.to_vec()).unwrap();
    Answer { status, kind: kind.unwrap_or_default(), body }
}

/// The job that a run carries for its worker.
pub fn job(run: &Run) -> Value {
    serde_json::from_str(&run.data).unwrap()
}

/// Makes each named case a test on each store.
macro_rules! on_every_store {
    ($($area:ident: $($case:ident)*;)*) => {
        on_every_store!(@on mongodb crate::store::mongo::MongoFixture, $($area: $($case)*;)*);
        on_every_store!(@on sqlite crate::store::sqlite::SqliteFixture, $($area: $($case)*;)*);
        on_every_store!(@on in_memory crate::store::memory::MemoryFixture, $($area: $($case)*;)*);
    };
    (@on $name:ident $fixture:path, $($area:ident: $($case:ident)*;)*) => {
        mod $name {
            use crate::store::Fixture;
            $(mod $area {
                use super::*;
                $(
                    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                    async fn $case() {
                        let fixture: Box<dyn Fixture> = Box::new(<$fixture>::open().await);
                        crate::compat::$area::$case(&*fixture).await;
                        fixture.close().await;
                    }
                )*
            })*
        }
    };
}

on_every_store! {
    kingtask:
        the_documents_transcript
        a_script_is_handed_over_as_it_was_asked_for
        a_call_is_handed_over_as_it_was_asked_for
        numbers_come_as_numbers_or_as_text
        the_shared_path_takes_scripts_and_leaves_the_rest_to_the_native_api
        what_is_missing_or_invalid_is_an_invalid_argument
        there_is_no_result_before_the_first_and_after_the_keeping_time
        a_task_waits_for_its_start
        every_interval_is_waited_for_and_the_final_failure_counts_once
        undo_counts_what_is_due_and_not_finished
        days_are_counted_apart_and_survive_a_restart;
}
