//! Progress of an attempt inside a document of `runs`.

use mongodb::bson::{DateTime, Document, doc};
use serde::{Deserialize, Serialize};

use super::{date, moment};
use crate::core::run::{Progress, ReportedProgress};

/// The last progress of a run.
#[derive(Debug, Serialize, Deserialize)]
pub struct ProgressRow {
    percent: i32,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    text: String,
    claim: i64,
    at: DateTime,
}

/// Returns the progress as a value of an update.
pub fn document(reported: &ReportedProgress) -> Document {
    let ReportedProgress { progress: Progress { percent, text }, claim, at } = reported;
    doc! { "percent": i32::from(*percent), "text": text, "claim": i64::from(*claim), "at": date(*at) }
}

impl From<ReportedProgress> for ProgressRow {
    fn from(ReportedProgress { progress: Progress { percent, text }, claim, at }: ReportedProgress) -> Self {
        Self { percent: percent.into(), text, claim: claim.into(), at: date(at) }
    }
}

impl From<ProgressRow> for ReportedProgress {
    fn from(row: ProgressRow) -> Self {
        let progress = Progress { percent: row.percent as u8, text: row.text };
        Self { progress, claim: row.claim as u32, at: moment(row.at) }
    }
}
