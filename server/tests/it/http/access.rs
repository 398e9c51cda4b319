//! Access control: every route with every kind of token, tokens limited to tags, and expiry.

use axum::body::Body;
use axum::http::Request;
use reqwest::Method;
use serde_json::{Value, json};
use taskcenter_server::compat::Compat;
use taskcenter_server::core::Moment;
use taskcenter_server::engine::service::{AccessSettings, Required};
use taskcenter_server::http::{Peer, router};
use taskcenter_server::legacy_apis;
use tower::ServiceExt as _;

use super::legacy_routes::every_legacy_route;
use super::{LIMITS, NOW, PREFIXES, Server, Setup, parse_problem, status_and_body, with_server};

/// A request with this header counts as forwarded: the peer is not the client.
const FORWARDED: (&str, &str) = ("x-forwarded-for", "203.0.113.9");
const SCOPES: [&str; 4] = ["task:read", "task:write", "run:pull", "admin"];

/// Creates a token and returns its text.
pub async fn issue(server: &Server, body: &Value) -> String {
    let (status, issued) = server.post("/v1/tokens", body).await;
    assert_eq!(status, 201, "{issued}");
    issued["token"].as_str().expect("the answer holds the token").to_owned()
}

async fn request_from_elsewhere(
    server: &Server,
    method: Method,
    path: &str,
    token: Option<&str>,
    body: &Value,
) -> (u16, Value) {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let mut headers = vec![FORWARDED];
    headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
    server.request(method, path, &headers, body).await
}

/// A route and the scope that it requires, as the manual documents it.
struct Route {
    method: Method,
    path: String,
    scope: &'static str,
    /// A route of a legacy API. Its errors have a format of their own, and it refuses limited tokens.
    is_legacy: bool,
}

fn scope_of(method: &Method, path: &str) -> &'static str {
    let pulls = ["/lease", "/renew", "/settle", "/report"];
    let writes_log = path.ends_with("/log") && method == Method::POST;
    match () {
        () if ["/v1/tokens", "/v1/users", "/v1/audit"].iter().any(|root| path.starts_with(root)) => "admin",
        () if path.starts_with("/v1/services") && method != Method::GET => "admin",
        () if writes_log || pulls.iter().any(|end| path.ends_with(end)) => "run:pull",
        // The request has a body, and changes nothing.
        () if method == Method::GET || path == "/v1/schedule/next" => "task:read",
        () => "task:write",
    }
}

/// Fills the parameters of a path pattern with ids that do not exist.
fn fill_in(pattern: &str) -> String {
    let ids = pattern.replace("{task_id}", &"0".repeat(32)).replace("{run_id}", "r");
    let parts = ids.split('/').map(|part| if part.starts_with('{') { "n" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

async fn routes(server: &Server) -> Vec<Route> {
    let (_, document) = server.get("/v1/openapi.json").await;
    let mut all: Vec<(Method, String)> = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        let methods = item.as_object().unwrap().keys();
        all.extend(methods.map(|method| (method.to_uppercase().parse().unwrap(), path.clone())));
    }
    for prefix in PREFIXES {
        for path in ["/task", "/delete-task", "/delete-task-by-name"] {
            all.push((Method::POST, format!("{prefix}{path}")));
        }
        for path in ["/query-task-by-id", "/query-task-by-name", "/task/stat"] {
            all.push((Method::GET, format!("{prefix}{path}")));
        }
    }
    all.extend(["/metrics", "/docs", "/docs/", "/docs/index.css"].map(|path| (Method::GET, path.to_owned())));
    let own = all.into_iter().map(|(method, path)| {
        let scope = scope_of(&method, &path);
        Route { method, path: fill_in(&path), scope, is_legacy: false }
    });
    own.chain(legacy_routes()).collect()
}

fn legacy_routes() -> impl Iterator<Item = Route> {
    let legacy = |(method, path): (Method, String)| Route {
        method,
        path: fill_in(&path),
        scope: "task:write",
        is_legacy: true,
    };
    every_legacy_route().into_iter().map(legacy)
}

/// Returned by [`status`] for any answer of a legacy API.
const REACHED: u16 = 200;

/// Sends a request with this token from another host and returns the status. Asserts that a refusal
/// has the format of its API.
async fn status(server: &Server, route: &Route, token: Option<&str>) -> u16 {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let mut headers = vec![FORWARDED];
    headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
    let response = server.send_with(route.method.clone(), &route.path, &headers, &json!({})).await;
    let status = response.status().as_u16();
    if route.is_legacy && !response.headers().contains_key("www-authenticate") {
        // The legacy API itself answered, possibly with a 403. Its answers are never problems.
        let kind = response.headers().get("content-type").map(|kind| kind.to_str().unwrap());
        assert_ne!(kind, Some("application/problem+json"), "{} {}: {status}", route.method, route.path);
        return REACHED;
    }
    if status == 401 || status == 403 {
        assert!(response.headers()["www-authenticate"].to_str().unwrap().starts_with("Bearer "));
        let legacy = PREFIXES.iter().any(|prefix| route.path.starts_with(prefix));
        let (_, body) = status_and_body(response).await;
        assert!(legacy == (body["err"] == status), "{body}");
        assert!(token.is_none_or(|token| !body.to_string().contains(token)), "{body}");
    }
    status
}

fn covers(granted: &str, required: &str) -> bool {
    granted == required || granted == "admin" || (granted, required) == ("task:write", "task:read")
}

#[tokio::test]
async fn every_route_refuses_missing_invalid_expired_and_out_of_scope_tokens() {
    Setup { legacy_apis: Compat::default().all_on(), ..Setup::default() }
        .with_server(async |server| {
            let mut by_scope = Vec::new();
            for scope in SCOPES {
                by_scope.push((scope, issue(server, &json!({"name": scope, "scopes": [scope]})).await));
            }
            let end = "2033-05-18T03:33:21Z";
            let expired = issue(server, &json!({"name": "e", "scopes": SCOPES, "expires_at": end})).await;
            let limited = issue(server, &json!({"name": "l", "scopes": ["task:write"], "tags": ["a"]})).await;
            server.clock.set(NOW.plus_ms(1_000));
            let good = &by_scope[3].1;
            let forged =
                format!("{}{}", &good[..good.len() - 1], if good.ends_with('0') { '1' } else { '0' });
            let unknown = format!("tc_{}_{}", "0".repeat(16), "0".repeat(64));

            let routes = routes(server).await;
            assert!(routes.len() >= 80, "{} routes are fewer than the API has", routes.len());
            let mut requests = 0;
            for route in &routes {
                let at = format!("{} {}", route.method, route.path);
                for bad in [None, Some("nonsense"), Some(&*unknown), Some(&*forged), Some(&*expired)] {
                    assert_eq!(status(server, route, bad).await, 401, "{at} with {bad:?}");
                }
                for (scope, token) in &by_scope {
                    let status = status(server, route, Some(token)).await;
                    let allowed = covers(scope, route.scope);
                    assert_eq!(status != 403, allowed, "{at} with {scope}: {status}");
                    assert_ne!(status, 401, "{at} with {scope}");
                }
                if route.is_legacy {
                    assert_eq!(status(server, route, Some(&limited)).await, 403, "{at} with a limited token");
                }
                requests += 5 + by_scope.len();
            }
            println!("{} routes, {requests} requests", routes.len());
        })
        .await;
}

#[tokio::test]
async fn probes_need_no_token_and_unknown_routes_need_one() {
    with_server(async |server| {
        for path in ["/livez", "/readyz"] {
            let response = server.send_with(Method::GET, path, &[FORWARDED], &json!({})).await;
            assert_ne!(response.status(), 401, "{path}");
        }
        let (status, _) =
            request_from_elsewhere(server, Method::GET, "/no/such/route", None, &json!({})).await;
        assert_eq!(status, 401);
        assert_eq!(server.get("/no/such/route").await.0, 404);
    })
    .await;
}

#[tokio::test]
async fn a_token_is_optional_on_loopback_but_must_be_valid_if_sent() {
    with_server(async |server| {
        assert_eq!(server.get("/v1/tasks").await.0, 200);
        let bad = [("authorization", "Bearer nonsense")];
        let (status, code, _) =
            parse_problem(server.request(Method::GET, "/v1/tasks", &bad, &json!({})).await);
        assert_eq!((status, code.as_str()), (401, "unauthorized"));
        for header in [("forwarded", "for=x"), ("origin", "http://elsewhere.example"), ("x-real-ip", "x")] {
            let (status, problem) = server.request(Method::GET, "/v1/tasks", &[header], &json!({})).await;
            assert_eq!(status, 401, "{header:?}");
            assert!(problem["detail"].as_str().unwrap().contains("taskcenter token add"), "{problem}");
        }
    })
    .await;
}

/// Returns the status of a request from `peer` without a token.
async fn status_from(server: &Server, peer: &str, method: Method, path: &str) -> u16 {
    let routes = router(server.state.clone(), LIMITS, legacy_apis(Compat::default()));
    let peer = Peer(peer.parse().unwrap());
    let request = Request::builder().method(method).uri(path).header("host", "localhost").extension(peer);
    routes.oneshot(request.body(Body::from("{}")).unwrap()).await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_trusted_network_needs_no_token_but_has_no_admin_scope() {
    let trusting = |required| AccessSettings {
        required,
        trusted: vec!["10.1.0.0/16".to_owned()],
        ..AccessSettings::default()
    };
    Setup { access: trusting(Required::OffLoopback), ..Setup::default() }
        .with_server(async |server| {
            for (peer, method, path, status) in [
                ("10.1.2.3", Method::GET, "/v1/tasks", 200),
                ("::ffff:10.1.2.3", Method::GET, "/v1/tasks", 200),
                ("10.1.2.3", Method::POST, "/v1/tasks", 400),
                ("10.1.2.3", Method::POST, "/v1/runs/lease", 400),
                ("10.1.2.3", Method::GET, "/v1/tokens", 403),
                ("10.2.2.3", Method::GET, "/v1/tasks", 401),
                ("127.0.0.1", Method::GET, "/v1/tokens", 200),
            ] {
                assert_eq!(
                    status_from(server, peer, method.clone(), path).await,
                    status,
                    "{method} {path} from {peer}"
                );
            }
        })
        .await;
    Setup { access: trusting(Required::Always), ..Setup::default() }
        .with_server(async |server| {
            assert_eq!(status_from(server, "10.1.2.3", Method::GET, "/v1/tasks").await, 401);
        })
        .await;
}

#[tokio::test]
async fn only_a_trusted_network_uses_the_legacy_apis_without_a_token() {
    for (required, peer, reached) in [
        (Required::OffLoopback, "10.1.2.3", true),
        (Required::OffLoopback, "127.0.0.1", true),
        (Required::OffLoopback, "10.2.2.3", false),
        (Required::OffLoopback, "2001:db8::1", false),
        (Required::Always, "10.1.2.3", false),
        (Required::Always, "127.0.0.1", false),
    ] {
        let trusted = vec!["10.1.0.0/16".to_owned()];
        let access = AccessSettings { required, trusted, ..AccessSettings::default() };
        Setup { access, ..Setup::default() }
            .with_server(async |server| {
                let fronts = Compat::default().all_on();
                let routes = router(server.state.clone(), LIMITS, legacy_apis(fronts));
                let mut requests = 0;
                for Route { method, path, .. } in legacy_routes() {
                    let request = Request::builder().method(&method).uri(&path).header("host", "localhost");
                    let request =
                        request.extension(Peer(peer.parse().unwrap())).body(Body::from("{}")).unwrap();
                    let response = routes.clone().oneshot(request).await.unwrap();
                    let is_challenged = response.headers().contains_key("www-authenticate");
                    assert_eq!(is_challenged, !reached, "{method} {path} from {peer}, {required:?}");
                    assert_eq!(
                        response.status() == 401,
                        !reached,
                        "{method} {path} from {peer}, {required:?}"
                    );
                    requests += 1;
                }
                assert!(requests >= 33, "{requests}");
            })
            .await;
    }
}

#[tokio::test]
async fn if_tokens_are_always_required_the_configured_one_creates_the_first() {
    let token = "any text can be the token of a configuration";
    // printf %s "$token" | sha256sum
    let sha256 = "be0ae88123f34714b2667a14a6314cd85548c6b9eaf197d417892d340ad6e78e";
    let access = AccessSettings {
        required: Required::Always,
        admin_token_sha256: sha256.to_owned(),
        ..AccessSettings::default()
    };
    Setup { access, ..Setup::default() }
        .with_server(async |server| {
            assert_eq!(server.get("/v1/tasks").await.0, 401);
            let (status, issued) = request_from_elsewhere(
                server,
                Method::POST,
                "/v1/tokens",
                Some(token),
                &json!({"name": "ci", "scopes": ["task:read"]}),
            )
            .await;
            assert_eq!(status, 201, "{issued}");
            let text = issued["token"].as_str().unwrap();
            assert_eq!(
                request_from_elsewhere(server, Method::GET, "/v1/tasks", Some(text), &json!({})).await.0,
                200
            );
            assert_eq!(
                request_from_elsewhere(server, Method::GET, "/v1/tasks", Some("any text"), &json!({}))
                    .await
                    .0,
                401
            );
        })
        .await;
}

fn digest(text: &str) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(text).iter().fold(String::new(), |digits, byte| digits + &format!("{byte:02x}"))
}

#[tokio::test]
async fn a_token_is_stored_as_a_digest_and_listed_without_its_secret() {
    with_server(async |server| {
        let body =
            json!({"name": "shop", "scopes": ["run:pull", "task:read", "run:pull"], "tags": ["b", "a"]});
        let text = issue(server, &body).await;
        let secret = text.rsplit('_').next().unwrap().to_owned();
        let (_, list) = server.get("/v1/tokens").await;
        let token = &list["tokens"][0];
        assert_eq!(
            (&token["scopes"], &token["tags"]),
            (&json!(["task:read", "run:pull"]), &json!(["a", "b"]))
        );
        assert_eq!((token["name"].as_str(), token["expired"].as_bool()), (Some("shop"), Some(false)));
        assert!(!list.to_string().contains(&secret), "{list}");
        let stored = server.records.records("token", None, None, 10).await.unwrap();
        assert_eq!(stored.len(), 1);
        assert!(
            !stored[0].doc.contains(&secret) && stored[0].doc.contains(&digest(&text)),
            "{:?}",
            stored[0]
        );
    })
    .await;
}

#[tokio::test]
async fn an_invalid_token_request_is_refused_with_the_name_of_the_field() {
    with_server(async |server| {
        for (body, field) in [
            (json!({"name": "", "scopes": ["admin"]}), "name"),
            (json!({"name": "n", "scopes": []}), "scopes"),
            (json!({"name": "n", "scopes": ["admin", "root"]}), "scopes[1]"),
            (json!({"name": "n", "scopes": ["task:read"], "tags": ["a|b"]}), "tags"),
            (json!({"name": "n", "scopes": ["admin"], "tags": ["a"]}), "tags"),
            (json!({"name": "n", "scopes": ["admin"], "expires_at": "2001-01-01T00:00:00Z"}), "expires_at"),
            (json!({"name": "n", "scopes": ["admin"], "secret": "mine"}), "secret"),
        ] {
            assert_eq!(
                parse_problem(server.post("/v1/tokens", &body).await),
                super::invalid_field(field),
                "{body}"
            );
        }
        assert_eq!(server.get("/v1/tokens").await.1, json!({"tokens": []}));
    })
    .await;
}

pub async fn a_revoked_token_is_refused_at_once_and_by_other_nodes_within_two_seconds(here: &Server) {
    let there = Setup::default().start(here.store.clone(), here.records.clone()).await;
    let text = issue(here, &json!({"name": "n", "scopes": ["task:read"]})).await;
    let status_of = async |server: &Server| {
        request_from_elsewhere(server, Method::GET, "/v1/tasks", Some(&text), &json!({})).await.0
    };
    assert_eq!((status_of(here).await, status_of(&there).await), (200, 200));
    let (_, list) = here.get("/v1/tokens").await;
    let path = format!("/v1/tokens/{}", list["tokens"][0]["id"].as_str().unwrap());
    assert_eq!(here.request(Method::DELETE, &path, &[], &json!({})).await.0, 200);
    assert_eq!(status_of(here).await, 401);
    there.clock.set(NOW.plus_ms(2_000));
    assert_eq!(status_of(&there).await, 401);
    assert_eq!(here.request(Method::DELETE, &path, &[], &json!({})).await.0, 404);
    there.stop().await;
}

/// Runs a test with two tasks of each of three names, and a token with every scope but limited to
/// two of the names.
async fn with_limited_token(test: impl AsyncFnOnce(&Server, &str)) {
    with_server(async |server| {
        for name in ["mail", "order", "secret"] {
            for data in ["1", "2"] {
                server.create(&json!({"name": name, "data": data, "delay_ms": 60_000})).await;
            }
        }
        let scopes = ["task:write", "run:pull"];
        let tags = ["mail", "order"];
        let token = issue(server, &json!({"name": "l", "scopes": scopes, "tags": tags})).await;
        test(server, &token).await;
    })
    .await;
}

/// Returns the names in alphabetical order: tasks of the same millisecond have no order.
fn names(list: &Value) -> Vec<&str> {
    let tasks = list["tasks"].as_array().unwrap().iter();
    let mut names: Vec<_> = tasks.map(|task| task["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn a_limited_token_lists_the_tasks_of_its_tags_page_by_page() {
    with_limited_token(async |server, token| {
        let get = async |path: &str| {
            request_from_elsewhere(server, Method::GET, path, Some(token), &json!({})).await
        };
        let (_, all) = get("/v1/tasks").await;
        assert_eq!(names(&all), ["mail", "mail", "order", "order"]);
        let (_, first) = get("/v1/tasks?limit=3").await;
        let (_, rest) =
            get(&format!("/v1/tasks?limit=3&cursor={}", first["next_cursor"].as_str().unwrap())).await;
        let ids = |list: &Value| {
            list["tasks"].as_array().unwrap().iter().map(|task| task["id"].clone()).collect::<Vec<_>>()
        };
        assert_eq!((ids(&first).len(), rest["next_cursor"].is_null()), (3, true));
        assert_eq!([ids(&first), ids(&rest)].concat(), ids(&all), "newest first");
        assert_eq!(names(&get("/v1/tasks?name=mail").await.1), ["mail", "mail"]);
        assert_eq!(parse_problem(get("/v1/tasks?name=secret").await).1, "forbidden");
        assert_eq!(parse_problem(get("/v1/runs?tag=secret").await).1, "forbidden");
        assert_eq!(get("/v1/api/query-task-by-name?name=secret").await.0, 403);
        assert_eq!(parse_problem(get("/metrics").await).1, "forbidden");
    })
    .await;
}

#[tokio::test]
async fn a_limited_token_does_not_find_tasks_of_other_tags() {
    with_limited_token(async |server, token| {
        let (_, list) = server.get("/v1/tasks?name=secret").await;
        let id = list["tasks"][0]["id"].as_str().unwrap().to_owned();
        let call = async |method: Method, path: &str, body: &Value| {
            let headers = [("authorization", format!("Bearer {token}")), ("if-match", "*".to_owned())];
            let headers: Vec<(&str, &str)> =
                headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            server.request(method, path, &headers, body).await
        };
        let of = |end: &str| format!("/v1/tasks/{id}{end}");
        for (method, path) in [
            (Method::GET, of("")),
            (Method::PATCH, of("")),
            (Method::DELETE, of("")),
            (Method::POST, of("/pause")),
            (Method::POST, of("/resume")),
            (Method::POST, of("/cancel")),
            (Method::POST, of("/trigger")),
        ] {
            let answer = parse_problem(call(method.clone(), &path, &json!({"data": "mine"})).await);
            assert_eq!((answer.0, answer.1.as_str()), (404, "not_found"), "{method} {path}");
        }
        let (_, deleted) = call(Method::POST, "/v1/api/delete-task", &json!({"ids": [id]})).await;
        assert!(!deleted.to_string().contains(&id), "{deleted}");
        assert_eq!(
            call(Method::POST, "/v1/api/delete-task-by-name", &json!({"name": "secret"})).await.0,
            403
        );
        let (_, task) = server.get(&of("")).await;
        assert_eq!(
            (task["state"].as_str(), task["rev"].as_u64()),
            (Some("active"), Some(1)),
            "the task is unchanged"
        );
    })
    .await;
}

#[tokio::test]
async fn a_limited_token_creates_and_renames_within_its_tags_only() {
    with_limited_token(async |server, token| {
        let post = async |body: &Value| {
            request_from_elsewhere(server, Method::POST, "/v1/tasks", Some(token), body).await
        };
        assert_eq!(post(&json!({"name": "mail"})).await.0, 201);
        assert_eq!(parse_problem(post(&json!({"name": "secret"})).await).1, "forbidden");
        assert_eq!(parse_problem(post(&json!({"name": "mail", "queue": "secret"})).await).1, "forbidden");
        let (_, several) = post(&json!({"tasks": [{"name": "order"}, {"name": "secret"}]})).await;
        let statuses: Vec<_> =
            several["results"].as_array().unwrap().iter().map(|item| item["status"].as_u64()).collect();
        assert_eq!(statuses, [Some(201), Some(403)]);
        let id = several["results"][0]["id"].as_str().unwrap();
        let headers = [("authorization", format!("Bearer {token}")), ("if-match", "*".to_owned())];
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let renamed = server
            .request(Method::PATCH, &format!("/v1/tasks/{id}"), &headers, &json!({"name": "secret"}))
            .await;
        assert_eq!(parse_problem(renamed).1, "forbidden");
    })
    .await;
}

#[tokio::test]
async fn a_limited_worker_pulls_from_its_queues_only() {
    with_server(async |server| {
        let mine = issue(server, &json!({"name": "w", "scopes": ["run:pull"], "tags": ["q"]})).await;
        let other =
            issue(server, &json!({"name": "o", "scopes": ["run:pull"], "tags": ["order.close"]})).await;
        let run = server.ready("data").await;
        let lease = |queue: &str| json!({"worker": "w", "queues": [queue], "limit": 1, "lease_ms": 60_000});
        let post = async |path: &str, token: &str, body: &Value| {
            request_from_elsewhere(server, Method::POST, path, Some(token), body).await
        };
        assert_eq!(parse_problem(post("/v1/runs/lease", &other, &lease("q")).await).1, "forbidden");
        assert_eq!(post("/v1/runs/lease", &other, &lease("*")).await.1["runs"], json!([]));
        let (_, leased) = post("/v1/runs/lease", &mine, &lease("q")).await;
        let leased = &leased["runs"][0];
        assert_eq!(leased["run_id"].as_str(), Some(run.id.as_str()));
        let held =
            json!({"run_id": leased["run_id"], "attempt": leased["attempt"], "token": leased["token"]});
        let renew = json!({"runs": [held], "lease_ms": 60_000});
        let answer = async |token: &str, path: &str, body: &Value| {
            post(path, token, body).await.1["results"][0]["status"].as_u64()
        };
        assert_eq!(answer(&other, "/v1/runs/renew", &renew).await, Some(404));
        assert_eq!(answer(&mine, "/v1/runs/renew", &renew).await, Some(200));
        let log = format!("/v1/runs/{}/log", run.id);
        let line = json!({"at": "2033-05-18T03:33:20Z", "level": "info", "text": "line"});
        let lines =
            json!({"attempt": held["attempt"], "token": held["token"], "batch_id": "b", "lines": [line]});
        assert_eq!(post(&log, &other, &lines).await.0, 404);
        assert_eq!(post(&log, &mine, &lines).await, (200, json!({"stored": true})));
        let read = json!({"name": "r", "scopes": ["task:read"], "tags": ["another"]});
        let reader = issue(server, &read).await;
        let read = request_from_elsewhere(server, Method::GET, &log, Some(&reader), &Value::Null).await;
        assert_eq!(read.0, 404, "the tag of the run is beyond the limits");
        let mut outcome = held.clone();
        outcome["outcome"] = "succeeded".into();
        let settle = json!({"outcomes": [outcome]});
        assert_eq!(answer(&other, "/v1/runs/settle", &settle).await, Some(404));
        assert_eq!(answer(&mine, "/v1/runs/settle", &settle).await, Some(200));
    })
    .await;
}

#[test]
fn the_expiry_that_the_tests_use_is_one_second_after_now() {
    let end: jiff::Timestamp = "2033-05-18T03:33:21Z".parse().unwrap();
    assert_eq!(Moment::from_ms(end.as_millisecond()), NOW.plus_ms(1_000));
}
