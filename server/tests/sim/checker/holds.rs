//! Checks of holds: no worker gets a run of a held queue or tag, as soon as every node must know the hold.

use taskcenter_server::core::hold::{Hold, HoldScope};
use taskcenter_server::core::{Moment, Run, RunState};

use super::{Book, Checker};

/// Time after which every node obeys a hold, in milliseconds: the age of what a node knows, and a lease request that began
/// before.
const OBEYED_AFTER_MS: i64 = 1_000 + 20_000;

/// An acknowledged hold.
pub(super) struct HoldStory {
    scope: HoldScope,
    name: String,
    from: Moment,
    until: Moment,
}

impl Checker {
    /// Records an acknowledged hold.
    pub fn held(&self, hold: &Hold) {
        let (scope, name) = (hold.scope, hold.name.clone());
        let until = hold.until.unwrap_or(Moment::NEVER);
        self.book().holds.push(HoldStory { scope, name, from: self.now(), until });
    }

    /// Records that an operator ends the hold.
    pub fn about_to_release(&self, scope: HoldScope, name: &str) {
        let now = self.now();
        let mut book = self.book();
        let of_name = book.holds.iter_mut().filter(|hold| hold.scope == scope && hold.name == name);
        of_name.for_each(|hold| hold.until = hold.until.min(now));
    }

    /// Returns whether a worker gets a run that every node must hold.
    pub(super) fn is_leased_during_a_hold(&self, book: &Book, before: &Run, after: &Run) -> bool {
        let is_leased = (before.state, after.state) == (RunState::Ready, RunState::Leased);
        let (from, until) = (self.now().plus_ms(-OBEYED_AFTER_MS), self.now().plus_ms(self.skew_ms));
        let covers = |hold: &HoldStory| {
            let name = match hold.scope {
                HoldScope::Queue => after.queue.as_deref(),
                HoldScope::Tag => Some(after.tag.as_str()),
            };
            name == Some(hold.name.as_str()) && hold.from < from && until < hold.until
        };
        is_leased && book.holds.iter().any(covers)
    }
}
