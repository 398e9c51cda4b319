//! The rights of a caller: a handle without a caller can do nothing and sees nothing, and each
//! command requires its scope.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use taskcenter_server::adapters::fault::{Faulty, Plan};
use taskcenter_server::core::access::{Grant, Scope};
use taskcenter_server::core::calendar::Calendar;
use taskcenter_server::core::callback_service::CallbackService;
use taskcenter_server::core::change::ChangeFilter;
use taskcenter_server::core::hold::HoldScope;
use taskcenter_server::core::labels::Labels;
use taskcenter_server::core::operation::{Action, Count, Creator, NewOperation, Operation, Selection};
use taskcenter_server::core::quota::Quota;
use taskcenter_server::core::run::{Outcome, PayloadChange};
use taskcenter_server::core::submission::Submission;
use taskcenter_server::core::{Run, Task};
use taskcenter_server::engine::service::{
    AuditFilter, Caller, Confirmation, Forbidden, Held, IdempotencyKey, LastShared, LeaseTerms, MIN_LEASE_MS,
    NewBackfill, NewHold, NewSilence, Page, RecordKind, Report, RunFilter, RunPage, Service, ServiceError,
    Submitted, TaskFilter, User, Wanted,
};

use super::{NOW, Stage};
use crate::store::Fixture as _;
use crate::store::memory::MemoryFixture;
use crate::store::run_logs::batch;
use crate::store::samples::task;

use Scope::{Admin, RunPull, TaskRead, TaskWrite};

const KIND: RecordKind = RecordKind::internal("kind");

/// Methods of the handle that need no rights: they admit callers, or return what every caller may
/// know.
const WITHOUT_RIGHTS: [&str; 27] = [
    "store_denial",
    "selects_runs",
    "has_index_of_tasks",
    "has_index_of_runs",
    "open_browser_session",
    "open_user_session",
    "browser_session",
    "close_browser_session",
    "random_secret",
    "with_node",
    "report_callback_health",
    "with_patches",
    "with_alerting",
    "with_metrics",
    "attendance",
    "new",
    "for_caller",
    "caller",
    "with_lease_clock",
    "with_access",
    "time_zone",
    "misfire",
    "token",
    "is_stopping",
    "leases_per_minute",
    "now",
    "origin",
];
/// Checks a token, so it cannot require one.
const ADMISSION: &str = "admit";

/// Stage with a task, a ready run, a user, a callback service, a token and a record.
struct Filled {
    stage: Stage,
    run: Run,
}

impl Filled {
    async fn open() -> Self {
        let fixture = MemoryFixture::open().await;
        let stage = Stage::on(fixture.one(), fixture.records());
        let service = &stage.service;
        let run = stage.ready("mail").await;
        stage.submit(Submission::named("later", "data")).await;
        service.set_user(&user().change("password")).await.unwrap();
        service.put_callback_service(&shop(), false).await.unwrap();
        service.issue_token("ci", Grant::everything(), Quota::default()).await.unwrap();
        service.change_record(KIND, "key", put).await.unwrap();
        Self { stage, run }
    }
}

fn user() -> User {
    User { name: "ann".to_owned(), senior: false, console: None, expires_at: None }
}

fn pause_all() -> NewOperation {
    let selection = Selection::Tasks { name: None, state: None, labels: Labels::new() };
    NewOperation::new(Action::Pause, selection)
}

fn operation() -> Operation {
    let (name, request_id) = (String::new(), String::new());
    let creator = Creator { id: String::new(), name, request_id, grant: Grant::everything() };
    Operation::new("0".repeat(32), pause_all(), Count::default(), creator, NOW)
}

fn shop() -> CallbackService {
    CallbackService { name: "shop".to_owned(), ..CallbackService::default() }
}

fn workdays() -> Calendar {
    let weekly = vec!["mon-fri".to_owned()];
    Calendar { zone: "UTC".to_owned(), weekly, ..Calendar::named("workdays") }
}

fn silence() -> NewSilence {
    NewSilence {
        rule: None,
        subject: Some("*".to_owned()),
        until: NOW.plus_ms(60_000),
        comment: String::new(),
    }
}

fn new_hold() -> NewHold {
    let (name, reason) = ("q".to_owned(), String::new());
    NewHold { scope: HoldScope::Queue, name, reason, until: None }
}

type Put = (Option<(Value, Option<String>)>, ());

#[allow(clippy::unnecessary_wraps, reason = "the command takes a decision that may refuse")]
fn put(_: Option<Value>) -> Result<Put, ServiceError> {
    Ok((Some((json!("document"), None)), ()))
}

/// One command: its name, the scope that it requires, whether the caller must not be limited to
/// tags, and why it was refused.
#[derive(Debug)]
struct Call {
    command: &'static str,
    scope: Scope,
    unlimited: bool,
    refusal: Option<Forbidden>,
}

/// Calls every command once.
#[allow(clippy::too_many_lines, reason = "one line for each command")]
async fn call_all(service: &Service, run: &Run) -> Vec<Call> {
    let mut calls = Vec::new();
    macro_rules! call {
        ($scope:ident, $command:ident $(::<$of:ty>)? ($($argument:expr),*)) => {
            call!($scope, false, $command $(::<$of>)? ($($argument),*))
        };
        ($scope:ident unlimited, $command:ident $(::<$of:ty>)? ($($argument:expr),*)) => {
            call!($scope, true, $command $(::<$of>)? ($($argument),*))
        };
        ($scope:ident, $unlimited:literal, $command:ident $(::<$of:ty>)? ($($argument:expr),*)) => {{
            let refusal = match service.$command$(::<$of>)?($($argument),*).await {
                Err(ServiceError::Forbidden(refusal)) => Some(refusal),
                _ => None,
            };
            let command = stringify!($command);
            calls.push(Call { command, scope: $scope, unlimited: $unlimited, refusal });
        }};
    }
    let (task, id) = (run.task_id.clone(), run.id.clone());
    let page = Page { limit: 10, before: None };
    let runs = RunPage { limit: 10, before: None };
    let held = [Held { run_id: id.clone(), attempt: run.attempt, token: run.token.clone(), progress: None }];
    let outcome = Outcome::Succeeded { result: None };
    let report =
        Report { attempt: run.attempt, token: run.token.clone(), outcome, message: None, started_at: None };
    let confirmation = Confirmation { succeeded: true, message: None, result: None };
    let terms = LeaseTerms {
        worker: "worker".to_owned(),
        queues: Vec::new(),
        limit: 1,
        lease_ms: MIN_LEASE_MS,
        wait: Duration::ZERO,
        request_id: None,
    };
    let submission = || Submission::named("mail", "other data");
    let submitted =
        Submitted { id: task.clone(), name: "mail".to_owned(), existing: true, replaced: true, stored: None };
    let once = IdempotencyKey { key: "once".to_owned(), fingerprint: "f".to_owned() };

    call!(TaskRead, task(&task));
    call!(TaskRead, shown_task(&task));
    call!(TaskRead, task_by_key("mail", "k"));
    call!(TaskRead, task_at(&task, None));
    call!(TaskRead, definitions(&task, None, 10));
    call!(TaskRead, definition_at(&task, 1));
    call!(TaskRead, tasks_by_name("mail", &page));
    call!(TaskRead, list_tasks(&TaskFilter::default(), &page));
    call!(TaskRead, examine_tasks(&TaskFilter::default().into(), &page));
    call!(TaskRead, examine_runs(&RunFilter::default().into(), &runs));
    call!(TaskRead, run(&id));
    call!(TaskRead, list_runs(&RunFilter::default(), &runs));
    call!(TaskRead, count_runs_by_state(&Wanted::default()));
    call!(TaskRead, recent_runs(&[], 10));
    call!(TaskRead, blocker(&run));
    call!(TaskRead, next_permit(&run));
    call!(TaskRead, first_held(&run.task_id));
    call!(TaskRead, covered_alerts(&taskcenter_server::core::alert::Coverage::default()));
    call!(TaskRead, log(&id, 0));
    call!(TaskRead, follow_log(&id, 0));
    call!(TaskRead, log_tail(&id, None, 10));
    call!(TaskRead, queues());
    call!(TaskRead, workers());
    call!(TaskRead unlimited, nodes());
    call!(TaskRead, backlog());
    call!(TaskRead, fires_this_minute());
    call!(TaskRead, recent_summary());
    call!(TaskRead, recent_queues());
    call!(TaskRead, recent_limits());
    call!(TaskRead, watch_changes(ChangeFilter::default()));
    call!(TaskRead, outcomes_on(NOW));
    call!(TaskRead unlimited, last_hour());
    call!(TaskRead, calendars());
    call!(TaskRead, calendar("workdays"));
    call!(TaskRead, tasks_of_calendar("workdays", 10));
    call!(TaskRead, preview_definition(submission()));
    call!(TaskRead, alerts());
    call!(TaskRead, silences());
    call!(TaskRead, holds());
    call!(TaskRead, hold_of_queue("q"));
    call!(TaskRead, hold_of_run(run));
    call!(TaskRead, hold_of_task(&crate::store::samples::task()));
    call!(TaskRead, alert_rules());
    call!(TaskRead, alert_channels());
    call!(TaskRead unlimited, refresh_silences());
    call!(TaskRead unlimited, callback_service("shop"));
    call!(TaskRead unlimited, callback_services());
    call!(TaskRead unlimited, callback_health());
    call!(TaskRead unlimited, read_record::<Value>(KIND, "key"));
    call!(TaskRead unlimited, list_records::<Value>(KIND, None, None, 10));

    call!(TaskRead, operation(&task.to_string()));
    call!(TaskRead, list_operations(None, 10));

    call!(RunPull, lease(&terms));
    call!(RunPull, renew(&held, MIN_LEASE_MS));
    call!(RunPull, hand_over(&held, MIN_LEASE_MS));
    call!(RunPull, settle(&[(id.clone(), report.clone())]));
    call!(RunPull, report(&id, &report));
    call!(RunPull, append_log(&batch(&id, &["line"]), &run.token));

    call!(TaskWrite, submit(submission()));
    call!(TaskWrite, submit_idempotent(vec![submission()], None));
    call!(TaskWrite, submit_once(vec![submission()], once));
    call!(TaskWrite, submitted_task(submitted));
    call!(TaskWrite, edit(&task, 1, submission()));
    call!(TaskWrite, pause(&task, None));
    call!(TaskWrite, resume(&task, None));
    call!(TaskWrite, trigger(&task, None));
    call!(TaskWrite, trigger_with(&task, &PayloadChange::default(), None));
    call!(TaskWrite, confirm(&id, &confirmation));
    call!(TaskWrite, cancel_run(&id));
    call!(TaskWrite, cancel_run_at_once(&id));
    call!(TaskWrite, retry_run(&id));
    call!(TaskWrite, retry_run_with(&id, &PayloadChange::default()));
    call!(TaskWrite, retry_run_at(&id, 1, &PayloadChange::default()));
    call!(TaskWrite, cancel(&task, None));
    call!(TaskWrite, delete_one(&task, None));
    call!(TaskWrite, delete(std::slice::from_ref(&task)));
    call!(TaskWrite, delete_by_name("mail"));
    call!(TaskWrite, preview_operation(pause_all()));
    call!(TaskWrite, create_operation(pause_all(), None));
    call!(TaskWrite, preview_backfill(&task, last_minute()));
    call!(TaskWrite, backfill(&task, last_minute(), None));
    call!(TaskWrite, abort_operation(&task.to_string()));
    call!(TaskWrite, continue_operation(&task.to_string()));
    call!(TaskWrite unlimited, hold(new_hold()));
    call!(TaskWrite unlimited, release_hold(HoldScope::Queue, "q"));
    call!(TaskWrite unlimited, put_calendar(&workdays(), ""));
    call!(TaskWrite unlimited, remove_calendar("workdays"));
    call!(TaskWrite unlimited, silence_alert(silence()));
    call!(TaskWrite unlimited, unsilence_alert("0"));
    call!(TaskWrite unlimited, test_alert_channel("ops"));
    call!(TaskWrite unlimited, share_alerts("node", &mut LastShared::default(), true));
    call!(TaskWrite unlimited, change_record(KIND, "key", put));
    call!(TaskWrite unlimited, remove_record(KIND, "key"));
    call!(TaskWrite unlimited, remove_record_if::<Value>(KIND, "key", |_| true));
    call!(TaskWrite unlimited, check_password("ann", "password"));
    call!(TaskWrite unlimited, open_session("ann", "taskdash", 1_000));
    call!(TaskWrite unlimited, session("token", "taskdash"));

    call!(Admin unlimited, settle_calendars());
    call!(Admin unlimited, running_operations());
    call!(Admin unlimited, unrecorded_operations());
    call!(Admin unlimited, record_operation_end(&operation()));
    call!(Admin unlimited, step_operation(&operation(), NOW));
    call!(Admin unlimited, prune_operations(NOW));
    call!(Admin unlimited, put_callback_service(&shop(), false));
    call!(Admin unlimited, remove_callback_service("shop"));
    call!(Admin unlimited, set_user(&user().change("password")));
    call!(Admin unlimited, users());
    call!(Admin unlimited, remove_user("ann"));
    call!(Admin unlimited, issue_token("other", Grant::everything(), Quota::default()));
    call!(Admin unlimited, tokens());
    call!(Admin unlimited, audit_log(&AuditFilter::default(), None, 10));
    call!(Admin unlimited, revoke_token("0"));
    calls
}

fn last_minute() -> NewBackfill {
    NewBackfill { from: NOW.plus_ms(-60_000), to: NOW, rate_per_sec: None, reason: None }
}

fn with_grant(scopes: &[Scope], tags: &[&str]) -> Caller {
    let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
    Caller { grant: Grant { scopes: scopes.to_vec(), tags, expires_at: None }, ..Caller::anonymous() }
}

#[tokio::test]
async fn a_handle_without_a_caller_can_do_nothing_and_sees_nothing() {
    let Filled { stage, run } = Filled::open().await;
    let stored = async || (stage.run(&run).await, stage.service.shown_task(&run.task_id).await.unwrap());
    let before = stored().await;
    assert_eq!(*stage.unbound.caller(), Caller::anonymous());
    for call in call_all(&stage.unbound, &run).await {
        assert_eq!(call.refusal, Some(Forbidden::Scope(call.scope)), "{}", call.command);
    }
    assert_eq!(stored().await, before);
}

#[tokio::test]
async fn each_command_requires_its_scope() {
    for scope in Scope::ALL {
        let Filled { stage, run } = Filled::open().await;
        let service = stage.service.for_caller(with_grant(&[scope], &[]));
        for call in call_all(&service, &run).await {
            let expected = (!scope.covers(call.scope)).then_some(Forbidden::Scope(call.scope));
            assert_eq!(call.refusal, expected, "{} with {scope:?}", call.command);
        }
    }
}

#[tokio::test]
async fn a_limited_caller_is_refused_by_commands_that_cannot_apply_the_limit() {
    let Filled { stage, run } = Filled::open().await;
    let service = stage.service.for_caller(with_grant(&[Admin], &["mail"]));
    for call in call_all(&service, &run).await {
        let expected = call.unlimited.then_some(Forbidden::Limited);
        assert_eq!(call.refusal, expected, "{}", call.command);
    }
}

#[tokio::test]
async fn the_table_above_has_every_command() {
    let Filled { stage, run } = Filled::open().await;
    let calls = call_all(&stage.unbound, &run).await;
    let mut known: BTreeSet<&str> = calls.iter().map(|call| call.command).collect();
    known.extend(WITHOUT_RIGHTS);
    known.insert(ADMISSION);
    let engine = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/engine");
    let files = std::fs::read_dir(engine.join("service")).unwrap().map(|entry| entry.unwrap().path());
    let mut commands = BTreeSet::new();
    for file in files.chain([engine.join("service.rs")]) {
        commands.extend(public_methods(&std::fs::read_to_string(file).unwrap()));
    }
    let commands: BTreeSet<&str> = commands.iter().map(String::as_str).collect();
    assert_eq!(commands, known);
}

/// The public methods in the blocks `impl Service`.
fn public_methods(source: &str) -> Vec<String> {
    let blocks = source.split("\nimpl ").filter(|block| block.starts_with("Service {"));
    let blocks = blocks.map(|block| block.split("\n}\n").next().unwrap_or_default());
    let lines = blocks.flat_map(str::lines).filter_map(|line| line.strip_prefix("    pub "));
    let names = lines.filter_map(|line| line.trim_start_matches("async ").strip_prefix("fn "));
    names.map(|name| name.split(['(', '<']).next().unwrap_or_default().to_owned()).collect()
}

/// Counts the calls that list runs, or count tasks.
#[derive(Default)]
struct Listings(AtomicUsize);

#[async_trait]
impl Plan for Listings {
    async fn request(&self, call: &'static str) -> taskcenter_server::ports::Result<()> {
        self.0.fetch_add(usize::from(matches!(call, "list_runs" | "count_tasks")), Ordering::Relaxed);
        Ok(())
    }

    async fn answer(&self, _: &'static str) -> taskcenter_server::ports::Result<()> {
        Ok(())
    }

    fn portion(&self, rows: usize) -> usize {
        rows
    }
}

/// A query of a tag that the task does not have reads all runs of the task.
#[tokio::test]
async fn runs_of_a_task_are_listed_without_a_query_for_each_tag() {
    let fixture = MemoryFixture::open().await;
    let listings = Arc::new(Listings::default());
    let store = Faulty::new(fixture.one(), Arc::clone(&listings) as Arc<dyn Plan>);
    let stage = Stage::on(Arc::new(store), fixture.records());
    let run = stage.ready("mail").await;
    let listed = async |tags: &[&str]| {
        let service = stage.service.for_caller(with_grant(&[TaskRead], tags));
        let filter = RunFilter { task_id: Some(run.task_id.clone()), ..RunFilter::default() };
        listings.0.store(0, Ordering::Relaxed);
        let runs = service.list_runs(&filter, &RunPage { limit: 10, before: None }).await.unwrap();
        (runs.len(), listings.0.load(Ordering::Relaxed))
    };
    assert_eq!(listed(&["a", "b", "mail"]).await, (1, 1));
    assert_eq!(listed(&["a", "b"]).await.0, 0);
}

/// The selection of a bulk action is counted up to 10,000.
#[tokio::test]
async fn a_count_over_many_tags_ends_at_its_limit() {
    let fixture = MemoryFixture::open().await;
    let listings = Arc::new(Listings::default());
    let store = Faulty::new(fixture.one(), Arc::clone(&listings) as Arc<dyn Plan>);
    let stage = Stage::on(Arc::new(store), fixture.records());
    let named = |_| Task { name: "t00".to_owned(), ..task() };
    fixture.one().insert_tasks((0..10_001).map(named).collect()).await;
    let tags: Vec<String> = (0..64).map(|n| format!("t{n:02}")).collect();
    let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
    let count = async |tags: &[&str]| {
        let service = stage.service.for_caller(with_grant(&[TaskWrite], tags));
        listings.0.store(0, Ordering::Relaxed);
        let count = service.preview_operation(pause_all()).await.unwrap();
        (count.rows, count.more, listings.0.load(Ordering::Relaxed))
    };
    assert_eq!(count(&tags).await, (10_000, true, 1));
    assert_eq!(count(&tags[1..]).await, (0, false, 63));
}
