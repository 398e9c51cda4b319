//! Conformance suite of [`Store`] and [`Records`], run against every adapter.

mod advance;
mod audit;
mod changes;
mod counters;
mod fire;
mod holds;
pub mod labels;
pub mod lists;
pub mod memory;
mod migration;
#[cfg(feature = "cluster")]
pub mod mongo;
#[cfg(feature = "cluster")]
mod mongo_conflicts;
#[cfg(feature = "cluster")]
mod plans;
mod prune;
mod rates;
mod records;
pub mod requests;
mod revisions;
pub mod run_logs;
mod runs;
pub mod samples;
#[cfg(feature = "cluster")]
mod shared_updates;
pub mod sqlite;
mod sqlite_fire;
pub mod sqlite_large;
mod sqlite_turns;
mod sqlite_writes;
mod tasks;
#[cfg(feature = "cluster")]
mod turn_plans;
mod turns;

use std::sync::Arc;

use taskcenter_server::ports::{Records, Store};

/// Two handles on one ledger, for two nodes. `close` removes the ledger.
#[async_trait::async_trait]
pub trait Fixture: Send + Sync {
    fn one(&self) -> Arc<dyn Store>;
    fn two(&self) -> Arc<dyn Store>;
    fn records(&self) -> Arc<dyn Records>;
    async fn close(self: Box<Self>);
}

/// Runs a case of a suite on a store.
pub async fn on_store(fixture: Box<dyn Fixture>, case: impl AsyncFnOnce(&dyn Fixture)) {
    case(&*fixture).await;
    fixture.close().await;
}

on_every_store! {
    suite store;
    tasks:
        a_task_is_read_back_as_it_was_stored
        inserting_a_task_again_changes_nothing
        a_second_task_with_a_key_gets_the_id_of_the_first
        many_tasks_are_inserted_once
        two_nodes_that_insert_one_key_agree_on_one_task
        one_task_per_key_of_a_batch_is_stored
        a_key_is_free_after_its_task_is_cancelled
        a_live_task_is_read_by_its_key
        many_concurrent_inserts_are_all_stored
        a_cancelled_task_stays_as_a_tombstone
        cancelling_returns_the_ids_of_tombstones
        tasks_of_a_name_are_listed_in_pages_newest_first
        due_tasks_are_active_tasks_of_the_shards_soonest_first
        a_stored_tombstone_equals_the_rule_in_core;
    advance:
        a_step_moves_the_task_and_counts_the_fire
        a_skip_moves_the_task_without_counting_a_fire
        the_last_step_finishes_the_task_and_frees_its_key
        a_repeated_step_is_true_and_counts_once
        two_concurrent_steps_are_both_true
        a_step_past_an_earlier_moment_is_true
        a_step_of_another_revision_is_false
        a_step_past_a_future_moment_is_false
        a_step_of_a_cancelled_task_is_false
        a_step_of_an_unknown_task_is_false
        the_results_of_many_steps_are_in_order
        a_stored_step_equals_the_rule_in_core;
    fire:
        a_fire_stores_the_run_and_advances_the_task
        a_fire_in_one_write_puts_the_run_into_its_queue
        a_skipped_stretch_is_stored_and_not_counted
        an_existing_row_decides
        a_repeated_fire_finds_the_first_row_and_counts_once
        two_concurrent_fires_agree_on_one_row
        a_changed_task_does_not_pass_its_moment
        a_future_moment_is_not_passed
        the_results_of_many_fires_are_in_order;
    runs:
        a_run_is_read_back_as_it_was_stored
        a_second_run_of_a_moment_gets_the_first_run
        a_run_is_replaced_at_its_version
        an_edited_payload_is_stored_and_kept
        a_replacement_of_a_stale_version_is_false
        one_of_two_concurrent_claims_wins
        the_results_of_many_replacements_are_in_order
        an_ended_run_is_no_longer_open
        open_runs_are_listed_in_pages
        runs_needing_attention_are_longest_overdue_first
        leased_runs_are_listed_with_their_workers
        a_lease_slot_belongs_to_one_leased_run
        a_slot_belongs_to_one_run_until_it_ends
        held_runs_are_listed_earliest_first
        waiting_runs_are_listed_by_their_groups_and_keys
        all_slots_of_a_run_are_taken_in_one_write_or_none;
    holds:
        runs_that_wait_for_the_end_of_a_hold_are_a_group;
    rates:
        permits_are_granted_up_to_the_burst
        a_request_for_several_permits_gets_all_or_none
        a_permit_is_granted_again_after_the_interval
        concurrent_calls_never_exceed_a_rate
        an_unused_rate_limit_is_pruned;
    changes:
        a_task_is_replaced_at_its_position
        a_changed_task_is_not_replaced
        a_repeated_replacement_is_done
        an_equal_replacement_of_another_write_is_not_done
        a_replacement_and_its_skipped_row_are_one_write
        a_replacement_and_its_answer_are_one_write
        one_of_many_calls_ends_a_task
        one_of_two_concurrent_replacements_wins
        a_replacement_cannot_take_the_key_of_a_live_task
        a_step_of_an_earlier_revision_does_not_move_the_task
        a_hidden_task_is_not_listed
        a_task_is_cancelled_only_at_the_given_revision;
    revisions:
        an_edit_keeps_the_definition_before
        a_change_of_the_state_keeps_no_definition
        a_repeated_or_refused_edit_adds_no_definition
        the_oldest_definitions_are_removed
        definitions_are_removed_with_their_task
        the_definition_is_read_from_the_task_that_defines_it;
    audit:
        entries_are_listed_newest_first
        entries_are_selected_by_actor_action_object_and_time
        a_prune_removes_old_entries;
    requests:
        a_request_stores_its_record_and_its_tasks
        a_second_request_with_a_key_stores_nothing
        a_repeated_insert_of_a_request_stores_the_missing_tasks
        one_of_two_concurrent_requests_with_a_key_wins
        a_task_of_a_request_can_have_the_dedup_key_of_another_task
        many_concurrent_requests_are_all_stored
        old_idempotency_records_are_pruned;
    lists:
        tasks_are_listed_by_name_and_state
        large_rows_are_listed_in_pages
        a_page_is_counted_up_to_its_limit
        a_cancelled_task_is_listed_only_by_its_state
        runs_are_listed_in_pages_latest_first
        runs_are_listed_by_task_tag_and_state
        runs_are_read_by_their_ids
        the_latest_runs_of_tasks_are_listed_by_task
        ready_runs_of_queues_are_earliest_first
        ready_runs_of_all_queues_are_those_of_queues_named_after_their_tag
        a_leased_run_is_no_longer_ready
        runs_without_a_queue_can_be_excluded
        queues_count_their_runs_by_state;
    turns:
        the_keys_of_all_queues_have_the_tag_of_their_queue
        the_keys_of_named_queues_have_any_tag
        many_keys_are_listed_in_pages
        only_ready_runs_have_a_turn
        the_runs_of_keys_are_earliest_first
        a_full_answer_says_that_more_runs_are_ready;
    labels:
        tasks_are_listed_by_label_and_state
        tasks_are_listed_by_calendar
        the_live_tasks_of_a_token_are_counted
        the_label_of_a_task_follows_its_changes
        a_step_and_a_fire_keep_the_labels
        runs_are_listed_by_label_and_state
        the_label_of_a_run_follows_its_states
        a_pruned_row_is_no_longer_listed_by_label;
    records:
        a_document_is_read_back_as_it_was_stored
        a_document_is_replaced_at_its_version
        one_of_two_concurrent_writes_wins
        a_document_is_removed_at_its_version
        documents_are_listed_by_key_and_by_index;
    counters:
        fires_add_up_by_tag_and_minute
        fires_counted_concurrently_by_two_nodes_add_up
        outcomes_add_up_by_tag_state_and_day
        the_backlog_has_due_moments_and_unreported_runs;
    run_logs:
        lines_are_read_back_in_order
        an_append_does_not_write_the_run
        a_repeated_batch_is_stored_once
        concurrent_writers_lose_no_line
        a_log_is_read_from_any_line
        a_long_log_keeps_its_beginning_and_its_end
        a_log_is_pruned_with_its_run;
    prune:
        rows_that_ended_long_ago_are_pruned
        a_tombstone_with_an_open_run_stays_and_does_not_block_others
        many_tombstones_with_open_runs_do_not_block_others
        pruning_removes_at_most_the_limit
        the_stores_clock_is_close_to_the_system_clock;
}

on_every_store! {
    @store in_memory_in_one_write crate::store::memory::OneWriteFixture, store,
    fire:
        a_fire_stores_the_run_and_advances_the_task
        a_fire_in_one_write_puts_the_run_into_its_queue
        a_skipped_stretch_is_stored_and_not_counted
        an_existing_row_decides
        a_repeated_fire_finds_the_first_row_and_counts_once
        a_changed_task_does_not_pass_its_moment
        a_future_moment_is_not_passed
        the_results_of_many_fires_are_in_order;
}
