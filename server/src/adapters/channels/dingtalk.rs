//! DingTalk custom robots. With a secret, the query parameter `timestamp` has milliseconds, and `sign` the
//! HMAC-SHA256 of `timestamp\nsecret` with the secret as its key, in base64. An answer with HTTP status 200 has
//! the result as `errcode`. A robot may send 20 messages a minute; then it answers 130101. See
//! <https://open.dingtalk.com/document/robots/custom-robot-access>.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;

use super::signature::sign;
use super::{Outgoing, Robot, SendError, Transport};

/// Code of the rate limit.
const LIMITED: i64 = 130_101;
/// The system is busy.
const BUSY: i64 = -1;
/// Maximum size of a message, in bytes.
const MAX_BYTES: usize = 20_000;

/// A robot in a group.
pub struct Dingtalk(pub Robot);

#[async_trait]
impl Transport for Dingtalk {
    async fn send(&self, outgoing: &Outgoing<'_>) -> Result<(), SendError> {
        let mut url = self.0.url();
        if let Some(secret) = self.0.secret() {
            let timestamp = outgoing.now.ms();
            let sign = sign(secret.as_bytes(), format!("{timestamp}\n{secret}").as_bytes());
            let mut query = url.query_pairs_mut();
            query.append_pair("timestamp", &timestamp.to_string()).append_pair("sign", &sign);
        }
        let text = outgoing.message.text(MAX_BYTES);
        let body = json!({ "msgtype": "text", "text": { "content": text } });
        let reply = self.0.post(url, &body).await?;
        self.0.code(&reply, "errcode", "errmsg").map_err(|(code, why)| match code {
            LIMITED => SendError::Limited(reply.retry_after),
            BUSY => SendError::Temporary(why),
            _ => SendError::Refused(why),
        })
    }

    fn gap(&self) -> Duration {
        Duration::from_secs(3)
    }
}
