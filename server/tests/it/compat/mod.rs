//! The legacy APIs, on every store: requests and their answers, byte for byte.

mod easytask;
mod easytask_callbacks;
mod easytask_pull;
mod kingtask;
mod taskdash;

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, Response, header};
use serde_json::Value;
use taskcenter_server::adapters::fault::{Faulty, Plan};
use taskcenter_server::compat::Compat;
use taskcenter_server::core::run::Outcome;
use taskcenter_server::core::{Run, TaskId, TaskState};
use taskcenter_server::engine::metrics::Metrics;
use taskcenter_server::engine::service::{LeaseTerms, Page, Report, TaskFilter};
use taskcenter_server::engine::settings::Settings as EngineSettings;
use taskcenter_server::http::{HttpState, Peer, router};
use taskcenter_server::ports::{self, PortError, Records, Store};
use taskcenter_server::workers::settings::Settings;
use tower::ServiceExt;

use crate::http::LIMITS;
use crate::service::Stage;
use crate::store::Fixture;
pub use crate::store::on_store;
use crate::workers::Bench;

/// A store whose calls fail on demand.
pub struct Failing<'a> {
    inner: &'a dyn Fixture,
    switch: Arc<Switch>,
}

/// Which call fails. The empty name means every call.
#[derive(Default)]
struct Switch {
    is_on: AtomicBool,
    call: Mutex<&'static str>,
}

#[async_trait::async_trait]
impl Plan for Switch {
    async fn request(&self, call: &'static str) -> ports::Result<()> {
        let failing = *self.call.lock().unwrap();
        if self.is_on.load(Ordering::SeqCst) && (failing.is_empty() || failing == call) {
            return Err(PortError::Unavailable("store", "the request was lost".into()));
        }
        Ok(())
    }

    async fn answer(&self, _: &'static str) -> ports::Result<()> {
        Ok(())
    }

    /// The record of a request with an idempotency key is stored before its tasks.
    fn portion(&self, _: usize) -> usize {
        1
    }
}

impl<'a> Failing<'a> {
    pub fn on(inner: &'a dyn Fixture) -> Self {
        Self { inner, switch: Arc::default() }
    }

    /// Makes this call fail. The empty name means every call.
    pub fn fail(&self, call: &'static str) {
        *self.switch.call.lock().unwrap() = call;
        self.switch.is_on.store(true, Ordering::SeqCst);
    }

    pub fn recover(&self) {
        self.switch.is_on.store(false, Ordering::SeqCst);
    }
}

#[async_trait::async_trait]
impl Fixture for Failing<'_> {
    fn one(&self) -> Arc<dyn Store> {
        Arc::new(Faulty::new(self.inner.one(), Arc::clone(&self.switch) as Arc<dyn Plan>))
    }

    fn two(&self) -> Arc<dyn Store> {
        self.one()
    }

    fn records(&self) -> Arc<dyn Records> {
        Arc::new(Faulty::new(self.inner.records(), Arc::clone(&self.switch) as Arc<dyn Plan>))
    }

    async fn close(self: Box<Self>) {}
}

/// A server with legacy APIs, without background loops and without a listener.
pub struct TestServer {
    pub stage: Stage,
    routes: Router,
}

/// A response as sent.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub kind: String,
    pub body: String,
}

impl TestServer {
    pub fn new(fixture: &dyn Fixture, legacy_apis: Compat) -> Self {
        Self::with_settings(fixture, legacy_apis, EngineSettings::default())
    }

    pub fn with_settings(fixture: &dyn Fixture, legacy_apis: Compat, settings: EngineSettings) -> Self {
        let stage = Stage::with_settings(fixture.one(), fixture.records(), settings);
        let http = HttpState {
            service: stage.service.clone(),
            health: Arc::default(),
            metrics: Arc::new(Metrics::new()),
            ids: Arc::clone(&stage.node.ids),
            legacy_ack: false,
        };
        let routes = router(http, LIMITS, taskcenter_server::legacy_apis(legacy_apis));
        Self { stage, routes }
    }

    /// Returns a further node, or the same one after a restart: only the store and the time are kept.
    pub fn restarted(fixture: &dyn Fixture, legacy_apis: Compat, before: &Self) -> Self {
        use taskcenter_server::ports::Clock as _;
        let server = Self::new(fixture, legacy_apis);
        server.stage.clock.set(before.stage.clock.now());
        server
    }

    /// Adds the built-in workers.
    pub fn with_workers(self, settings: Settings) -> TestServerWithWorkers {
        let Self { stage, routes } = self;
        TestServerWithWorkers { bench: Bench::on(stage, settings), routes }
    }

    pub async fn send(&self, request: Request<Body>) -> Response<Body> {
        self.send_from(Ipv4Addr::LOCALHOST, request).await
    }

    /// Sends a request from another host.
    pub async fn send_from(&self, peer: Ipv4Addr, mut request: Request<Body>) -> Response<Body> {
        request.extensions_mut().insert(Peer(peer.into()));
        let localhost = HeaderValue::from_static("localhost");
        request.headers_mut().entry(header::HOST).or_insert(localhost);
        self.routes.clone().oneshot(request).await.unwrap()
    }

    pub async fn put(&self, path: &str, body: &str) -> Answer {
        answer(self.send(Request::put(path).body(Body::from(body.to_owned())).unwrap()).await).await
    }

    pub async fn post(&self, path: &str, body: &str) -> Answer {
        answer(self.send(Request::post(path).body(Body::from(body.to_owned())).unwrap()).await).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        answer(self.send(Request::get(path).body(Body::empty()).unwrap()).await).await
    }

    /// Fires the next moment of a task and leases the run as a worker of its queue.
    pub async fn take(&self, id: &TaskId, queue: &str) -> Run {
        self.stage.fire(id).await;
        self.lease(queue).await.expect("the run is ready")
    }

    /// Leases a run as a worker of this queue.
    pub async fn lease(&self, queue: &str) -> Option<Run> {
        let terms = LeaseTerms {
            worker: "worker".to_owned(),
            queues: vec![queue.to_owned()],
            limit: 1,
            lease_ms: 60_000,
            wait: Duration::ZERO,
            request_id: None,
        };
        self.stage.service.lease(&terms).await.unwrap().pop()
    }

    /// Reports an outcome as the worker that holds the run.
    pub async fn settle(&self, run: &Run, outcome: Outcome, message: Option<&str>) {
        let message = message.map(str::to_owned);
        let report =
            Report { attempt: run.attempt, token: run.token.clone(), outcome, message, started_at: None };
        self.stage.service.report(&run.id, &report).await.unwrap();
    }

    /// Reports success as the worker that holds the run.
    pub async fn succeed(&self, run: &Run, message: &str) {
        let result = serde_json::json!({ "message": message }).to_string();
        self.settle(run, Outcome::Succeeded { result: Some(result) }, None).await;
    }

    /// Fires every active task of a name, as the dispatcher does. Returns the runs.
    pub async fn fire(&self, name: &str) -> Vec<Run> {
        let filter = TaskFilter {
            name: Some(name.to_owned()),
            state: Some(TaskState::Active),
            ..TaskFilter::default()
        };
        let page = Page { limit: 1_000, before: None };
        let mut runs = Vec::new();
        for task in self.stage.service.list_tasks(&filter, &page).await.unwrap() {
            runs.push(self.stage.fire(&task.id).await);
        }
        runs
    }
}

/// A server with legacy APIs and built-in workers.
pub struct TestServerWithWorkers {
    pub bench: Bench,
    routes: Router,
}

impl TestServerWithWorkers {
    pub async fn send(&self, mut request: Request<Body>) -> Answer {
        request.extensions_mut().insert(Peer(Ipv4Addr::LOCALHOST.into()));
        request.headers_mut().insert(header::HOST, HeaderValue::from_static("localhost"));
        answer(self.routes.clone().oneshot(request).await.unwrap()).await
    }

    /// Sends a POST request and returns the JSON of the response.
    pub async fn request(&self, path: &str, body: &Value) -> Value {
        let request = Request::post(path).body(Body::from(body.to_string())).unwrap();
        serde_json::from_str(&self.send(request).await.body).unwrap()
    }
}

pub async fn answer(response: Response<Body>) -> Answer {
    let kind = response.headers().get(header::CONTENT_TYPE).map(|kind| kind.to_str().unwrap().to_owned());
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let body = String::from_utf8(body.to_vec()).unwrap();
    Answer { status, kind: kind.unwrap_or_default(), body }
}

/// The job in the data of a run.
pub fn job(run: &Run) -> Value {
    serde_json::from_str(&run.data).unwrap()
}

on_every_store! {
    suite compat;
    easytask:
        every_request_of_the_document_is_answered_as_documented
        a_node_is_added_once_and_removing_the_last_one_removes_the_service
        an_unknown_node_or_service_is_10003
        an_invalid_node_is_10001
        cron_one_shot_and_interval_tasks_are_created
        an_invalid_task_is_10001
        name_and_biz_id_identify_a_task
        registering_an_interval_again_keeps_its_grid
        a_worker_gets_a_complete_callback_job
        the_values_of_cmd_are_a_setting
        a_confirmation_settles_the_run_it_names
        a_confirmation_after_the_timeout_is_accepted_and_recorded
        a_confirmation_of_an_unknown_run_is_10002
        a_task_is_stopped_over_both_documented_paths
        a_stop_cancels_runs_in_progress
        every_run_is_in_the_task_log
        the_trace_is_echoed_and_forwarded
        every_answer_of_a_known_path_has_the_status_200
        a_stopping_server_answers_stopped
        services_and_tasks_survive_a_restart
        a_callback_is_repeated_if_its_worker_died
        a_service_of_the_native_api_cannot_be_changed
        a_second_node_without_a_timeout_keeps_the_timeout
        a_repeated_stop_after_a_failure_calls_the_node
        a_database_error_is_code_500_without_an_id
        orphaned_tasks_do_not_starve_later_ones
        clearing_the_log_deletes_no_task;
    kingtask:
        the_transcript_of_the_document_is_reproduced
        a_worker_gets_the_script_job_as_submitted
        a_worker_gets_the_call_job_as_submitted
        numbers_may_be_strings
        the_shared_path_accepts_scripts_and_native_tasks
        missing_and_invalid_fields_are_an_invalid_argument
        a_result_exists_from_the_first_attempt_until_its_retention_ends
        a_task_waits_for_its_start_time
        every_retry_waits_for_its_interval_and_only_the_last_failure_counts
        undo_counts_what_is_due_and_not_finished
        outcomes_are_counted_by_day_and_survive_a_restart
        days_are_in_the_time_zone_of_the_server
        undo_counts_no_calls_of_other_legacy_apis
        a_store_failure_is_a_403_with_a_message;
    easytask_pull:
        the_transcript_of_the_document_is_reproduced
        tasks_put_over_every_path_are_numbered_consecutively
        an_incomplete_put_is_refused
        an_unknown_type_is_named
        types_are_created_once_and_reserved_names_are_refused
        a_list_is_paged_by_number
        pages_out_of_bounds_are_refused
        a_claim_returns_at_most_ten_tasks_or_an_empty_list
        a_worker_must_register_before_a_claim_or_a_heartbeat
        a_worker_without_heartbeats_for_a_minute_loses_its_tasks
        heartbeats_keep_claimed_tasks
        a_worker_that_registers_again_releases_its_tasks
        an_update_ends_a_task_and_is_stored_in_its_row
        an_update_of_a_task_that_the_worker_does_not_hold_is_refused
        the_callback_url_is_called_once_when_the_task_ends
        with_auth_a_session_cookie_is_required
        wrong_logins_are_refused_after_a_while_with_retry_after
        numbers_are_never_used_twice
        two_workers_never_get_the_same_task
        a_claim_restores_a_number_that_was_not_stored
        a_claim_skips_foreign_runs_and_leaves_them_unchanged
        a_queue_in_use_cannot_become_a_type
        a_claim_renews_held_tasks_every_five_seconds
        rows_of_removed_tasks_are_removed_at_any_position
        a_second_end_after_a_redrive_is_called_back_too
        an_end_is_refused_if_its_callback_cannot_be_stored
        a_store_failure_is_an_error_and_stores_no_row
        a_session_of_a_nameless_worker_is_reproduced
        a_session_of_a_named_worker_is_reproduced
        a_session_of_a_worker_with_headers_is_reproduced
        a_claim_is_released_when_its_answer_is_not_sent;
    taskdash:
        the_transcript_of_the_document_is_reproduced
        a_login_answers_only_success_or_error
        parameters_are_read_from_the_url_a_form_or_multipart
        every_invalid_request_is_error_1000
        both_liveness_paths_answer
        tasks_are_found_by_user_by_status_and_unclaimed
        a_bound_task_cannot_be_bound_by_another_user
        concurrent_binds_have_one_winner
        an_unknown_id_is_an_error
        only_a_senior_user_assigns
        an_incoming_id_is_ignored
        a_second_registration_keeps_a_claim
        the_tasks_of_a_registered_service_are_fetched
        the_tasks_of_every_service_are_fetched_at_start_up
        a_service_is_down_after_three_missed_heartbeats
        with_auth_a_user_needs_a_session_and_binds_only_for_themselves
        an_invalid_message_is_refused_and_an_early_one_is_retried
        removing_a_user_or_changing_the_password_ends_sessions
        a_page_of_an_allowed_origin_uses_the_board_from_a_browser
        wrong_logins_are_refused_after_a_while
        a_session_is_valid_only_where_it_was_opened
        a_preflight_request_is_answered_for_an_allowed_origin_only
        a_body_over_the_limit_is_error_1000
        a_store_failure_is_error_1001_or_1002
        finished_tasks_are_pruned;
}
