//! Conversion of rate limits between the API and the engine.

use taskcenter_client::resources::{OnExcess, Rate};

use super::concurrency::{scope, shown_scope};
use crate::core::rate::{OnExcess as Excess, Rate as Rule};

/// Names of the fields.
pub const FIELDS: &[&str] = &["limit", "period_ms", "burst", "scope", "key", "on_excess"];

/// Converts a limit of the API. The service checks its rules later.
pub fn rule(rate: Rate) -> Rule {
    Rule {
        limit: rate.limit,
        period_ms: i64::try_from(rate.period_ms).unwrap_or(i64::MAX),
        burst: rate.burst,
        scope: scope(rate.scope),
        key: rate.key,
        on_excess: match rate.on_excess {
            OnExcess::Wait => Excess::Wait,
            OnExcess::Drop => Excess::Drop,
        },
    }
}

/// Converts a limit to the API.
pub fn of(rate: &Rule) -> Rate {
    Rate {
        limit: rate.limit,
        period_ms: rate.period_ms.unsigned_abs(),
        burst: rate.burst,
        scope: shown_scope(rate.scope),
        key: rate.key.clone(),
        on_excess: match rate.on_excess {
            Excess::Wait => OnExcess::Wait,
            Excess::Drop => OnExcess::Drop,
        },
    }
}
