//! The limits of the parts below the product.

use std::process::Command;

use anyhow::Result;

use crate::bench::back_ends::BackEnds;
use crate::bench::figures::{Figures, parse};
use crate::bench::process::empty;
use crate::bench::subject::{Session, Subject};
use crate::bench::work::{RATE, Work};

/// A part below the product.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Sqlite,
    SqliteTasks,
    Echo,
    StoredOne,
    StoredMany,
    MongoOne,
    MongoMany,
    MongoTasks,
    RocketMq,
    Fire,
    BusRuns,
    PullRuns,
    SteadyRuns,
}

/// A limit of the product.
pub struct Raw<'a> {
    session: &'a Session,
    back_ends: &'a BackEnds,
    part: Part,
}

impl<'a> Raw<'a> {
    /// Returns all limits.
    pub fn all(session: &'a Session, back_ends: &'a BackEnds) -> Vec<Self> {
        let embedded = [Part::Echo, Part::StoredOne, Part::Sqlite, Part::SqliteTasks, Part::StoredMany];
        let creates = [Part::MongoOne, Part::MongoMany, Part::MongoTasks];
        let runs = [Part::RocketMq, Part::Fire, Part::BusRuns, Part::PullRuns, Part::SteadyRuns];
        embedded
            .into_iter()
            .chain(creates)
            .chain(runs)
            .map(|part| Self { session, back_ends, part })
            .collect()
    }

    /// Returns whether the limit is one of the embedded product.
    pub fn is_embedded(&self) -> bool {
        matches!(
            self.part,
            Part::Echo | Part::StoredOne | Part::Sqlite | Part::SqliteTasks | Part::StoredMany
        )
    }

    fn empty_dir(&self) -> Result<String> {
        let dir = self.session.dir.join("raw");
        empty(&dir)?;
        Ok(dir.to_string_lossy().into_owned())
    }

    fn arguments(&self) -> Result<Vec<String>> {
        let words = |words: &[&str]| Ok(words.iter().map(|word| (*word).to_owned()).collect());
        let (topic, back_ends) = ("taskcenter_bench_raw", self.back_ends);
        match self.part {
            Part::Echo => words(&["echo"]),
            Part::StoredOne => words(&["echo", "--dir", &self.empty_dir()?]),
            Part::StoredMany => words(&["echo", "--many", "--dir", &self.empty_dir()?]),
            Part::Sqlite => words(&["sqlite", "--dir", &self.empty_dir()?]),
            Part::SqliteTasks => words(&["sqlite-like-the-server", "--dir", &self.empty_dir()?]),
            Part::MongoOne => words(&["mongo-one", "--uri", &back_ends.mongo()?]),
            Part::MongoMany => words(&["mongo-many", "--uri", &back_ends.mongo()?]),
            Part::MongoTasks => words(&["mongo-like-the-server", "--uri", &back_ends.mongo()?]),
            Part::RocketMq => words(&["rocketmq", "--topic", topic, "--namesrv", &back_ends.namesrv()?]),
            Part::Fire | Part::BusRuns => {
                let (uri, namesrv) = (back_ends.mongo()?, back_ends.namesrv()?);
                let name = if self.part == Part::Fire { "fire" } else { "fire-like-the-server" };
                words(&[name, "--topic", topic, "--namesrv", &namesrv, "--uri", &uri])
            }
            Part::PullRuns => words(&["pull-like-the-server", "--uri", &back_ends.mongo()?]),
            Part::SteadyRuns => {
                let rate = RATE.to_string();
                words(&["steady-like-the-server", "--rate", &rate, "--uri", &back_ends.mongo()?])
            }
        }
    }
}

impl Subject for Raw<'_> {
    fn title(&self) -> String {
        let title = match self.part {
            Part::Sqlite => "limit: SQLite rows in transactions of 100",
            Part::SqliteTasks => "limit: SQLite rows of tasks with their indexes, in transactions of 100",
            Part::Echo => "limit: bare axum JSON echo",
            Part::StoredOne => "limit: axum, JSON and SQLite rows of tasks with their indexes",
            Part::StoredMany => {
                "limit: axum, JSON and SQLite rows of tasks with their indexes, 100 a request"
            }
            Part::MongoOne => "limit: MongoDB insert_one, 64 at once",
            Part::MongoMany => "limit: MongoDB insert_many(100), 4 at once",
            Part::MongoTasks => "limit: MongoDB rows of tasks with their indexes, 100 a call, 4 at once",
            Part::RocketMq => "limit: RocketMQ send",
            Part::Fire => "limit: MongoDB insert, update, RocketMQ send",
            Part::BusRuns => "limit: the rows and indexes of runs, RocketMQ send",
            Part::SteadyRuns => "limit: the writes of a run from a queue until its lease",
            Part::PullRuns => "limit: the rows and indexes of runs from a queue",
        };
        title.to_owned()
    }

    fn durability(&self) -> String {
        let durability = match self.part {
            Part::Sqlite => "as embedded; one table, one index",
            Part::StoredOne | Part::StoredMany | Part::SqliteTasks => {
                "as embedded; the server's table and indexes, without idempotency records"
            }
            Part::Echo => "none",
            Part::MongoOne | Part::MongoMany => "majority and journal; one index",
            Part::MongoTasks => "majority and journal; the server's indexes",
            Part::RocketMq => "the broker's default: asynchronous flush",
            Part::Fire => {
                "majority and journal, then asynchronous flush; one index, one step after the other"
            }
            Part::BusRuns => "as above, with the indexes of the server, and an update of each task",
            Part::SteadyRuns => "majority and journal, with the indexes of the server; each run alone",
            Part::PullRuns => {
                "majority and journal, with the indexes of the server; one step after the other"
            }
        };
        durability.to_owned()
    }

    fn works(&self) -> &'static [Work] {
        match self.part {
            Part::Echo | Part::StoredOne | Part::MongoOne => &[Work::CreateOne],
            Part::Sqlite | Part::SqliteTasks | Part::StoredMany | Part::MongoMany | Part::MongoTasks => {
                &[Work::CreateMany]
            }
            Part::RocketMq | Part::Fire | Part::BusRuns | Part::PullRuns => &[Work::Burst],
            Part::SteadyRuns => &[Work::Steady],
        }
    }

    fn measure(&mut self, work: Work) -> Result<Figures> {
        let mut load = Command::new(&self.session.programs.load);
        load.args(self.arguments()?).args(["--count", &self.session.sizes.count(work).to_string()]);
        parse(&self.session.interrupt.output(&mut load)?)
    }
}
