//! No call reaches a denied address, in any notation of the address.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::Method;
use reqwest::header::HeaderMap;
use taskcenter_server::workers::guard::Guard;
use taskcenter_server::workers::outbound::{Answer, Call, CallError, Lookup, Outbound};
use tokio::net::TcpListener;

use super::endpoint::Endpoint;

/// A listener that counts connections.
struct Canary {
    port: u16,
    connections: Arc<AtomicUsize>,
}

impl Canary {
    async fn start() -> Self {
        Self::at("127.0.0.1:0").await
    }

    async fn at(address: &str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let (port, connections) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&connections);
        tokio::spawn(async move {
            while listener.accept().await.is_ok() {
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { port, connections }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Returns one answer after the other, then the last one again and again.
struct Answers(Mutex<VecDeque<Vec<IpAddr>>>);

impl Answers {
    fn of(answers: &[&[&str]]) -> Arc<Self> {
        let parse = |answer: &&[&str]| answer.iter().map(|address| address.parse().unwrap()).collect();
        Arc::new(Self(Mutex::new(answers.iter().map(parse).collect())))
    }
}

#[async_trait::async_trait]
impl Lookup for Answers {
    async fn lookup(&self, _name: &str) -> io::Result<Vec<IpAddr>> {
        let mut answers = self.0.lock().unwrap();
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        Ok(answer.unwrap())
    }
}

fn outbound(allow: &[&str], lookup: Arc<dyn Lookup>) -> Outbound {
    let allow: Vec<String> = allow.iter().map(|range| (*range).to_owned()).collect();
    Outbound::new(Guard::new(&allow, &[]).unwrap(), lookup, 1_000).unwrap()
}

async fn get(outbound: &Outbound, url: &str) -> Result<Answer, CallError> {
    let (headers, body) = (HeaderMap::new(), String::new());
    let call =
        Call { method: Method::GET, url: url.to_owned(), headers, body, timeout: Duration::from_secs(20) };
    outbound.make(call).await
}

#[tokio::test]
async fn no_call_reaches_a_private_address_in_any_notation() {
    let canary = Canary::start().await;
    let lookup = Answers::of(&[&["127.0.0.1"]]);
    let guarded = outbound(&[], lookup.clone());
    for host in [
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "127.0.1",
        "2130706433",
        "017700000001",
        "0177.0.0.1",
        "0x7f.0.0.1",
        "0x7f000001",
        "①②⑦.⓪.⓪.①",
        "127。0。0。1",
        "0.0.0.0",
        "0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "[2002:7f00:1::]",
        "user:pass@127.0.0.1",
        "169.254.169.254",
        "[::ffff:169.254.169.254]",
        "[fd00:ec2::254]",
        "100.100.100.200",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "[fe80::1]",
        "localhost",
        "localhost.",
        "canary.example",
        "metadata.google.internal",
    ] {
        let answer = get(&guarded, &format!("http://{host}:{}/", canary.port)).await;
        let refused = matches!(&answer, Err(CallError::Refused(why)) if why.contains("is not allowed"));
        assert!(refused, "{host}: {answer:?}");
    }
    for url in
        ["file:///etc/passwd", "gopher://127.0.0.1/", "ftp://127.0.0.1/", "unix:/a", "//127.0.0.1", "http://"]
    {
        assert!(matches!(get(&guarded, url).await, Err(CallError::Refused(_))), "{url}");
    }
    assert_eq!(canary.connections(), 0);
    // If loopback is allowed, the canary is reached.
    let open = outbound(&["127.0.0.0/8"], lookup);
    let url = format!("http://canary.example:{}/", canary.port);
    let called = tokio::spawn(async move { get(&open, &url).await });
    super::until("the canary is reached", async || canary.connections() == 1).await;
    called.abort();
}

#[tokio::test]
async fn a_name_with_one_denied_address_is_refused() {
    let canary = Canary::start().await;
    for answer in [["127.0.0.2", "127.0.0.1"], ["127.0.0.1", "127.0.0.2"], ["127.0.0.2", "::ffff:127.0.0.1"]]
    {
        let guarded = outbound(&["127.0.0.2"], Answers::of(&[&answer]));
        let answer = get(&guarded, &format!("http://two.example:{}/", canary.port)).await;
        assert!(matches!(answer, Err(CallError::Refused(_))), "{answer:?}");
    }
    assert_eq!(canary.connections(), 0);
}

#[tokio::test]
async fn the_address_of_a_name_is_checked_at_each_connection() {
    let canary = Canary::start().await;
    let endpoint = Endpoint::at(&format!("127.0.0.2:{}", canary.port)).await;
    let guarded = outbound(&["127.0.0.2"], Answers::of(&[&["127.0.0.2"], &["127.0.0.1"]]));
    let url = format!("http://rebind.example:{}/", canary.port);
    assert_eq!(get(&guarded, &url).await.unwrap().body, "done");
    // Dropping the endpoint closes its connection: the next call needs another one.
    drop(endpoint);
    let refused = async || matches!(get(&guarded, &url).await, Err(CallError::Refused(_)));
    super::until("the second address is refused", refused).await;
    assert_eq!(canary.connections(), 0);
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let (canary, endpoint) = (Canary::start().await, Endpoint::start().await);
    let guarded = outbound(&["127.0.0.1"], Answers::of(&[&["127.0.0.1"]]));
    for status in [301, 302, 303, 307, 308] {
        endpoint.redirect(status, "", &format!("http://127.0.0.1:{}/", canary.port));
        assert_eq!(get(&guarded, &endpoint.url).await.unwrap().status, status);
    }
    assert_eq!(canary.connections(), 0);
}
