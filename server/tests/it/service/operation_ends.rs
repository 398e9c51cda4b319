//! The end of an operation: in the audit log whatever was lost, and when its creator is gone.

use std::sync::{Arc, Mutex};

use taskcenter_server::adapters::fault::{Faulty, Plan};
use taskcenter_server::core::TaskState;
use taskcenter_server::core::access::{ConsoleAccess, Role};
use taskcenter_server::core::labels::Labels;
use taskcenter_server::core::operation::{Action, NewOperation, Operation, OperationState, Selection};
use taskcenter_server::core::submission::Submission;
use taskcenter_server::engine::operations;
use taskcenter_server::engine::service::{AuditAction, AuditFilter, Origin, Service, User};
use taskcenter_server::ports::{Clock, PortError, Records, Result, Store};

use super::Stage;
use super::operations::{finish, state};
use crate::store::Fixture as _;
use crate::store::memory::MemoryFixture;

/// Loses the answer of the next call with this name.
#[derive(Default)]
struct LostAnswer(Mutex<Option<&'static str>>);

impl LostAnswer {
    fn lose(&self, call: &'static str) {
        *self.0.lock().unwrap() = Some(call);
    }
}

#[async_trait::async_trait]
impl Plan for LostAnswer {
    async fn request(&self, _: &'static str) -> Result<()> {
        Ok(())
    }

    async fn answer(&self, call: &'static str) -> Result<()> {
        match self.0.lock().unwrap().take_if(|lost| *lost == call) {
            None => Ok(()),
            Some(_) => Err(PortError::Unavailable("store", "the answer was lost".into())),
        }
    }

    fn portion(&self, rows: usize) -> usize {
        rows
    }
}

/// A node whose store loses answers, and a caller with an entry in the audit log for each request.
struct Scene {
    stage: Stage,
    plan: Arc<LostAnswer>,
    caller: Service,
}

impl Scene {
    async fn open() -> Self {
        let (fixture, plan) = (MemoryFixture::open().await, Arc::new(LostAnswer::default()));
        let as_plan = || Arc::clone(&plan) as Arc<dyn Plan>;
        let store: Arc<dyn Store> = Arc::new(Faulty::new(fixture.one(), as_plan()));
        let records: Arc<dyn Records> = Arc::new(Faulty::new(fixture.records(), as_plan()));
        let stage = Stage::on(store, records);
        let caller = stage.unbound.admit(None, Origin::Here).await.unwrap();
        let caller = stage.unbound.for_caller(caller);
        Self { stage, plan, caller }
    }

    async fn create(&self) -> Operation {
        self.caller.create_operation(pause_mail(), None).await.unwrap()
    }

    /// Runs the loop once.
    async fn turn(&self) -> Result<()> {
        let on = &self.stage;
        operations::run_once(&on.node, &on.service, on.clock.now()).await.map(drop)
    }

    /// Returns the ends in the audit log.
    async fn ends(&self) -> Vec<String> {
        let filter = AuditFilter { action: Some(AuditAction::OperationEnd), ..AuditFilter::default() };
        let (entries, _) = self.stage.service.audit_log(&filter, None, 10).await.unwrap();
        entries
            .into_iter()
            .map(|entry| format!("{} {} {}", entry.object, entry.detail, entry.outcome))
            .collect()
    }
}

fn pause_mail() -> NewOperation {
    let selection = Selection::Tasks { name: Some("mail".to_owned()), state: None, labels: Labels::new() };
    NewOperation::new(Action::Pause, selection)
}

#[tokio::test]
async fn an_abort_whose_answer_was_lost_is_in_the_audit_log_once() {
    let scene = Scene::open().await;
    let operation = scene.create().await;
    scene.plan.lose("put_record");
    scene.caller.abort_operation(&operation.id).await.unwrap_err();
    let stored = scene.stage.service.operation(&operation.id).await.unwrap();
    assert_eq!((stored.state, scene.ends().await), (OperationState::Aborted, vec![]));
    scene.caller.abort_operation(&operation.id).await.unwrap();
    for _ in 0..2 {
        scene.turn().await.unwrap();
        assert_eq!(scene.ends().await, [format!("{} pause aborted", operation.id)]);
    }
    assert!(scene.stage.service.unrecorded_operations().await.unwrap().is_empty());
}

#[tokio::test]
async fn an_entry_whose_answer_was_lost_is_stored_once() {
    let scene = Scene::open().await;
    let operation = scene.create().await;
    scene.plan.lose("append_audit");
    scene.caller.abort_operation(&operation.id).await.unwrap();
    assert_eq!(scene.stage.service.unrecorded_operations().await.unwrap().len(), 1);
    scene.turn().await.unwrap();
    assert_eq!(scene.ends().await, [format!("{} pause aborted", operation.id)]);
    assert!(scene.stage.service.unrecorded_operations().await.unwrap().is_empty());
}

#[tokio::test]
async fn an_end_whose_answer_was_lost_is_in_the_audit_log_once() {
    let scene = Scene::open().await;
    let operation = scene.create().await;
    let state = async || scene.stage.service.operation(&operation.id).await.unwrap().state;
    while state().await == OperationState::Running {
        scene.plan.lose("put_record");
        scene.turn().await.unwrap_err();
        scene.stage.clock.advance_ms(1);
    }
    for _ in 0..2 {
        scene.turn().await.unwrap();
        assert_eq!(scene.ends().await, [format!("{} pause completed", operation.id)]);
    }
    assert!(scene.stage.service.unrecorded_operations().await.unwrap().is_empty());
}

pub async fn a_removed_user_ends_its_operations(on: &Stage) {
    let console = ConsoleAccess { role: Role::Operator, tags: vec!["mail".to_owned()] };
    let ann = User { name: "ann".to_owned(), senior: false, console: Some(console), expires_at: None };
    on.service.set_user(&ann.change("correct horse")).await.unwrap();
    let secret = on.unbound.open_user_session("ann", "correct horse", 3_600_000).await.unwrap();
    let caller = on.unbound.browser_session(&secret).await.unwrap().expect("the session is open");
    let start_at = Some(on.clock.now().plus_ms(3_600_000));
    let mail = |data: &str| Submission { start_at, ..Submission::named("mail", data) };
    let (first, second) = (on.submit(mail("1")).await, on.submit(mail("2")).await);
    on.clock.advance_ms(1);
    let slow = NewOperation { rate_per_sec: Some(1), ..pause_mail() };
    let operation = on.unbound.for_caller(caller).create_operation(slow, None).await.unwrap();
    while on.service.operation(&operation.id).await.unwrap().done == 0 {
        let next = operations::run_once(&on.node, &on.service, on.clock.now()).await.unwrap();
        on.clock.advance_ms(next.expect("the operation runs").since(on.clock.now()).max(0));
    }
    on.service.remove_user("ann").await.unwrap();
    assert_eq!(on.unbound.browser_session(&secret).await.unwrap(), None);
    let ended = finish(on, &operation).await;
    assert_eq!((ended.state, ended.done), (OperationState::Failed, 1));
    assert_eq!(ended.message.as_deref(), Some("the rights of its creator were revoked"));
    let mut states = [state(on, &first).await, state(on, &second).await];
    states.sort_by_key(|state| *state == TaskState::Active);
    assert_eq!(states, [TaskState::Paused, TaskState::Active], "the rest of the operation is not done");
}
