//! Checks of the quotas of tokens.

use taskcenter_server::core::Task;

use super::{Book, Checker};

/// Maximum number of live tasks of the token of the users.
pub const QUOTA: u32 = 4;
/// Tasks above the quota: those that users create at the same moment, also on nodes that are frozen, and those of requests that
/// were interrupted and are completed later.
const AT_ONCE: usize = 20;

impl Checker {
    /// Checks a new task that counts for a token.
    pub(super) fn quota_used(&self, book: &mut Book, task: &Task) {
        let Some(token) = &task.quota_token else { return };
        let of_token = |task: &Task| task.quota_token.as_ref() == Some(token) && !task.state.has_ended();
        let live = book.tasks.values().filter(|story| of_token(&story.task)).count();
        if live >= QUOTA as usize + AT_ONCE {
            self.violation(book, "a token has too many live tasks", live);
        }
    }

    /// Checks the refusal of a request with an idempotency key.
    pub fn refused_by_quota(&self, key: &str) {
        let mut book = self.book();
        if book.requests.contains_key(key) {
            self.violation(&mut book, "a quota refused a request that has an answer", key);
        }
    }
}
