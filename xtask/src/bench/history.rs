//! The embedded product with many tasks and a long history of runs.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::bench::figures::{Figures, parse, with_separators};
use crate::bench::node::Node;
use crate::bench::process::empty;
use crate::bench::subject::{Session, Subject};
use crate::bench::work::Work;

/// The embedded product with tasks and runs.
pub struct History<'a> {
    session: &'a Session,
    tasks: usize,
    runs: usize,
    is_filled: bool,
}

impl<'a> History<'a> {
    /// The product with these numbers of tasks and runs.
    pub fn new(session: &'a Session, tasks: usize, runs: usize) -> Self {
        Self { session, tasks, runs, is_filled: false }
    }

    fn dir(&self) -> PathBuf {
        self.session.dir.join("history")
    }

    fn load(&self, arguments: &[&str]) -> Result<Figures> {
        let mut load = Command::new(&self.session.programs.load);
        parse(&self.session.interrupt.output(load.args(arguments))?)
    }

    fn prepare(&mut self) -> Result<()> {
        if self.is_filled {
            return Ok(());
        }
        empty(&self.dir())?;
        let (dir, tasks, runs) = (self.dir().join("data"), self.tasks.to_string(), self.runs.to_string());
        let dir = dir.to_string_lossy();
        let filled = self.load(&["fill-history", "--dir", &*dir, "--tasks", &*tasks, "--runs", &*runs])?;
        let value = |name: &str| filled.get(name).copied().unwrap_or_default();
        eprint!("{:.0} MB, {} rows/s  ", value("file_mb"), with_separators(value("per_s")));
        self.is_filled = true;
        Ok(())
    }
}

impl Subject for History<'_> {
    fn title(&self) -> String {
        let [tasks, runs] = [self.tasks, self.runs].map(|count| with_separators(count as f64));
        format!("embedded, {tasks} tasks, {runs} runs")
    }

    fn durability(&self) -> String {
        "as embedded; only reads are measured".to_owned()
    }

    fn works(&self) -> &'static [Work] {
        &[Work::Pages]
    }

    fn is_product(&self) -> bool {
        true
    }

    fn measure(&mut self, work: Work) -> Result<Figures> {
        self.prepare()?;
        let store = format!("[embedded]\ndata_dir = \"{}\"\n", self.dir().join("data").display());
        let node = Node::start(self.session, &self.dir(), "embedded", &store)?;
        let count = self.session.sizes.count(work).to_string();
        let mut figures = self.load(&[work.name(), "--url", &node.url, "--count", &*count])?;
        figures.insert("ready_ms".to_owned(), node.process.started_in.as_secs_f64() * 1e3);
        figures.extend(node.process.peak_memory_mb().map(|memory| ("memory_mb".to_owned(), memory)));
        Ok(figures)
    }
}

impl Drop for History<'_> {
    fn drop(&mut self) {
        if self.is_filled
            && let Err(error) = empty(&self.dir())
        {
            eprintln!("cannot delete the data of {}: {error:#}", self.title());
        }
    }
}
