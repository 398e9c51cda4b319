//! Every failpoint of the source, and the story that passes it.

use crate::stories::Story;

/// A failpoint.
#[derive(Debug, Clone, Copy)]
pub struct Point {
    pub name: &'static str,
    pub story: Story,
}

const fn at(name: &'static str, story: Story) -> Point {
    Point { name, story }
}

/// All of them, in the order of a run's life.
pub const POINTS: &[Point] = &[
    at("submit::before_remember", Story::Fires),
    at("submit::remembered", Story::Fires),
    at("submit::before_insert", Story::Fires),
    at("submit::inserted", Story::Fires),
    at("fire::before_insert", Story::Fires),
    at("fire::inserted", Story::Fires),
    at("fire::advanced", Story::Fires),
    at("fire::before_publish", Story::Fires),
    at("fire::published", Story::Fires),
    at("fire::before_queue", Story::Fires),
    at("fire::marked", Story::Fires),
    at("fire::counted", Story::Fires),
    at("fire::before_refused", Story::Retries),
    at("fire::refused", Story::Retries),
    at("rescue::before_claim", Story::Rescues),
    at("rescue::claimed", Story::Rescues),
    at("rescue::before_advance", Story::Rescues),
    at("rescue::advanced", Story::Rescues),
    at("rescue::before_cancel", Story::Rescues),
    at("rescue::cancelled", Story::Rescues),
    at("lease::before_update", Story::Retries),
    at("lease::updated", Story::Retries),
    at("renew::before_update", Story::Retries),
    at("renew::updated", Story::Retries),
    at("report::before_update", Story::Retries),
    at("report::updated", Story::Retries),
    at("change::before_insert", Story::Changes),
    at("change::inserted", Story::Changes),
    at("change::before_replace", Story::Changes),
    at("change::replaced", Story::Changes),
    at("trigger::before_insert", Story::Changes),
    at("trigger::inserted", Story::Changes),
    at("trigger::called_off", Story::Changes),
    at("run::before_change", Story::Changes),
    at("run::changed", Story::Changes),
    at("cancel::before_cancel", Story::Changes),
    at("cancel::cancelled", Story::Changes),
    at("delete::before_cancel", Story::Changes),
    at("delete::cancelled", Story::Changes),
    at("delete::called_off", Story::Changes),
    at("record::before_put", Story::Documents),
    at("record::put", Story::Documents),
    at("record::before_remove", Story::Documents),
    at("record::removed", Story::Documents),
    at("prune::before_remove", Story::Prunes),
    at("prune::removed", Story::Prunes),
    at("sqlite::begun", Story::Retries),
    at("sqlite::before_commit", Story::Fires),
    at("sqlite::committed", Story::Fires),
    at("mongo::before_insert_tasks", Story::Fires),
    at("mongo::tasks_inserted", Story::Fires),
    at("mongo::before_insert_runs", Story::Fires),
    at("mongo::runs_inserted", Story::Fires),
    at("mongo::before_update", Story::Fires),
    at("mongo::updated", Story::Retries),
    at("mongo::before_remember", Story::Fires),
    at("mongo::remembered", Story::Fires),
    at("mongo::before_replace", Story::Changes),
    at("mongo::replaced", Story::Changes),
    at("mongo::before_bury", Story::Changes),
    at("mongo::buried", Story::Changes),
    at("mongo::hidden", Story::Changes),
    at("mongo::before_record", Story::Documents),
    at("mongo::record_stored", Story::Documents),
    at("mongo::record_removed", Story::Documents),
    at("mongo::runs_pruned", Story::Prunes),
];
