//! The commands. Every API and the console call these and nothing else of the engine.
//!
//! The files of this module: `submit` creates tasks, `task_commands` changes them, `trigger` fires
//! them by hand, `run_commands` changes runs, `worker_commands` serves workers, `run_logs` has the logs of runs, and `queries` reads.
//! `permissions` checks the caller's rights, and `quotas` how much the caller may create.

mod access;
mod alerts;
mod attendance;
mod audit;
mod audit_log;
mod backfills;
mod blockers;
mod browser_sessions;
mod calendars;
mod callback_services;
mod caller;
mod changes;
mod conflicts;
mod counts;
mod due_moments;
mod error;
mod filters;
mod holds;
mod idempotency;
mod lease_requests;
mod lease_reservations;
mod lease_turns;
mod login_attempts;
mod merged_lists;
mod nodes;
mod open_runs;
mod operation_ends;
mod operation_plans;
mod operation_steps;
mod operations;
mod permissions;
mod queries;
mod quotas;
mod recent_counts;
mod record_kind;
mod records;
mod revisions;
mod run_commands;
mod run_logs;
mod secrets;
mod submit;
mod task_commands;
mod tokens;
mod trigger;
mod users;
mod worker_commands;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::alerting::Alerting;
use super::callback_health::CallbackHealth;
use super::hints::Hints;
use super::node::Node;
use super::seen_workers::SeenWorkers;
use super::settings::Settings;
use crate::core::Moment;
use crate::core::misfire::Misfire;
use crate::ports::{Clock, Lock, Records, Store};
// What an API shows beside the answers of commands, or uses: an API names nothing else of the engine.
pub use super::callback_health::{DownNode, HealthReport};
pub use super::description::NodeDescription;
pub use super::health::{Check, Condition, Health, Readiness};
pub use super::ids::Ids;
pub use super::limits::LimitUse;
pub use super::metrics::{CLASSES, LATENESS_MS, LastHour, Lateness, Metrics, Minute, Stage};
pub use crate::core::alert::NewSilence;
pub use crate::core::hold::NewHold;
pub use crate::core::task_change::CannotChange;
// Parameters and answers of commands: an API names nothing of the ports.
pub use crate::ports::{
    BacklogRow, OutcomeCount, Page, PortError, QueueRow, Record, RunFilter, RunPage, TaskFilter,
};
use access::Access;
pub use access::{AccessSettings, Denied, Origin, Required};
pub use alerts::{Alert, ChannelStatus, EndedAlert, LastShared, RaisedAlerts};
pub use attendance::Attendance;
use attendance::QueueAttendance;
pub use audit::AuditAction;
pub use audit_log::AuditFilter;
use audit_log::AuditQuota;
pub use backfills::NewBackfill;
pub use blockers::Blocker;
pub use callback_services::{CALLBACK_SERVICES, NodeCondition, ServicesHealth};
pub use caller::{Caller, Front};
pub use changes::ChangeStream;
pub use error::{Forbidden, Result, ServiceError, Stale, TaskOver};
pub use filters::{Examined, Wanted};
pub use idempotency::IdempotencyKey;
use lease_reservations::LeaseReservations;
use lease_turns::LeaseTurns;
use login_attempts::LoginAttempts;
pub use nodes::{Listing, WorkerRow};
pub use open_runs::MAX_OPEN_RUNS;
pub use operation_steps::{RunningOperation, Step};
pub use operations::{MAX_OPERATIONS, MAX_RUNNING_OPERATIONS, PatchDefinition};
use quotas::Quotas;
use recent_counts::RecentCounts;
pub use recent_counts::Summary;
pub use record_kind::RecordKind;
pub use run_commands::Confirmation;
pub use run_logs::{LogFollower, LogPage, LogTail, NumberedLine};
pub use secrets::Random;
pub use submit::Submitted;
pub use task_commands::{Changed, Deleted, definition};
pub use tokens::{Token, generate_token};
pub use users::User;
pub use worker_commands::{Held, LeaseTerms, MAX_LEASE_MS, MIN_LEASE_MS, Renewal, Report};

/// The commands, bound to a caller. Cloning is cheap.
///
/// [`Service::new`] returns a handle without rights: each of its commands is refused.
/// [`for_caller`](Self::for_caller) returns a handle with the rights of a caller.
#[derive(Clone)]
pub struct Service {
    shared: Arc<Shared>,
    caller: Arc<Caller>,
}

/// What all handles of one node share.
#[derive(Clone)]
struct Shared {
    ports: Ports,
    ids: Arc<Ids>,
    hints: Arc<Hints>,
    settings: Settings,
    shutdown: CancellationToken,
    reservations: Arc<LeaseReservations>,
    turns: Arc<LeaseTurns>,
    attendance: Arc<QueueAttendance>,
    workers: Arc<SeenWorkers>,
    callbacks: Arc<CallbackHealth>,
    /// The node of the commands. `None`: commands without a node, in tests.
    node: Option<Arc<Node>>,
    metrics: Arc<Metrics>,
    access: Arc<Access>,
    login_attempts: Arc<LoginAttempts>,
    recent_counts: Arc<RecentCounts>,
    audit_quota: Arc<AuditQuota>,
    quotas: Arc<Quotas>,
    lease_clock: Arc<dyn Clock>,
    patch_definition: Option<PatchDefinition>,
    alerting: Arc<Alerting>,
}

/// The ports that commands use.
#[derive(Clone)]
pub struct Ports {
    pub store: Arc<dyn Store>,
    /// The lock service, through which a command wakes the node that watches a task.
    pub lock: Arc<dyn Lock>,
    /// Documents beside the ledger.
    pub records: Arc<dyn Records>,
    pub clock: Arc<dyn Clock>,
    /// Whether there is a bus. Without one, a task without a queue gets the queue with its own name.
    pub has_bus: bool,
}

impl Service {
    /// Returns the commands on these ports, bound to [`Caller::anonymous`]. `shutdown` ends the waits of
    /// workers.
    pub fn new(
        ports: Ports,
        ids: Arc<Ids>,
        hints: Arc<Hints>,
        settings: Settings,
        shutdown: CancellationToken,
    ) -> Self {
        let lease_clock = Arc::clone(&ports.clock);
        hints.holds.read_from(Arc::clone(&ports.records));
        let (reservations, attendance) = (Arc::default(), Arc::default());
        let (access, login_attempts, metrics) = (Arc::default(), Arc::default(), Arc::default());
        let shared = Shared {
            ports,
            ids,
            hints,
            settings,
            shutdown,
            reservations,
            turns: Arc::default(),
            attendance,
            workers: Arc::default(),
            callbacks: Arc::default(),
            node: None,
            metrics,
            access,
            login_attempts,
            recent_counts: Arc::default(),
            audit_quota: Arc::default(),
            quotas: Arc::default(),
            lease_clock,
            patch_definition: None,
            alerting: Arc::default(),
        };
        Self { shared: Arc::new(shared), caller: Arc::new(Caller::anonymous()) }
    }

    /// Returns the same commands with the rights of `caller`.
    #[must_use]
    pub fn for_caller(&self, caller: Caller) -> Self {
        Self { shared: Arc::clone(&self.shared), caller: Arc::new(caller) }
    }

    /// Returns the caller that this handle is bound to.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Sets the clock from which workers' leases count. It must not be behind the store's clock.
    /// Default: the clock of the commands.
    #[must_use]
    pub fn with_lease_clock(mut self, lease_clock: Arc<dyn Clock>) -> Self {
        Arc::make_mut(&mut self.shared).lease_clock = lease_clock;
        self
    }

    /// Sets the metrics that the commands update. Default: metrics that are not exported.
    #[must_use]
    pub fn with_metrics(mut self, metrics: Arc<Metrics>) -> Self {
        Arc::make_mut(&mut self.shared).metrics = metrics;
        self
    }

    /// Sets the alerts of this node. Default: no rules and no channels.
    #[must_use]
    pub fn with_alerting(mut self, alerting: Arc<Alerting>) -> Self {
        Arc::make_mut(&mut self.shared).alerting = alerting;
        self
    }

    /// Sets who is admitted, and the random generator for tokens. Default: callers of this machine, and
    /// no generator, so that no token can be issued.
    #[must_use]
    pub fn with_access(mut self, settings: AccessSettings, random: Random) -> Self {
        Arc::make_mut(&mut self.shared).access = Arc::new(Access::new(settings, random));
        self
    }

    /// Sets how an operation applies a patch to a task. Default: operations cannot edit tasks.
    #[must_use]
    pub fn with_patches(mut self, patch_definition: PatchDefinition) -> Self {
        Arc::make_mut(&mut self.shared).patch_definition = Some(patch_definition);
        self
    }

    /// Returns the zone of cron expressions that name no zone.
    pub fn time_zone(&self) -> &str {
        &self.shared.settings.time_zone
    }

    /// Returns the misfire policy of the server, and its grace period.
    pub fn misfire(&self) -> Misfire {
        self.shared.settings.misfire
    }

    /// Returns a new token that no other call returns.
    pub fn token(&self) -> String {
        self.shared.ids.token(self.now())
    }

    /// Returns whether this node is about to stop.
    pub fn is_stopping(&self) -> bool {
        self.shared.shutdown.is_cancelled()
    }

    /// Returns the time by the clock of the commands.
    pub fn now(&self) -> Moment {
        self.shared.ports.clock.now()
    }
}
