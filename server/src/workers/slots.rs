//! Fair slots: at most a number of concurrent runs of a worker, shared among the services or
//! programs that the runs use.
//!
//! A service may take a slot while it holds fewer slots than are free. So one service takes at most
//! half of the slots, and several services share them, even if none of them answers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// Number of runs that a worker leases for each slot. The others wait for a slot.
pub const LEASED_PER_SLOT: usize = 4;
/// Time that a run waits for a slot before the run goes back to its queue, behind the others.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// Slots of one worker.
#[derive(Clone)]
pub struct Slots {
    total: usize,
    held: Arc<Mutex<HashMap<String, usize>>>,
    freed: Arc<Notify>,
}

/// One slot. A drop frees it.
pub struct Slot {
    slots: Slots,
    service: String,
}

impl Slots {
    /// Returns free slots.
    pub fn new(total: usize) -> Self {
        Self { total: total.max(1), held: Arc::default(), freed: Arc::default() }
    }

    /// Waits for a slot of this service. `None`: no slot was free in time.
    pub async fn take(&self, service: &str) -> Option<Slot> {
        let taken = async {
            loop {
                let freed = self.freed.notified();
                tokio::pin!(freed);
                // Registers before the check, so that no slot is missed.
                freed.as_mut().enable();
                if let Some(slot) = self.try_take(service) {
                    return slot;
                }
                freed.await;
            }
        };
        tokio::time::timeout(PATIENCE, taken).await.ok()
    }

    fn try_take(&self, service: &str) -> Option<Slot> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let own = held.get(service).copied().unwrap_or_default();
        let free = self.total - held.values().sum::<usize>();
        if free == 0 || own > 0 && own >= free {
            return None;
        }
        *held.entry(service.to_owned()).or_default() += 1;
        Some(Slot { slots: self.clone(), service: service.to_owned() })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut held = self.slots.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = held.get_mut(&self.service) {
            *own -= 1;
            if *own == 0 {
                held.remove(&self.service);
            }
        }
        drop(held);
        self.slots.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(slots: &Slots, service: &str) -> Vec<Slot> {
        std::iter::from_fn(|| slots.try_take(service)).collect()
    }

    #[test]
    fn a_service_takes_at_most_half_and_leaves_slots_to_others() {
        let slots = Slots::new(32);
        let first = fill(&slots, "first");
        let second = fill(&slots, "second");
        let third = fill(&slots, "third");
        assert_eq!([first.len(), second.len(), third.len()], [16, 8, 4]);
        drop(first);
        assert_eq!(fill(&slots, "fourth").len(), 10);
        drop((second, third));
        assert!(slots.held.lock().unwrap().is_empty(), "free services are forgotten");
    }

    #[test]
    fn a_single_slot_can_be_used() {
        let slots = Slots::new(1);
        let slot = slots.try_take("a");
        assert!(slot.is_some() && slots.try_take("a").is_none() && slots.try_take("b").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiting_run_gets_a_freed_slot_or_gives_up() {
        let slots = Slots::new(1);
        let slot = slots.take("a").await;
        assert!(slots.take("b").await.is_none());
        let waits = slots.take("b");
        let frees = async { drop(slot) };
        assert!(tokio::join!(waits, frees).0.is_some());
    }
}
