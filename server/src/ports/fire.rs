//! Firing: the run of a due moment is inserted, and its task steps past the moment.

use super::{InsertedRun, Result, Store};
use crate::core::advance::Advance;
use crate::core::{Run, Task};

/// A due moment of a task, and the row that shall decide the moment.
#[derive(Debug, Clone)]
pub struct Fire<'a> {
    /// The task as the caller has read it.
    pub task: &'a Task,
    /// A run in `firing`, or a skipped run.
    pub run: Run,
}

/// Result of firing one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fired {
    /// The task has passed the moment, by this call or another one.
    Passed {
        /// The stored row of the moment. It may be the row of another node or of an earlier call.
        run: Box<Run>,
        /// Whether this call has put the run into its queue and counted the fire.
        queued: bool,
    },
    /// The task cannot pass the moment: the task was changed, is missing or unreadable, or the
    /// store's clock has not reached the moment.
    NotPassed,
    /// The moment has a row that this release cannot read.
    Unreadable,
}

/// Fires with two writes, for a store without transactions: inserts the runs, and advances the
/// tasks. If the process dies in between, the stored rows decide.
///
/// # Errors
/// Errors of the writes. Each write may have happened: repeat the call.
pub async fn fire_in_two_steps<S: Store + ?Sized>(store: &S, fires: Vec<Fire<'_>>) -> Result<Vec<Fired>> {
    let (tasks, runs): (Vec<&Task>, Vec<Run>) =
        fires.into_iter().map(|Fire { task, run }| (task, run)).unzip();
    let inserted = store.insert_runs(&runs).await?;
    crate::failpoint!("fire::inserted");
    let rows: Vec<Option<Run>> =
        runs.into_iter().zip(inserted).map(|(run, inserted)| inserted.stored(run)).collect();
    let advance = |(task, row): (&&Task, &Option<Run>)| row.as_ref().map(|row| Advance::of(task, row));
    let advances: Vec<Advance> = tasks.iter().zip(&rows).filter_map(advance).collect();
    let mut passed = store.advance_tasks(&advances).await?.into_iter();
    let result = |row: Option<Run>| match row {
        None => Fired::Unreadable,
        Some(run) if passed.next() == Some(true) => Fired::Passed { run: Box::new(run), queued: false },
        Some(_) => Fired::NotPassed,
    };
    Ok(rows.into_iter().map(result).collect())
}

impl InsertedRun {
    /// Returns the row that is stored after the insert of `run`. `None`: the row is unreadable.
    fn stored(self, run: Run) -> Option<Run> {
        match self {
            Self::New => Some(run),
            Self::Existing(stored) => Some(*stored),
            Self::Unreadable => None,
        }
    }
}
