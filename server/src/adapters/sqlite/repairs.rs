//! Reads unreadable rows again: somebody may have repaired or removed them.

use super::rows::{Db, one};
use super::{runs, tasks};
use crate::adapters::unreadable::Row as _;
use crate::core::{Run, Task};
use crate::ports::{PortError, Result, UnreadableRows};

/// Returns the rows that are still unreadable.
pub fn unreadable_rows(db: &Db) -> Result<Option<UnreadableRows>> {
    for row in db.unreadable().to_check() {
        let read = match row.0 {
            Task::KIND => one::<Task>(db, tasks::BY_ID, &row.1).map(drop),
            _ => one::<Run>(db, runs::BY_ID, &row.1).map(drop),
        };
        match read {
            Ok(()) => db.unreadable().forget(&row),
            Err(PortError::Corrupt(..)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(db.unreadable().summary())
}
