//! What each mode measures.

use anyhow::Result;

use crate::bench::Bench;
use crate::bench::back_ends::BackEnds;
use crate::bench::history::History;
use crate::bench::peers;
use crate::bench::product::Product;
use crate::bench::raw::Raw;
use crate::bench::subject::{Session, Subjects};

/// Number of pending tasks that the row with many pending tasks is compared with.
const FEW_PENDING: usize = 10_000;
/// Runs of a quick measurement of pages.
const FEW_RUNS: usize = 20_000;

/// Part of the benchmark.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Mode {
    /// The embedded product, also with pending tasks, and the limits of SQLite and HTTP
    Embedded,
    /// One node of a cluster over the bus and by pull, and the limits of MongoDB and RocketMQ
    Cluster,
    /// The embedded product, BullMQ, asynq and River
    Peers,
    /// The limits alone: SQLite, HTTP, MongoDB, RocketMQ
    Raw,
    /// Everything
    #[value(skip)]
    All,
}

impl Mode {
    /// Returns the name of the result files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Cluster => "cluster",
            Self::Peers => "peers",
            Self::Raw => "raw",
            Self::All => "all",
        }
    }

    /// Returns whether the mode needs MongoDB, Redis and RocketMQ.
    pub fn has_cluster(self) -> bool {
        matches!(self, Self::Cluster | Self::Raw | Self::All)
    }

    fn has(self, part: Self) -> bool {
        self == part || self == Self::All
    }
}

/// Returns the subjects of a mode.
pub fn subjects<'a>(
    session: &'a Session,
    back_ends: &'a BackEnds,
    mode: Mode,
    bench: &Bench,
) -> Result<Subjects<'a>> {
    let mut subjects = Subjects::default();
    if mode.has(Mode::Embedded) || mode.has(Mode::Peers) {
        subjects.push(Product::embedded(session, 0));
    }
    if mode.has(Mode::Embedded) {
        pending(bench).into_iter().for_each(|pending| subjects.push(Product::embedded(session, pending)));
    }
    if mode.has(Mode::Embedded) {
        let (tasks, runs) = if bench.quick { (FEW_PENDING, FEW_RUNS) } else { (bench.pending, bench.runs) };
        subjects.push(History::new(session, tasks, runs));
    }
    if mode.has(Mode::Cluster) {
        subjects.push(Product::bus(session, back_ends, 0));
        subjects.push(Product::pull(session, back_ends, 0));
        pending(bench)
            .into_iter()
            .for_each(|pending| subjects.push(Product::bus(session, back_ends, pending)));
    }
    if mode.has(Mode::Peers) {
        peers::add_to(&mut subjects, session)?;
    }
    for limit in Raw::all(session, back_ends) {
        let product = if limit.is_embedded() { Mode::Embedded } else { Mode::Cluster };
        if mode.has(Mode::Raw) || mode.has(product) {
            subjects.push(limit);
        }
    }
    Ok(subjects)
}

fn pending(bench: &Bench) -> Vec<usize> {
    if bench.quick { vec![FEW_PENDING] } else { vec![FEW_PENDING, bench.pending] }
}
