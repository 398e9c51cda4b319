//! Ids of messages, as of `MessageClientIDSetter.java`: 16 bytes in upper-case hexadecimal digits.

use std::fmt::Write;
use std::net::IpAddr;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};

use crate::client::local_ip;
use crate::clock::now_ms;

/// IP address, process id, and a number that differs between processes: 10 bytes.
static PREFIX: LazyLock<String> = LazyLock::new(|| {
    let ip = match local_ip() {
        IpAddr::V4(ip) => u32::from(ip),
        IpAddr::V6(ip) => ip.to_bits() as u32,
    };
    format!("{ip:08X}{:04X}{:08X}", std::process::id() as u16, fastrand::u32(..))
});

static COUNTER: AtomicU16 = AtomicU16::new(0);

/// Returns the next id.
pub(super) fn next() -> String {
    let now = now_ms();
    let since = (now - month_start_ms(now)) as u32;
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let mut id = String::with_capacity(32);
    id.push_str(&PREFIX);
    let _ = write!(id, "{since:08X}{count:04X}");
    id
}

/// Returns the start of the month in UTC, in milliseconds since the Unix epoch.
fn month_start_ms(now_ms: i64) -> i64 {
    const DAY_MS: i64 = 86_400_000;
    let days = now_ms.div_euclid(DAY_MS);
    (days - day_of_month(days)) * DAY_MS
}

/// Returns the day within its month, from 0, of a day since the Unix epoch.
fn day_of_month(days: i64) -> i64 {
    // Years start in March here, so that the leap day is the last one.
    let day_of_era = (days + 719_468).rem_euclid(146_097);
    let year = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    day_of_year - (153 * month + 2) / 5
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_have_the_form_of_java_and_are_unique() {
        let ids: HashSet<String> = (0..60_000).map(|_| next()).collect();
        assert_eq!(ids.len(), 60_000);
        let digit = |c: char| c.is_ascii_digit() || ('A'..='F').contains(&c);
        assert!(ids.iter().all(|id| id.len() == 32 && id.chars().all(digit)));
    }

    #[test]
    fn months_start_at_their_first_day() {
        // 2024-02-29, 2024-03-01, 2023-12-31, 2000-02-29, 1970-01-01, in days since the epoch.
        for (days, day) in [(19_782, 28), (19_783, 0), (19_722, 30), (11_016, 28), (0, 0)] {
            assert_eq!(day_of_month(days), day, "{days}");
        }
    }
}
