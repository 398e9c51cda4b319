//! The contract of [`Store`], run against every adapter. A further adapter is one more line in `on_every_store!`.

mod advance;
mod changes;
mod counters;
pub mod lists;
pub mod memory;
mod migration;
#[cfg(feature = "cluster")]
pub mod mongo;
#[cfg(feature = "cluster")]
mod plans;
mod prune;
mod records;
mod runs;
pub mod samples;
pub mod sqlite;
mod tasks;

use std::sync::Arc;

use taskcenter_server::ports::{Records, Store};

/// Two handles on one ledger, as two nodes have them; whatever was made for them goes when it is dropped with `close`.
#[async_trait::async_trait]
pub trait Fixture: Send + Sync {
    fn one(&self) -> Arc<dyn Store>;
    fn two(&self) -> Arc<dyn Store>;
    fn records(&self) -> Arc<dyn Records>;
    async fn close(self: Box<Self>);
}

/// Makes each named case a test on each adapter.
macro_rules! on_every_store {
    ($($area:ident: $($case:ident)*;)*) => {
        #[cfg(feature = "cluster")]
        on_every_store!(@adapter mongodb crate::store::mongo::MongoFixture, $($area: $($case)*;)*);
        on_every_store!(@adapter on_sqlite crate::store::sqlite::SqliteFixture, $($area: $($case)*;)*);
        on_every_store!(@adapter in_memory crate::store::memory::MemoryFixture, $($area: $($case)*;)*);
    };
    (@adapter $adapter:ident $fixture:path, $($area:ident: $($case:ident)*;)*) => {
        mod $adapter {
            $($(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let fixture: Box<dyn crate::store::Fixture> = Box::new(<$fixture>::open().await);
                    crate::store::$area::$case(&*fixture).await;
                    fixture.close().await;
                }
            )*)*
        }
    };
}

on_every_store! {
    tasks:
        a_task_is_read_back_as_it_was_stored
        storing_a_task_again_changes_nothing
        a_second_live_task_with_a_key_is_answered_with_the_first
        two_nodes_that_store_one_key_agree_on_one_task
        tasks_of_one_key_in_one_batch_agree_on_one_task
        a_key_is_free_again_after_its_task_is_gone
        many_single_submits_are_all_stored
        a_deleted_task_stays_as_a_tombstone
        deleting_names_only_what_it_turned
        a_name_lists_its_tasks_newest_first_page_by_page
        due_tasks_are_the_soonest_active_ones_of_the_shards;
    advance:
        a_step_moves_the_task_and_counts_the_fire
        a_skip_moves_the_task_and_counts_nothing
        the_last_step_finishes_the_task_and_frees_its_key
        a_step_repeated_is_true_and_counted_once
        two_nodes_that_step_at_once_both_see_it_passed
        a_step_from_a_moment_that_already_passed_later_is_true
        a_step_of_another_revision_is_false
        a_step_into_the_stores_future_is_false_and_moves_nothing
        a_deleted_task_takes_no_step
        a_task_that_is_not_there_takes_no_step
        many_steps_in_one_call_are_answered_in_order;
    runs:
        a_run_is_read_back_as_it_was_stored
        a_second_run_of_a_moment_is_answered_with_the_first
        a_run_is_replaced_at_the_version_it_was_read_at
        a_stale_replacement_is_false_and_changes_nothing
        two_nodes_that_claim_one_run_have_one_winner
        many_replacements_are_answered_in_order
        an_ended_run_is_no_longer_open
        open_runs_come_page_by_page
        runs_needing_attention_come_longest_overdue_first;
    changes:
        a_task_is_replaced_where_it_stood
        a_task_that_has_moved_on_is_not_replaced
        a_replacement_repeated_is_done
        two_nodes_that_change_a_task_have_one_winner
        a_replacement_cannot_take_a_key_that_is_held
        a_revised_task_passes_no_moment_of_the_old_revision
        a_hidden_task_is_in_no_list
        a_task_is_cancelled_at_its_revision_only
        a_key_is_remembered_with_what_came_first
        what_was_remembered_long_ago_is_forgotten;
    lists:
        tasks_are_listed_by_name_and_state
        large_rows_end_no_list
        a_cancelled_task_is_listed_only_where_asked_for
        runs_are_listed_latest_first_page_by_page
        runs_are_listed_by_task_tag_and_state
        runs_are_read_by_their_ids
        ready_runs_come_earliest_first_and_by_queue
        every_queue_means_those_named_by_their_tag
        a_leased_run_is_no_longer_ready
        runs_that_need_the_bus_can_be_left_out
        queues_tell_what_they_hold;
    records:
        a_document_is_read_back_as_it_was_stored
        a_document_is_replaced_where_it_stands
        two_who_write_at_once_have_one_winner
        a_document_is_removed_where_it_stands
        documents_are_listed_by_key_and_by_index;
    counters:
        fires_add_up_by_tag_and_minute
        fires_counted_at_once_by_two_nodes_add_up
        ends_add_up_by_tag_state_and_day
        the_backlog_is_what_is_due_and_what_is_unreported;
    prune:
        what_ended_long_ago_goes_and_the_rest_stays
        a_tombstone_with_an_open_run_stays_and_holds_up_no_other
        many_tombstones_with_open_runs_hold_up_no_other
        pruning_is_bounded
        the_stores_clock_is_near_this_machines;
}
