//! Limits of login attempts: guessing passwords is slow, and costs little memory.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use super::ServiceError;
use crate::core::Moment;

/// Attempts of one name: number at once, and milliseconds until another is allowed.
const OF_NAME: (i64, i64) = (10, 6_000);
/// Attempts from one address, which several users may share.
const OF_ADDRESS: (i64, i64) = (50, 1_200);
/// Maximum number of remembered names and addresses.
const MAX_KEYS: usize = 65_536;

/// A name, or an address (IPv6: a /64 network).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Name(String),
    Address(IpAddr),
}

impl Key {
    const fn limit(&self) -> (i64, i64) {
        match self {
            Self::Name(_) => OF_NAME,
            Self::Address(_) => OF_ADDRESS,
        }
    }
}

/// Failed attempts, and attempts under way. A key is stored with the moment in milliseconds at which
/// it will have all its attempts again (GCRA).
#[derive(Default)]
pub(super) struct LoginAttempts(Mutex<HashMap<Key, i64>>);

impl LoginAttempts {
    /// Counts an attempt.
    ///
    /// # Errors
    /// [`ServiceError::TooManyAttempts`]: the attempt is not allowed yet, and is not counted.
    pub fn begin(&self, name: &str, address: Option<IpAddr>, now: Moment) -> Result<(), ServiceError> {
        let now = now.ms();
        let mut full_at = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = keys(name, address);
        forget(&mut full_at, now);
        let mut next = |key: &Key| {
            let (burst, cost) = key.limit();
            let full = full_at.entry(key.clone()).or_insert(now);
            // After a step back of the clock, no client waits for the whole step.
            *full = (*full).clamp(now, now.saturating_add(burst * cost));
            (*full + cost, burst * cost)
        };
        let nexts: Vec<(i64, i64)> = keys.iter().map(&mut next).collect();
        let wait_ms = nexts.iter().map(|(next, most)| next - now - most).max().unwrap_or_default();
        if wait_ms > 0 {
            let retry_after_sec = u64::try_from(wait_ms).unwrap_or_default().div_ceil(1_000);
            return Err(ServiceError::TooManyAttempts { retry_after_sec });
        }
        full_at.extend(keys.into_iter().zip(nexts.into_iter().map(|(next, _)| next)));
        Ok(())
    }

    /// Takes back an attempt that succeeded.
    pub fn succeed(&self, name: &str, address: Option<IpAddr>) {
        let mut full_at = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for key in keys(name, address) {
            let (_, cost) = key.limit();
            full_at.entry(key).and_modify(|full| *full -= cost);
        }
    }
}

fn keys(name: &str, address: Option<IpAddr>) -> Vec<Key> {
    let network = address.map(|address| match address.to_canonical() {
        IpAddr::V6(address) => Key::Address(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into()),
        address @ IpAddr::V4(_) => Key::Address(address),
    });
    std::iter::once(Key::Name(name.to_owned())).chain(network).collect()
}

/// Limits the memory for invented names. A forgotten key has all its attempts.
fn forget(full_at: &mut HashMap<Key, i64>, now: i64) {
    if full_at.len() >= MAX_KEYS {
        full_at.retain(|_, full| *full > now);
    }
    if full_at.len() >= MAX_KEYS {
        full_at.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment::from_sec(1_000);

    fn address(n: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, n])
    }

    fn allowed(attempts: &LoginAttempts, name: &str, address: Option<IpAddr>, now: Moment) -> usize {
        (0..1_000).take_while(|_| attempts.begin(name, address, now).is_ok()).count()
    }

    #[test]
    fn attempts_of_a_name_are_limited_from_all_addresses() {
        let attempts = LoginAttempts::default();
        assert_eq!(allowed(&attempts, "ann", Some(address(1)), NOW), 10);
        assert_eq!(allowed(&attempts, "ann", Some(address(2)), NOW), 0);
        let refused = attempts.begin("ann", Some(address(1)), NOW.plus_ms(1_000)).unwrap_err();
        assert!(matches!(refused, ServiceError::TooManyAttempts { retry_after_sec: 5 }), "{refused:?}");
        assert_eq!(allowed(&attempts, "ann", Some(address(1)), NOW.plus_ms(12_000)), 2);
        assert_eq!(allowed(&attempts, "ann", None, NOW.plus_ms(3_600_000)), 10);
    }

    #[test]
    fn attempts_from_an_address_are_limited_for_all_names() {
        let attempts = LoginAttempts::default();
        let tried = (0..1_000).take_while(|n| attempts.begin(&n.to_string(), Some(address(1)), NOW).is_ok());
        assert_eq!(tried.count(), 50);
        assert!(attempts.begin("ann", Some(address(1)), NOW).is_err());
        assert!(attempts.begin("ann", Some(address(2)), NOW).is_ok());
    }

    #[test]
    fn successful_attempts_are_not_limited() {
        let attempts = LoginAttempts::default();
        for _ in 0..1_000 {
            attempts.begin("ann", Some(address(1)), NOW).unwrap();
            attempts.succeed("ann", Some(address(1)));
        }
    }

    #[test]
    fn a_step_back_of_the_clock_delays_nobody_for_longer() {
        let attempts = LoginAttempts::default();
        allowed(&attempts, "ann", None, NOW);
        let back = NOW.plus_ms(-3_600_000);
        assert_eq!(allowed(&attempts, "ann", None, back), 0);
        assert_eq!(allowed(&attempts, "ann", None, back.plus_ms(6_000)), 1);
    }

    #[test]
    fn the_number_of_remembered_keys_is_limited() {
        let attempts = LoginAttempts::default();
        for n in 0..3 * MAX_KEYS {
            attempts.begin(&n.to_string(), None, NOW).unwrap();
        }
        assert!(attempts.0.lock().unwrap().len() <= MAX_KEYS);
    }
}
