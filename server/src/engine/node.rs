//! A node: its ports, its settings and the state that its loops share.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::batches::HeldBack;
use super::callback_health::CallbackHealth;
use super::expired_leases::ExpiredLeases;
use super::health::Health;
use super::hints::Hints;
use super::ids::Ids;
use super::members::Members;
use super::metrics::Metrics;
use super::outcome_counts;
use super::rate_times::RateTimes;
use super::seen_workers::SeenWorkers;
use super::settings::Settings;
use super::shards::{Shards, Watch};
use super::skew::{CommandClock, LeaseClock, Skew};
use super::turns::Turns;
use super::window::Window;
use crate::core::{Moment, Run, Task};
use crate::ports::{Bus, Clock, Lock, Result, Store};

/// The ports of a node.
pub struct NodePorts {
    pub store: Arc<dyn Store>,
    pub bus: Arc<dyn Bus>,
    pub lock: Arc<dyn Lock>,
    pub clock: Arc<dyn Clock>,
}

/// A running node.
pub struct Node {
    /// Name of this start of this process. It is unique, so that a restarted node does not take rows and
    /// leases of its previous life for its own.
    pub name: String,
    pub store: Arc<dyn Store>,
    pub bus: Arc<dyn Bus>,
    pub lock: Arc<dyn Lock>,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<Ids>,
    pub settings: Settings,
    pub health: Arc<Health>,
    pub hints: Arc<Hints>,
    pub metrics: Arc<Metrics>,
    pub shards: Shards,
    pub members: Members,
    pub window: Window,
    pub skew: Arc<Skew>,
    pub held_back: HeldBack,
    /// Turns of the groups that wait for slots.
    pub turns: Turns,
    /// When rate limits have their next permits.
    pub rate_times: RateTimes,
    pub expired_leases: ExpiredLeases,
    pub workers: Arc<SeenWorkers>,
    pub callbacks: Arc<CallbackHealth>,
    /// When the process started, by its clock.
    pub started_at: Moment,
    /// Stops the loops.
    pub shutdown: CancellationToken,
}

impl Node {
    /// Returns a node that has not started. [`engine::run`](super::run) starts its loops.
    pub fn new(name: impl Into<String>, ports: NodePorts, ids: Arc<Ids>, settings: Settings) -> Self {
        let NodePorts { store, bus, lock, clock } = ports;
        let started_at = clock.now();
        Self {
            name: name.into(),
            store,
            bus,
            lock,
            clock,
            ids,
            settings,
            health: Arc::default(),
            hints: Arc::default(),
            metrics: Arc::default(),
            shards: Shards::default(),
            members: Members::default(),
            window: Window::default(),
            skew: Arc::default(),
            held_back: HeldBack::default(),
            turns: Turns::default(),
            rate_times: RateTimes::default(),
            expired_leases: ExpiredLeases::default(),
            workers: Arc::default(),
            callbacks: Arc::default(),
            started_at,
            shutdown: CancellationToken::new(),
        }
    }

    /// Returns the clock for commands.
    pub fn command_clock(&self) -> Arc<dyn Clock> {
        Arc::new(CommandClock::new(&self.skew, &self.clock))
    }

    /// Returns the clock from which workers' leases count.
    pub fn lease_clock(&self) -> Arc<dyn Clock> {
        Arc::new(LeaseClock::new(&self.skew, &self.clock))
    }

    /// Returns the shards that this node watches now.
    pub fn watch(&self) -> Watch {
        self.shards.watch(self.clock.steady_ms())
    }

    /// Returns whether the window keeps a task: it is due within the window, and this node watches its
    /// shard.
    pub fn keeps_in_window(&self, task: &Task, now: Moment) -> bool {
        let until = now.plus_ms(self.settings.window_ms);
        task.next_due_at.is_some_and(|due| due <= until) && self.watch().shards.contains(&task.id.shard())
    }

    /// Returns whether the node's clock is good enough to fire and to rescue.
    pub fn is_fit(&self) -> bool {
        self.skew.is_fit(&*self.clock)
    }

    /// Returns the lower bound of the true time. A loop that fires or takes over leases decides by it.
    pub fn earliest_now(&self) -> Moment {
        self.skew.earliest_now(self.clock.now())
    }

    /// Returns the upper bound of the true time. A lease of this node ends by it.
    pub fn latest_now(&self) -> Moment {
        self.skew.latest_now(self.clock.now())
    }

    /// Returns when the lease of a run ends that this node takes at `now`.
    pub fn run_lease_until(&self, now: Moment) -> Moment {
        self.skew.latest_now(now).plus_ms(self.settings.run_lease_ms)
    }

    /// Replaces runs by compare-and-set, and counts those that have ended. Returns the runs that were
    /// replaced, as stored.
    ///
    /// # Errors
    /// A port's error: each run may or may not have been replaced.
    pub async fn replace_runs(&self, runs: Vec<Run>) -> Result<Vec<Run>> {
        let (store, zone) = (self.store.as_ref(), &self.settings.time_zone);
        let replaced = outcome_counts::replace_runs(store, zone, &self.metrics, runs).await?;
        self.hints.replaced(&replaced);
        Ok(replaced)
    }
}
