//! An HTTP endpoint that the built-in workers call. It records requests and returns a set response.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::IntoResponse;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A received request.
#[derive(Debug, Clone)]
pub struct Received {
    pub method: Method,
    pub path: String,
    pub headers: HeaderMap,
    pub body: String,
}

#[derive(Clone)]
struct Shared {
    received: Arc<Mutex<Vec<Received>>>,
    response: Arc<Mutex<(u16, String, String)>>,
    gate: Arc<Semaphore>,
}

pub struct Endpoint {
    pub url: String,
    shared: Shared,
    _stop: DropGuard,
}

impl Endpoint {
    pub async fn start() -> Self {
        Self::at("127.0.0.1:0").await
    }

    /// Listens on an address, for example that of an endpoint dropped before.
    pub async fn at(address: &str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let response = Arc::new(Mutex::new((200, "done".to_owned(), String::new())));
        let gate = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        let shared = Shared { received: Arc::default(), response, gate };
        let routes = Router::new().fallback(respond).with_state(shared.clone());
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        tokio::spawn(async move {
            stopped.run_until_cancelled(async move { axum::serve(listener, routes).await }).await;
        });
        Self { url, shared, _stop: stop.drop_guard() }
    }

    pub fn address(&self) -> String {
        self.url.trim_start_matches("http://").to_owned()
    }

    /// Sets the response.
    pub fn respond_with(&self, status: u16, body: &str) {
        self.redirect(status, body, "");
    }

    /// Sets the response, with a `Location` header.
    pub fn redirect(&self, status: u16, body: &str, location: &str) {
        *self.shared.response.lock().unwrap() = (status, body.to_owned(), location.to_owned());
    }

    /// Holds back every response until [`Self::release`].
    pub fn block(&self) {
        self.shared.gate.forget_permits(Semaphore::MAX_PERMITS);
    }

    /// Sends this number of responses.
    pub fn release(&self, responses: usize) {
        self.shared.gate.add_permits(responses);
    }

    pub fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }

    /// Number of requests that are not health checks.
    pub fn calls(&self) -> usize {
        self.received().iter().filter(|request| request.path != "/health").count()
    }
}

async fn respond(
    State(shared): State<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> impl IntoResponse {
    let body = String::from_utf8(body.to_vec()).unwrap();
    shared.received.lock().unwrap().push(Received { method, path: uri.to_string(), headers, body });
    shared.gate.acquire().await.unwrap().forget();
    let (status, body, location) = shared.response.lock().unwrap().clone();
    // `connection: close`: the next call needs another connection.
    (
        StatusCode::from_u16(status).unwrap(),
        [("location", location), ("connection", "close".to_owned())],
        body,
    )
}
