//! Commands of users and workers, and the rescue loop, on every store.

mod alerts;
mod backfills;
mod calendars;
mod cancellation;
mod changes;
mod commands;
mod concurrency;
mod conflicts;
mod due_moments;
mod expiry;
mod holds;
mod idempotency;
mod interleaving;
mod large;
mod leases;
mod open_runs;
mod operation_canary;
mod operation_ends;
mod operation_labels;
mod operations;
mod overlap;
mod permissions;
mod quotas;
mod races;
mod rates;
mod recent_runs;
mod run_logs;
mod triggers;
mod turns;
mod users;

use std::sync::Arc;

use futures_util::future::join_all;
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
use taskcenter_server::engine::{admission, publish, rescue};
use taskcenter_server::ports::{Advance, Clock, Lock, Records, Store};

use crate::store::samples::unique;

/// Long past for the clocks of the stores, so that all moments of the tests are due there.
pub const NOW: Moment = Moment::from_sec(1_000_000_000);

/// Node whose loops run only when the test calls them.
pub struct Stage {
    pub store: Arc<dyn Store>,
    pub clock: Arc<ManualClock>,
    pub node: Node,
    /// Service handle with all rights.
    pub service: Service,
    /// Service handle without a caller.
    pub unbound: Service,
}

impl Stage {
    pub fn on(store: Arc<dyn Store>, records: Arc<dyn Records>) -> Self {
        Self::with_settings(store, records, Settings::default())
    }

    /// Creates a node with these settings.
    pub fn with_settings(store: Arc<dyn Store>, records: Arc<dyn Records>, settings: Settings) -> Self {
        Self::with_lock(store, records, settings, None, "node")
    }

    /// Creates a node with these settings, this lock and this name. Without a lock, it gets one of its own.
    pub fn with_lock(
        store: Arc<dyn Store>,
        records: Arc<dyn Records>,
        settings: Settings,
        lock: Option<Arc<dyn Lock>>,
        name: &str,
    ) -> Self {
        let access = AccessSettings { trusted: vec!["10.1.0.0/16".to_owned()], ..AccessSettings::default() };
        let clock = Arc::new(ManualClock::new(NOW));
        let node_clock: Arc<dyn Clock> = clock.clone();
        let lock = lock.unwrap_or_else(|| Arc::new(LocalLock::new(Arc::clone(&node_clock))));
        let ids = Arc::new(Ids::new(unique() as u64));
        let node = Node::new(
            name,
            NodePorts {
                store: Arc::clone(&store),
                bus: Arc::new(NoBus),
                lock: Arc::clone(&lock),
                clock: Arc::clone(&node_clock),
            },
            Arc::clone(&ids),
            settings.clone(),
        );
        let ports = Ports { store: Arc::clone(&store), records, lock, clock: node_clock, has_bus: false };
        let shutdown = node.shutdown.clone();
        let service = Service::new(ports, ids, Arc::clone(&node.hints), settings, shutdown);
        let service = service.with_patches(taskcenter_server::http::patch_definition);
        let unbound = service.with_access(access, entropy::fill);
        Self { store, clock, node, service: unbound.for_caller(Caller::node()), unbound }
    }

    /// Stores a task.
    pub async fn submit(&self, submission: Submission) -> TaskId {
        self.service.submit(submission).await.unwrap().id
    }

    /// Creates a task whose run is ready in its queue.
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
            nominal_at: None,
            fires: true,
            waits: false,
        };
        assert_eq!(self.store.advance_tasks(&[advance]).await.unwrap(), [true]);
        publish::publish(&self.node, admission::gate(&self.node, vec![run.clone()], now).await).await;
        self.run(&run).await
    }

    /// Changes the data of a task.
    pub async fn edit(&self, id: &TaskId, data: &str) -> Changed {
        let task = self.store.task(id).await.unwrap().unwrap();
        let edited = Submission { data: data.to_owned(), ..definition(&task) };
        self.service.edit(id, task.rev, edited).await.unwrap()
    }

    /// Returns the stored run.
    pub async fn run(&self, run: &Run) -> Run {
        self.store.run(&run.id).await.unwrap().unwrap()
    }

    /// Returns the stored runs, in the same order.
    pub async fn runs(&self, runs: &[Run]) -> Vec<Run> {
        join_all(runs.iter().map(|run| self.run(run))).await
    }

    /// Returns the states of the stored runs, in the same order.
    pub async fn states_of(&self, runs: &[Run]) -> Vec<RunState> {
        self.runs(runs).await.into_iter().map(|run| run.state).collect()
    }

    /// Rescues all overdue runs.
    pub async fn rescue(&self) {
        while rescue::run_once(&self.node, self.clock.now()).await.unwrap() {}
    }

    /// Returns the states of the runs of a task.
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
    alerts:
        a_silence_counts_on_every_node_until_it_ends
        raised_alerts_are_listed_on_every_node
        dead_runs_are_counted_from_the_first_reading_across_midnight
        a_queue_without_a_worker_is_reported_until_a_worker_takes_a_run
        a_full_limit_is_reported_while_runs_wait
        an_overdue_moment_is_reported_with_its_lateness
        an_expired_lease_is_counted_by_the_node_that_rescues_the_run;
    cancellation:
        a_worker_learns_of_a_cancelled_run_with_its_renewal
        a_stopped_run_is_cancelled_with_the_message_of_its_worker
        every_outcome_but_a_success_cancels_the_run
        a_success_after_the_request_is_a_success
        a_worker_that_does_not_stop_loses_the_run
        a_cancelled_run_of_a_dead_worker_ends_with_its_lease
        a_cancelled_run_of_a_stopped_node_ends_with_its_node
        a_run_that_another_party_has_is_cancelled_at_once
        a_hand_over_after_the_request_gets_the_grace_period;
    changes:
        viewers_are_told_of_every_change
        an_operation_is_told_to_its_creator_and_to_callers_without_limits;
    commands:
        a_paused_task_keeps_its_place_and_does_not_advance
        the_moments_of_a_pause_become_one_skipped_run
        an_interrupted_resume_continues_after_its_row
        an_edit_lists_the_runs_that_fired_before_and_lets_them_continue
        an_edit_of_another_revision_is_refused
        an_undecided_run_ends_unfired_after_an_edit
        a_cancelled_task_is_visible_and_a_deleted_one_is_not
        a_delete_cancels_waiting_runs_and_lists_leased_ones
        cancel_and_delete_need_the_given_revision
        cancel_and_delete_are_refused_after_a_concurrent_edit
        a_redriven_run_gets_one_more_attempt
        a_redriven_run_delivers_an_edited_payload;
    concurrency:
        runs_over_the_limit_of_a_task_wait_and_start_in_order
        tasks_share_the_slots_of_their_scope_and_key
        a_full_key_does_not_block_the_runs_of_another_key
        the_groups_of_a_key_have_their_turns
        a_failed_or_postponed_attempt_frees_its_slot
        a_lost_worker_frees_the_slot_of_its_run
        a_run_keeps_the_slot_of_its_task_while_it_waits_for_a_limit
        a_later_run_replaces_a_run_that_waits_for_a_limit
        slots_above_a_lowered_maximum_count
        a_waiting_run_expires_and_is_cancelled_with_its_task_of_a_limit
        many_nodes_never_exceed_a_limit;
    conflicts:
        a_submission_can_refuse_a_live_task
        a_refusal_is_repeated_after_the_end_of_the_live_task
        a_submission_replaces_the_live_task
        a_replacement_decides_the_due_moments_first
        a_replacement_of_a_task_that_ends_creates_a_task
        a_replacement_beside_an_edit_is_done_after_it
        a_repeated_request_replaces_once
        an_interrupted_replacement_is_completed_once
        two_equal_requests_replace_once
        the_last_submission_of_a_batch_decides
        debounced_creates_fire_once_with_the_last_payload
        a_debounced_create_after_the_fire_starts_a_task;
    calendars:
        a_task_has_the_content_of_its_calendars
        another_version_gives_its_tasks_other_moments
        moments_that_are_due_are_decided_under_the_version_before
        a_task_without_a_moment_waits_for_another_version
        the_last_moment_of_a_calendar_does_not_finish_the_task
        the_leading_node_gives_the_version_to_tasks_that_were_missed
        a_calendar_in_use_is_not_deleted
        an_edit_of_the_calendars_continues_the_schedule;
    due_moments:
        an_edit_of_the_times_decides_the_due_moments
        an_edit_follows_the_misfire_policy_of_the_task
        moments_that_an_edit_does_not_decide_are_one_skipped_run
        an_edit_of_a_paused_task_stores_the_moments_of_the_pause
        a_due_one_shot_fires_before_an_edit;
    expiry:
        a_run_that_no_worker_takes_in_time_ends_skipped
        a_worker_gets_no_expired_run
        a_run_that_has_started_does_not_expire
        a_postponed_run_expires_at_its_limit;
    holds:
        no_worker_gets_a_run_of_a_held_queue
        a_worker_of_every_queue_gets_no_run_of_a_held_one
        a_waiting_worker_is_woken_by_the_end_of_a_hold
        runs_of_a_held_tag_wait_and_go_on_in_order
        a_hold_ends_at_its_end_on_every_node
        a_later_run_goes_on_after_those_that_waited
        a_run_that_waited_for_a_slot_goes_on_before_those_of_a_hold
        a_held_run_frees_its_slots_and_asks_again_after_the_hold
        the_overlap_policy_decides_when_the_hold_ends
        a_held_run_expires_and_is_cancelled_with_its_task
        a_run_is_handed_over_after_its_hold_although_its_task_was_edited
        a_retried_run_of_a_held_tag_waits
        a_second_hold_of_a_name_changes_the_first;
    large:
        delete_by_name_deletes_every_task_even_if_all_are_large;
    idempotency:
        a_repeated_request_returns_the_same_tasks
        an_interrupted_request_is_completed
        a_key_of_another_request_is_refused
        an_invalid_task_does_not_affect_the_rest_of_its_batch
        a_repeated_request_is_not_validated_again
        callers_do_not_share_keys
        a_refused_request_leaves_nothing
        an_answer_with_an_existing_task_is_repeated_after_its_end
        two_equal_requests_get_one_answer_while_the_existing_task_ends;
    recent_runs:
        a_limited_caller_sees_the_latest_runs_of_its_tags_only;
    open_runs:
        an_answer_lists_a_limited_number_of_open_runs
        a_delete_cancels_any_number_of_waiting_runs
        a_delete_by_name_cancels_the_waiting_runs_of_all_tasks
        past_revisions_with_open_runs_are_kept;
    overlap:
        a_second_run_is_suppressed_under_skip
        one_run_waits_and_the_first_or_the_latest_is_kept
        waiting_runs_start_in_order_when_the_run_before_ends
        a_slot_is_kept_during_a_retry_pause
        a_redriven_run_waits_and_is_not_suppressed
        a_run_that_waits_beside_another_one_is_suppressed_by_the_next_look
        a_waiting_run_expires_and_is_cancelled_with_its_task
        an_interrupted_admission_is_continued_by_the_rescue
        many_nodes_admit_one_run_of_a_task
        a_later_run_replaces_the_run_before
        a_look_asks_the_run_before_to_stop;
    triggers:
        a_triggered_run_fires_outside_the_schedule
        a_triggered_run_does_not_fire_after_a_delete
        every_later_change_lists_an_open_triggered_run
        a_later_change_lists_a_run_in_a_further_attempt
        a_repeated_trigger_fires_once
        a_trigger_may_have_another_payload
        a_trigger_with_an_invalid_payload_leaves_no_trace
        a_repeated_trigger_after_a_change_fires_once
        a_trigger_during_an_edit_fires_the_new_definition
        a_trigger_that_was_handed_over_before_an_edit_creates_no_second_run
        a_run_that_the_broker_refused_can_be_redriven_after_an_edit;
    operations:
        an_operation_acts_on_the_tasks_that_existed
        many_tasks_are_processed_in_batches
        a_batch_that_is_repeated_triggers_each_task_once
        a_redrive_gives_each_dead_run_one_attempt
        runs_can_be_cancelled_and_redriven_by_id
        failures_are_counted_and_kept_up_to_a_bound
        an_operation_that_is_unreadable_hides_no_other
        an_aborted_operation_does_no_more
        the_rate_holds_also_after_a_pause_of_the_node
        a_dry_run_counts_up_to_a_bound
        an_edit_applies_a_patch_once
        the_limits_of_the_creator_hold_for_each_item
        a_revoked_token_ends_its_operations
        a_repeated_request_creates_one_operation
        operations_are_listed_newest_first_and_pruned
        too_many_operations_are_refused
        two_nodes_at_once_have_one_effect;
    backfills:
        each_moment_of_the_range_gets_one_run
        a_batch_that_is_repeated_backfills_each_moment_once
        an_edit_changes_the_payload_and_not_the_moments
        a_cancelled_task_gets_no_further_run
        a_backfill_that_cannot_be_is_refused;
    operation_canary:
        a_canary_that_succeeds_lets_the_others_follow
        a_canary_that_fails_holds_the_operation
        a_held_operation_can_be_aborted_and_is_not_pruned
        a_run_that_cannot_be_redriven_is_no_canary
        a_canary_keeps_the_rate
        a_step_that_is_repeated_redrives_no_other_run
        a_patch_changes_the_payload_of_each_run;
    operation_labels:
        a_filter_with_labels_selects_the_rows_that_have_all_of_them
        a_filter_with_labels_finds_few_rows_among_many;
    operation_ends:
        a_removed_user_ends_its_operations;
    races:
        one_of_equal_edits_wins
        a_counter_loses_no_update
        each_change_is_acknowledged_once
        a_pause_that_changes_nothing_reads_the_latest_task
        a_resume_that_loses_a_race_leaves_no_row;
    rates:
        runs_over_the_rate_wait_with_the_moment_of_the_next_start
        waiting_runs_start_in_order_at_the_interval_of_the_rate
        excess_is_dropped_with_a_reason_and_a_later_attempt_waits
        a_run_without_a_slot_uses_no_permit_and_without_a_permit_no_slot
        a_full_rate_does_not_block_the_runs_of_another_key
        a_run_that_is_rescued_before_its_hand_over_needs_another_permit
        the_end_of_a_hold_gives_no_permit
        many_nodes_never_exceed_a_rate;
    quotas:
        a_token_at_its_limit_creates_a_task_after_another_one_ends
        an_edit_by_another_caller_keeps_the_place_of_the_task
        a_list_is_created_as_a_whole_or_refused_with_the_number_that_fits
        a_repeated_request_is_not_refused
        a_task_with_the_key_of_a_live_task_needs_no_place
        concurrent_creates_of_one_node_never_exceed_the_quota
        the_nodes_share_the_quotas_of_a_token
        creates_per_second_are_refused_with_the_time_to_wait
        a_repeated_request_takes_no_permit;
    users:
        a_new_password_ends_any_number_of_sessions
        a_replaced_or_removed_user_leaves_no_session_of_the_console
        a_user_of_an_earlier_release_uses_the_legacy_apis_only;
    run_logs:
        a_stale_worker_writes_no_line
        a_cancelled_run_accepts_no_line
        a_published_run_accepts_lines_for_an_hour
        a_log_is_followed_until_the_run_ends
        a_log_of_another_node_is_followed
        a_follower_ends_with_its_node;
    leases:
        a_run_carries_the_headers_of_its_task
        a_repeated_lease_request_gets_the_same_attempts
        a_repeated_lease_request_begins_no_grace_period
        calls_of_one_lease_request_at_once_lease_no_run_in_vain
        a_run_goes_to_one_worker
        many_workers_never_share_a_run
        a_waiting_worker_is_woken
        an_outcome_is_kept_with_its_result
        a_repeated_outcome_is_answered_like_the_first
        a_stale_worker_changes_nothing
        an_expired_lease_starts_another_attempt
        a_renewed_lease_does_not_expire
        a_hand_over_can_shorten_a_lease_and_a_renewal_cannot
        a_released_run_is_ready_immediately_and_counts_no_attempt
        a_failed_attempt_waits_for_its_pause
        the_runs_of_a_stopped_node_start_again_at_once
        a_run_of_a_deleted_task_ends_with_its_node
        a_postponed_run_waits_and_counts_no_attempt
        a_postponed_run_expires
        renewals_do_not_extend_an_attempt_beyond_max_runtime
        a_renewal_carries_the_progress_of_the_attempt
        each_outcome_of_a_batch_has_its_own_answer;
    turns:
        a_backlog_of_a_tag_does_not_delay_another_tag
        tags_with_a_backlog_share_a_lease
        each_of_many_tags_has_its_turn
        single_runs_are_leased_in_turn
        workers_of_single_runs_serve_different_tags
        the_tags_of_a_queue_take_turns
        lists_of_queues_have_their_own_turns
        few_ready_runs_are_leased_in_turn
        a_held_tag_does_not_use_up_the_turns
        workers_at_once_get_full_leases;
}
