//! The commands and the rescue loop, on every store: what a person does to tasks and runs, and what workers do.

mod change;
mod held;
mod large;
mod once;
mod open;
mod permissions;
mod triggers;
mod users;
mod work;

use std::sync::Arc;

use taskcenter_server::adapters::absent::NoBus;
use taskcenter_server::adapters::clock::ManualClock;
use taskcenter_server::adapters::entropy;
use taskcenter_server::adapters::local::LocalLock;
use taskcenter_server::core::submission::Submission;
use taskcenter_server::core::{Moment, Run, RunState, TaskId};
use taskcenter_server::engine::ids::Ids;
use taskcenter_server::engine::node::{Node, NodePorts};
use taskcenter_server::engine::service::{AccessSettings, Caller, Changed, Ports, Service, definition};
use taskcenter_server::engine::settings::Settings;
use taskcenter_server::engine::{publish, rescue};
use taskcenter_server::ports::{Advance, Clock, Lock, Records, Store};

use crate::store::samples::unique;

/// Long past for the stores' own clocks, so that whatever is due here is due for them.
pub const NOW: Moment = Moment::from_sec(1_000_000_000);

/// A node without its loops: each is turned by hand.
pub struct Stage {
    pub store: Arc<dyn Store>,
    pub clock: Arc<ManualClock>,
    pub node: Node,
    /// The commands with all rights.
    pub service: Service,
    /// The commands as they are without a caller.
    pub unbound: Service,
}

impl Stage {
    pub fn on(store: Arc<dyn Store>, records: Arc<dyn Records>) -> Self {
        Self::set(store, records, Settings::default())
    }

    /// A node that is set like this.
    pub fn set(store: Arc<dyn Store>, records: Arc<dyn Records>, settings: Settings) -> Self {
        let access = AccessSettings { trusted: vec!["10.1.0.0/16".to_owned()], ..AccessSettings::default() };
        let clock = Arc::new(ManualClock::new(NOW));
        let of_node: Arc<dyn Clock> = clock.clone();
        let lock: Arc<dyn Lock> = Arc::new(LocalLock::new(Arc::clone(&of_node)));
        let ids = Arc::new(Ids::new(unique() as u64));
        let node = Node::new(
            "node",
            NodePorts {
                store: Arc::clone(&store),
                bus: Arc::new(NoBus),
                lock: Arc::clone(&lock),
                clock: Arc::clone(&of_node),
            },
            Arc::clone(&ids),
            settings.clone(),
        );
        let ports = Ports { store: Arc::clone(&store), records, lock, clock: of_node, has_bus: false };
        let shutdown = node.shutdown.clone();
        let service = Service::new(ports, ids, Arc::clone(&node.hints), settings, shutdown);
        let unbound = service.with_access(access, entropy::fill);
        Self { store, clock, node, service: unbound.for_caller(Caller::node()), unbound }
    }

    /// Stores a task.
    pub async fn submit(&self, submission: Submission) -> TaskId {
        self.service.submit(submission).await.unwrap().id
    }

    /// A one-shot whose run waits in its queue.
    pub async fn ready(&self, name: &str) -> Run {
        let id = self.submit(Submission::named(name, format!("{}", unique()))).await;
        self.fire(&id).await
    }

    /// Fires the next moment of a task, as the dispatcher does.
    pub async fn fire(&self, id: &TaskId) -> Run {
        let task = self.store.task(id).await.unwrap().unwrap();
        let due = task.next_due_at.unwrap();
        let now = self.clock.now();
        let run = Run::firing(&task, due, "node", self.node.ids.token(now), now.plus_ms(10_000));
        self.store.insert_runs(std::slice::from_ref(&run)).await.unwrap();
        let fired = task.fired_count + 1;
        let advance = Advance {
            task_id: id.clone(),
            rev: task.rev,
            due,
            last_due_at: due,
            next_due_at: task.due_after(due, fired),
            fires: true,
        };
        assert_eq!(self.store.advance_tasks(&[advance]).await.unwrap(), [true]);
        publish::publish(&self.node, vec![run.clone()]).await;
        self.run(&run).await
    }

    /// Gives a task other data, which keeps its place.
    pub async fn edit(&self, id: &TaskId, data: &str) -> Changed {
        let task = self.store.task(id).await.unwrap().unwrap();
        let wish = Submission { data: data.to_owned(), ..definition(&task) };
        self.service.edit(id, task.rev, wish).await.unwrap()
    }

    /// The run as it is stored now.
    pub async fn run(&self, run: &Run) -> Run {
        self.store.run(&run.id).await.unwrap().unwrap()
    }

    /// Looks after overdue runs until there are none.
    pub async fn rescue(&self) {
        while rescue::run_once(&self.node, self.clock.now()).await.unwrap() {}
    }

    /// How many of a task's runs stand in each state.
    pub async fn states(&self, id: &TaskId) -> Vec<RunState> {
        let filter = taskcenter_server::ports::RunFilter { task_id: Some(id.clone()), ..Default::default() };
        let page = taskcenter_server::ports::RunPage { limit: 100, before: None };
        let runs = self.store.list_runs(&filter, &page).await.unwrap();
        runs.into_iter().map(|run| run.state).collect()
    }
}

/// Runs a case of this suite on a store.
pub async fn on_store(fixture: Box<dyn crate::store::Fixture>, case: impl AsyncFnOnce(&Stage)) {
    case(&Stage::on(fixture.one(), fixture.records())).await;
    fixture.close().await;
}

on_every_store! {
    suite service;
    change:
        a_paused_task_keeps_its_place_and_steps_no_further
        what_passed_while_it_was_paused_is_one_row
        a_resume_that_broke_off_goes_on_where_its_row_ends
        an_edit_names_the_runs_that_came_first_and_lets_them_go_on
        an_edit_of_another_revision_is_refused
        a_row_that_was_written_before_an_edit_ends_unfired
        a_cancelled_task_is_seen_and_a_deleted_one_is_not
        a_delete_calls_off_what_waits_and_names_what_is_held
        an_end_is_made_at_the_revision_that_was_asked_for
        an_end_that_an_edit_overtakes_is_refused
        a_dead_run_is_brought_back_for_one_more_attempt
        a_run_that_is_called_off_refuses_its_outcome;
    large:
        a_name_is_deleted_to_its_last_task_however_large_they_are;
    once:
        a_request_sent_again_names_the_same_tasks
        a_request_that_broke_off_is_completed
        a_key_with_another_request_is_refused
        one_bad_task_of_a_batch_is_its_own_business
        a_request_sent_again_is_not_judged_again;
    open:
        an_answer_names_some_of_very_many_open_runs
        a_delete_calls_off_what_waits_however_much_it_is
        every_revision_with_an_open_run_is_kept;
    triggers:
        a_triggered_run_fires_whatever_the_schedule_says
        a_trigger_that_a_delete_overtook_does_not_fire
        a_triggered_run_is_named_by_every_change_that_follows
        a_further_attempt_is_named_by_the_change_that_follows
        a_trigger_sent_again_fires_once
        a_trigger_sent_again_after_a_change_fires_once
        a_trigger_that_an_edit_overtakes_fires_the_new_definition
        a_trigger_that_was_handed_over_before_an_edit_is_not_made_twice
        a_run_that_the_broker_refused_is_brought_back_after_an_edit;
    users:
        another_password_ends_every_session_however_many_there_are;
    work:
        a_run_goes_to_one_worker
        many_workers_never_share_a_run
        a_worker_that_waits_is_woken
        an_outcome_is_kept_with_its_result
        an_outcome_sent_again_is_answered_like_the_first
        a_stale_worker_changes_nothing
        a_lease_that_ran_out_is_another_attempt
        a_renewed_lease_does_not_run_out
        a_hand_over_may_shorten_a_lease_and_a_renewal_may_not
        a_released_run_is_ready_at_once_and_counts_no_attempt
        a_failed_attempt_waits_for_its_pause
        outcomes_come_in_batches_and_are_answered_one_by_one;
}
