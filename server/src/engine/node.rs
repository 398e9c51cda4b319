//! What every loop of a node shares.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::ends;
use super::health::Health;
use super::hints::Hints;
use super::ids::Ids;
use super::metrics::Metrics;
use super::settings::Settings;
use super::shards::Shards;
use super::skew::Skew;
use super::window::Window;
use crate::core::misfire::Misfire;
use crate::core::{Moment, Run};
use crate::ports::{Bus, Clock, Lock, Result, Store};

/// One running node: its ports, its settings and what it holds in memory.
pub struct Node {
    /// Unique to this start of this process, so that nothing an earlier life held is taken for its own.
    pub name: String,
    /// The ledger.
    pub store: Arc<dyn Store>,
    /// The broker.
    pub bus: Arc<dyn Bus>,
    /// The leases.
    pub lock: Arc<dyn Lock>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Ids and tokens.
    pub ids: Arc<Ids>,
    /// What it was told.
    pub settings: Settings,
    /// What works, for `/readyz`.
    pub health: Arc<Health>,
    /// What its parts tell one another.
    pub hints: Arc<Hints>,
    /// What is counted, for `/metrics`.
    pub metrics: Arc<Metrics>,
    /// The shards it watches.
    pub shards: Shards,
    /// The near future.
    pub window: Window,
    /// Its clock against the store's.
    pub skew: Skew,
    /// Set when it is to stop.
    pub shutdown: CancellationToken,
}

impl Node {
    /// How late is too late, and what then.
    pub fn misfire(&self) -> &Misfire {
        &self.settings.misfire
    }

    /// Whether it may decide anything by its clock.
    pub fn is_fit(&self) -> bool {
        self.skew.is_fit(&*self.clock)
    }

    /// Until when it is trusted with a run that it takes on now.
    pub fn run_lease_until(&self, now: Moment) -> Moment {
        self.skew.eager(now).plus_ms(self.settings.run_lease_ms)
    }

    /// Replaces runs by compare-and-set; those that this call replaced, as they are stored now.
    ///
    /// # Errors
    /// When the store fails: each may or may not have been replaced.
    pub async fn replace_runs(&self, mut runs: Vec<Run>) -> Result<Vec<Run>> {
        if runs.is_empty() {
            return Ok(runs);
        }
        let mut replaced = self.store.update_runs(&runs).await?.into_iter();
        runs.retain_mut(|run| {
            run.version += 1;
            replaced.next().unwrap_or(false)
        });
        ends::count(self.store.as_ref(), &self.settings.time_zone, &runs).await;
        Ok(runs)
    }
}
