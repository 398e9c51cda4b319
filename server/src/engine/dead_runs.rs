//! Counts the runs that become dead on all nodes, by the difference between two readings of the counters
//! of the day. The cost grows with the tags of the day, not with history.

use std::collections::BTreeMap;

use crate::core::alert::recent::RecentCounts;
use crate::core::{Moment, RunState};
use crate::ports::{Result, Store};

/// Dead runs of the last time, by tag.
pub struct DeadRuns {
    zone: String,
    recent: RecentCounts,
    last: Option<Day>,
}

/// The last reading of the counters of a day.
struct Day {
    day: Moment,
    dead: BTreeMap<String, u64>,
}

impl DeadRuns {
    /// Returns counts of the last `keep_ms` milliseconds. `zone` is the zone of the counters' days.
    pub fn new(zone: &str, keep_ms: i64) -> Self {
        Self { zone: zone.to_owned(), recent: RecentCounts::new(keep_ms), last: None }
    }

    /// Reads the counters at `now`. The first reading is the base of the next one.
    ///
    /// # Errors
    /// A port's error. The next reading finds the same runs.
    pub async fn read(&mut self, store: &dyn Store, now: Moment) -> Result<()> {
        let today = Day::read(store, now.day_in(&self.zone)).await?;
        if let Some(last) = &self.last {
            if last.day == today.day {
                count(&mut self.recent, &last.dead, &today.dead, now);
            } else if last.day < today.day {
                // The last runs of the day before.
                let ended = Day::read(store, last.day).await?;
                count(&mut self.recent, &last.dead, &ended.dead, now);
                count(&mut self.recent, &BTreeMap::new(), &today.dead, now);
            }
        }
        self.last = Some(today);
        Ok(())
    }

    /// Returns the dead runs of each tag in the last `window_ms` milliseconds.
    pub fn within(&self, window_ms: i64, now: Moment) -> Vec<(String, u64)> {
        self.recent.within(window_ms, now)
    }
}

/// Counts the runs of a day that became dead since an earlier reading.
fn count(
    recent: &mut RecentCounts,
    before: &BTreeMap<String, u64>,
    dead: &BTreeMap<String, u64>,
    now: Moment,
) {
    for (tag, runs) in dead {
        let new = runs.saturating_sub(before.get(tag).copied().unwrap_or(0));
        if new > 0 {
            recent.add(tag, new, now);
        }
    }
}

impl Day {
    async fn read(store: &dyn Store, day: Moment) -> Result<Self> {
        let counts = store.outcomes_on(day).await?;
        let dead = counts.into_iter().filter(|count| count.state == RunState::Dead);
        Ok(Self { day, dead: dead.map(|count| (count.tag, count.runs)).collect() })
    }
}
