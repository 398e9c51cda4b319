//! The stored audit log: which entries are kept, and the list of them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use super::audit::{AuditAction, Recorded};
use super::caller::Front;
use super::{Caller, Result, Service};
use crate::core::Moment;
use crate::core::access::Scope;
use crate::core::audit::{AuditEntry, AuditPage, AuditSelection, MAX_DETAIL_BYTES};

/// How many entries of one actor and one action a node stores.
struct Limit {
    /// Entries at once.
    burst: i64,
    /// Milliseconds after which a further entry is stored.
    refill_ms: i64,
}

/// Limit of changes.
const CHANGES: Limit = Limit { burst: 100, refill_ms: 30_000 };
/// Limit of refused requests: a program with a wrong token repeats them for months.
const DENIALS: Limit = Limit { burst: 10, refill_ms: 300_000 };
/// Pairs of actor and action that a node counts.
const MAX_COUNTED: usize = 10_000;
/// Entries that one read of the store returns.
const CHUNK: u32 = 500;
/// Entries that a page examines.
const MAX_EXAMINED: usize = 5_000;

/// Filter of [`Service::audit_log`]. `None` matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    pub object: Option<String>,
    pub actor: Option<String>,
    pub action: Option<AuditAction>,
    pub since: Option<Moment>,
}

impl AuditFilter {
    /// Returns what selects the entries by an index.
    fn selection(&self) -> AuditSelection {
        match self {
            Self { object: Some(object), .. } => AuditSelection::Object(object.clone()),
            Self { actor: Some(actor), .. } => AuditSelection::Actor(actor.clone()),
            Self { action: Some(action), .. } => AuditSelection::Action(action.as_str().to_owned()),
            _ => AuditSelection::All,
        }
    }

    fn matches(&self, entry: &AuditEntry) -> bool {
        self.object.as_ref().is_none_or(|object| *object == entry.object)
            && self.actor.as_ref().is_none_or(|actor| *actor == entry.actor)
            && self.action.is_none_or(|action| action.as_str() == entry.action)
    }
}

/// Limits how much the callers of a node write to the stored log. A program that cancels a million tasks a day must
/// not fill the store, or hide what people did.
#[derive(Debug, Default)]
pub(super) struct AuditQuota {
    counts: Mutex<HashMap<(String, AuditAction), Count>>,
    /// Number of entries, which orders those of one millisecond.
    entries: AtomicU32,
}

#[derive(Debug)]
struct Count {
    /// When all of the burst is free again.
    full_at: Moment,
    skipped: u64,
}

impl AuditQuota {
    /// Returns the number of requests before this one that were not stored. `None`: this one is not stored either.
    fn take(&self, actor: &str, action: AuditAction, now: Moment) -> Option<u64> {
        // Each change leaves the map consistent.
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= MAX_COUNTED {
            counts.retain(|_, count| count.full_at > now);
        }
        let count = counts.entry((actor.to_owned(), action)).or_insert(Count { full_at: now, skipped: 0 });
        let Limit { burst, refill_ms } = action.limit();
        let full_at = count.full_at.max(now);
        if full_at.since(now) > (burst - 1) * refill_ms {
            count.skipped += 1;
            return None;
        }
        count.full_at = full_at.plus_ms(refill_ms);
        Some(std::mem::take(&mut count.skipped))
    }
}

impl Service {
    /// Stores entries about a change after the change. A failure is logged and does not change the answer:
    /// the change has happened.
    pub(super) async fn store_audit(&self, caller: &Caller, recorded: &Recorded<'_>) {
        let entries = self.entries(caller, recorded, self.now());
        if let Err(error) = self.append_audit(&entries).await {
            let (change, request_id) = (recorded.action.as_str(), &caller.request_id);
            tracing::warn!(%error, change, request_id, "audit entry not stored");
        }
    }

    pub(super) async fn append_audit(&self, entries: &[AuditEntry]) -> Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        crate::failpoint!("audit::before_append");
        let appended = self.shared.ports.store.append_audit(entries).await;
        crate::failpoint!("audit::appended");
        Ok(appended?)
    }

    /// Returns the entries to store. None if the store does not keep the action, or the caller has too many.
    pub(super) fn entries(&self, caller: &Caller, recorded: &Recorded<'_>, at: Moment) -> Vec<AuditEntry> {
        if !recorded.action.is_stored(caller.front) || caller.is_node() {
            return Vec::new();
        }
        let skipped = self.shared.audit_quota.take(&caller.id, recorded.action, self.now());
        let Some(skipped) = skipped else { return Vec::new() };
        let entry = |(object, detail): (String, String)| {
            self.entry(caller, recorded, at, object, &with_skipped(&detail, skipped))
        };
        recorded.objects().into_iter().map(entry).collect()
    }

    fn entry(
        &self,
        caller: &Caller,
        recorded: &Recorded<'_>,
        now: Moment,
        object: String,
        detail: &str,
    ) -> AuditEntry {
        AuditEntry {
            id: self.entry_id(now),
            at: now,
            actor: caller.shown_name().to_owned(),
            actor_id: caller.id.clone(),
            front: caller.front.as_str().to_owned(),
            action: recorded.action.as_str().to_owned(),
            object,
            detail: detail.to_owned(),
            outcome: recorded.outcome.to_owned(),
            request_id: caller.request_id.clone(),
        }
    }

    /// Returns an id: the time, the number of the entry on this node, and random digits.
    fn entry_id(&self, now: Moment) -> String {
        const RANDOM_DIGITS: usize = 12;
        let number = self.shared.audit_quota.entries.fetch_add(1, Ordering::Relaxed);
        let random = self.shared.ids.uuid(now).simple().to_string();
        format!("{:012x}{number:08x}{}", now.ms().max(0), &random[random.len() - RANDOM_DIGITS..])
    }

    /// Returns matching entries of the audit log, newest first, after the entry `before`; and the last examined
    /// entry if more may follow. A page examines a limited number of entries, so it may be empty.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`](super::ServiceError::Forbidden), or a port's error.
    pub async fn audit_log(
        &self,
        filter: &AuditFilter,
        before: Option<&str>,
        limit: u32,
    ) -> Result<(Vec<AuditEntry>, Option<String>)> {
        self.require_unlimited(Scope::Admin)?;
        let selection = filter.selection();
        let (mut found, mut last, mut examined) = (Vec::new(), before.map(str::to_owned), 0);
        while examined < MAX_EXAMINED {
            let page = AuditPage { limit: CHUNK.min(limit + 1), before: last.clone(), since: filter.since };
            let entries = self.shared.ports.store.audit(&selection, &page).await?;
            let is_end = entries.len() < page.limit as usize;
            examined += entries.len();
            for entry in entries {
                if found.len() == limit as usize {
                    return Ok((found, last));
                }
                last = Some(entry.id.clone());
                if filter.matches(&entry) {
                    found.push(entry);
                }
            }
            if is_end {
                return Ok((found, None));
            }
        }
        Ok((found, last))
    }
}

/// Returns the detail of an entry, with the number of requests before that were not stored.
fn with_skipped(detail: &str, skipped: u64) -> String {
    let detail = &detail[..detail.floor_char_boundary(MAX_DETAIL_BYTES)];
    let detail = match skipped {
        0 => detail.to_owned(),
        skipped => format!("{detail} ({skipped} requests before are only in the server's log)"),
    };
    detail.trim().to_owned()
}

impl AuditAction {
    /// Returns whether the store keeps entries of this action. Programs create and confirm for each of their
    /// tasks, and write documents of legacy APIs; the items of an operation are in the operation.
    fn is_stored(self, front: Front) -> bool {
        match self {
            Self::TaskCreate | Self::RunConfirm => front == Front::Console,
            Self::RecordPut | Self::RecordRemove => front != Front::Legacy && front != Front::Operation,
            Self::OperationEnd => true,
            _ => front != Front::Operation,
        }
    }

    const fn limit(self) -> Limit {
        match self {
            Self::AccessDeny => DENIALS,
            _ => CHANGES,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_does_not_fill_the_log() {
        let (quota, now) = (AuditQuota::default(), Moment::from_sec(1_000));
        let cancel = |at| quota.take("shop", AuditAction::TaskCancel, at);
        let stored = (0..1_000).filter(|_| cancel(now).is_some()).count();
        assert_eq!(stored as i64, CHANGES.burst);
        assert_eq!(quota.take("ann", AuditAction::TaskCancel, now), Some(0), "other actors are not limited");
        assert_eq!(quota.take("shop", AuditAction::TaskEdit, now), Some(0), "other actions are not limited");
        assert_eq!(cancel(now.plus_ms(CHANGES.refill_ms)), Some(900));
        assert_eq!(cancel(now.plus_ms(CHANGES.refill_ms)), None);
    }

    #[test]
    fn a_program_with_a_wrong_token_stores_few_denials() {
        const DAY_MS: i64 = 86_400_000;
        let (quota, now) = (AuditQuota::default(), Moment::from_sec(1_000));
        let each_second = (0..DAY_MS).step_by(1_000).map(|ms| now.plus_ms(ms));
        let stored: Vec<u64> =
            each_second.filter_map(|at| quota.take("shop", AuditAction::AccessDeny, at)).collect();
        assert_eq!(stored.len() as i64, DENIALS.burst - 1 + DAY_MS / DENIALS.refill_ms);
        assert_eq!(stored.last(), Some(&299), "an entry counts those before it");
    }

    #[test]
    fn each_deleted_task_has_an_entry_and_a_document_has_one() {
        let of = |action, ids: &[&str]| {
            let recorded = Recorded { action, ids: ids.to_vec(), detail: "", outcome: "done" };
            recorded.objects()
        };
        let pair = |object: &str, detail: &str| (object.to_owned(), detail.to_owned());
        assert_eq!(of(AuditAction::TaskDelete, &["a", "b"]), [pair("a", ""), pair("b", "")]);
        assert_eq!(of(AuditAction::RecordPut, &["user", "ann"]), [pair("user ann", "")]);
        assert_eq!(of(AuditAction::TaskTrigger, &["task", "run"]), [pair("task", "run")]);
        assert_eq!(of(AuditAction::TokenIssue, &[]), [pair("", "")]);
    }
}
