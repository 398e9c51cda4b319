//! `cargo xtask bench`: the product, the limits of what it stands on, and other systems, in one run.

mod back_ends;
mod build;
mod figures;
mod history;
mod interrupt;
mod machine;
mod node;
mod page_limit;
mod page_table;
mod peers;
mod plan;
mod postgres;
mod process;
mod product;
mod raw;
mod redis;
mod report;
mod results;
mod subject;
mod work;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::bench::back_ends::BackEnds;
use crate::bench::build::Programs;
use crate::bench::interrupt::Interrupt;
use crate::bench::machine::Machine;
use crate::bench::plan::Mode;
use crate::bench::results::Results;
use crate::bench::subject::{Session, Subjects};
use crate::bench::work::{Sizes, Work};

const HELP: &str = "\
Examples:
  cargo xtask bench embedded --quick                 does it work? two minutes, one round
  cargo xtask bench                                  everything: an hour on two cores
  cargo xtask bench embedded --pending 10000000      with ten million pending tasks
  cargo xtask bench embedded --works pages --runs 10000000    pages of the console with a long history
  cargo xtask bench peers --works burst,steady       only two works
  cargo xtask bench embedded --programs ../old       an earlier build

The table is printed and written to target/bench/<mode>.md, all figures to target/bench/<mode>.json.
Measure on a quiet machine: the table begins with the load average and the time of an fdatasync.";

/// Options of the benchmark.
#[derive(clap::Args)]
#[command(after_help = HELP)]
pub struct Bench {
    /// What to measure. Default: everything
    #[arg(value_enum)]
    mode: Option<Mode>,
    /// Small amounts and one round: shows that everything works. The figures mean little
    #[arg(long)]
    quick: bool,
    /// Number of rounds. The table has the medians
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: u32,
    /// Number of pending tasks of the row with many pending tasks. `--quick` omits this row
    #[arg(long, default_value_t = 1_000_000)]
    pending: usize,
    /// Number of runs of the work `pages`, beside `--pending` tasks. A run needs about 1.3 KB on the disk
    #[arg(long, default_value_t = 100_000)]
    runs: usize,
    /// Measure the programs `taskcenter` and `taskcenter-bench` in this directory, such as an earlier
    /// build, instead of building them
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// Only these works, separated by commas
    #[arg(long, value_enum, value_delimiter = ',')]
    works: Vec<Work>,
}

impl Bench {
    fn rounds(&self) -> u32 {
        if self.quick { 1 } else { self.rounds }
    }

    fn selects(&self, work: Work) -> bool {
        self.works.is_empty() || self.works.contains(&work)
    }
}

/// Measures, prints the table, and stops what it has started.
pub fn run(workspace: &Path, bench: &Bench) -> Result<()> {
    let dir = workspace.join("target/bench");
    fs::create_dir_all(&dir)?;
    let lock = File::create(dir.join("lock"))?;
    lock.try_lock().context("another benchmark runs in this directory: wait for its end")?;
    let mode = bench.mode.unwrap_or(Mode::All);
    let interrupt = Interrupt::install()?;
    let programs = match &bench.programs {
        Some(built) => Programs::copy(built, &dir)?,
        None => Programs::build(workspace, &dir, mode.has_cluster(), &interrupt)?,
    };
    let back_ends = BackEnds::start(workspace, mode.has_cluster(), &interrupt)?;
    let session = Session { dir, programs, interrupt, sizes: Sizes::new(bench.quick) };
    let subjects = plan::subjects(&session, &back_ends, mode, bench)?;
    let mut results = Results::new(&subjects);
    measure(&session, subjects, bench, &mut results)?;
    let table = report::table(&results, bench.quick);
    print!("\n{table}");
    let name = mode.name();
    fs::write(session.dir.join(format!("{name}.md")), table)?;
    fs::write(session.dir.join(format!("{name}.json")), results.to_json())?;
    eprintln!("Written to {}", session.dir.join(name).with_extension("md").display());
    let failed = results.failures.len();
    ensure!(failed == 0, "{failed} measurements failed: the table lists them");
    Ok(())
}

/// Measures each work on each subject, in each round: a change of the machine then affects all subjects.
fn measure(
    session: &Session,
    mut subjects: Subjects<'_>,
    bench: &Bench,
    results: &mut Results,
) -> Result<()> {
    for round in 1..=bench.rounds() {
        results.machine.push(Machine::measure(session)?);
        for work in Work::ALL.into_iter().filter(|work| bench.selects(*work)) {
            for (index, subject) in subjects.measured.iter_mut().enumerate() {
                if !subject.works().contains(&work) {
                    continue;
                }
                eprint!("round {round}/{}  {:12} {:44} ", bench.rounds(), work.name(), subject.title());
                let measured = subject.measure(work);
                session.interrupt.check()?;
                results.add(work, index, measured);
            }
        }
    }
    Ok(())
}
