//! A real browser: pages of other origins try every route, and nothing is executed.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;

use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

use super::shapes::{every_route, filled};
use super::{NEVER, setup};
use crate::http::{LIMITS, Server};
use crate::store::Fixture as _;
use crate::store::memory::MemoryFixture;

/// Program of the browser. Default: `chromium` of the search path.
const CHROMIUM: &str = "TASKCENTER_TEST_CHROMIUM";
/// A name of the attacker that resolves to this machine.
const REBOUND: &str = "attacker.example";
/// Routes that need no token.
const PUBLIC: [&str; 2] = ["/livez", "/readyz"];

/// Runs every attempt of `attempts`, then fetches `/done`. An attempt is a method and a URL.
const PAGE: &str = r#"<!doctype html><meta charset="utf-8"><title>attack</title><body><script>
const attempts = ATTEMPTS;
const ended = (element, url) => new Promise(resolve => {
    element.onload = element.onerror = resolve;
    element.src = url;
});
const show = async (tag, url) => {
    const element = document.createElement(tag);
    const loaded = ended(element, url);
    document.body.append(element);
    await loaded;
    element.remove();
};
const submit = async (method, url) => {
    const frame = document.createElement("iframe");
    frame.name = "target";
    document.body.append(frame);
    const form = document.createElement("form");
    Object.assign(form, { method, action: url, target: "target", enctype: "text/plain" });
    const field = document.createElement("input");
    Object.assign(field, { name: '{"name":"x","data":"', value: '"}' });
    form.append(field);
    document.body.append(form);
    const loaded = new Promise(resolve => { frame.onload = frame.onerror = resolve; });
    form.submit();
    await loaded;
    frame.remove();
    form.remove();
};
const send = (method, url, options) => fetch(url, { method, ...options }).catch(() => {});
const attempt = async ([method, url]) => {
    const body = method === "POST" ? { body: '{"name":"x"}' } : {};
    await send(method, url, { mode: "no-cors", ...body });
    await send(method, url, { mode: "no-cors", credentials: "include", referrerPolicy: "no-referrer", ...body });
    await send(method, url, { mode: "cors", ...body });
    if (method === "GET") await show("img", url);
    if (method === "GET") await show("script", url);
    await submit(method, url);
};
const run = async () => {
    for (const one of attempts) await attempt(one);
    await fetch("/done");
};
run();
</script>"#;

/// Every GET and POST route.
async fn routes(server: &Server) -> Vec<(Method, String)> {
    let (status, document) = server.get("/v1/openapi.json").await;
    assert_eq!(status, 200);
    let all = every_route(&document).into_iter();
    all.filter(|(method, _)| [Method::GET, Method::POST].contains(method)).collect()
}

fn page(routes: &[(Method, String)], target: &str) -> String {
    let url = |path: &str| format!("http://{target}{}?name=x&operation=TaskBind", filled(path, "x"));
    let attempts: Vec<_> = routes.iter().map(|(method, path)| json!([method.as_str(), url(path)])).collect();
    PAGE.replace("ATTEMPTS", &json!(attempts).to_string())
}

/// Serves the page until the page has made all attempts.
async fn serve_page(listener: TcpListener, page: String) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 8_192];
        let read = stream.read(&mut request).await.unwrap_or_default();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            page.len()
        );
        // The browser may close a connection that it opened in advance.
        let _ = stream.write_all(format!("{head}{page}").as_bytes()).await;
        if request[..read].starts_with(b"GET /done ") {
            return;
        }
    }
}

fn start_browser(url: &str, home: &std::path::Path) -> Child {
    let program = std::env::var(CHROMIUM).unwrap_or_else(|_| "chromium".to_owned());
    let mut command = Command::new(&program);
    // The sandbox needs rights that a container lacks. The browser loads only the page of this test.
    command.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
    ]);
    command.args([
        "--disable-background-networking",
        "--disable-component-update",
        "--remote-debugging-port=0",
    ]);
    command.arg(format!("--user-data-dir={}", home.display()));
    command.arg(format!("--host-resolver-rules=MAP {REBOUND} 127.0.0.1")).arg(url);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    command.spawn().unwrap_or_else(|error| {
        panic!("cannot start {program}: {error}: install chromium (`apt-get install chromium`), or set {CHROMIUM}")
    })
}

/// Lets a browser show the page of the origin `host`, which attacks `target`.
async fn attack(routes: &[(Method, String)], host: &str, target: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{host}:{}/", listener.local_addr().unwrap().port());
    let home = tempfile::tempdir().unwrap();
    let mut browser = start_browser(&url, home.path());
    let done = tokio::time::timeout(NEVER, serve_page(listener, page(routes, target))).await;
    browser.kill().await.unwrap();
    done.expect("the page makes all attempts");
}

/// Number of answers by method, route and status.
type Answers = BTreeMap<(String, String, String), u64>;

fn answers(server: &Server) -> Answers {
    let metrics = server.state.metrics.encode().unwrap();
    let label = |line: &str, name: &str| {
        let value = line.split(&format!("{name}=\"")).nth(1).expect("the metric has the label");
        value.split('"').next().unwrap_or_default().replace("{*", "{")
    };
    let lines = metrics.lines().filter(|line| line.starts_with("taskcenter_http_requests_total{"));
    let count = |line: &str| line.rsplit(' ').next().and_then(|count| count.parse().ok()).unwrap();
    let key = |line: &str| (label(line, "method"), label(line, "route"), label(line, "status"));
    lines.map(|line| (key(line), count(line))).collect()
}

/// Fails unless the server refused every attack since `before`, and received all of them.
fn assert_refused(routes: &[(Method, String)], before: &Answers, after: &Answers) {
    let is_new = |(key, count): &(&_, &u64)| before.get(*key) != Some(*count);
    let new: BTreeSet<_> = after.iter().filter(is_new).map(|(key, _)| key).collect();
    for (method, route) in routes.iter().filter(|(_, route)| !PUBLIC.contains(&route.as_str())) {
        let of_route =
            |(name, path, _): &&&(String, String, String)| name == method.as_str() && path == route;
        let statuses: Vec<&str> = new.iter().filter(of_route).map(|(.., status)| status.as_str()).collect();
        assert_eq!(statuses, ["401"], "{method} {route}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_other_origins_execute_nothing() {
    let fixture = MemoryFixture::open().await;
    setup(LIMITS)
        .with_server_on(fixture.one(), fixture.records(), async |server| {
            let routes = routes(server).await;
            assert!(routes.len() >= 60, "{}", routes.len());
            let port = server.address.rsplit(':').next().unwrap();
            let rebound = format!("{REBOUND}:{port}");
            for (page_of, target) in [
                ("127.0.0.1", &server.address),
                ("localhost", &server.address),
                (REBOUND, &server.address),
                (REBOUND, &rebound),
            ] {
                let before = answers(server);
                attack(&routes, page_of, target).await;
                assert_refused(&routes, &before, &answers(server));
            }
        })
        .await;
    Box::new(fixture).close().await;
}
