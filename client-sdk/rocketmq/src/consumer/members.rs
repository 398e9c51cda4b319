//! Members of a group, as brokers know them.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::monotonic;
use crate::protocol::codes;
use crate::protocol::json::Json;
use crate::{Client, Command, Error, Route};

/// Time after a broker forgot members, in which absent members count as alive. They announce
/// themselves with their next heartbeat.
const RETURN_TIME: Duration = Duration::from_secs(12);

/// The members of a group, remembered.
///
/// A broker that restarts or loses its connections knows the members only after their next
/// heartbeats. If each member took the queues of the absent ones meanwhile, the whole group would
/// handle its messages twice. So absent members count for a short time after such a fault.
#[derive(Debug, Default)]
pub(crate) struct Members {
    known: BTreeSet<String>,
    /// Number of connections that were opened before the last answer.
    opened: u64,
    /// Until when absent members count.
    hold_until: Option<Instant>,
}

impl Members {
    /// Returns the ids of the members, sorted, or `None` while the answer of the brokers is in doubt.
    pub(crate) async fn read(
        &mut self,
        client: &Client,
        group: &str,
        route: &Route,
    ) -> Result<Option<Vec<String>>, Error> {
        let mut members = match ask_any(client, group, route).await {
            Ok(members) => members,
            Err(error) => {
                self.hold(monotonic());
                return Err(error);
            }
        };
        if !self.known.is_subset(&members) {
            // One broker may have forgotten a member that another one knows.
            members.extend(ask_all(client, group, route).await);
        }
        self.hold_if_opened(client.opened_connections());
        Ok(self.accept(members, client.client_id(), monotonic()))
    }

    fn accept(&mut self, members: BTreeSet<String>, own: &str, now: Instant) -> Option<Vec<String>> {
        if !members.contains(own) {
            // The broker does not know this client yet, or has forgotten all clients.
            self.hold(now);
            return None;
        }
        let held = self.hold_until.is_some_and(|until| now < until);
        if held && !self.known.is_subset(&members) {
            return None;
        }
        if !held {
            self.hold_until = None;
        }
        self.known = members;
        Some(self.known.iter().cloned().collect())
    }

    /// Holds after a new connection, which may lead to a broker that has restarted. Such a broker lists
    /// only the members that have sent a heartbeat since.
    fn hold_if_opened(&mut self, opened: u64) {
        if self.opened != opened {
            self.opened = opened;
            self.hold(monotonic());
        }
    }

    /// Before the first answer there is nothing to hold.
    fn hold(&mut self, now: Instant) {
        if !self.known.is_empty() {
            self.hold_until = Some(now + RETURN_TIME);
        }
    }
}

/// Asks the brokers one after the other until one answers.
async fn ask_any(client: &Client, group: &str, route: &Route) -> Result<BTreeSet<String>, Error> {
    let mut addresses = addresses(route);
    fastrand::shuffle(&mut addresses);
    let mut failed = Error::Unreachable {
        address: "all brokers".to_owned(),
        reason: "the route has no address".to_owned(),
    };
    for address in addresses {
        match ask(client, group, &address).await {
            Ok(members) => return Ok(members),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// Asks all brokers. Those that do not answer are ignored.
async fn ask_all(client: &Client, group: &str, route: &Route) -> BTreeSet<String> {
    let mut members = BTreeSet::new();
    for address in addresses(route) {
        members.extend(ask(client, group, &address).await.unwrap_or_default());
    }
    members
}

/// Returns one address for each broker name: the master, otherwise a slave.
fn addresses(route: &Route) -> Vec<String> {
    route.brokers.iter().filter_map(|broker| broker.addresses.values().next().cloned()).collect()
}

/// `GET_CONSUMER_LIST_BY_GROUP` = 38 (`GetConsumerListByGroupRequestHeader.java`).
async fn ask(client: &Client, group: &str, address: &str) -> Result<BTreeSet<String>, Error> {
    let request = Command::request(codes::GET_CONSUMER_LIST_BY_GROUP).field("consumerGroup", group);
    let answer = client.call(address, request, client.config().request_timeout).await?;
    // A broker without a member of the group answers SYSTEM_ERROR.
    let body = answer.success(address)?.body;
    let list = Json::parse(&body).map_err(|error| Error::Protocol {
        address: address.to_owned(),
        reason: format!("list of consumers: {error}"),
    })?;
    let ids = list.get("consumerIdList").map_or(&[][..], Json::items);
    Ok(ids.iter().filter_map(|id| id.as_str().map(str::to_owned)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(text: &str) -> BTreeSet<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn absent_members_count_for_a_while_after_a_fault() {
        let mut members = Members::default();
        let start = monotonic();
        assert_eq!(members.accept(ids("a b"), "a", start).unwrap(), ["a", "b"]);
        // The broker restarted: it knows nobody, then this member only.
        assert_eq!(members.accept(ids("x"), "a", start), None);
        assert_eq!(members.accept(ids("a"), "a", start), None);
        assert_eq!(members.accept(ids("a b c"), "a", start).unwrap(), ["a", "b", "c"]);
        assert_eq!(members.accept(ids("a"), "a", start + RETURN_TIME).unwrap(), ["a"]);
    }

    #[test]
    fn absent_members_count_for_a_while_after_a_new_connection() {
        let mut members = Members::default();
        let start = monotonic();
        members.hold_if_opened(2);
        assert_eq!(members.accept(ids("a b"), "a", start).unwrap(), ["a", "b"]);
        // The broker restarted, and this member was the first to announce itself.
        members.hold_if_opened(3);
        assert_eq!(members.accept(ids("a"), "a", start), None);
        members.hold_if_opened(3);
        assert_eq!(members.accept(ids("a"), "a", monotonic() + RETURN_TIME).unwrap(), ["a"]);
    }

    #[test]
    fn a_member_that_leaves_without_a_fault_is_absent_at_once() {
        let mut members = Members::default();
        // The first heartbeat has not arrived yet.
        assert_eq!(members.accept(ids("b"), "a", monotonic()), None);
        members.accept(ids("a b"), "a", monotonic());
        assert_eq!(members.accept(ids("a"), "a", monotonic()).unwrap(), ["a"]);
    }
}
