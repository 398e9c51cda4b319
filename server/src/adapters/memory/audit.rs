//! The audit log in memory.

use super::ledger::Ledger;
use crate::core::Moment;
use crate::core::audit::{AUDIT_KEPT_MS, AuditEntry, AuditPage, AuditSelection, first_id};

impl Ledger {
    pub fn append_audit(&mut self, entries: &[AuditEntry]) {
        for entry in entries {
            self.audit.entry(entry.id.clone()).or_insert_with(|| entry.clone());
        }
    }

    /// Returns a page of entries, newest first.
    pub fn audit(&self, selection: &AuditSelection, page: &AuditPage) -> Vec<AuditEntry> {
        let (first, below) = page.ids();
        let is_selected = |entry: &&AuditEntry| match selection {
            AuditSelection::All => true,
            AuditSelection::Actor(actor) => entry.actor == *actor,
            AuditSelection::Action(action) => entry.action == *action,
            AuditSelection::Object(object) => entry.object == *object,
        };
        let found = self.audit.range(first..below).rev().map(|(_, entry)| entry).filter(is_selected);
        found.take(page.limit as usize).cloned().collect()
    }

    /// Removes the entries that are too old to be kept.
    pub fn expire_audit(&mut self, now: Moment) {
        self.audit = self.audit.split_off(&first_id(now.plus_ms(-AUDIT_KEPT_MS)));
    }
}
