//! Somebody who is called: keeps what it hears, and says what it was told to.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::IntoResponse;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A call as it came in.
#[derive(Debug, Clone)]
pub struct Heard {
    pub method: Method,
    pub path: String,
    pub headers: HeaderMap,
    pub body: String,
}

#[derive(Clone)]
struct Desk {
    heard: Arc<Mutex<Vec<Heard>>>,
    answer: Arc<Mutex<(u16, String, String)>>,
    gate: Arc<Semaphore>,
}

pub struct Callee {
    pub url: String,
    desk: Desk,
    _stop: DropGuard,
}

impl Callee {
    pub async fn start() -> Self {
        Self::at("127.0.0.1:0").await
    }

    /// At an address, which has been one's own before.
    pub async fn at(address: &str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answer = Arc::new(Mutex::new((200, "done".to_owned(), String::new())));
        let desk =
            Desk { heard: Arc::default(), answer, gate: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)) };
        let routes = Router::new().fallback(hear).with_state(desk.clone());
        let stop = CancellationToken::new();
        let asked = stop.clone();
        tokio::spawn(async move {
            asked.run_until_cancelled(async move { axum::serve(listener, routes).await }).await;
        });
        Self { url, desk, _stop: stop.drop_guard() }
    }

    pub fn address(&self) -> String {
        self.url.trim_start_matches("http://").to_owned()
    }

    pub fn says(&self, status: u16, body: &str) {
        self.redirects(status, body, "");
    }

    pub fn redirects(&self, status: u16, body: &str, location: &str) {
        *self.desk.answer.lock().unwrap() = (status, body.to_owned(), location.to_owned());
    }

    /// Answers nobody until it is let.
    pub fn hold(&self) {
        self.desk.gate.forget_permits(Semaphore::MAX_PERMITS);
    }

    pub fn let_go(&self, answers: usize) {
        self.desk.gate.add_permits(answers);
    }

    pub fn heard(&self) -> Vec<Heard> {
        self.desk.heard.lock().unwrap().clone()
    }

    /// Calls that were no look at its health.
    pub fn calls(&self) -> usize {
        self.heard().iter().filter(|heard| heard.path != "/health").count()
    }
}

async fn hear(
    State(desk): State<Desk>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> impl IntoResponse {
    let body = String::from_utf8(body.to_vec()).unwrap();
    desk.heard.lock().unwrap().push(Heard { method, path: uri.to_string(), headers, body });
    // The next call needs another connection.
    desk.gate.acquire().await.unwrap().forget();
    let (status, body, location) = desk.answer.lock().unwrap().clone();
    (
        StatusCode::from_u16(status).unwrap(),
        [("location", location), ("connection", "close".to_owned())],
        body,
    )
}
