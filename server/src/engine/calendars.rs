//! Gives the tasks of changed calendars the current versions. The leading node does it, and finds what a stopped
//! node has left.

use std::time::Duration;

use super::node::Node;
use super::operations::of_port;
use super::pace::Pace;
use super::service::Service;

/// Time between two searches for changed calendars.
const PERIOD: Duration = Duration::from_secs(10);

/// Settles calendars until the node stops.
pub async fn run(node: &Node, service: &Service) {
    let mut pace = Pace::new("calendars", PERIOD);
    while !node.shutdown.is_cancelled() {
        let leads = node.is_fit() && node.shards.leads(node.clock.steady_ms());
        let settled = if leads { service.settle_calendars().await.map_err(of_port) } else { Ok(()) };
        match settled {
            Ok(()) => pace.pause(&node.shutdown).await,
            Err(error) => pace.failed(&error, &node.shutdown).await,
        }
    }
}
