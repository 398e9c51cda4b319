//! Posts alerts as JSON. A bounded queue decouples the receiver: an unreachable receiver costs
//! alerts, but never time.

use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};
use serde::Serialize;
use tokio::sync::mpsc::{self, Receiver, Sender};

use crate::core::alert::{AlertEvent, AlertTransition};
use crate::core::net::OUTBOUND_CALL;
use crate::ports::AlertSink;

/// Largest number of waiting posts.
const QUEUE: usize = 64;
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// An alert sink that posts to a URL.
pub struct Webhook {
    queue: Sender<Post>,
}

/// The JSON body. Chat programs show `text`; other programs read `alerts`.
#[derive(Debug, Clone, Serialize)]
struct Post {
    text: String,
    alerts: Vec<Alert>,
}

#[derive(Debug, Clone, Serialize)]
struct Alert {
    code: &'static str,
    kind: &'static str,
    subject: Option<String>,
    change: &'static str,
    value: u64,
    threshold: i64,
    since: String,
    at: String,
}

/// The posting task. Its URL may contain a token, and is never logged.
struct Poster {
    client: Client,
    url: String,
    attempts: u32,
    first_pause: Duration,
}

impl Webhook {
    /// Starts posting to `url`, on the current Tokio runtime. `timeout` applies to each attempt;
    /// each post has at most `attempts` attempts.
    ///
    /// # Errors
    /// If the HTTP client cannot be created.
    pub fn start(url: &str, timeout: Duration, attempts: u32) -> reqwest::Result<Self> {
        Poster::new(url, timeout, attempts, FIRST_PAUSE).map(Self::with_poster)
    }

    fn with_poster(poster: Poster) -> Self {
        let (queue, posts) = mpsc::channel(QUEUE);
        tokio::spawn(poster.run(posts));
        Self { queue }
    }
}

impl AlertSink for Webhook {
    fn send(&self, events: &[AlertEvent]) {
        let alerts: Vec<_> = events.iter().map(alert).collect();
        let text = alerts.iter().map(line).collect::<Vec<_>>().join("\n");
        if self.queue.try_send(Post { text, alerts }).is_err() {
            tracing::warn!(alerts = events.len(), "webhook queue full; alerts dropped");
        }
    }
}

fn alert(event: &AlertEvent) -> Alert {
    Alert {
        code: event.key.code(),
        kind: event.key.kind(),
        subject: event.key.subject.clone(),
        change: match event.change {
            AlertTransition::Raised => "raised",
            AlertTransition::Reminder => "reminder",
            AlertTransition::Cleared => "cleared",
        },
        value: event.value,
        threshold: event.threshold,
        since: event.since.to_string(),
        at: event.at.to_string(),
    }
}

fn line(alert: &Alert) -> String {
    let subject = alert.subject.as_deref().unwrap_or("all");
    format!("{} {} {subject}: {} (threshold {})", alert.code, alert.change, alert.value, alert.threshold)
}

impl Poster {
    fn new(url: &str, timeout: Duration, attempts: u32, first_pause: Duration) -> reqwest::Result<Self> {
        // Fails if another adapter has installed the provider before, which is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().timeout(timeout).redirect(Policy::none()).build();
        let client = client.map_err(reqwest::Error::without_url)?;
        Ok(Self { client, url: url.to_owned(), attempts, first_pause })
    }

    async fn run(self, mut posts: Receiver<Post>) {
        while let Some(post) = posts.recv().await {
            if let Err(error) = self.post(&post).await {
                tracing::warn!(error, alerts = post.alerts.len(), "webhook post failed; alerts dropped");
            }
        }
    }

    async fn post(&self, post: &Post) -> Result<(), String> {
        let mut pause = self.first_pause;
        for attempt in 1.. {
            match self.try_once(post).await {
                Ok(()) => break,
                Err((error, is_temporary)) if attempt >= self.attempts || !is_temporary => return Err(error),
                Err(_) => tokio::time::sleep(pause).await,
            }
            pause = pause.saturating_mul(2);
        }
        Ok(())
    }

    /// Posts once. An error has a flag: whether it may be temporary.
    async fn try_once(&self, post: &Post) -> Result<(), (String, bool)> {
        let answer = self.client.post(&self.url).header(OUTBOUND_CALL, "1").json(post).send().await;
        let status = answer.map_err(|error| (error.without_url().to_string(), true))?.status();
        let is_temporary = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
        if status.is_success() {
            Ok(())
        } else {
            Err((format!("the receiver answered {status}"), is_temporary))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::Json;
    use axum::routing::post;
    use serde_json::Value;

    use super::*;
    use crate::core::Moment;
    use crate::core::alert::{AlertKey, Measure, Severity};

    fn event() -> AlertEvent {
        AlertEvent {
            key: AlertKey { measure: Measure::Fires, subject: Some("order.close".into()) },
            change: AlertTransition::Raised,
            severity: Severity::Warning,
            value: 11,
            threshold: 10,
            since: Moment::from_sec(0),
            at: Moment::from_sec(1),
        }
    }

    /// Starts a receiver that answers with the statuses in turn, and then always with the last one.
    /// The channel returns the received bodies.
    async fn receiver(statuses: &'static [u16]) -> (String, Receiver<Value>) {
        let (received, posts) = mpsc::channel(100);
        let count = Arc::new(AtomicUsize::new(0));
        let answer = move |Json(body): Json<Value>| async move {
            let nth = count.fetch_add(1, Ordering::SeqCst).min(statuses.len() - 1);
            received.send(body).await.unwrap();
            StatusCode::from_u16(statuses[nth]).unwrap()
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(
            async move { axum::serve(listener, axum::Router::new().route("/hook", post(answer))).await },
        );
        (format!("http://user:canary-7f3a@{address}/hook"), posts)
    }

    fn poster(url: &str, attempts: u32) -> Poster {
        Poster::new(url, Duration::from_secs(10), attempts, Duration::from_millis(1)).unwrap()
    }

    fn webhook(url: &str, attempts: u32) -> Webhook {
        Webhook::with_poster(poster(url, attempts))
    }

    #[tokio::test]
    async fn a_failed_post_is_repeated() {
        let (url, mut posts) = receiver(&[500, 429, 200]).await;
        let webhook = webhook(&url, 3);
        webhook.send(&[event()]);
        let first = posts.recv().await.unwrap();
        assert_eq!(first["text"], "#NAME_TO_MANY_TASK raised order.close: 11 (threshold 10)");
        assert_eq!(first["alerts"][0]["kind"], "fires_per_tag");
        assert_eq!(first["alerts"][0]["since"], "1970-01-01T00:00:00.000Z");
        for _ in 0..2 {
            assert_eq!(posts.recv().await.unwrap(), first);
        }
    }

    #[tokio::test]
    async fn a_refused_post_is_not_repeated_and_attempts_are_limited() {
        let (url, mut posts) = receiver(&[400, 500]).await;
        let webhook = webhook(&url, 2);
        // One attempt for the refused post, two for the second post; then the third post follows.
        for value in [1, 2, 3] {
            webhook.send(&[AlertEvent { value, ..event() }]);
        }
        let mut values = Vec::new();
        for _ in 0..5 {
            values.push(posts.recv().await.unwrap()["alerts"][0]["value"].as_u64().unwrap());
        }
        assert_eq!(values, [1, 2, 2, 3, 3]);
    }

    #[tokio::test]
    async fn a_receiver_that_never_answers_does_not_block() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let webhook = webhook(&format!("http://{}/", listener.local_addr().unwrap()), 1);
        for _ in 0..QUEUE * 2 {
            webhook.send(&[event()]);
        }
        assert_eq!(webhook.queue.capacity(), 0, "posts beyond the queue are dropped");
    }

    #[tokio::test]
    async fn an_error_does_not_contain_the_url() {
        let url = "http://user:canary-7f3a@127.0.0.1:1/canary-7f3a?token=canary-7f3a";
        let error = poster(url, 1).post(&Post { text: String::new(), alerts: vec![] }).await.unwrap_err();
        assert!(!error.contains("canary-7f3a"), "{error}");
    }
}
