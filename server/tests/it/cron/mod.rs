//! What cron expressions mean, against expected answers and an independent implementation.

mod docs;
mod oracle;
mod quartz;
mod vectors;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use taskcenter_server::core::Moment;
use taskcenter_server::core::cron::CronRule;

/// The first `count` moments of the expression after `after`.
fn moments_after(cron: &str, zone: TimeZone, after: Timestamp, count: usize) -> Vec<Moment> {
    let rule = CronRule::fields(cron, zone).unwrap_or_else(|error| panic!("{cron:?}: {error}"));
    let first = rule.after(Moment::from_ms(after.as_millisecond()));
    std::iter::successors(first, |moment| rule.after(*moment)).take(count).collect()
}
