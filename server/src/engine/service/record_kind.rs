//! The kinds of documents beside the ledger.

/// The kind of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordKind {
    name: &'static str,
    is_audited: bool,
}

impl RecordKind {
    /// Returns a kind whose changes are recorded in the audit log, with their keys.
    pub const fn audited(name: &'static str) -> Self {
        Self { name, is_audited: true }
    }

    /// Returns a kind without audit: internal state, or documents with a secret as their key.
    pub const fn internal(name: &'static str) -> Self {
        Self { name, is_audited: false }
    }

    /// Returns the name that the store uses.
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// Whether changes are recorded in the audit log.
    pub const fn is_audited(self) -> bool {
        self.is_audited
    }
}
