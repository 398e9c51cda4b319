//! Incoming webhooks of Slack. The address contains the secret. A success is HTTP status 200 with the text `ok`; an
//! error is a 4xx with a word such as `invalid_payload`. The rate limit is one message a second; then the answer is
//! 429 with `Retry-After`. See <https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks> and
//! <https://docs.slack.dev/apis/web-api/rate-limits>.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;

use super::{Outgoing, Robot, SendError, Transport};

/// Maximum size of a text, in bytes. Slack cuts texts after 40,000 characters.
const MAX_BYTES: usize = 12_000;

/// An incoming webhook.
pub struct Slack(pub Robot);

#[async_trait]
impl Transport for Slack {
    async fn send(&self, outgoing: &Outgoing<'_>) -> Result<(), SendError> {
        let text = escape(&outgoing.message.text(MAX_BYTES));
        let reply = self.0.post(self.0.url(), &json!({ "text": text })).await?;
        if reply.body.trim() == "ok" {
            return Ok(());
        }
        let why = self.0.explanation(&reply.body);
        Err(SendError::Refused(format!("the receiver answered {}{why}", reply.status)))
    }

    fn gap(&self) -> Duration {
        Duration::from_secs(1)
    }
}

/// Escapes the control characters of Slack's markup, so that a name cannot notify people.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
