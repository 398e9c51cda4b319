//! Conversion of concurrency limits between the API and the engine.

use taskcenter_client::resources::{Concurrency, ConcurrencyScope};

use crate::core::concurrency::{Limit, Scope};

/// Converts a limit of the API. The service checks its rules later.
pub fn limit(limit: Concurrency) -> Limit {
    Limit { max: limit.max, scope: scope(limit.scope), key: limit.key }
}

/// Converts limits to the API.
pub fn of(limits: &[Limit]) -> Vec<Concurrency> {
    limits.iter().map(of_limit).collect()
}

fn of_limit(limit: &Limit) -> Concurrency {
    Concurrency { max: limit.max, scope: shown_scope(limit.scope), key: limit.key.clone() }
}

/// Converts a scope of the API.
pub const fn scope(scope: ConcurrencyScope) -> Scope {
    match scope {
        ConcurrencyScope::Task => Scope::Task,
        ConcurrencyScope::Tag => Scope::Tag,
        ConcurrencyScope::Queue => Scope::Queue,
        ConcurrencyScope::All => Scope::All,
    }
}

/// Converts a scope to the API.
pub const fn shown_scope(scope: Scope) -> ConcurrencyScope {
    match scope {
        Scope::Task => ConcurrencyScope::Task,
        Scope::Tag => ConcurrencyScope::Tag,
        Scope::Queue => ConcurrencyScope::Queue,
        Scope::All => ConcurrencyScope::All,
    }
}
