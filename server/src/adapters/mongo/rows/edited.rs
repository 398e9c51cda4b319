//! Edited payload of a run, inside a document of `runs`.

use mongodb::bson::{Bson, DateTime, Document, doc};
use serde::{Deserialize, Serialize};

use super::{date, moment};
use crate::core::headers::Headers;
use crate::core::run::{EditedPayload, OriginalPayload, PayloadDigest, PayloadEdit};

#[derive(Debug, Serialize, Deserialize)]
pub struct EditedRow {
    data: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    headers: Vec<(String, String)>,
    edits: Vec<EditRow>,
}

#[derive(Debug, Serialize, Deserialize)]
struct EditRow {
    attempt: i64,
    at: DateTime,
    bytes: i64,
    sha256: String,
}

impl From<EditedPayload> for EditedRow {
    fn from(edited: EditedPayload) -> Self {
        let EditedPayload { original: OriginalPayload { data, headers }, edits } = edited;
        let edit = |PayloadEdit { attempt, at, payload: PayloadDigest { bytes, sha256 } }| EditRow {
            attempt: i64::from(attempt),
            at: date(at),
            bytes: bytes as i64,
            sha256,
        };
        Self { data, headers: headers.into_iter().collect(), edits: edits.into_iter().map(edit).collect() }
    }
}

impl From<EditedRow> for EditedPayload {
    fn from(row: EditedRow) -> Self {
        let edit = |EditRow { attempt, at, bytes, sha256 }| PayloadEdit {
            attempt: attempt as u32,
            at: moment(at),
            payload: PayloadDigest { bytes: bytes as u64, sha256 },
        };
        let original = OriginalPayload { data: row.data, headers: row.headers.into_iter().collect() };
        Self { original, edits: row.edits.into_iter().map(edit).collect() }
    }
}

/// Returns the fields that an edit changes.
pub fn fields(data: &str, headers: &Headers, edited: &EditedPayload) -> Document {
    let edit = |edit: &PayloadEdit| {
        let PayloadDigest { bytes, sha256 } = &edit.payload;
        doc! { "attempt": i64::from(edit.attempt), "at": date(edit.at), "bytes": *bytes as i64, "sha256": sha256 }
    };
    let edits: Vec<Document> = edited.edits.iter().map(edit).collect();
    let OriginalPayload { data: original, headers: original_headers } = &edited.original;
    doc! {
        "data": data,
        "headers": pairs(headers),
        "edited": { "data": original, "headers": pairs(original_headers), "edits": edits },
    }
}

fn pairs(headers: &Headers) -> Bson {
    let pair = |(name, value): (&String, &String)| Bson::from(vec![name.as_str(), value.as_str()]);
    Bson::Array(headers.iter().map(pair).collect())
}
