//! Comparison with the subscriptions of the other members of the group. All members must have the
//! same subscription: a member drops the messages of its queues that it has not subscribed to.

use std::sync::Arc;

use super::session::Session;
use crate::Error;
use crate::admin::Admin;
use crate::protocol::subscription::Subscription;

/// Compares before the group is joined. The error names the difference, if the settings refuse one.
pub(crate) async fn compare_at_start(session: &Session) -> Result<(), Error> {
    match difference(session).await {
        Some(error) if session.config.refuse_other_subscriptions => Err(error),
        Some(error) => {
            session.problems.report(OPERATION, "", &error);
            Ok(())
        }
        None => Ok(()),
    }
}

/// Name of the comparison among the problems.
const OPERATION: &str = "compare subscriptions";

/// Compares at intervals until the consumer stops.
pub(crate) async fn run(session: Arc<Session>) {
    let compare = async {
        loop {
            tokio::time::sleep(session.config.compare_interval).await;
            match difference(&session).await {
                Some(error) => session.problems.report(OPERATION, "", &error),
                None => session.problems.resolve(OPERATION, ""),
            }
        }
    };
    // A broker that hangs must not delay the end.
    let _: Option<()> = session.stop.run_until_cancelled(compare).await;
}

/// Returns the difference to the subscription that a broker has of the other members, if any. A
/// subscription that cannot be read counts as equal: it is compared again later.
async fn difference(session: &Session) -> Option<Error> {
    let (admin, own_id) = (Admin::new(&session.client), session.client.client_id());
    for (topic, own) in session.subscriptions.iter().filter(|(topic, _)| !session.is_retry(topic)) {
        let brokers = admin.connections(topic, &session.group).await.unwrap_or_default();
        let with_others = brokers.iter().filter(|group| group.clients.iter().any(|peer| peer.id != own_id));
        for group in with_others {
            let known = group.subscriptions.iter().find(|known| known.topic == *topic);
            let other = known.map_or("", |known| known.expression.as_str());
            if !same(other, &own.data.sub_string) {
                return Some(different(&session.config.group, topic, &own.data.sub_string, other));
            }
        }
    }
    None
}

fn same(one: &str, other: &str) -> bool {
    !one.is_empty() && Subscription::parse(one) == Subscription::parse(other)
}

fn different(group: &str, topic: &str, own: &str, other: &str) -> Error {
    Error::Config(format!(
        "members of group {group:?} have the subscription {other:?} of topic {topic:?}, and this one has \
         {own:?}: a group with different subscriptions loses messages; use another group or equal tags"
    ))
}
