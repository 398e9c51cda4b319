//! Firing: the run, the step of its task and the counters of the fire are one transaction.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use super::errors::{corrupt, refused};
use super::rows::{self, Db, Read, RunRow, TaskChange, replace_task};
use super::{SqliteStore, counters, runs, tasks};
use crate::core::{Moment, Run, Task};
use crate::ports::{Advance, Fire, Fired, Result};

/// A moment to fire.
struct NewFire {
    row: RunRow,
    advance: Advance,
    /// The step of the task as it was read. `None`: the moment cannot be passed.
    step: Option<TaskChange>,
    /// Tag under which the fire is counted. `None`: the fire is counted when its message is sent, or
    /// the moment is skipped.
    counted: Option<String>,
}

/// Result of firing one moment.
enum Answer {
    /// The given row is stored.
    New,
    /// This stored row decides.
    Existing(Box<Run>),
    NotPassed,
    Unreadable,
}

impl SqliteStore {
    /// Fires in one transaction. Rows are converted here, and not by the writing thread.
    pub(super) async fn fire_all(&self, fires: Vec<Fire<'_>>) -> Result<Vec<Fired>> {
        let now = self.clock.now();
        let (mut runs, mut new) = (Vec::with_capacity(fires.len()), Vec::with_capacity(fires.len()));
        for Fire { task, mut run } in fires {
            let advance = Advance::of(task, &run);
            let queued = run.queue.is_some() && !run.needs_admission() && run.enqueue(now).is_ok();
            let counted = queued.then(|| run.tag.clone());
            let is_allowed = advance.is_allowed(task, now);
            let step = is_allowed.then(|| TaskChange::of_unchanged(task, &task.stepped(&advance)));
            new.push(NewFire { row: RunRow::new(&run)?, advance, step: step.transpose()?, counted });
            runs.push((run, queued));
        }
        let reads = AtomicBool::new(false);
        let answers = self.writer.write(move |db| fire(db, &new, now, &reads)).await?;
        let result = |((run, queued), answer)| match answer {
            Answer::New => Fired::Passed { run: Box::new(run), queued },
            Answer::Existing(run) => Fired::Passed { run, queued: false },
            Answer::NotPassed => Fired::NotPassed,
            Answer::Unreadable => Fired::Unreadable,
        };
        Ok(runs.into_iter().zip(answers).map(result).collect())
    }
}

/// Fires moments that have come at `now`. Returns one answer per moment, in order.
///
/// Nearly always the tasks have not changed since they were read, and the runs are new. So the batch is
/// first tried without reading them. If a run exists, the writer undoes the batch and repeats it; then it
/// `reads`.
fn fire(db: &Db, fires: &[NewFire], now: Moment, reads: &AtomicBool) -> Result<Vec<Answer>> {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    let mut answers = Vec::with_capacity(fires.len());
    for fire in fires {
        let answer = fire_one(db, fire, now, reads)?;
        if let (Answer::New, Some(tag)) = (&answer, &fire.counted) {
            *counts.entry(tag).or_default() += 1;
        }
        answers.push(answer);
    }
    let counts: Vec<(String, u64)> = counts.into_iter().map(|(tag, fires)| (tag.to_owned(), fires)).collect();
    counters::count(db, now, &counts)?;
    crate::failpoint!("sqlite::fired");
    Ok(answers)
}

fn fire_one(db: &Db, fire: &NewFire, now: Moment, reads: &AtomicBool) -> Result<Answer> {
    if let Some(step) = &fire.step
        && !reads.load(Ordering::Relaxed)
        && step.write(db, now)?
    {
        if fire.row.insert(db)? {
            return Ok(Answer::New);
        }
        // The stored row decides how far the task steps.
        reads.store(true, Ordering::Relaxed);
        return Err(refused("a moment of the batch has a row: the batch is repeated, and reads its tasks"));
    }
    fire_changed(db, fire, now)
}

/// Fires a moment of a task that may have changed since it was read.
fn fire_changed(db: &Db, fire: &NewFire, now: Moment) -> Result<Answer> {
    let NewFire { row, advance, step: _, counted: _ } = fire;
    let Read::Row(task) = rows::read::<Task>(db, tasks::BY_ID, advance.task_id.as_str())? else {
        return Ok(Answer::NotPassed);
    };
    // The row of a moment that cannot be passed would never fire, so it is not inserted.
    let is_allowed = advance.is_allowed(&task, now);
    if is_allowed && row.insert(db)? {
        replace_task(db, &task, &task.stepped(advance), now)?;
        return Ok(Answer::New);
    }
    let stored: Run = match rows::read(db, runs::BY_ID, &row.id)? {
        Read::Row(stored) => stored,
        Read::Unreadable => return Ok(Answer::Unreadable),
        Read::Missing if is_allowed => {
            return Err(corrupt(format!("the insert of run {} conflicts with no row", row.id)));
        }
        Read::Missing => return Ok(Answer::NotPassed),
    };
    if is_allowed {
        replace_task(db, &task, &task.stepped(&Advance::of(&task, &stored)), now)?;
    } else if !task.has_passed(stored.rev, stored.decides_up_to()) {
        return Ok(Answer::NotPassed);
    }
    Ok(Answer::Existing(Box::new(stored)))
}
