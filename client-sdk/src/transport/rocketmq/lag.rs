//! Lag of the consumer groups.

use std::sync::Arc;

use rocketmq_client_rust::{DefaultMQAdminExt, MQAdminReadExt};

use super::runtime::RocketMqRuntime;
use super::{RocketMqConfig, RocketMqError, client_error};

/// Time limit for the answer of one broker, in milliseconds.
const TIMEOUT_MS: u64 = 3_000;

/// Returns the number of waiting messages of each consumer group of the topic.
pub async fn by_group(
    runtime: &RocketMqRuntime,
    config: Arc<RocketMqConfig>,
) -> Result<Vec<(String, u64)>, RocketMqError> {
    let client = runtime.client();
    runtime
        .run(async move {
            let mut admin = match config.credentials() {
                Some(credentials) => DefaultMQAdminExt::with_rpc_hook(client, credentials),
                None => DefaultMQAdminExt::new(client),
            };
            *admin.client_config_mut() = config.client();
            admin.start().await.map_err(client_error)?;
            let lag = lag_of_groups(&admin, &config.wire_topic()).await;
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
        // Without a topic argument the result includes the retry topic of the group, so
        // redeliveries count.
        let stats =
            MQAdminReadExt::examine_consume_stats(admin, group.clone(), None, None, None, Some(TIMEOUT_MS))
                .await;
        if let Ok(stats) = stats {
            lag.push((group.to_string(), stats.compute_total_diff().max(0) as u64));
        }
    }
    Ok(lag)
}
