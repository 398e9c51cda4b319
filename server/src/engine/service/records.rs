//! Documents beside the ledger: what a front must remember that is neither a task nor a run.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::audit::{Change, told_of_record};
use super::{PortError, Record, Result, Service, ServiceError};

/// What a change of a document came to.
struct Changed<A> {
    answer: A,
    /// Whether it was written; otherwise it stands as it stood.
    written: bool,
}

impl Service {
    /// A document, read into its type.
    ///
    /// # Errors
    /// A port's error; `Corrupt` when it cannot be read.
    pub async fn read_record<T: DeserializeOwned>(&self, kind: &str, key: &str) -> Result<Option<T>> {
        let record = self.ports.records.record(kind, key).await?;
        record.map(|record| parse(&record)).transpose()
    }

    /// Decides on a document as it stands (`None`: it is not there), and decides anew where somebody else wrote in between. `change`
    /// returns the document to store with what it can be found by, or `None` to leave it as it is, and an answer for the caller.
    ///
    /// # Errors
    /// What `change` refuses with, or a port's error.
    pub async fn change_record<T: DeserializeOwned + Serialize, A, E: From<ServiceError>>(
        &self,
        kind: &str,
        key: &str,
        change: impl Fn(Option<T>) -> std::result::Result<(Option<(T, Option<String>)>, A), E>,
    ) -> std::result::Result<A, E> {
        let changed = self.changed_record(kind, key, change).await;
        match &changed {
            Err(error) => told_of_record(Change::RecordPut, kind, key, Err(error)),
            Ok(Err(_)) => told_of_record(Change::RecordPut, kind, key, Ok("refused")),
            Ok(Ok(Changed { written: false, .. })) => {
                told_of_record(Change::RecordPut, kind, key, Ok("unchanged"));
            }
            Ok(Ok(_)) => told_of_record(Change::RecordPut, kind, key, Ok("done")),
        }
        Ok(changed??.answer)
    }

    /// The same, untold. The outer error is a port's, the inner one is what `change` refuses with.
    async fn changed_record<T: DeserializeOwned + Serialize, A, E>(
        &self,
        kind: &str,
        key: &str,
        change: impl Fn(Option<T>) -> std::result::Result<(Option<(T, Option<String>)>, A), E>,
    ) -> Result<std::result::Result<Changed<A>, E>> {
        loop {
            let standing = self.ports.records.record(kind, key).await?;
            let document = standing.as_ref().map(parse).transpose()?;
            let (next, answer) = match change(document) {
                Ok((Some(next), answer)) => (next, answer),
                Ok((None, answer)) => return Ok(Ok(Changed { answer, written: false })),
                Err(refusal) => return Ok(Err(refusal)),
            };
            let (next, index) = next;
            let record = Record {
                kind: kind.to_owned(),
                key: key.to_owned(),
                index,
                doc: write(&next)?,
                version: standing.map_or(0, |standing| standing.version),
            };
            crate::failpoint!("record::before_put");
            let stored = self.ports.records.put_record(&record).await;
            crate::failpoint!("record::put");
            if stored? {
                return Ok(Ok(Changed { answer, written: true }));
            }
        }
    }

    /// Removes a document. Whether it was there.
    ///
    /// # Errors
    /// A port's error.
    pub async fn remove_record(&self, kind: &str, key: &str) -> Result<bool> {
        let removed = self.removed_record(kind, key).await;
        told_of_record(
            Change::RecordRemove,
            kind,
            key,
            removed.as_ref().map(|there| if *there { "done" } else { "not found" }),
        );
        removed
    }

    async fn removed_record(&self, kind: &str, key: &str) -> Result<bool> {
        loop {
            let Some(record) = self.ports.records.record(kind, key).await? else { return Ok(false) };
            crate::failpoint!("record::before_remove");
            let removed = self.ports.records.remove_record(&record).await?;
            crate::failpoint!("record::removed");
            if removed {
                return Ok(true);
            }
        }
    }

    /// Removes a document that `condition` holds for, as it stands in that moment. Whether it did.
    ///
    /// # Errors
    /// A port's error; `Corrupt` when it cannot be read.
    pub async fn remove_record_if<T: DeserializeOwned>(
        &self,
        kind: &str,
        key: &str,
        condition: impl Fn(&T) -> bool,
    ) -> Result<bool> {
        let removed = self.removed_record_if(kind, key, condition).await;
        match &removed {
            // Nobody asked for it as it stands.
            Ok(false) => {}
            Ok(true) => told_of_record(Change::RecordRemove, kind, key, Ok("done")),
            Err(error) => told_of_record(Change::RecordRemove, kind, key, Err(error)),
        }
        removed
    }

    async fn removed_record_if<T: DeserializeOwned>(
        &self,
        kind: &str,
        key: &str,
        condition: impl Fn(&T) -> bool,
    ) -> Result<bool> {
        loop {
            let Some(record) = self.ports.records.record(kind, key).await? else { return Ok(false) };
            if !condition(&parse(&record)?) {
                return Ok(false);
            }
            if self.ports.records.remove_record(&record).await? {
                return Ok(true);
            }
        }
    }

    /// Documents of a kind, and of an index where one is given, by key in ascending order, after a key where one is given.
    ///
    /// # Errors
    /// A port's error; `Corrupt` when one cannot be read.
    pub async fn list_records<T: DeserializeOwned>(
        &self,
        kind: &str,
        index: Option<&str>,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<(String, T)>> {
        let records = self.ports.records.records(kind, index, after, limit).await?;
        records.into_iter().map(|record| Ok((record.key.clone(), parse(&record)?))).collect()
    }
}

fn parse<T: DeserializeOwned>(record: &Record) -> Result<T> {
    let read = serde_json::from_str(&record.doc);
    Ok(read.map_err(|error| {
        PortError::Corrupt("store", format!("{} {}: {error}", record.kind, record.key).into())
    })?)
}

fn write<T: Serialize>(document: &T) -> Result<String> {
    Ok(serde_json::to_string(document).map_err(|error| PortError::Refused("store", error.into()))?)
}
