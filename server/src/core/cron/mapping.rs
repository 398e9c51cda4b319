//! Maps the wall-clock matches of an expression to instants in a time zone.
//!
//! The rule is that of Debian cron. It matters when clocks go forward (a gap: an hour does not
//! exist) or back (a repeat: an hour happens twice).
//!
//! - An *interval* expression fires at every instant whose wall clock matches. It does not fire in
//!   a gap, and it fires in both passes of a repeat.
//! - A *fixed-time* expression fires once per match. A match in a gap fires at the first instant
//!   after the gap. A match in a repeat fires in the first pass.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};

use super::calendar::Calendar;

/// Changes that the search for another offset reads.
const MOST_CHANGES: usize = 8;

/// Returns the first instant after `after` at which the expression fires.
pub fn next(calendar: &Calendar, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
    if calendar.is_interval {
        next_interval(calendar, zone, after)
    } else {
        next_fixed_time(calendar, zone, after)
    }
}

fn next_fixed_time(calendar: &Calendar, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
    let mut wall = zone.to_offset(after).to_datetime(after);
    loop {
        wall = calendar.next(wall)?;
        // Matches of the first pass lie in the past when `after` is in the second pass.
        let fires = fixed_time_instant(zone, wall)?;
        if fires > after {
            return Some(fires);
        }
    }
}

fn fixed_time_instant(zone: &TimeZone, wall: DateTime) -> Option<Timestamp> {
    match zone.to_ambiguous_timestamp(wall).offset() {
        AmbiguousOffset::Unambiguous { offset } | AmbiguousOffset::Fold { before: offset, .. } => {
            offset.to_timestamp(wall).ok()
        }
        AmbiguousOffset::Gap { after, .. } => {
            // Read with the later offset, a skipped time lies before the transition.
            let before_gap = after.to_timestamp(wall).ok()?;
            zone.following(before_gap).next().map(|transition| transition.timestamp())
        }
    }
}

/// Walks from one change of the offset to the next: between two of them wall clock and instant move alike.
fn next_interval(calendar: &Calendar, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
    let mut offset = zone.to_offset(after);
    let mut from = offset.to_datetime(after);
    let mut wall = calendar.next(from)?;
    let mut transitions = zone.following(after);
    loop {
        let fires = offset.to_timestamp(wall).ok();
        let Some(transition) = transitions.next() else { return fires };
        if let Some(fires) = fires.filter(|fires| *fires < transition.timestamp()) {
            return Some(fires);
        }
        offset = transition.offset();
        let begins = just_before(offset, transition.timestamp())?;
        if begins <= from || begins >= wall {
            // The clock went back to before the last search, or skipped its match.
            wall = calendar.next(begins)?;
        }
        from = begins;
    }
}

/// Returns when the clocks of a zone change next. Zones also have changes of the name alone: these do not count.
pub fn next_change(zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
    let offset = zone.to_offset(after);
    let mut changes = zone.following(after).take(MOST_CHANGES);
    changes.find(|change| change.offset() != offset).map(|change| change.timestamp())
}

/// The wall clock one nanosecond before `at` would have been, had `offset` held then.
fn just_before(offset: Offset, at: Timestamp) -> Option<DateTime> {
    offset.to_datetime(at).checked_sub(jiff::Span::new().nanoseconds(1)).ok()
}
