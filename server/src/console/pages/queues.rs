//! Queues with open runs.

use std::collections::BTreeSet;

use askama::Template;
use axum::response::Response;

use super::super::frame::{Frame, Section};
use super::super::html as h;
use super::super::problem::Result;
use super::super::visit::Visit;
use super::super::words::Words;
use super::holds::{HoldLine, may_hold, new_href};
use super::limits;
use crate::core::Moment;
use crate::core::concurrency::Limit;
use crate::core::hold::HoldScope;
use crate::engine::service::{LimitUse, QueueRow};

/// Queues of a page, those with most ready runs first.
const MOST: usize = 500;

/// A queue in a list.
pub struct QueueLine {
    pub name: String,
    pub held: u64,
    pub ready: u64,
    pub leased: u64,
    pub retrying: u64,
    /// Moment of the ready run that has waited longest.
    pub oldest_at: Option<Moment>,
    /// Leases in the last minute, through this node.
    pub rate: u64,
    /// Whether runs are ready and no worker has asked this node for runs of the queue lately.
    pub is_unattended: bool,
    pub is_on_hold: bool,
    /// Page that holds the queue. Empty: the queue is on hold, or the reader may not hold it.
    pub hold_href: String,
}

/// A concurrency limit for which runs of a queue wait.
struct LimitLine {
    queue: String,
    /// The limit in words.
    limit: String,
    /// Scope, value and key.
    name: String,
    used: u32,
    max: u32,
    waiting: u64,
}

impl LimitLine {
    fn new((queue, limit): (String, LimitUse), t: &Words) -> Self {
        let LimitUse { name, max, used, waiting } = limit;
        let of = Limit { max, scope: name.scope, key: name.key.clone() };
        Self { queue, limit: limits::in_words(&of, t), name: name.to_string(), used, max, waiting }
    }
}

#[derive(Template)]
#[template(path = "queues.html")]
struct Page {
    f: Frame,
    queues: Vec<QueueLine>,
    limits: Vec<LimitLine>,
    holds: Vec<HoldLine>,
    /// Whether the reader may create and end holds.
    may_act: bool,
    /// Whether the table has every column.
    is_whole: bool,
}

pub async fn show(visit: Visit) -> Response {
    super::answer(&visit, page(&visit).await)
}

async fn page(visit: &Visit) -> Result<askama::Result<String>> {
    let queues = lines(visit).await?;
    let f = Frame::new(visit, Section::Queues, &visit.lang.words().queues)
        .events("queue", &[])
        .api("/v1/queues", &[]);
    let limits = visit.service.recent_limits().await?.into_iter().map(|limit| LimitLine::new(limit, f.t));
    let limits = limits.take(MOST).collect();
    let holds = visit.service.holds().await?.into_iter().map(|hold| HoldLine::new(hold, f.t)).collect();
    Ok(Page { f, queues, limits, holds, may_act: may_hold(visit), is_whole: true }.render())
}

/// Returns the queues with open runs, those with most ready runs first.
pub async fn lines(visit: &Visit) -> Result<Vec<QueueLine>> {
    let (service, now) = (&visit.service, visit.service.now());
    let mut rows = service.recent_queues().await?;
    rows.sort_by(|one, other| other.ready.cmp(&one.ready).then_with(|| one.queue.cmp(&other.queue)));
    rows.truncate(MOST);
    let may_hold = may_hold(visit);
    let mut held = BTreeSet::new();
    for row in &rows {
        held.extend(service.hold_of_queue(&row.queue).await?.map(|hold| hold.name));
    }
    let href = |queue: &str| new_href(HoldScope::Queue, queue);
    let line = |row: QueueRow| QueueLine {
        is_on_hold: held.contains(&row.queue),
        hold_href: if may_hold && !held.contains(&row.queue) { href(&row.queue) } else { String::new() },
        is_unattended: row.ready > 0 && !service.attendance(&row.queue).is_attended(now),
        rate: service.leases_per_minute(&row.queue),
        oldest_at: row.oldest_ready_at,
        held: row.held,
        ready: row.ready,
        leased: row.leased,
        retrying: row.retrying,
        name: row.queue,
    };
    Ok(rows.into_iter().map(line).collect())
}
