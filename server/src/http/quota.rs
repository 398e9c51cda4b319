//! Quotas of tokens in requests and answers.

use taskcenter_client::resources::{NewToken, ProblemQuota};

use crate::core::quota::{Quota, QuotaExceeded};

/// Returns the quotas of a new token.
pub fn of_token(new: &NewToken) -> Quota {
    Quota { max_live_tasks: new.max_live_tasks, max_creates_per_sec: new.max_creates_per_sec }
}

/// Returns the quota that a problem shows. `None`: the current number does not matter.
pub fn problem(exceeded: &QuotaExceeded) -> Option<ProblemQuota> {
    let (limit, used) = match *exceeded {
        QuotaExceeded::LiveTasks { limit, live, .. } => (limit, live),
        QuotaExceeded::Creates { limit, free, .. } => (limit, limit.saturating_sub(free)),
        QuotaExceeded::List { .. } => return None,
    };
    Some(ProblemQuota { name: exceeded.name().to_owned(), limit, used })
}
