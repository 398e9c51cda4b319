//! Group robots of WeCom. The address contains the key; messages are not signed. An answer with HTTP status 200 has
//! the result as `errcode`. A robot may send 20 messages a minute; then it answers 45009. A text has at most
//! 2,048 bytes. See <https://developer.work.weixin.qq.com/document/path/91770>.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;

use super::{Outgoing, Robot, SendError, Transport};

/// Code of the rate limit.
const LIMITED: i64 = 45_009;
/// The system is busy.
const BUSY: i64 = -1;
const MAX_BYTES: usize = 2_048;

/// A robot in a group.
pub struct Wecom(pub Robot);

#[async_trait]
impl Transport for Wecom {
    async fn send(&self, outgoing: &Outgoing<'_>) -> Result<(), SendError> {
        let text = outgoing.message.text(MAX_BYTES);
        let body = json!({ "msgtype": "text", "text": { "content": text } });
        let reply = self.0.post(self.0.url(), &body).await?;
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
