//! How many messages wait for each consumer group.

use std::sync::Arc;

use rocketmq_client_rust::{DefaultMQAdminExt, MQAdminReadExt};

use super::link::Link;
use super::{RocketMqConfig, RocketMqError, client_error};

/// Longest time for one broker's answer, in milliseconds.
const PATIENCE_MS: u64 = 3_000;

pub async fn by_group(link: &Link, config: Arc<RocketMqConfig>) -> Result<Vec<(String, u64)>, RocketMqError> {
    let client = link.client();
    link.run(async move {
        let mut admin = match config.credentials() {
            Some(credentials) => DefaultMQAdminExt::with_rpc_hook(client, credentials),
            None => DefaultMQAdminExt::new(client),
        };
        *admin.client_config_mut() = config.client();
        admin.start().await.map_err(client_error)?;
        let lag = lag_of_groups(&admin, &config.topic).await;
        admin.shutdown().await;
        lag
    })
    .await?
}

async fn lag_of_groups(admin: &DefaultMQAdminExt, topic: &str) -> Result<Vec<(String, u64)>, RocketMqError> {
    let groups =
        MQAdminReadExt::query_topic_consume_by_who(admin, topic.into()).await.map_err(client_error)?;
    let mut lag = Vec::new();
    for group in groups.get_group_list() {
        // Without a topic the group's retry topic is in it as well: what waits for its redelivery waits.
        let stats =
            MQAdminReadExt::examine_consume_stats(admin, group.clone(), None, None, None, Some(PATIENCE_MS))
                .await;
        if let Ok(stats) = stats {
            lag.push((group.to_string(), stats.compute_total_diff().max(0) as u64));
        }
    }
    Ok(lag)
}
