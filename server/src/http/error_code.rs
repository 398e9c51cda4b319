//! Codes of errors, and their status codes.

use axum::http::StatusCode;

use crate::core::quota::QuotaExceeded;
use crate::engine::service::{PortError, ServiceError};

/// Defines the codes of errors with their statuses. `docs/api.md` lists the same table.
macro_rules! codes {
    ($($code:ident => $word:literal $status:ident,)*) => {
        /// Machine-readable kind of an error.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Code { $($code),* }

        impl Code {
            #[cfg(test)]
            const ALL: &[Self] = &[$(Self::$code),*];

            /// Returns the code as clients get it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$code => $word),* }
            }

            pub const fn status(self) -> StatusCode {
                match self { $(Self::$code => StatusCode::$status),* }
            }
        }
    };
}

codes! {
    InvalidField => "invalid_field" BAD_REQUEST,
    MalformedBody => "malformed_body" BAD_REQUEST,
    Unauthorized => "unauthorized" UNAUTHORIZED,
    Forbidden => "forbidden" FORBIDDEN,
    NotFound => "not_found" NOT_FOUND,
    NoRoute => "no_such_route" NOT_FOUND,
    MethodNotAllowed => "method_not_allowed" METHOD_NOT_ALLOWED,
    BodyTimeout => "body_timeout" REQUEST_TIMEOUT,
    CalendarInUse => "calendar_in_use" CONFLICT,
    Duplicate => "duplicate" CONFLICT,
    RunState => "run_state" CONFLICT,
    Stale => "stale" CONFLICT,
    TaskOver => "task_over" CONFLICT,
    TooManyLiveTasks => "too_many_live_tasks" CONFLICT,
    TooManyOperations => "too_many_operations" CONFLICT,
    RevisionMoved => "revision_moved" PRECONDITION_FAILED,
    BodyTooLarge => "body_too_large" PAYLOAD_TOO_LARGE,
    KeyReused => "idempotency_key_reused" UNPROCESSABLE_ENTITY,
    IfMatchRequired => "if_match_required" PRECONDITION_REQUIRED,
    TooManyCreates => "too_many_creates" TOO_MANY_REQUESTS,
    TooManyRequests => "too_many_requests" TOO_MANY_REQUESTS,
    Internal => "internal" INTERNAL_SERVER_ERROR,
    StoreUnavailable => "store_unavailable" SERVICE_UNAVAILABLE,
    Timeout => "timeout" SERVICE_UNAVAILABLE,
    TooManyViewers => "too_many_viewers" SERVICE_UNAVAILABLE,
    StoreFull => "store_full" INSUFFICIENT_STORAGE,
}

impl Code {
    /// Returns the code of an error of the service.
    pub const fn of(error: &ServiceError) -> Self {
        match error {
            ServiceError::Invalid(_)
            | ServiceError::Token(_)
            | ServiceError::User(_)
            | ServiceError::Operation(_)
            | ServiceError::Silence(_)
            | ServiceError::Calendar(_)
            | ServiceError::TooManySilences
            | ServiceError::Hold(_)
            | ServiceError::Quota(QuotaExceeded::List { .. })
            | ServiceError::TooManyHolds => Self::InvalidField,
            ServiceError::Quota(QuotaExceeded::LiveTasks { .. }) => Self::TooManyLiveTasks,
            ServiceError::Quota(QuotaExceeded::Creates { .. }) => Self::TooManyCreates,
            ServiceError::TooManyOperations => Self::TooManyOperations,
            ServiceError::Forbidden(_) => Self::Forbidden,
            ServiceError::NotFound => Self::NotFound,
            ServiceError::Over(_) => Self::TaskOver,
            ServiceError::RevisionMoved(_) => Self::RevisionMoved,
            ServiceError::KeyHeld(_) => Self::Duplicate,
            ServiceError::CalendarInUse { .. } => Self::CalendarInUse,
            ServiceError::KeyReused => Self::KeyReused,
            ServiceError::TooManyAttempts { .. } => Self::TooManyRequests,
            ServiceError::TooManyViewers => Self::TooManyViewers,
            ServiceError::RunState(_) => Self::RunState,
            ServiceError::Stale(_) => Self::Stale,
            ServiceError::Port(PortError::Unavailable(..) | PortError::Interrupted(..)) => {
                Self::StoreUnavailable
            }
            ServiceError::Port(PortError::Full(..)) => Self::StoreFull,
            ServiceError::Port(PortError::Refused(..) | PortError::Corrupt(..)) => Self::Internal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_page_lists_every_code_with_its_status() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/api.md");
        let page = std::fs::read_to_string(page).expect("docs/api.md can be read");
        let table = page.split("| `code` | status |").nth(1).expect("docs/api.md has the table of codes");
        let rows = table.lines().skip(2).take_while(|line| line.starts_with("| `"));
        let listed: Vec<String> =
            rows.map(|row| row.split(" | ").take(2).collect::<Vec<_>>().join(" ")).collect();
        let row = |code: &Code| format!("| `{}` {}", code.as_str(), code.status().as_u16());
        let mut wanted: Vec<String> = Code::ALL.iter().map(row).collect();
        let mut listed = listed;
        listed.sort();
        wanted.sort();
        assert_eq!(listed, wanted);
    }
}
