//! Conversion of the rules about moments between the API and the engine.

use taskcenter_client::resources::{Misfire, MisfirePolicy, TaskSpec};

use crate::core::misfire::{MisfirePolicy as Policy, MisfireRule};
use crate::core::timing::Timing;

/// Returns the rules of a spec.
pub fn of_spec(spec: &TaskSpec) -> Timing {
    let jitter_ms = spec.jitter_ms.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX));
    Timing { misfire: spec.misfire.map(rule).unwrap_or_default(), jitter_ms, ..Timing::default() }
}

/// Converts a misfire policy of the API.
pub fn rule(misfire: Misfire) -> MisfireRule {
    MisfireRule {
        policy: misfire.policy.map(|policy| match policy {
            MisfirePolicy::FireAll => Policy::FireAll,
            MisfirePolicy::FireLast => Policy::FireLast,
            MisfirePolicy::Skip => Policy::Skip,
        }),
        grace_ms: misfire.grace_ms.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX)),
        max: misfire.max,
    }
}

/// Converts a jitter to the API.
pub fn jitter_ms(timing: &Timing) -> Option<u64> {
    timing.jitter_ms.map(i64::unsigned_abs)
}

/// Converts a misfire policy to the API. `None`: the server's setting applies.
pub fn misfire(rule: MisfireRule) -> Option<Misfire> {
    let misfire = Misfire {
        policy: rule.policy.map(|policy| match policy {
            Policy::FireAll => MisfirePolicy::FireAll,
            Policy::FireLast => MisfirePolicy::FireLast,
            Policy::Skip => MisfirePolicy::Skip,
        }),
        grace_ms: rule.grace_ms.map(|ms| u64::try_from(ms).unwrap_or(0)),
        max: rule.max,
    };
    (!rule.is_default()).then_some(misfire)
}
