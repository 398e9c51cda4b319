//! Holds of a run: the run waits until a hold of its tag or queue has ended.

use serde::{Deserialize, Serialize};

use super::{IllegalTransition, Run, RunState};
use crate::core::Moment;
use crate::core::hold::HoldScope;
use crate::core::wait_group::WaitGroup;

/// What a hold has done to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldMark {
    /// The run waits for the end of the hold of its queue.
    Queue,
    /// The run waits for the end of the hold of its tag.
    Tag,
    /// The hold for which the run has waited has ended.
    Over,
}

impl HoldMark {
    const fn of(scope: HoldScope) -> Self {
        match scope {
            HoldScope::Queue => Self::Queue,
            HoldScope::Tag => Self::Tag,
        }
    }

    /// Returns the mark as the stores spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Tag => "tag",
            Self::Over => "over",
        }
    }

    const fn scope(self) -> Option<HoldScope> {
        match self {
            Self::Queue => Some(HoldScope::Queue),
            Self::Tag => Some(HoldScope::Tag),
            Self::Over => None,
        }
    }
}

impl Run {
    /// Returns the scope of the hold whose end the run waits for.
    pub fn held_scope(&self) -> Option<HoldScope> {
        self.hold.filter(|_| self.state == RunState::Held).and_then(HoldMark::scope)
    }

    /// Returns the group of the runs that wait for the end of a hold.
    pub(super) fn hold_group(&self) -> Option<WaitGroup> {
        let name = |scope| match scope {
            HoldScope::Queue => self.queue.as_deref().unwrap_or_default(),
            HoldScope::Tag => &self.tag,
        };
        self.held_scope().map(|scope| WaitGroup::of_hold(scope, name(scope)))
    }

    /// Returns whether the run may have slots, or may wait in a group. The stores keep rows about both.
    pub fn may_wait(&self) -> bool {
        self.is_gated() || self.hold.is_some()
    }

    /// Lets the run wait for the end of a hold. The run frees the slots of its limits, and uses its permit up,
    /// because it does nothing.
    ///
    /// # Errors
    /// If the run is in another state than `firing`, `ready` or `retrying`.
    pub fn hold_by(&mut self, scope: HoldScope) -> Result<(), IllegalTransition> {
        self.hold()?;
        self.hold = Some(HoldMark::of(scope));
        Ok(())
    }

    /// Ends the wait for a hold. `holder` claims the run until `lease_until`, to hand it over, unless the run needs
    /// slots or a permit: then the run waits for them.
    ///
    /// # Errors
    /// If the run is not in `held`.
    pub fn end_hold(&mut self, holder: &str, lease_until: Moment) -> Result<(), IllegalTransition> {
        self.proceed(holder, lease_until)?;
        self.hold = Some(HoldMark::Over);
        Ok(())
    }
}
