//! The fronts for older systems' clients, on every store: what goes in, what comes out, byte for byte.

mod easytask;
mod easytask_called;
mod easytask_pull;
mod kingtask;
mod taskdash;

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, header};
use serde_json::Value;
use taskcenter_server::adapters::fault::{Faulty, Plan};
use taskcenter_server::compat::{Compat, mount};
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

/// A store whose calls are lost while it is told so.
pub struct Failing<'a> {
    inner: &'a dyn Fixture,
    switch: Arc<Switch>,
}

/// The call that is lost; the empty name is every call.
#[derive(Default)]
struct Switch {
    is_on: AtomicBool,
    call: Mutex<&'static str>,
}

#[async_trait::async_trait]
impl Plan for Switch {
    async fn request(&self, call: &'static str) -> ports::Result<()> {
        let lost = *self.call.lock().unwrap();
        if self.is_on.load(Ordering::SeqCst) && (lost.is_empty() || lost == call) {
            return Err(PortError::Unavailable("store", "the request was lost".into()));
        }
        Ok(())
    }

    async fn answer(&self, _: &'static str) -> ports::Result<()> {
        Ok(())
    }

    fn portion(&self, rows: usize) -> usize {
        rows
    }
}

impl<'a> Failing<'a> {
    pub fn on(inner: &'a dyn Fixture) -> Self {
        Self { inner, switch: Arc::default() }
    }

    pub fn lose(&self, call: &'static str) {
        *self.switch.call.lock().unwrap() = call;
        self.switch.is_on.store(true, Ordering::SeqCst);
    }

    pub fn mend(&self) {
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
        Self::set(fixture, fronts, EngineSettings::default())
    }

    /// With an engine that is set like this.
    pub fn set(fixture: &dyn Fixture, fronts: Compat, settings: EngineSettings) -> Self {
        let stage = Stage::set(fixture.one(), fixture.records(), settings);
        let http = HttpState {
            service: stage.service.clone(),
            health: Arc::default(),
            metrics: Arc::new(Metrics::new()),
            ids: Arc::clone(&stage.node.ids),
        };
        let routes = router(http, LIMITS, Box::new(move |routes| mount(routes, &fronts)));
        Self { stage, routes }
    }

    /// The same node after a restart, or another one: nothing that was in memory is left.
    pub fn again(fixture: &dyn Fixture, fronts: Compat, before: &Self) -> Self {
        use taskcenter_server::ports::Clock as _;
        let desk = Self::on(fixture, fronts);
        desk.stage.clock.set(before.stage.clock.now());
        desk
    }

    /// The same with the built-in workers on it.
    pub fn with_workers(self, settings: Settings) -> Staffed {
        let Self { stage, routes } = self;
        Staffed { bench: Bench::on(stage, settings), routes }
    }

    pub async fn send(&self, request: Request<Body>) -> Response<Body> {
        self.send_from(Ipv4Addr::LOCALHOST, request).await
    }

    /// From another machine.
    pub async fn send_from(&self, peer: Ipv4Addr, mut request: Request<Body>) -> Response<Body> {
        request.extensions_mut().insert(Peer(peer.into()));
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

    /// Fires every task of a name that is due, as the dispatcher would; their runs.
    pub async fn fire(&self, name: &str) -> Vec<Run> {
        let filter = TaskFilter { name: Some(name.to_owned()), state: Some(TaskState::Active) };
        let page = Page { limit: 1_000, before: None };
        let mut runs = Vec::new();
        for task in self.stage.service.list_tasks(&filter, &page).await.unwrap() {
            runs.push(self.stage.fire(&task.id).await);
        }
        runs
    }
}

/// A server with its fronts and its workers.
pub struct Staffed {
    pub bench: Bench,
    routes: Router,
}

impl Staffed {
    pub async fn send(&self, mut request: Request<Body>) -> Answer {
        request.extensions_mut().insert(Peer(Ipv4Addr::LOCALHOST.into()));
        answer(self.routes.clone().oneshot(request).await.unwrap()).await
    }

    /// The JSON of an answer.
    pub async fn ask(&self, path: &str, body: &Value) -> Value {
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

/// The job that a run carries for its worker.
pub fn job(run: &Run) -> Value {
    serde_json::from_str(&run.data).unwrap()
}

on_every_store! {
    suite compat;
    easytask:
        every_request_of_the_document_is_answered_as_it_says
        a_node_is_added_once_and_the_last_one_takes_the_service_with_it
        an_unknown_node_or_service_is_10003
        what_is_wrong_with_a_node_is_10001
        a_cron_task_a_timed_task_and_an_interval_task
        what_is_wrong_with_a_task_is_10001
        a_task_is_known_by_its_name_and_its_biz_id
        an_interval_that_is_registered_again_keeps_its_grid
        a_callback_is_handed_over_with_all_that_it_needs
        the_codes_order_of_cmd_is_a_setting
        a_confirmation_settles_the_run_that_it_names
        a_confirmation_after_the_timeout_is_accepted_and_recorded
        a_confirmation_of_something_unknown_is_10002
        a_task_is_stopped_in_both_ways_that_the_document_prints
        a_run_that_is_under_way_is_terminated
        every_run_is_in_the_task_log
        the_trace_is_echoed_and_forwarded
        every_answer_of_a_known_path_has_the_status_200
        a_server_that_stops_says_so
        services_and_tasks_survive_a_restart
        a_callback_whose_worker_died_is_made_again
        a_service_of_the_native_api_is_not_the_fronts_to_change
        a_second_node_that_says_nothing_of_the_time_out_keeps_it
        a_stop_that_broke_off_tells_the_node_when_it_is_repeated
        a_database_error_is_code_500_and_no_id
        orphaned_tasks_do_not_starve_later_ones
        clearing_the_log_deletes_no_task;
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
        days_are_counted_apart_and_survive_a_restart
        a_day_is_one_of_the_servers_time_zone
        undo_counts_no_calls_of_other_fronts
        a_store_that_fails_is_a_403_with_a_text;
    easytask_pull:
        the_documents_transcript
        putting_under_every_address_numbers_the_tasks
        a_put_that_says_too_little_is_refused
        an_unknown_type_is_named
        types_are_created_once_and_names_of_built_in_queues_are_not_theirs
        a_list_is_paged_by_number
        pages_out_of_bounds_are_refused
        a_claim_takes_ten_at_most_and_none_is_an_empty_list
        a_worker_says_hello_before_it_takes_or_beats
        a_minute_of_silence_drops_a_worker_and_its_tasks_go_back_to_the_front
        beats_keep_tasks_for_as_long_as_it_takes
        a_worker_that_says_hello_again_gives_back_what_it_held
        an_update_ends_a_task_and_its_row_says_how
        an_update_of_nobodys_task_or_of_anothers_is_refused
        the_callback_is_called_once_when_the_task_ends
        with_auth_a_cookie_is_demanded
        numbers_are_never_used_twice
        two_workers_never_get_the_same_task
        a_number_that_was_not_kept_comes_back_with_the_claim
        others_runs_at_the_head_of_a_queue_are_looked_past_and_left_as_they_are
        a_queue_that_others_use_is_no_type
        a_claim_renews_what_is_held_once_in_a_while
        rows_whose_tasks_are_gone_are_forgotten_wherever_they_stand
        an_end_after_a_redrive_is_called_back_as_well
        an_end_whose_callback_could_not_be_stored_is_not_taken
        a_store_that_fails_is_an_error_and_no_row;
    taskdash:
        the_documents_transcript
        logging_in_says_success_or_error_and_nothing_else
        parameters_come_in_the_address_urlencoded_or_as_multipart
        whatever_is_asked_wrongly_is_error_1000
        both_liveness_paths_answer
        tasks_are_found_by_user_by_status_and_unclaimed
        a_bind_steals_nothing
        many_binds_have_one_winner
        an_unknown_id_is_an_error
        only_a_senior_user_assigns
        an_incoming_id_is_ignored
        a_second_registration_never_takes_a_claimed_task_away
        a_service_that_registers_is_asked_for_its_tasks
        every_service_is_asked_again_at_start_up
        three_missed_heartbeats_and_a_service_is_down
        with_auth_a_session_is_demanded_and_one_binds_for_oneself
        a_message_that_is_no_message_is_refused_and_one_too_early_comes_again
        users_and_sessions_end
        a_page_on_another_host_is_answered
        a_body_that_is_too_long_is_error_1000
        a_store_that_fails_is_error_1001_or_1002;
}
