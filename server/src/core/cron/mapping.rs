//! Maps the wall-clock matches of an expression to instants in a time zone.
//!
//! The rule is that of Debian cron. It matters when clocks go forward (a gap: an hour does not
//! exist) or back (a repeat: an hour happens twice).
//!
//! - An *interval* expression fires at every instant whose wall clock matches. It does not fire in
//!   a gap, and it fires in both passes of a repeat.
//! - A *fixed-time* expression fires once per match. A match in a gap fires at the first instant
//!   after the gap. A match in a repeat fires in the first pass.
//!
//! A schedule can replace each half of the rule ([`Dst`](super::Dst)).

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};

use super::calendar::Calendar;
use super::{Gap, Repeat};

/// Changes that the search for another offset reads.
const MOST_CHANGES: usize = 8;

/// Returns the first instant after `after` at which the expression fires.
pub fn next(calendar: &Calendar, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
    let interval = calendar.is_interval;
    let gap = calendar.dst.gap.unwrap_or(if interval { Gap::Skip } else { Gap::After });
    let repeat = calendar.dst.repeat.unwrap_or(if interval { Repeat::Both } else { Repeat::First });
    match (repeat, gap) {
        (Repeat::Both, Gap::Skip) => next_in_real_time(calendar, zone, after),
        (Repeat::Both, Gap::After) => {
            let next = next_in_real_time(calendar, zone, after);
            gap_before(calendar, zone, after, next).or(next)
        }
        (repeat, gap) => next_once(calendar, zone, after, repeat, gap),
    }
}

/// Returns the first moment if each match is at most one.
fn next_once(
    calendar: &Calendar,
    zone: &TimeZone,
    after: Timestamp,
    repeat: Repeat,
    gap: Gap,
) -> Option<Timestamp> {
    let mut wall = zone.to_offset(after).to_datetime(after);
    if let (Repeat::Last, AmbiguousOffset::Fold { before, after: later }) =
        (repeat, zone.to_ambiguous_timestamp(wall).offset())
    {
        // The second passes of earlier matches of the repeat can be ahead.
        let length = i64::from(before.seconds()) - i64::from(later.seconds());
        wall = wall.checked_sub(jiff::Span::new().seconds(length)).ok()?;
    }
    loop {
        wall = calendar.next(wall)?;
        // Matches of the first pass lie in the past when `after` is in the second pass.
        match instant(zone, wall, repeat, gap) {
            Place::At(fires) if fires > after => return Some(fires),
            Place::At(_) | Place::Skipped => {}
            Place::Beyond => return None,
        }
    }
}

/// The instant of a match.
enum Place {
    At(Timestamp),
    /// The match lies in a gap, and is no moment.
    Skipped,
    /// After the end of the calendar.
    Beyond,
}

fn instant(zone: &TimeZone, wall: DateTime, repeat: Repeat, gap: Gap) -> Place {
    let found = match zone.to_ambiguous_timestamp(wall).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(wall).ok(),
        AmbiguousOffset::Fold { before, after } => {
            let offset = if repeat == Repeat::Last { after } else { before };
            offset.to_timestamp(wall).ok()
        }
        AmbiguousOffset::Gap { .. } if gap == Gap::Skip => return Place::Skipped,
        AmbiguousOffset::Gap { after, .. } => {
            // Read with the later offset, a skipped time lies before the transition.
            let before_gap = after.to_timestamp(wall).ok();
            before_gap.and_then(|at| zone.following(at).next()).map(|transition| transition.timestamp())
        }
    };
    found.map_or(Place::Beyond, Place::At)
}

/// Returns the end of the first gap after `after` that has a match and ends before `next`.
fn gap_before(
    calendar: &Calendar,
    zone: &TimeZone,
    after: Timestamp,
    next: Option<Timestamp>,
) -> Option<Timestamp> {
    let changes =
        zone.following(after).take(MOST_CHANGES).map(|change| (change.timestamp(), change.offset()));
    let mut changes = changes.take_while(|(at, _)| next.is_none_or(|next| *at < next));
    let has_match = |at: Timestamp, later: Offset| {
        let before = zone.to_offset(at.checked_sub(jiff::Span::new().nanoseconds(1)).ok()?);
        let begins = just_before(before, at)?;
        let ends = later.to_datetime(at);
        Some(begins < ends && calendar.next(begins)? < ends)
    };
    changes.find(|(at, later)| has_match(*at, *later) == Some(true)).map(|(at, _)| at)
}

/// Walks from one change of the offset to the next: between two of them wall clock and instant move alike.
fn next_in_real_time(calendar: &Calendar, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
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
