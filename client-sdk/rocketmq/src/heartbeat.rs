//! Announces the members of groups to the brokers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::client::Inner;
use crate::protocol::codes;
use crate::protocol::route::{MASTER_ID, Route};
use crate::protocol::subscription::SubscriptionData;
use crate::{Command, Error};

/// Longest pause after a failed heartbeat. A broker that is back must know its consumers soon.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// A producer or consumer that heartbeats announce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum GroupMember {
    /// Producer.
    Producer {
        /// Group as on the wire.
        group: String,
    },
    /// Consumer.
    Consumer {
        /// Group as on the wire.
        group: String,
        /// `CONSUME_FROM_FIRST_OFFSET`, `CONSUME_FROM_LAST_OFFSET` or `CONSUME_FROM_TIMESTAMP`.
        consume_from: &'static str,
        /// Subscriptions, including the one of the retry topic.
        subscriptions: Vec<SubscriptionData>,
    },
}

impl GroupMember {
    /// Returns the group whose messages the member consumes, if any.
    pub(crate) fn consumed_group(&self) -> Option<&str> {
        match self {
            Self::Producer { .. } => None,
            Self::Consumer { group, .. } => Some(group),
        }
    }
}

/// Members by the id of their membership.
pub(crate) type Members = BTreeMap<u64, GroupMember>;

/// Returns the addresses that get heartbeats: all masters, also absent ones, and with a consumer also
/// the slaves, which it may read from.
pub(crate) fn addresses<'a>(
    routes: impl Iterator<Item = &'a Arc<Route>>,
    members: &Members,
) -> BTreeSet<String> {
    if members.is_empty() {
        return BTreeSet::new();
    }
    let consumes = members.values().any(|member| matches!(member, GroupMember::Consumer { .. }));
    let wanted = |id: i64| consumes || id == MASTER_ID;
    let of_route = |route: &'a Arc<Route>| {
        let present = route.brokers.iter().flat_map(|broker| &broker.addresses);
        let present = present.filter(move |(id, _)| wanted(**id)).map(|(_, address)| address);
        present.chain(route.absent.values().map(|master| &master.address))
    };
    routes.flat_map(of_route).cloned().collect()
}

/// Sends heartbeats to one broker until its address is no longer wanted. So a broker that does not
/// answer delays no other one.
pub(crate) async fn run(inner: Arc<Inner>, address: String) {
    let mut wanted = inner.heartbeat_addresses.subscribe();
    let mut members = inner.members.subscribe();
    let mut failing = false;
    while !ends(&inner, &address, &mut wanted) {
        let announced = members.borrow_and_update().clone();
        // Subscribed anew, because the slot of an address may have been replaced.
        let mut connection = inner.connections.changes(&address);
        let sent = send(&inner, &address, &announced).await;
        log_change(&address, &mut failing, sent.as_ref().err());
        let pause = if failing {
            RETRY_PAUSE.mul_f64(0.5 + fastrand::f64() / 2.0)
        } else {
            inner.config.heartbeat_interval
        };
        // The pause bounds how often a connection that fails at once is retried.
        let changed = async {
            tokio::select! {
                _ = members.changed() => {}
                _ = wanted.changed() => {}
                () = changed(&mut connection), if !failing => {}
            }
        };
        tokio::select! {
            () = inner.closed.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
            () = changed => {}
        }
    }
}

/// Returns whether the heartbeats to the address end. Their end is noted under the lock that guards
/// the start of new ones.
fn ends(inner: &Inner, address: &str, wanted: &mut watch::Receiver<BTreeSet<String>>) -> bool {
    let mut running = inner.heartbeats.lock().unwrap_or_else(PoisonError::into_inner);
    let ends = !wanted.borrow_and_update().contains(address);
    if ends {
        running.remove(address);
    }
    ends
}

async fn changed(connection: &mut watch::Receiver<u64>) {
    if connection.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn log_change(address: &str, failing: &mut bool, failed: Option<&Error>) {
    match failed {
        Some(error) if !*failing => {
            tracing::warn!(address, %error, "heartbeat to RocketMQ broker failed; retrying");
        }
        None if *failing => tracing::info!(address, "heartbeat to RocketMQ broker succeeded again"),
        _ => {}
    }
    *failing = failed.is_some();
}

/// `HEART_BEAT` = 34 (`HeartbeatRequestHeader.java`, `HeartbeatData.java`).
async fn send(inner: &Inner, address: &str, members: &Members) -> Result<(), Error> {
    if members.is_empty() {
        return Ok(());
    }
    let body = body(&inner.client_id, members).to_string();
    let request = Command::request(codes::HEART_BEAT).with_body(body);
    let response = inner.connections.call(address, request, inner.config.request_timeout).await?;
    response.success(address).map(drop)
}

fn body(client_id: &str, members: &Members) -> Value {
    let (mut consumers, mut producers) = (Vec::new(), Vec::new());
    for member in members.values() {
        match member {
            GroupMember::Producer { group } => producers.push(json!({ "groupName": group })),
            GroupMember::Consumer { group, consume_from, subscriptions } => consumers.push(json!({
                "groupName": group,
                "consumeType": "CONSUME_PASSIVELY",
                "messageModel": "CLUSTERING",
                "consumeFromWhere": consume_from,
                "subscriptionDataSet": subscriptions,
                "unitMode": false,
            })),
        }
    }
    json!({ "clientID": client_id, "producerDataSet": producers, "consumerDataSet": consumers })
}

/// `UNREGISTER_CLIENT` = 35 (`UnregisterClientRequestHeader.java`).
pub(crate) fn unregister(client_id: &str, member: &GroupMember) -> Command {
    let request = Command::request(codes::UNREGISTER_CLIENT).field("clientID", client_id);
    match member {
        GroupMember::Producer { group } => request.field("producerGroup", group),
        GroupMember::Consumer { group, .. } => request.field("consumerGroup", group),
    }
}
