//! Quotas of the caller's token. A command checks them before it stores new tasks.
//!
//! The store counts the creates per second, with a rate limit that all nodes share. The live tasks are rows of the store
//! that an index counts: no counter exists that could leak. A count serves several requests of a node.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::join_all;
use tokio::sync::{OwnedRwLockReadGuard, RwLock};

use super::audit::AuditAction;
use super::{Page, Result, Service, ServiceError, TaskFilter};
use crate::core::labels::token_text;
use crate::core::quota::QuotaExceeded;
use crate::core::rate::{Permits, RateLimit};
use crate::core::{Moment, Task, TaskState};
use crate::engine::rate_times::RateTimes;
use crate::ports::IdempotencyRecord;

/// Milliseconds for which a count of live tasks is used again.
const COUNT_KEPT_MS: i64 = 1_000;
/// Part of the free places that a node fills after a count, before it counts again. Other nodes may fill the same places.
const SHARE: u32 = 16;
/// Tokens whose live tasks a node remembers.
const MAX_TOKENS: usize = 10_000;
/// Deduplication keys that a node looks up at the same time.
const KEYS_AT_ONCE: usize = 16;

/// What this node knows about the quotas of tokens.
#[derive(Debug, Default)]
pub(super) struct Quotas {
    creates: RateTimes,
    live: Mutex<HashMap<String, Arc<RwLock<LiveTasks>>>>,
}

impl Quotas {
    fn live_tasks(&self, token: &str) -> Arc<RwLock<LiveTasks>> {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        if live.len() >= MAX_TOKENS {
            live.retain(|_, tasks| Arc::strong_count(tasks) > 1);
        }
        Arc::clone(live.entry(token.to_owned()).or_default())
    }

    /// Returns the milliseconds until the limit has a permit. `None`: it may have one at `now`.
    fn wait_ms(&self, limit: &RateLimit, now: Moment) -> Option<i64> {
        let wait_ms = self.creates.used_until(limit, now)?.since(now);
        // A longer wait shows that the clock was set back.
        (wait_ms <= limit.period_ms).then_some(wait_ms)
    }
}

/// The live tasks of a token, as a node knows them.
#[derive(Debug, Default)]
struct LiveTasks {
    /// Number of counts.
    counts: u64,
    counted_at: Option<Moment>,
    /// Result of the last count.
    counted: u32,
    /// Tasks that the node has accepted since the last count.
    accepted: AtomicU32,
}

impl LiveTasks {
    /// Accepts new tasks if a count has left enough places a short time ago.
    fn accept(&self, limit: u32, new: u32, now: Moment) -> bool {
        let is_fresh = self.counted_at.is_some_and(|at| (0..COUNT_KEPT_MS).contains(&now.since(at)));
        let share = limit.saturating_sub(self.counted) / SHARE;
        let add = |accepted: u32| accepted.checked_add(new).filter(|accepted| *accepted <= share);
        is_fresh && self.accepted.fetch_update(Relaxed, Relaxed, add).is_ok()
    }

    /// Returns the number of live tasks, or a larger one if tasks have ended since the count.
    fn number(&self) -> u32 {
        self.counted.saturating_add(self.accepted.load(Relaxed))
    }
}

/// Places of live tasks. No count begins before the tasks are stored and this value is dropped.
pub(super) struct Places {
    _known: OwnedRwLockReadGuard<LiveTasks>,
}

impl Service {
    /// Checks the quotas for a request with an idempotency key. A repeated request needs no place and no permit.
    ///
    /// # Errors
    /// As [`take_quotas`](Self::take_quotas).
    pub(super) async fn take_quotas_once(
        &self,
        record: &IdempotencyRecord,
        tasks: &[Task],
    ) -> Result<Option<Places>> {
        let is_free = self.caller.quota.is_unlimited() || tasks.is_empty();
        if is_free || self.shared.ports.store.idempotency_record(&record.key).await?.is_some() {
            return Ok(None);
        }
        self.take_quotas(tasks).await
    }

    /// Checks the quotas of the caller's token, for all of the tasks or none. The caller drops the places when the tasks
    /// are stored.
    ///
    /// # Errors
    /// [`ServiceError::Quota`], or a port's error. Permits may be taken.
    pub(super) async fn take_quotas(&self, tasks: &[Task]) -> Result<Option<Places>> {
        if self.caller.quota.is_unlimited() || tasks.is_empty() {
            return Ok(None);
        }
        // On the heap: a caller without quotas has no use for this large future.
        Box::pin(self.take_all(tasks)).await
    }

    async fn take_all(&self, tasks: &[Task]) -> Result<Option<Places>> {
        let taken = self.take_both(tasks).await;
        if let Err(ServiceError::Quota(exceeded)) = &taken {
            self.shared.metrics.quota_refused(exceeded.name());
            self.record_change(AuditAction::TaskCreate, [], &taken).await;
        }
        taken
    }

    /// Takes the permits first: they also limit how often the live tasks are counted.
    async fn take_both(&self, tasks: &[Task]) -> Result<Option<Places>> {
        let quota = self.caller.quota;
        if let Some(limit) = quota.creates(&self.caller.id) {
            self.take_creates(&limit, length(tasks)).await?;
        }
        match quota.max_live_tasks {
            Some(limit) => self.take_places(limit, tasks).await,
            None => Ok(None),
        }
    }

    async fn take_creates(&self, limit: &RateLimit, wanted: u32) -> Result<()> {
        if wanted > limit.burst {
            return Err(QuotaExceeded::List { limit: limit.limit, wanted }.into());
        }
        let quotas = &self.shared.quotas;
        let further_ms = limit.interval_us().saturating_mul(i64::from(wanted) - 1) / 1_000;
        if let Some(wait_ms) = quotas.wait_ms(limit, self.now()) {
            let permits = Permits { granted: 0, free: 0, wait_ms: wait_ms + further_ms };
            return Err(QuotaExceeded::of_creates(limit, wanted, permits).into());
        }
        let permits = self.shared.ports.store.take_permits(limit, wanted, wanted).await?;
        if permits.granted == wanted {
            return Ok(());
        }
        if permits.free == 0 {
            quotas.creates.note(limit, self.now().plus_ms(permits.wait_ms - further_ms));
        }
        Err(QuotaExceeded::of_creates(limit, wanted, permits).into())
    }

    /// Takes places for the tasks. If too few are free, tasks with the deduplication key of a live task need none.
    async fn take_places(&self, limit: u32, tasks: &[Task]) -> Result<Option<Places>> {
        let wanted = length(tasks);
        let live = match self.find_places(limit, wanted).await? {
            Ok(places) => return Ok(Some(places)),
            Err(live) => live,
        };
        let wanted = match self.count_existing(tasks).await? {
            0 => return Err(QuotaExceeded::LiveTasks { limit, live, wanted }.into()),
            existing if existing == wanted => return Ok(None),
            existing => wanted - existing,
        };
        let places = self.find_places(limit, wanted).await?;
        places.map(Some).map_err(|live| QuotaExceeded::LiveTasks { limit, live, wanted }.into())
    }

    /// Returns places for new tasks, or the number of live tasks if there are too few.
    async fn find_places(&self, limit: u32, new: u32) -> Result<std::result::Result<Places, u32>> {
        let tasks = self.shared.quotas.live_tasks(&self.caller.id);
        let known = Arc::clone(&tasks).read_owned().await;
        if known.accept(limit, new, self.now()) {
            return Ok(Ok(Places { _known: known }));
        }
        let counts = known.counts;
        drop(known);
        // Waits until the tasks that were accepted are stored.
        let mut known = tasks.write_owned().await;
        // Another request may have counted meanwhile.
        if known.counts == counts {
            *known = self.count_live(limit, counts + 1).await?;
        }
        let live = known.number();
        if live.saturating_add(new) > limit {
            return Ok(Err(live));
        }
        *known.accepted.get_mut() += new;
        Ok(Ok(Places { _known: known.downgrade() }))
    }

    /// Counts the live tasks of the caller's token, up to the limit.
    async fn count_live(&self, limit: u32, counts: u64) -> Result<LiveTasks> {
        let (counted_at, mut counted) = (Some(self.now()), 0);
        for state in TaskState::LIVE {
            let label = Some(token_text(&self.caller.id));
            let filter = TaskFilter { name: None, state: Some(state), label };
            let page = Page { limit: limit - counted, before: None };
            let rows = self.shared.ports.store.count_tasks(&filter, &page).await?;
            counted += u32::try_from(rows).unwrap_or(page.limit).min(page.limit);
        }
        Ok(LiveTasks { counts, counted_at, counted, accepted: AtomicU32::new(0) })
    }

    /// Returns how many of the tasks have the deduplication key of a live task.
    async fn count_existing(&self, tasks: &[Task]) -> Result<u32> {
        let store = &self.shared.ports.store;
        let keys: Vec<&str> = tasks.iter().filter_map(|task| task.dedup_key.as_deref()).collect();
        let mut existing = 0;
        for keys in keys.chunks(KEYS_AT_ONCE) {
            for found in join_all(keys.iter().map(|key| store.task_by_key(key))).await {
                existing += u32::from(found?.is_some());
            }
        }
        Ok(existing)
    }
}

fn length(tasks: &[Task]) -> u32 {
    u32::try_from(tasks.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment::from_sec(9);

    #[test]
    fn a_node_fills_a_part_of_the_free_places_without_another_count() {
        let counted = |counted| LiveTasks { counted_at: Some(NOW), counted, ..LiveTasks::default() };
        let tasks = counted(840);
        assert!((0..10).all(|_| tasks.accept(1_000, 1, NOW)) && !tasks.accept(1_000, 1, NOW));
        assert_eq!(tasks.number(), 850);
        assert!(!counted(840).accept(1_000, 11, NOW), "all of a list or none");
        assert!(!counted(985).accept(1_000, 1, NOW), "near the limit, each request counts");
        assert!(!counted(2_000).accept(1_000, 1, NOW), "more tasks than the limit");
    }

    #[test]
    fn a_count_is_used_for_a_second() {
        let tasks = LiveTasks { counted_at: Some(NOW), ..LiveTasks::default() };
        assert!(tasks.accept(1_000, 1, NOW.plus_ms(COUNT_KEPT_MS - 1)));
        assert!(!tasks.accept(1_000, 1, NOW.plus_ms(COUNT_KEPT_MS)));
        assert!(!tasks.accept(1_000, 1, NOW.plus_ms(-1)), "the clock was set back");
        assert!(!LiveTasks::default().accept(1_000, 1, NOW), "never counted");
    }
}
