//! The product: embedded, and as a node of a cluster over the bus or by pull.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::bench::back_ends::BackEnds;
use crate::bench::figures::{Figures, parse, with_separators};
use crate::bench::node::Node;
use crate::bench::process::empty;
use crate::bench::subject::{Session, Subject};
use crate::bench::work::{RATE, Work};
use crate::download;

/// Up to this number of pending tasks, each measurement starts with new ones.
const NEW_EACH_TIME: usize = 10_000;
/// Runs that exist at least when their pages are measured.
const RUNS_LISTED: usize = 2_000;
const TOPIC: &str = "taskcenter_bench";
const HANDLING: [Work; 7] = [
    Work::Run,
    Work::RunOneLimit,
    Work::RunTwoLimits,
    Work::Burst,
    Work::BurstWatched,
    Work::Steady,
    Work::Crowd,
];

/// How runs reach the consumer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Delivery {
    Bus,
    Pull,
}

/// The product with a number of pending tasks.
pub struct Product<'a> {
    session: &'a Session,
    cluster: Option<(&'a BackEnds, Delivery)>,
    pending: usize,
    /// Name of the directory and of the database.
    name: String,
    is_filled: bool,
}

impl<'a> Product<'a> {
    /// The embedded product.
    pub fn embedded(session: &'a Session, pending: usize) -> Self {
        Self { session, cluster: None, pending, name: format!("embedded-{pending}"), is_filled: false }
    }

    /// A node of a cluster. Runs leave over the bus.
    pub fn bus(session: &'a Session, back_ends: &'a BackEnds, pending: usize) -> Self {
        let name = format!("bus-{pending}");
        Self { session, cluster: Some((back_ends, Delivery::Bus)), pending, name, is_filled: false }
    }

    /// A node of a cluster. Runs wait in a queue.
    pub fn pull(session: &'a Session, back_ends: &'a BackEnds, pending: usize) -> Self {
        let name = format!("pull-{pending}");
        Self { session, cluster: Some((back_ends, Delivery::Pull)), pending, name, is_filled: false }
    }

    fn dir(&self) -> PathBuf {
        self.session.dir.join(&self.name)
    }

    /// Returns a name that no other checkout on this machine uses at the same time.
    fn database(&self) -> String {
        format!("taskcenter_bench_{}_{}", std::process::id(), self.name.replace('-', "_"))
    }

    fn start(&self) -> Result<Node> {
        let dir = self.dir();
        let Some((back_ends, _)) = self.cluster else {
            let store = format!("[embedded]\ndata_dir = \"{}\"\n", dir.join("data").display());
            return Node::start(self.session, &dir, "embedded", &store);
        };
        let (database, mongo, redis) = (self.database(), back_ends.mongo()?, back_ends.redis()?);
        let store = format!(
            "[mongodb]\nuri = \"{mongo}\"\ndb = \"{database}\"\n\
             [redis]\naddr = \"{redis}\"\nkey_prefix = \"{database}\"\n\
             [rocketmq]\nnamesvr = [\"{}\"]\ntopic = \"{TOPIC}\"\ngroup_id = \"{TOPIC}\"\n",
            back_ends.namesrv()?
        );
        Node::start(self.session, &dir, "cluster", &store)
    }

    fn wipe(&self) -> Result<()> {
        empty(&self.dir())?;
        let Some((back_ends, _)) = self.cluster else { return Ok(()) };
        let mut drop = Command::new(&self.session.programs.load);
        drop.args(["mongo-drop", "--uri", &back_ends.mongo()?, "--database", &self.database()]);
        // Also after Ctrl-C.
        download::run(&mut drop)
    }

    /// Makes sure that the store has the pending tasks.
    fn prepare(&mut self) -> Result<()> {
        if self.is_filled && self.pending > NEW_EACH_TIME {
            return Ok(());
        }
        self.wipe()?;
        if self.pending > 0 {
            let node = self.start()?;
            self.load("fill", &node, self.pending, &[])?;
        }
        self.is_filled = true;
        Ok(())
    }

    fn load(&self, work: &str, node: &Node, count: usize, more: &[String]) -> Result<Figures> {
        let mut load = Command::new(&self.session.programs.load);
        load.args([work, "--url", &node.url, "--count", &count.to_string()]).args(more);
        parse(&self.session.interrupt.output(&mut load)?)
    }

    fn arguments(&self, work: Work) -> Result<Vec<String>> {
        let mut arguments = Vec::new();
        if work == Work::Steady {
            arguments.extend(["--rate".to_owned(), RATE.to_string()]);
        }
        if let Some((back_ends, Delivery::Bus)) = self.cluster
            && HANDLING.contains(&work)
        {
            let connect = format!("rocketmq://{}/{TOPIC}?group={TOPIC}_consumer", back_ends.namesrv()?);
            arguments.extend(["--connect".to_owned(), connect]);
        }
        Ok(arguments)
    }
}

impl Subject for Product<'_> {
    fn title(&self) -> String {
        let name = match self.cluster {
            None => "embedded",
            Some((_, Delivery::Bus)) => "cluster, bus",
            Some((_, Delivery::Pull)) => "cluster, pull",
        };
        if self.pending == 0 {
            return name.to_owned();
        }
        format!("{name}, {} pending", with_separators(self.pending as f64))
    }

    fn durability(&self) -> String {
        match self.cluster {
            None => {
                "SQLite, WAL, a flush before each answer: each acknowledged write is on the disk".to_owned()
            }
            Some(_) => "MongoDB, majority and journal, a replica set of one; one node".to_owned(),
        }
    }

    fn works(&self) -> &'static [Work] {
        match self.cluster {
            Some((_, Delivery::Pull)) => &HANDLING,
            Some((_, Delivery::Bus)) if self.pending == 0 => &Work::OVER_BUS,
            // Without pending tasks, the pages are empty.
            _ if self.pending == 0 => &Work::WITHOUT_PENDING,
            _ => &Work::OF_PRODUCT,
        }
    }

    fn is_product(&self) -> bool {
        true
    }

    fn measure(&mut self, work: Work) -> Result<Figures> {
        self.prepare()?;
        let node = self.start()?;
        if work == Work::List {
            // Stores with and without earlier works have full pages of runs.
            self.load(Work::Run.name(), &node, RUNS_LISTED, &self.arguments(Work::Run)?)?;
        }
        let count = self.session.sizes.count(work);
        let mut figures = self.load(work.name(), &node, count, &self.arguments(work)?)?;
        figures.insert("ready_ms".to_owned(), node.process.started_in.as_secs_f64() * 1e3);
        figures.extend(node.process.peak_memory_mb().map(|memory| ("memory_mb".to_owned(), memory)));
        Ok(figures)
    }
}

impl Drop for Product<'_> {
    fn drop(&mut self) {
        if self.is_filled
            && let Err(error) = self.wipe()
        {
            eprintln!("cannot delete the data of {}: {error:#}", self.title());
        }
    }
}
