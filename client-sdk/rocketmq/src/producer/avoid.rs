//! Brokers that sends avoid.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::monotonic;
use crate::protocol::codes;
use crate::{Client, Command, Error};

/// Pause between two checks of a broker that has failed.
const CHECK_PAUSE: Duration = Duration::from_millis(500);

/// Brokers by name that sends avoid.
#[derive(Default)]
pub(super) struct Avoided {
    until: Mutex<HashMap<String, Until>>,
    /// Number of entries, so that a send without a sick broker takes no lock.
    number: AtomicUsize,
}

#[derive(Clone, Copy)]
enum Until {
    /// A check succeeds.
    Checked,
    /// A moment.
    Time(Instant),
}

impl Avoided {
    fn until(&self) -> MutexGuard<'_, HashMap<String, Until>> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether no broker is avoided.
    pub fn is_empty(&self) -> bool {
        self.number.load(Ordering::Relaxed) == 0
    }

    /// Returns whether a broker is avoided.
    pub fn contains(&self, broker: &str) -> bool {
        let mut until = self.until();
        match until.get(broker) {
            None => false,
            Some(Until::Checked) => true,
            Some(Until::Time(end)) if monotonic() < *end => true,
            Some(Until::Time(_)) => {
                until.remove(broker);
                self.number.store(until.len(), Ordering::Relaxed);
                false
            }
        }
    }

    /// Avoids a broker for a time, for example because it is busy.
    pub fn add_for(&self, broker: &str, time: Duration) {
        let mut until = self.until();
        until.entry(broker.to_owned()).or_insert(Until::Time(monotonic() + time));
        self.number.store(until.len(), Ordering::Relaxed);
    }

    /// Avoids a broker until [`remove`](Self::remove). Returns false if it is already avoided so.
    pub fn add(&self, broker: &str) -> bool {
        let mut until = self.until();
        let previous = until.insert(broker.to_owned(), Until::Checked);
        self.number.store(until.len(), Ordering::Relaxed);
        !matches!(previous, Some(Until::Checked))
    }

    /// Uses a broker again.
    pub fn remove(&self, broker: &str) {
        let mut until = self.until();
        until.remove(broker);
        self.number.store(until.len(), Ordering::Relaxed);
    }
}

/// Waits until the time of the next check.
pub(super) async fn pause() {
    tokio::time::sleep(CHECK_PAUSE.mul_f64(0.5 + fastrand::f64())).await;
}

/// Returns whether the broker answers, or has left the route of the topic for long. If it does not
/// answer, the route is refreshed for the next check: the broker may come back with another address.
pub(super) async fn has_recovered(client: &Client, topic: &str, broker: &str) -> bool {
    let Ok(route) = client.route(topic).await else { return false };
    let Some(address) = route.master(broker) else { return true };
    let answers = matches!(probe(client, topic, address).await, Ok(()) | Err(Error::Closed));
    if !answers {
        let _ = client.refresh_route(topic).await;
    }
    answers
}

/// Asks a broker for an offset of the topic. Any answer shows that the broker works, except that it
/// is busy.
///
/// `GET_MAX_OFFSET` = 30 (`GetMaxOffsetRequestHeader.java`).
pub(super) async fn probe(client: &Client, topic: &str, address: &str) -> Result<(), Error> {
    let request = Command::request(codes::GET_MAX_OFFSET).field("topic", topic).field("queueId", 0);
    let response = client.call(address, request, client.config().request_timeout).await?;
    let is_ok = response.code == codes::SUCCESS;
    match response.refusal(address) {
        busy if !is_ok && busy.is_busy() => Err(busy),
        _ => Ok(()),
    }
}
