//! Wire types of the resource API, `/v1`.
//!
//! - Instants are RFC 3339, in UTC in answers, with a precision of one millisecond.
//! - Durations are whole milliseconds (`_ms`) or seconds (`_sec`).
//! - An absent value is `null` or omitted.
//! - The server refuses a request with an unknown field.
//! - An error is a [`Problem`] (RFC 9457) with a stable `code`.
//!
//! The bounds of the fields are the server's: it checks them, and these types do not.

mod alerts;
mod audit;
mod calendars;
mod concurrency;
mod events;
mod holds;
mod nodes;
mod on_conflict;
mod operations;
mod overlap;
mod problem;
mod queues;
mod rate;
mod revisions;
mod run_logs;
mod runs;
mod schedule;
mod schedule_preview;
mod services;
mod task_builder;
mod tasks;
mod tokens;
mod users;
mod work;

pub use alerts::{
    AlertChannel, AlertList, AlertResource, AlertRule, ChannelTest, NewSilence, ResolvedAlert,
    SilenceResource,
};
pub use audit::{AuditEntryResource, AuditList};
pub use calendars::{CalendarList, CalendarResource, CalendarSpec, TaskCalendars};
pub use concurrency::{Concurrency, ConcurrencyScope};
pub use events::Event;
pub use holds::{HoldList, HoldResource, HoldScope, NewHold};
pub use nodes::{NodeList, NodeResource, WorkerList, WorkerResource, WorkerRun};
pub use on_conflict::{Debounce, OnConflict};
pub use operations::{
    BackfillRange, NewBackfill, NewOperation, OperationCanary, OperationFailure, OperationFilter,
    OperationList, OperationPreview, OperationResource, OperationSelection,
};
pub use overlap::{Overlap, OverlapKeep, OverlapPolicy};
pub use problem::{Problem, ProblemQuota};
pub use queues::{LimitUse, QueueList, QueueResource, Stat, TagStat};
pub use rate::{OnExcess, Rate};
pub use revisions::{TaskRevision, TaskRevisionList};
pub use run_logs::{LogBatch, LogEntry, LogLevel, LogReceipt, RunLogLine, RunLogPage};
pub use runs::{OriginalPayload, RunAttempt, RunConfirmation, RunList, RunPayload, RunProgress, RunResource};
pub use schedule::{
    AbsenceDecision, AbsencePreview, CronDialect, CronDst, CronGap, CronRepeat, Misfire, MisfirePolicy,
    NextMoments, Retry, ScheduleSpec,
};
pub use schedule_preview::{ExcludedMoment, ExplainedMoment, ExplainedSchedule, SchedulePreview};
pub use services::{DownServiceNode, ServiceHealth, ServiceList, ServiceNode, ServiceResource, ServiceSpec};
pub use tasks::{
    ChangedTask, CreateTasks, CreatedTask, CreatedTasks, TaskList, TaskResource, TaskSpec, parse_end,
};
pub use tokens::{IssuedToken, NewToken, TokenList, TokenResource};
pub use users::{UserList, UserResource, UserSpec};
pub use work::{
    LeaseRequest, LeasedAttempt, LeasedRun, LeasedRuns, Progress, RenewRequest, RunAnswer, RunAnswers,
    SettleRequest, Settlement,
};

/// Maximum number of tasks in one [`CreateTasks`], and of runs in one lease, renewal or settlement.
pub const MAX_BATCH: usize = 1_000;
/// Stands in [`LeaseRequest::queues`] for every queue that has the same name as the tag of its
/// runs.
pub const EVERY_QUEUE: &str = "*";
