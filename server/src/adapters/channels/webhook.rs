//! Webhooks with a signature by Standard Webhooks 1.0.0: the headers `webhook-id`, `webhook-timestamp` (seconds)
//! and `webhook-signature`, which is `v1,` and the HMAC-SHA256 of `id.timestamp.body` in base64. The key is the
//! secret after `whsec_`, decoded from base64. See
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>.

use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::signature::sign;
use super::{Outgoing, Robot, SendError, Transport};
use crate::core::alert::{AlertEvent, AlertTransition};

/// A webhook that receives JSON.
pub struct Webhook(pub Robot);

#[async_trait]
impl Transport for Webhook {
    async fn send(&self, outgoing: &Outgoing<'_>) -> Result<(), SendError> {
        let body = body(outgoing).to_string();
        let seconds = outgoing.now.ms() / 1_000;
        let mut request = self.0.request(self.0.url());
        request = request.header("webhook-id", outgoing.id).header("webhook-timestamp", seconds);
        if let Some(secret) = self.0.secret() {
            let key = secret.strip_prefix("whsec_").unwrap_or(secret);
            let key = BASE64_STANDARD.decode(key).unwrap_or_default();
            let text = format!("{}.{seconds}.{body}", outgoing.id);
            request = request.header("webhook-signature", format!("v1,{}", sign(&key, text.as_bytes())));
        }
        self.0.call(request.body(body)).await.map(drop)
    }
}

/// Returns the payload in the form that the standard recommends: type, timestamp and data.
fn body(outgoing: &Outgoing<'_>) -> Value {
    let kind = if outgoing.events.is_empty() { "alert.test" } else { "alert.changed" };
    let alerts: Vec<_> = outgoing.events.iter().map(alert).collect();
    json!({
        "type": kind,
        "timestamp": outgoing.now.to_string(),
        "data": { "title": outgoing.message.title, "text": outgoing.message.body, "alerts": alerts },
    })
}

fn alert(event: &AlertEvent) -> Value {
    json!({
        "rule": event.key.measure.rule(),
        "subject": event.key.subject,
        "change": match event.change {
            AlertTransition::Raised => "raised",
            AlertTransition::Reminder => "reminder",
            AlertTransition::Cleared => "cleared",
        },
        "severity": event.severity.as_str(),
        "value": event.value,
        "threshold": event.threshold,
        "since": event.since.to_string(),
        "at": event.at.to_string(),
    })
}
