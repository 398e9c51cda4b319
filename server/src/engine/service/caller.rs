//! The caller of a command: who it is, and which rights it has.

use std::net::IpAddr;

use crate::core::access::{Grant, Scope};
use crate::core::quota::Quota;

/// The one on whose behalf a command runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The id of the caller's token. Without a token: where the caller comes from, such as `loopback`.
    pub id: String,
    /// The token's name. Empty without a token.
    pub name: String,
    /// The rights.
    pub grant: Grant,
    /// How much the caller may create.
    pub quota: Quota,
    /// Id of the request, as in the access log. Empty outside a request.
    pub request_id: String,
    /// Where the request arrived.
    pub front: Front,
    /// Address of the connection, if the call came over one. Behind a proxy, all callers share it.
    pub address: Option<IpAddr>,
}

/// Where a request arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Front {
    /// The resource API.
    Api,
    Console,
    /// A legacy API, or a message of one.
    Legacy,
    /// An item of an operation, which the engine processes.
    Operation,
}

impl Front {
    /// Returns the front as the audit log spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Console => "console",
            Self::Legacy => "legacy",
            Self::Operation => "operation",
        }
    }
}

/// Id of [`Caller::node`]. A token's id has hexadecimal digits only, so no token has this id.
const NODE: &str = "node";
/// Begin of the ids of callers that are users of the console. No token has such an id.
pub(super) const USER_PREFIX: &str = "user:";

/// Returns the id of the caller that a user is in the console.
pub(super) fn user_id(name: &str) -> String {
    format!("{USER_PREFIX}{name}")
}

impl Caller {
    /// Returns a caller with these rights, without a name and a request.
    pub(super) fn new(id: &str, grant: Grant) -> Self {
        let (id, front, quota) = (id.to_owned(), Front::Api, Quota::default());
        Self { id, name: String::new(), grant, quota, request_id: String::new(), front, address: None }
    }

    /// Returns a caller without rights: every command refuses it.
    pub fn anonymous() -> Self {
        Self::new("", Grant { scopes: Vec::new(), tags: Vec::new(), expires_at: None })
    }

    /// Returns the caller of the node's own work, such as the built-in workers. It has all rights, and
    /// its commands leave no line in the audit log. Never use this caller for a request.
    pub fn node() -> Self {
        Self::new(NODE, Grant::everything())
    }

    /// Returns the sender of a message on a topic. It has all rights, because the broker authenticates
    /// senders.
    pub fn of_a_message(topic: &str) -> Self {
        let sender = Self::new("message", Grant::everything());
        Self { name: topic.to_owned(), front: Front::Legacy, ..sender }
    }

    /// Returns the caller with `run:pull` if it has `task:write`. For legacy APIs whose contract has one
    /// right for both.
    #[must_use]
    pub fn with_pull(mut self) -> Self {
        if self.grant.allows(Scope::TaskWrite) && !self.grant.allows(Scope::RunPull) {
            self.grant.scopes.push(Scope::RunPull);
        }
        self
    }

    /// Returns the name of the token, or where a caller without a named token comes from.
    pub fn shown_name(&self) -> &str {
        if self.name.is_empty() { &self.id } else { &self.name }
    }

    pub(super) fn is_node(&self) -> bool {
        self.id == NODE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_has_no_scope_and_gets_none() {
        let anonymous = Caller::anonymous().with_pull();
        assert!(Scope::ALL.into_iter().all(|scope| !anonymous.grant.allows(scope)));
    }

    #[test]
    fn only_a_caller_that_writes_may_also_pull() {
        let caller = |scope| Caller::new("id", Grant { scopes: vec![scope], ..Grant::everything() });
        assert!(!caller(Scope::TaskRead).with_pull().grant.allows(Scope::RunPull));
        assert!(caller(Scope::TaskWrite).with_pull().grant.allows(Scope::RunPull));
        assert_eq!(Caller::node().with_pull(), Caller::node());
    }
}
