//! Leases in Redis. They only distribute the work, so every key may be lost at any time.

use std::future::Future;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt};
use redis::aio::{ConnectionManager, ConnectionManagerConfig, PubSub};
use redis::{Client, Cmd, FromRedisValue, TlsCertificates};
use tokio::sync::Mutex;

use crate::ports::{BoxError, Lock, MAX_DESCRIPTIONS, PortError, Result};

const NAME: &str = "Redis";

/// Timeout of a call. A node continues without leases sooner than it waits for a late answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(1);
/// Pause after a failed subscription, so that a caller which retries at once does not spin.
const RESUBSCRIBE_PAUSE: Duration = Duration::from_millis(500);
/// Interval without hints after which the subscription is pinged.
const PING_AFTER: Duration = Duration::from_secs(5);

/// Announces ARGV[1] for ARGV[2] ms by the clock of Redis. Returns all nodes with a valid
/// announcement.
const JOIN: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[2]), ARGV[1])
return redis.call('ZRANGE', KEYS[1], 0, -1)";

/// Acquires or renews each key for ARGV[1] for ARGV[2] ms. Returns the positions of the keys that
/// ARGV[1] holds.
const ACQUIRE: &str = "
local held = {}
for i, key in ipairs(KEYS) do
  local holder = redis.call('GET', key)
  if not holder then
    redis.call('SET', key, ARGV[1], 'PX', ARGV[2])
    held[#held + 1] = i
  elseif holder == ARGV[1] then
    redis.call('PEXPIRE', key, ARGV[2])
    held[#held + 1] = i
  end
end
return held";

/// Releases the keys after the first that ARGV[1] holds. The first key has the announcements;
/// ARGV[2] = 1 removes ARGV[1] from them.
const RELEASE: &str = "
for i = 2, #KEYS do
  if redis.call('GET', KEYS[i]) == ARGV[1] then redis.call('DEL', KEYS[i]) end
end
if ARGV[2] == '1' then redis.call('ZREM', KEYS[1], ARGV[1]) end
return 0";

/// Publishes the description ARGV[3] of ARGV[1] for ARGV[2] ms. The first key has the names by the end of
/// their validity, the second one the descriptions by name.
const DESCRIBE: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ended = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
for _, node in ipairs(ended) do
  redis.call('HDEL', KEYS[2], node)
  redis.call('ZREM', KEYS[1], node)
end
redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[2]), ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
return 0";

/// Returns the valid descriptions, at most ARGV[2].
const DESCRIPTIONS: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local nodes = redis.call('ZRANGEBYSCORE', KEYS[1], string.format('(%.0f', now), '+inf', 'LIMIT', 0, ARGV[2])
local found = {}
for _, node in ipairs(nodes) do
  local text = redis.call('HGET', KEYS[2], node)
  if text then found[#found + 1] = text end
end
return found";

/// Announces ARGV[1], unless it is empty, as a node with viewers for ARGV[2] ms. Returns all announced nodes.
const VIEWERS: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
if ARGV[1] ~= '' then redis.call('ZADD', KEYS[1], string.format('%.0f', now + ARGV[2]), ARGV[1]) end
return redis.call('ZRANGE', KEYS[1], 0, -1)";

/// Leases in Redis.
pub struct RedisLock {
    client: Client,
    connection: ConnectionManager,
    prefix: String,
    hints: Mutex<Option<PubSub>>,
}

impl RedisLock {
    /// Creates the adapter. Its keys begin with `{prefix}`. `url` begins with `redis://` or
    /// `rediss://`, or is a bare `host:port`. The adapter connects at the first call. While Redis
    /// is unreachable, each call tries to connect again. Needs a Tokio runtime.
    ///
    /// # Errors
    /// If the URL is invalid. The error never contains the password.
    pub fn new(url: &str, prefix: &str) -> std::result::Result<Self, PortError> {
        Self::trusting(url, prefix, None)
    }

    /// Same as [`new`](Self::new), with a certificate authority (PEM) for `rediss://`. `None`: the
    /// system's authorities.
    ///
    /// # Errors
    /// If the URL or the authority is invalid. The error never contains the password.
    pub fn trusting(
        url: &str,
        prefix: &str,
        authority: Option<Vec<u8>>,
    ) -> std::result::Result<Self, PortError> {
        let url = if url.contains("://") { url.to_owned() } else { format!("redis://{url}") };
        // Fails if another adapter has installed the provider before, which is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = match authority {
            None => Client::open(url),
            root_cert => Client::build_with_tls(url, TlsCertificates { client_tls: None, root_cert }),
        };
        let client = client.map_err(|_| invalid_url())?;
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(0)
            .set_connection_timeout(Some(CALL_TIMEOUT))
            .set_response_timeout(Some(CALL_TIMEOUT));
        let connection =
            ConnectionManager::new_lazy_with_config(client.clone(), config).map_err(port_error)?;
        // The braces put all keys into one slot of a Redis Cluster.
        Ok(Self { client, connection, prefix: format!("{{{prefix}}}"), hints: Mutex::new(None) })
    }

    fn shard_key(&self, shard: u16) -> String {
        format!("{}:shard:{shard}", self.prefix)
    }

    fn nodes_key(&self) -> String {
        format!("{}:nodes", self.prefix)
    }

    fn description_keys(&self) -> [String; 2] {
        ["described", "descriptions"].map(|name| format!("{}:{name}", self.prefix))
    }

    fn wake_channel(&self) -> String {
        format!("{}:wake", self.prefix)
    }

    fn changes_channel(&self) -> String {
        format!("{}:changes", self.prefix)
    }

    fn viewers_key(&self) -> String {
        format!("{}:viewers", self.prefix)
    }

    async fn call<T: FromRedisValue>(&self, command: &Cmd) -> Result<T> {
        let mut connection = self.connection.clone();
        bounded(command.query_async(&mut connection)).await
    }

    async fn subscribe(&self, channel: String) -> Result<PubSub> {
        let mut subscribed = bounded(self.client.get_async_pubsub()).await?;
        bounded(subscribed.subscribe(channel)).await?;
        Ok(subscribed)
    }
}

#[async_trait]
impl Lock for RedisLock {
    async fn join(&self, node: &str, ttl_ms: u64) -> Result<Vec<String>> {
        let mut nodes: Vec<String> = self.call(&script(JOIN, &[self.nodes_key()], node, ttl_ms)).await?;
        nodes.sort_unstable();
        Ok(nodes)
    }

    async fn acquire(&self, node: &str, shards: &[u16], ttl_ms: u64) -> Result<Vec<u16>> {
        if shards.is_empty() {
            return Ok(Vec::new());
        }
        let keys: Vec<String> = shards.iter().map(|shard| self.shard_key(*shard)).collect();
        let positions: Vec<usize> = self.call(&script(ACQUIRE, &keys, node, ttl_ms)).await?;
        Ok(positions.into_iter().filter_map(|position| shards.get(position - 1).copied()).collect())
    }

    async fn release(&self, node: &str, shards: &[u16], leave: bool) -> Result<()> {
        let shards = shards.iter().map(|shard| self.shard_key(*shard));
        let keys: Vec<String> = std::iter::once(self.nodes_key()).chain(shards).collect();
        self.call(&script(RELEASE, &keys, node, u64::from(leave))).await
    }

    async fn describe(&self, node: &str, description: &str, ttl_ms: u64) -> Result<()> {
        let mut describe = script(DESCRIBE, &self.description_keys(), node, ttl_ms);
        describe.arg(description);
        self.call(&describe).await
    }

    async fn descriptions(&self) -> Result<Vec<String>> {
        self.call(&script(DESCRIPTIONS, &self.description_keys(), "", MAX_DESCRIPTIONS as u64)).await
    }

    async fn wake(&self, shards: &[u16]) -> Result<()> {
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(self.wake_channel()).arg(write_hint(shards));
        self.call(&publish).await
    }

    async fn next_hint(&self) -> Result<Vec<u16>> {
        // The guard lives during the wait, so that a cancelled call loses no hint that has arrived.
        let mut hints = self.hints.lock().await;
        if hints.is_none() {
            match self.subscribe(self.wake_channel()).await {
                Ok(subscribed) => *hints = Some(subscribed),
                Err(error) => {
                    tokio::time::sleep(RESUBSCRIBE_PAUSE).await;
                    return Err(error);
                }
            }
        }
        let Some(subscribed) = hints.as_mut() else { return Ok(Vec::new()) };
        let hint = next_message(subscribed).await;
        if hint.is_err() {
            *hints = None;
        }
        hint.map(|hint| read_hint(&hint))
    }

    async fn viewers(&self, node: Option<&str>, ttl_ms: u64) -> Result<Vec<String>> {
        self.call(&script(VIEWERS, &[self.viewers_key()], node.unwrap_or_default(), ttl_ms)).await
    }

    async fn send_changes(&self, message: &str) -> Result<()> {
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(self.changes_channel()).arg(message);
        self.call(&publish).await
    }

    async fn changes(&self) -> Result<BoxStream<'static, String>> {
        let next = async |mut subscribed: PubSub| {
            let message = next_message(&mut subscribed).await.ok()?;
            Some((String::from_utf8_lossy(&message).into_owned(), subscribed))
        };
        Ok(stream::unfold(self.subscribe(self.changes_channel()).await?, next).boxed())
    }
}

async fn next_message(subscribed: &mut PubSub) -> Result<Vec<u8>> {
    loop {
        match tokio::time::timeout(PING_AFTER, async { subscribed.on_message().next().await }).await {
            Ok(Some(message)) => return Ok(message.get_payload_bytes().to_vec()),
            Ok(None) => return Err(unavailable("Redis closed the subscription")),
            // Without a ping, a silently broken connection would never report an error.
            Err(_) => bounded(subscribed.ping::<redis::Value>()).await.map(drop)?,
        }
    }
}

fn write_hint(shards: &[u16]) -> String {
    shards.iter().map(u16::to_string).collect::<Vec<_>>().join(",")
}

/// Skips invalid items: hints may be lost.
fn read_hint(payload: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(payload);
    text.split(',').filter_map(|shard| shard.parse().ok()).collect()
}

fn script(code: &str, keys: &[String], node: &str, argument: u64) -> Cmd {
    let mut eval = redis::cmd("EVAL");
    eval.arg(code).arg(keys.len()).arg(keys).arg(node).arg(argument);
    eval
}

async fn bounded<T>(call: impl Future<Output = redis::RedisResult<T>>) -> Result<T> {
    match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(answer) => answer.map_err(port_error),
        Err(elapsed) => Err(unavailable(elapsed)),
    }
}

/// Maps an error. Fail-over, loading and lack of memory count as unavailable; errors that waiting
/// cannot fix are refused.
fn port_error(error: redis::RedisError) -> PortError {
    use redis::{ErrorKind, ServerErrorKind};
    match error.kind() {
        ErrorKind::AuthenticationFailed
        | ErrorKind::InvalidClientConfig
        | ErrorKind::Server(ServerErrorKind::ResponseError | ServerErrorKind::NoPerm) => {
            PortError::Refused(NAME, error.into())
        }
        ErrorKind::UnexpectedReturnType | ErrorKind::Parse => PortError::Corrupt(NAME, error.into()),
        _ => unavailable(error),
    }
}

fn unavailable(cause: impl Into<BoxError>) -> PortError {
    PortError::Unavailable(NAME, cause.into())
}

fn invalid_url() -> PortError {
    let why = "invalid URL: write redis://host:port or rediss://user:password@host:port";
    PortError::Refused(NAME, why.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_is_read_as_written_and_invalid_items_are_skipped() {
        assert_eq!(read_hint(write_hint(&[0, 7, 63]).as_bytes()), [0, 7, 63]);
        assert!(read_hint(b"").is_empty());
        assert_eq!(read_hint(b"7,x,70000,\xff"), [7]);
    }

    #[tokio::test]
    async fn an_invalid_url_is_reported_without_its_password() {
        let error = RedisLock::new("http://user:secret@host", "p").err().unwrap();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.contains("redis://") && !cause.contains("secret"), "{cause}");
    }
}
