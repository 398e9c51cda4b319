//! Custom bots of Feishu and Lark. With a secret, the body has `timestamp` (seconds) and `sign`: the HMAC-SHA256 of
//! the empty text with the key `timestamp\nsecret`, in base64. An answer with HTTP status 200 has the result as
//! `code`. A bot may send 100 messages a minute and 5 a second; then it answers 11232, or 9499 with "too many
//! request". See <https://open.feishu.cn/document/client-docs/bot-v3/add-custom-bot>.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;

use super::signature::sign;
use super::{Outgoing, Robot, SendError, Transport};

/// Code of the rate limit.
const LIMITED: i64 = 11_232;
/// Code of the older rate limit, and of a malformed body.
const BAD_REQUEST: i64 = 9_499;
/// Maximum size of a message, in bytes. The limit of a request is 20 KB.
const MAX_BYTES: usize = 15_000;

/// A bot in a group.
pub struct Feishu(pub Robot);

#[async_trait]
impl Transport for Feishu {
    async fn send(&self, outgoing: &Outgoing<'_>) -> Result<(), SendError> {
        // A tag such as <at> in a name would notify people.
        let text = outgoing.message.text(MAX_BYTES).replace('<', "＜");
        let mut body = json!({ "msg_type": "text", "content": { "text": text } });
        if let Some(secret) = self.0.secret() {
            let timestamp = (outgoing.now.ms() / 1_000).to_string();
            let sign = sign(format!("{timestamp}\n{secret}").as_bytes(), b"");
            body["timestamp"] = timestamp.into();
            body["sign"] = sign.into();
        }
        let reply = self.0.post(self.0.url(), &body).await?;
        self.0.code(&reply, "code", "msg").map_err(|(code, why)| match code {
            LIMITED => SendError::Limited(reply.retry_after),
            BAD_REQUEST if why.contains("too many") => SendError::Limited(reply.retry_after),
            _ => SendError::Refused(why),
        })
    }

    fn gap(&self) -> Duration {
        Duration::from_millis(600)
    }
}
