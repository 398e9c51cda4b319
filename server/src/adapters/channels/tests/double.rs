//! A local double of a webhook receiver.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// A received request.
pub struct Request {
    pub uri: Uri,
    pub headers: HeaderMap,
    pub text: String,
    pub body: Value,
}

impl Request {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub fn query(&self, name: &str) -> Option<String> {
        let query = self.uri.query().unwrap_or_default();
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    }
}

/// Status and body of an answer.
type Answer = (u16, &'static str);

struct Shared {
    answers: Mutex<VecDeque<Answer>>,
    requests: UnboundedSender<Request>,
    /// Permits to answer.
    gate: Semaphore,
}

/// A receiver that answers in turn, and then always with the last answer.
pub struct Double {
    pub url: String,
    requests: UnboundedReceiver<Request>,
    shared: Arc<Shared>,
}

impl Double {
    pub async fn answering(answers: &[Answer]) -> Self {
        let (sender, requests) = unbounded_channel();
        let answers = Mutex::new(answers.iter().copied().collect());
        let gate = Semaphore::new(Semaphore::MAX_PERMITS / 2);
        let shared = Arc::new(Shared { answers, requests: sender, gate });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, requests, shared }
    }

    /// Waits for the next request.
    pub async fn next(&mut self) -> Request {
        let next = tokio::time::timeout(std::time::Duration::from_mins(1), self.requests.recv()).await;
        next.expect("a request arrives in time").expect("the double runs")
    }

    /// Keeps answers back.
    pub fn hold(&self) {
        self.shared.gate.forget_permits(Semaphore::MAX_PERMITS);
    }

    /// Sends the answers that were kept back, and all further ones.
    pub fn release(&self) {
        self.shared.gate.add_permits(Semaphore::MAX_PERMITS / 2);
    }
}

async fn answer(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let text = String::from_utf8(body.to_vec()).unwrap();
    let body = serde_json::from_str(&text).unwrap();
    shared.requests.send(Request { uri, headers, text, body }).unwrap();
    let _permit = shared.gate.acquire().await.unwrap();
    let mut answers = shared.answers.lock().unwrap();
    let (status, body) = if answers.len() > 1 { answers.pop_front().unwrap() } else { answers[0] };
    (StatusCode::from_u16(status).unwrap(), body).into_response()
}
