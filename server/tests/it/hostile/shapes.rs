//! Every route of every API with paths, queries, bodies, headers and methods that it does not
//! serve: each refusal has the shape of the API that the path belongs to, and none is the web
//! framework's.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, header};
use serde_json::Value;
use taskcenter_server::compat::Compat;
use taskcenter_server::http::{Peer, router};
use taskcenter_server::legacy_apis;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::state;
use crate::http::legacy_routes::every_legacy_route;
use crate::http::{LIMITS, PREFIXES};
use crate::store::Fixture as _;
use crate::store::memory::MemoryFixture;

/// Who answers at a path, and therefore the shape of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Api {
    /// Problems (RFC 9457).
    Resources,
    /// `{err, msg}`.
    Contract,
    /// 403 with a JSON string.
    Kingtask,
    /// 200 with an envelope.
    Easytask,
    /// 200 with `{code, errmsg}`.
    PullJson,
    /// Text with a status.
    PullText,
    /// 200 with text.
    Taskdash,
}

const KINGTASK: [&str; 4] =
    ["/api/v1/task/script", "/api/v1/task/rpc", "/api/v1/task/result", "/api/v1/task/count"];
const EASYTASK: [&str; 6] =
    ["/add_task_server", "/del_task_server", "/add_task", "/confirm_task", "/stop_task", "/task_log"];
const PULL_BELOW: [&str; 3] = ["/addtask", "/putask", "/api/putask"];
const PULL_JSON: [&str; 4] = ["/querytask", "/updatetask", "/api/login", "/api"];
const PULL_TEXT: [&str; 3] = ["/sayhi", "/newtype", "/beat"];

fn is_below(path: &str, prefixes: &[&str]) -> bool {
    let below = |prefix: &&str| {
        path.strip_prefix(*prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    prefixes.iter().any(below)
}

fn api_of(path: &str) -> Api {
    match () {
        () if is_below(path, &KINGTASK) => Api::Kingtask,
        () if is_below(path, &PREFIXES) => Api::Contract,
        () if EASYTASK.contains(&path) => Api::Easytask,
        () if PULL_JSON.contains(&path) || is_below(path, &PULL_BELOW) => Api::PullJson,
        () if PULL_TEXT.contains(&path) => Api::PullText,
        () if is_below(path, &["/rget", "/rpost"]) => Api::Taskdash,
        () => Api::Resources,
    }
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn content_type(&self) -> &str {
        self.headers.get(header::CONTENT_TYPE).map_or("", |kind| kind.to_str().unwrap())
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }

    /// Whether a browser neither guesses the type of the answer nor shows it in a frame.
    fn protects_browsers(&self) -> bool {
        let policy = self.headers.get(header::CONTENT_SECURITY_POLICY);
        let is_framed =
            policy.is_none_or(|policy| !policy.to_str().unwrap().contains("frame-ancestors 'none'"));
        !is_framed && self.headers.get(header::X_CONTENT_TYPE_OPTIONS).is_some_and(|value| value == "nosniff")
    }

    /// What is wrong with the shape of this answer, if anything.
    fn fault(&self, api: Api, path: &str) -> Option<&'static str> {
        if !self.protects_browsers() {
            return Some("no protection of browsers");
        }
        let (status, json) = (self.status, self.json());
        let is_refused = status >= 400;
        let names_field = json["field"].is_string();
        let is_chinese = self.body.contains(|c: char| ('\u{4e00}'..='\u{9fff}').contains(&c));
        let holds = match api {
            // The readiness probe reports its causes.
            Api::Resources if path == "/readyz" => json.is_object(),
            Api::Resources if is_refused => {
                self.content_type() == "application/problem+json"
                    && json["status"] == status
                    && ["title", "detail", "code"].iter().all(|member| json[*member].is_string())
                    && (status != 400 || names_field)
            }
            Api::Contract if is_refused => {
                self.content_type() == "application/json"
                    && json["err"] == status
                    && json["msg"].is_string()
                    && (status != 400 || names_field)
            }
            Api::Kingtask if is_refused => status == 403 && json.is_string(),
            Api::Resources | Api::Contract | Api::Kingtask => true,
            Api::Easytask => {
                status == 200
                    && json["code"].is_u64()
                    && ["msg", "hint"].iter().all(|member| json[*member].is_string())
            }
            Api::PullJson => {
                status == 200 && (json["code"] == 0 || json["code"] == -1 && json["errmsg"].is_string())
                    // The answer to a login.
                    || path == "/api/login" && (status == 200 || status == 401)
            }
            Api::PullText => status == 200 && self.body == "OK" || is_refused && is_chinese,
            Api::Taskdash => {
                status == 200
                    && (is_chinese || ["success", "error"].contains(&&*self.body) || json.is_array())
            }
        };
        (!holds).then_some("not the shape of the API")
    }
}

struct Target {
    routes: Router,
    faults: Vec<String>,
    requests: usize,
}

impl Target {
    async fn answer(&self, request: Request<Body>) -> Answer {
        let response = self.routes.clone().oneshot(request).await.expect("a router always answers");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        Answer { status, headers, body: String::from_utf8_lossy(&body).into_owned() }
    }

    async fn document(&self) -> Value {
        let peer = Peer(Ipv4Addr::LOCALHOST.into());
        let request = Request::builder().uri("/v1/openapi.json").header("host", "localhost").extension(peer);
        self.answer(request.body(Body::empty()).unwrap()).await.json()
    }

    async fn check(&mut self, method: &Method, target: &str, headers: &[(&str, &[u8])], body: Body) {
        let peer = Peer(Ipv4Addr::LOCALHOST.into());
        let mut request = Request::builder().method(method).uri(target).extension(peer);
        request = request.header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body).unwrap_or_else(|error| panic!("{method} {target}: {error}"));
        let path = request.uri().path().to_owned();
        let api = api_of(&path);
        let answer = self.answer(request).await;
        self.requests += 1;
        let fault = if answer.status >= 500 && path != "/readyz" {
            Some("a fault of the server")
        } else if *method == Method::HEAD {
            None
        } else {
            answer.fault(api, &path)
        };
        if let Some(fault) = fault {
            let (status, kind) = (answer.status, answer.content_type());
            self.faults.push(format!(
                "{method} {target:.80} {headers:?}: {fault} ({api:?}): {status} {kind:?} {:.200}",
                answer.body
            ));
        }
    }
}

/// Every route with a method that it serves; `document` is the OpenAPI document.
pub fn every_route(document: &Value) -> Vec<(Method, String)> {
    let mut all = every_legacy_route();
    for (path, item) in document["paths"].as_object().expect("the document has paths") {
        let methods = item.as_object().unwrap().keys();
        all.extend(methods.map(|method| (method.to_uppercase().parse().unwrap(), path.clone())));
    }
    for prefix in PREFIXES {
        let posts = ["task", "delete-task", "delete-task-by-name"];
        all.extend(posts.map(|path| (Method::POST, format!("{prefix}/{path}"))));
        let gets = ["query-task-by-id", "query-task-by-name", "task/stat"];
        all.extend(gets.map(|path| (Method::GET, format!("{prefix}/{path}"))));
    }
    let open = ["/docs", "/docs/", "/docs/{file}", "/livez", "/readyz", "/metrics"];
    all.extend(open.map(|path| (Method::GET, path.to_owned())));
    all
}

/// The pattern with `value` in place of each parameter.
pub fn filled(pattern: &str, value: &str) -> String {
    let parts = pattern.split('/').map(|part| if part.starts_with('{') { value } else { part });
    parts.collect::<Vec<_>>().join("/")
}

const BAD_SEGMENTS: [&str; 10] =
    ["%ff", "01h%a4c8-0000", "%c0%af", "%00", "%", "%zz", "..%2f..%2f", "%e4%bb", "-", "%20"];

const BAD_QUERIES: [&str; 8] =
    ["%ff=%ff", "limit=%a4", "a[]=1&a[$gt]=", "limit=1&limit=2", "=", "&&&", "limit", "%"];

fn methods() -> Vec<Method> {
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"]
        .map(|method| method.parse().unwrap())
        .into()
}

/// Content type and body.
fn bad_bodies() -> Vec<(&'static [u8], Vec<u8>)> {
    let json: &[u8] = b"application/json";
    vec![
        (json, Vec::new()),
        (json, b"{".to_vec()),
        (json, b"[]".to_vec()),
        (json, b"null".to_vec()),
        (json, b"{\"name\":\"\xff\xfe\"}".to_vec()),
        (json, b"\xef\xbb\xbf{}".to_vec()),
        (json, vec![b' '; 8 * 1024 * 1024]),
        (b"application/xml", b"<a/>".to_vec()),
        (b"", b"{}".to_vec()),
        (b"\xff\xfe", b"{}".to_vec()),
        (b"application/x-www-form-urlencoded", b"%ff=%a4&a".to_vec()),
        (b"multipart/form-data", b"{}".to_vec()),
        (b"multipart/form-data; boundary=b", b"--b\r\n\xff\r\n".to_vec()),
        (
            b"multipart/form-data; boundary=b",
            b"--b\r\ncontent-disposition: form-data; name=\"a\"\r\n\r\n\xff".to_vec(),
        ),
    ]
}

const BAD_HEADERS: [(&str, &[u8]); 8] = [
    ("if-match", b"\xff"),
    ("idempotency-key", b"\xff"),
    ("x-request-id", b"\xff"),
    ("cookie", b"\xff=\xfe"),
    ("x-easy-task-trace-id", b"\xff"),
    ("content-length", b"one"),
    ("accept", b"\xff"),
    ("content-encoding", b"gzip"),
];

fn broken_off() -> Body {
    let parts = [Ok("{"), Err(std::io::Error::other("the connection is gone"))];
    Body::from_stream(futures_util::stream::iter(parts))
}

#[test]
fn texts_of_the_framework_are_faults() {
    for (status, body) in [
        (400, "Invalid URL: Cannot parse `uuid` with value `x`"),
        (400, "Failed to deserialize query string"),
        (404, ""),
        (405, ""),
        (413, "length limit exceeded"),
        (415, "Expected request with `Content-Type: application/json`"),
    ] {
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, "text/plain".parse().unwrap())]);
        let answer = Answer { status, headers, body: body.to_owned() };
        for api in [
            Api::Resources,
            Api::Contract,
            Api::Kingtask,
            Api::Easytask,
            Api::PullJson,
            Api::PullText,
            Api::Taskdash,
        ] {
            assert!(answer.fault(api, "/x").is_some(), "{api:?} with {status} {body}");
        }
    }
}

#[tokio::test]
async fn every_refusal_has_the_shape_of_its_api() {
    let fixture = MemoryFixture::open().await;
    let (state, _) = state(&fixture, CancellationToken::new());
    let apis = Compat::default().all_on();
    let routes = router(state, LIMITS, legacy_apis(apis));
    let mut target = Target { routes, faults: Vec::new(), requests: 0 };
    let all = every_route(&target.document().await);
    let patterns: BTreeSet<&String> = all.iter().map(|(_, path)| path).collect();
    assert!(patterns.len() >= 60, "{} are not all routes", patterns.len());
    for pattern in patterns {
        let mut paths: Vec<String> = BAD_SEGMENTS.iter().map(|value| filled(pattern, value)).collect();
        paths.dedup();
        for below in ["/", "/%ff", "/no/such/route", "//"] {
            paths.push(filled(pattern, "x") + below);
        }
        for path in &paths {
            for method in methods() {
                target.check(&method, path, &[], Body::empty()).await;
            }
        }
    }
    for (method, pattern) in &all {
        let path = filled(pattern, "x");
        for query in BAD_QUERIES {
            target.check(method, &format!("{path}?{query}"), &[], Body::empty()).await;
        }
        for (kind, body) in bad_bodies() {
            target.check(method, &path, &[("content-type", kind)], body.into()).await;
        }
        target.check(method, &path, &[], broken_off()).await;
        for header in BAD_HEADERS {
            target.check(method, &path, &[header], "{}".into()).await;
        }
    }
    for path in ["/", "/v1", "/v1/", "/api", "/api/v1", "/v1/api/", "/rget", "/rpost/", "/%ff", "//"] {
        target.check(&Method::GET, path, &[], Body::empty()).await;
    }
    println!("{} requests to {} routes", target.requests, all.len());
    assert!(target.faults.is_empty(), "{} faults:\n{}", target.faults.len(), target.faults.join("\n"));
    drop(target);
    Box::new(fixture).close().await;
}
