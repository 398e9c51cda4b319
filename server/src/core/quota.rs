//! Quotas of an access token: how much its holder may create.

use serde::{Deserialize, Serialize};

use super::rate::{Permits, RateLimit};

/// Largest quota of live tasks. A check reads that many index entries at most.
pub const MAX_LIVE_TASKS: u32 = 100_000;
/// Largest quota of creates per second.
pub const MAX_CREATES_PER_SEC: u32 = 100_000;

/// Limits of what the holder of a token may create. `None`: unlimited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    /// Maximum number of active and paused tasks that the token has created, 1 to [`MAX_LIVE_TASKS`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_live_tasks: Option<u32>,
    /// Maximum number of tasks that the token creates per second, 1 to [`MAX_CREATES_PER_SEC`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_creates_per_sec: Option<u32>,
}

impl Quota {
    /// Returns whether nothing is limited.
    pub fn is_unlimited(&self) -> bool {
        *self == Self::default()
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// The first number that is out of bounds.
    pub fn check(&self) -> Result<(), InvalidQuota> {
        let Self { max_live_tasks, max_creates_per_sec } = *self;
        InvalidQuota::check("max_live_tasks", max_live_tasks, MAX_LIVE_TASKS)?;
        InvalidQuota::check("max_creates_per_sec", max_creates_per_sec, MAX_CREATES_PER_SEC)
    }

    /// Returns the rate limit of the creates of a token. After a second without a create, the creates of one second are
    /// free at once.
    pub fn creates(&self, token: &str) -> Option<RateLimit> {
        let limit = self.max_creates_per_sec?;
        let key = format!("quota:creates:{token}");
        Some(RateLimit { key, limit, period_ms: 1_000, burst: limit, drops: false })
    }
}

/// A number of a quota that is out of bounds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} should be between 1 and {max}, and is {number}")]
pub struct InvalidQuota {
    pub field: &'static str,
    number: u32,
    max: u32,
}

impl InvalidQuota {
    fn check(field: &'static str, number: Option<u32>, max: u32) -> Result<(), Self> {
        match number {
            Some(number) if !(1..=max).contains(&number) => Err(Self { field, number, max }),
            _ => Ok(()),
        }
    }
}

/// The quota that refuses tasks. Nothing was created.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuotaExceeded {
    /// Too many tasks of the token are live.
    #[error(
        "quota max_live_tasks: the token has {live} of {limit} live tasks, so {} of {wanted} new tasks fit: cancel tasks, wait \
         until tasks finish, or use a token with a larger quota", .limit.saturating_sub(*.live)
    )]
    LiveTasks { limit: u32, live: u32, wanted: u32 },
    /// The token has created too many tasks a moment ago.
    #[error(
        "quota max_creates_per_sec: the token may create {limit} tasks per second, and {free} of {wanted} new tasks fit now: \
         repeat the request after {wait_ms} ms"
    )]
    Creates { limit: u32, free: u32, wanted: u32, wait_ms: i64 },
    /// A list of this length never fits.
    #[error(
        "quota max_creates_per_sec: the token may create {limit} tasks per second, and the list has {wanted}: send at most \
         {limit} tasks in a list"
    )]
    List { limit: u32, wanted: u32 },
}

impl QuotaExceeded {
    /// Returns the refusal of `wanted` creates, by the answer of the store.
    pub fn of_creates(limit: &RateLimit, wanted: u32, permits: Permits) -> Self {
        let Permits { free, wait_ms, .. } = permits;
        Self::Creates { limit: limit.limit, free, wanted, wait_ms }
    }

    /// Returns the name of the quota, as the API spells it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::LiveTasks { .. } => "max_live_tasks",
            Self::Creates { .. } | Self::List { .. } => "max_creates_per_sec",
        }
    }

    /// Returns the seconds until a repeated request may succeed. `None`: time alone does not help.
    pub fn retry_after_sec(&self) -> Option<u64> {
        match self {
            Self::Creates { wait_ms, .. } => Some(wait_ms.unsigned_abs().div_ceil(1_000).max(1)),
            Self::LiveTasks { .. } | Self::List { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::Moment;

    #[test]
    fn a_number_out_of_bounds_is_refused_with_its_field() {
        let live = |max| Quota { max_live_tasks: Some(max), ..Quota::default() };
        let creates = |max| Quota { max_creates_per_sec: Some(max), ..Quota::default() };
        for quota in
            [Quota::default(), live(1), live(MAX_LIVE_TASKS), creates(1), creates(MAX_CREATES_PER_SEC)]
        {
            assert_eq!(quota.check(), Ok(()), "{quota:?}");
        }
        for (quota, field) in [
            (live(0), "max_live_tasks"),
            (live(MAX_LIVE_TASKS + 1), "max_live_tasks"),
            (creates(0), "max_creates_per_sec"),
            (creates(MAX_CREATES_PER_SEC + 1), "max_creates_per_sec"),
        ] {
            assert_eq!(quota.check().unwrap_err().field, field, "{quota:?}");
        }
    }

    #[test]
    fn a_token_without_quotas_is_stored_as_before() {
        assert_eq!(serde_json::to_string(&Quota::default()).unwrap(), "{}");
        assert_eq!(serde_json::from_str::<Quota>("{}").unwrap(), Quota::default());
    }

    #[test]
    fn the_creates_of_a_second_are_free_at_once_and_then_follow_the_rate() {
        let quota = Quota { max_creates_per_sec: Some(10), ..Quota::default() };
        let (limit, now) = (quota.creates("t").unwrap(), Moment::from_ms(5_000));
        let (tat_us, all) = limit.take(0, 10, 10, now);
        assert_eq!((all.granted, all.free), (10, 0));
        let refused = QuotaExceeded::of_creates(&limit, 3, limit.take(tat_us, 3, 3, now).1);
        assert_eq!(refused, QuotaExceeded::Creates { limit: 10, free: 0, wanted: 3, wait_ms: 300 });
        assert_eq!(refused.retry_after_sec(), Some(1));
        assert_eq!(limit.take(tat_us, 3, 3, now.plus_ms(300)).1.granted, 3);
        assert_eq!(Quota::default().creates("t"), None);
    }

    #[test]
    fn a_refusal_names_the_quota_the_limit_and_the_current_number() {
        let refused = QuotaExceeded::LiveTasks { limit: 10, live: 8, wanted: 3 };
        let text = refused.to_string();
        assert!(text.starts_with(
            "quota max_live_tasks: the token has 8 of 10 live tasks, so 2 of 3 new tasks fit: "
        ));
        assert_eq!((refused.name(), refused.retry_after_sec()), ("max_live_tasks", None));
    }
}
