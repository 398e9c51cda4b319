//! Documents outside the ledger: data of the legacy APIs and of the server itself, other than tasks
//! and runs.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::audit::AuditAction;
use super::record_kind::RecordKind;
use super::{PortError, Record, Result, Service, ServiceError, Shared};
use crate::core::access::Scope;

/// Documents read at a time.
const PAGE: u32 = 1_000;

/// The document to store, with the index to find it by; `None` stores nothing.
pub(super) type Next<T> = Option<(T, Option<String>)>;

/// The answer of a change.
pub(super) struct Changed<A> {
    answer: A,
    is_written: bool,
}

/// The commands of legacy APIs. Documents have no tag, so a caller that is limited to tags is refused.
impl Service {
    /// Returns a document.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], or a port's error; `Corrupt` if the document is malformed.
    pub async fn read_record<T: DeserializeOwned>(&self, kind: RecordKind, key: &str) -> Result<Option<T>> {
        self.require_unlimited(Scope::TaskRead)?;
        self.shared.read_document(kind, key).await
    }

    /// Changes a document. `change` gets the stored document, if any, and returns the document to store
    /// with its index, or `None` to store nothing, and the answer. `change` is called again if another
    /// writer was faster.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], the error of `change`, or a port's error.
    pub async fn change_record<T: DeserializeOwned + Serialize, A, E: From<ServiceError>>(
        &self,
        kind: RecordKind,
        key: &str,
        change: impl Fn(Option<T>) -> std::result::Result<(Next<T>, A), E>,
    ) -> std::result::Result<A, E> {
        if let Err(error) = self.require_unlimited(Scope::TaskWrite) {
            self.record_document(AuditAction::RecordPut, kind, key, Err(&error)).await;
            return Err(error.into());
        }
        self.change_document(kind, key, change).await
    }

    /// Removes a document. Returns whether there was one.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], or a port's error.
    pub async fn remove_record(&self, kind: RecordKind, key: &str) -> Result<bool> {
        if let Err(error) = self.require_unlimited(Scope::TaskWrite) {
            self.record_document(AuditAction::RecordRemove, kind, key, Err(&error)).await;
            return Err(error);
        }
        self.remove_document(kind, key).await
    }

    /// Removes a document if `condition` holds for its stored version. Returns whether it was removed.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], or a port's error; `Corrupt` if the document is malformed.
    pub async fn remove_record_if<T: DeserializeOwned>(
        &self,
        kind: RecordKind,
        key: &str,
        condition: impl Fn(&T) -> bool,
    ) -> Result<bool> {
        let removed = match self.require_unlimited(Scope::TaskWrite) {
            Ok(()) => self.shared.remove_if(kind, key, condition).await,
            Err(error) => Err(error),
        };
        let outcome = match &removed {
            Ok(true) => Ok("done"),
            Err(error) => Err(error),
            // The caller did not ask for the removal of this version.
            Ok(false) => return removed,
        };
        self.record_document(AuditAction::RecordRemove, kind, key, outcome).await;
        removed
    }

    /// Returns documents of a kind by key in ascending order: those of `index` if given, and those after
    /// the key `after` if given.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], or a port's error; `Corrupt` if a document is malformed.
    pub async fn list_records<T: DeserializeOwned>(
        &self,
        kind: RecordKind,
        index: Option<&str>,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<(String, T)>> {
        self.require_unlimited(Scope::TaskRead)?;
        self.shared.list_documents(kind, index, after, limit).await
    }

    /// Changes a document and records the change in the audit log. The calling command has checked the
    /// caller's rights.
    pub(super) async fn change_document<T: DeserializeOwned + Serialize, A, E: From<ServiceError>>(
        &self,
        kind: RecordKind,
        key: &str,
        change: impl Fn(Option<T>) -> std::result::Result<(Next<T>, A), E>,
    ) -> std::result::Result<A, E> {
        let changed = self.shared.change(kind, key, change).await;
        let outcome = match &changed {
            Err(error) => Err(error),
            Ok(Err(_)) => Ok("refused"),
            Ok(Ok(Changed { is_written: false, .. })) => Ok("unchanged"),
            Ok(Ok(_)) => Ok("done"),
        };
        self.record_document(AuditAction::RecordPut, kind, key, outcome).await;
        Ok(changed??.answer)
    }

    /// Removes a document and records the removal in the audit log. The calling command has checked the
    /// caller's rights.
    pub(super) async fn remove_document(&self, kind: RecordKind, key: &str) -> Result<bool> {
        let removed = self.shared.remove(kind, key).await;
        let outcome = removed.as_ref().map(|was_there| if *was_there { "done" } else { "not found" });
        self.record_document(AuditAction::RecordRemove, kind, key, outcome).await;
        removed
    }
}

/// The same without checks and without the audit log.
impl Shared {
    pub async fn read_document<T: DeserializeOwned>(&self, kind: RecordKind, key: &str) -> Result<Option<T>> {
        let record = self.ports.records.record(kind.name(), key).await?;
        record.map(|record| parse(&record)).transpose()
    }

    pub async fn list_documents<T: DeserializeOwned>(
        &self,
        kind: RecordKind,
        index: Option<&str>,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<(String, T)>> {
        let records = self.ports.records.records(kind.name(), index, after, limit).await?;
        records.into_iter().map(|record| Ok((record.key.clone(), parse(&record)?))).collect()
    }

    /// Returns every document of a kind by key.
    pub async fn all_documents<T: DeserializeOwned>(&self, kind: RecordKind) -> Result<Vec<(String, T)>> {
        let mut all: Vec<(String, T)> = Vec::new();
        loop {
            let after = all.last().map(|(key, _)| key.as_str());
            let page = self.list_documents(kind, None, after, PAGE).await?;
            if page.is_empty() {
                return Ok(all);
            }
            all.extend(page);
        }
    }

    /// The outer error is a port's; the inner one is the error of `change`.
    pub(super) async fn change<T: DeserializeOwned + Serialize, A, E>(
        &self,
        kind: RecordKind,
        key: &str,
        change: impl Fn(Option<T>) -> std::result::Result<(Next<T>, A), E>,
    ) -> Result<std::result::Result<Changed<A>, E>> {
        loop {
            let stored = self.ports.records.record(kind.name(), key).await?;
            let document = stored.as_ref().map(parse).transpose()?;
            let (next, index, answer) = match change(document) {
                Ok((Some((next, index)), answer)) => (next, index, answer),
                Ok((None, answer)) => return Ok(Ok(Changed { answer, is_written: false })),
                Err(refusal) => return Ok(Err(refusal)),
            };
            let record = Record {
                kind: kind.name().to_owned(),
                key: key.to_owned(),
                index,
                doc: write(&next)?,
                version: stored.map_or(0, |stored| stored.version),
            };
            crate::failpoint!("record::before_put");
            let put = self.ports.records.put_record(&record).await;
            crate::failpoint!("record::put");
            if put? {
                return Ok(Ok(Changed { answer, is_written: true }));
            }
        }
    }

    pub(super) async fn remove(&self, kind: RecordKind, key: &str) -> Result<bool> {
        loop {
            let Some(record) = self.ports.records.record(kind.name(), key).await? else { return Ok(false) };
            crate::failpoint!("record::before_remove");
            let removed = self.ports.records.remove_record(&record).await?;
            crate::failpoint!("record::removed");
            if removed {
                return Ok(true);
            }
        }
    }

    pub(super) async fn remove_if<T: DeserializeOwned>(
        &self,
        kind: RecordKind,
        key: &str,
        condition: impl Fn(&T) -> bool,
    ) -> Result<bool> {
        loop {
            let Some(record) = self.ports.records.record(kind.name(), key).await? else { return Ok(false) };
            if !condition(&parse(&record)?) {
                return Ok(false);
            }
            crate::failpoint!("record::before_remove_if");
            let removed = self.ports.records.remove_record(&record).await?;
            crate::failpoint!("record::removed_if");
            if removed {
                return Ok(true);
            }
        }
    }
}

pub(super) fn parse<T: DeserializeOwned>(record: &Record) -> Result<T> {
    let document = serde_json::from_str(&record.doc);
    Ok(document.map_err(|error| {
        PortError::Corrupt("store", format!("{} {}: {error}", record.kind, record.key).into())
    })?)
}

fn write<T: Serialize>(document: &T) -> Result<String> {
    Ok(serde_json::to_string(document).map_err(|error| PortError::Refused("store", error.into()))?)
}
