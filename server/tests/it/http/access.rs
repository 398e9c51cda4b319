//! Who gets in: every route by every kind of token, limits to tags, and the end of tokens.

use axum::body::Body;
use axum::http::Request;
use reqwest::Method;
use serde_json::{Value, json};
use taskcenter_server::compat::{Compat, mount};
use taskcenter_server::core::Moment;
use taskcenter_server::engine::service::{AccessSettings, Required};
use taskcenter_server::http::{Peer, router};
use tower::ServiceExt as _;

use super::front_routes::every_front_route;
use super::{LIMITS, NOW, PREFIXES, Server, Setup, answer, told, with_server};

/// A call with it comes from somebody else than the peer, as far as the server can tell.
const FORWARDED: (&str, &str) = ("x-forwarded-for", "203.0.113.9");
const SCOPES: [&str; 4] = ["task:read", "task:write", "run:pull", "admin"];

/// Makes a token; its text.
async fn issue(server: &Server, body: &Value) -> String {
    let (status, issued) = server.post("/v1/tokens", body).await;
    assert_eq!(status, 201, "{issued}");
    issued["token"].as_str().expect("it has a text").to_owned()
}

async fn ask(server: &Server, method: Method, path: &str, token: Option<&str>, body: &Value) -> (u16, Value) {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let mut headers = vec![FORWARDED];
    headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
    server.ask(method, path, &headers, body).await
}

/// A route with the scope that it takes, by the rule that the manual tells.
struct Route {
    method: Method,
    path: String,
    scope: &'static str,
    /// A front for older systems' clients, which answers in a way of its own and takes no limited token.
    is_front: bool,
}

fn scope_of(method: &Method, path: &str) -> &'static str {
    let pulls = ["/lease", "/renew", "/settle", "/report"];
    match () {
        () if path.starts_with("/v1/tokens") || path.starts_with("/v1/users") => "admin",
        () if path.starts_with("/v1/services") && method != Method::GET => "admin",
        () if pulls.iter().any(|end| path.ends_with(end)) => "run:pull",
        () if method == Method::GET => "task:read",
        () => "task:write",
    }
}

/// A path of this pattern, of something that is not there.
fn filled(pattern: &str) -> String {
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
        Route { method, path: filled(&path), scope, is_front: false }
    });
    own.chain(front_routes()).collect()
}

fn front_routes() -> impl Iterator<Item = Route> {
    let front = |(method, path): (Method, String)| Route {
        method,
        path: filled(&path),
        scope: "task:write",
        is_front: true,
    };
    every_front_route().into_iter().map(front)
}

/// What [`status`] says of a front that was reached, whatever it answered.
const REACHED: u16 = 200;

/// The status, when a token is sent from elsewhere; a refusal is whole and in the shape of its family.
async fn status(server: &Server, route: &Route, token: Option<&str>) -> u16 {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let mut headers = vec![FORWARDED];
    headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
    let response = server.send_with(route.method.clone(), &route.path, &headers, &json!({})).await;
    let status = response.status().as_u16();
    if route.is_front && !response.headers().contains_key("www-authenticate") {
        // Only the server's own refusals are problems: this one is the front's word, which may be a 403 as well.
        let kind = response.headers().get("content-type").map(|kind| kind.to_str().unwrap());
        assert_ne!(kind, Some("application/problem+json"), "{} {}: {status}", route.method, route.path);
        return REACHED;
    }
    if status == 401 || status == 403 {
        assert!(response.headers()["www-authenticate"].to_str().unwrap().starts_with("Bearer "));
        let legacy = PREFIXES.iter().any(|prefix| route.path.starts_with(prefix));
        let (_, body) = answer(response).await;
        assert!(legacy == (body["err"] == status), "{body}");
        assert!(token.is_none_or(|token| !body.to_string().contains(token)), "{body}");
    }
    status
}

fn covers(held: &str, needed: &str) -> bool {
    held == needed || held == "admin" || (held, needed) == ("task:write", "task:read")
}

#[tokio::test]
async fn every_route_refuses_no_token_a_bad_one_an_expired_one_and_one_of_another_scope() {
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
            assert!(routes.len() >= 80, "{} are not all routes", routes.len());
            let mut asked = 0;
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
                if route.is_front {
                    assert_eq!(status(server, route, Some(&limited)).await, 403, "{at} with a limited token");
                }
                asked += 5 + by_scope.len();
            }
            println!("{} routes, {asked} calls", routes.len());
        })
        .await;
}

#[tokio::test]
async fn the_probes_are_open_and_what_is_not_there_is_told_to_nobody() {
    with_server(async |server| {
        for path in ["/livez", "/readyz"] {
            let response = server.send_with(Method::GET, path, &[FORWARDED], &json!({})).await;
            assert_ne!(response.status(), 401, "{path}");
        }
        let (status, _) = ask(server, Method::GET, "/no/such/route", None, &json!({})).await;
        assert_eq!(status, 401);
        assert_eq!(server.get("/no/such/route").await.0, 404);
    })
    .await;
}

#[tokio::test]
async fn on_this_machine_a_token_is_not_needed_but_one_that_is_brought_must_hold() {
    with_server(async |server| {
        assert_eq!(server.get("/v1/tasks").await.0, 200);
        let bad = [("authorization", "Bearer nonsense")];
        let (status, code, _) = told(server.ask(Method::GET, "/v1/tasks", &bad, &json!({})).await);
        assert_eq!((status, code.as_str()), (401, "unauthorized"));
        for header in [("forwarded", "for=x"), ("origin", "http://elsewhere.example"), ("x-real-ip", "x")] {
            let (status, problem) = server.ask(Method::GET, "/v1/tasks", &[header], &json!({})).await;
            assert_eq!(status, 401, "{header:?}");
            assert!(problem["detail"].as_str().unwrap().contains("taskcenter token add"), "{problem}");
        }
    })
    .await;
}

/// What a caller from `peer` hears who brings no token.
async fn from(server: &Server, peer: &str, method: Method, path: &str) -> u16 {
    let routes = router(server.state.clone(), LIMITS, Box::new(|routes| routes));
    let request = Request::builder().method(method).uri(path).extension(Peer(peer.parse().unwrap()));
    routes.oneshot(request.body(Body::from("{}")).unwrap()).await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_trusted_network_needs_no_token_and_is_no_admin() {
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
                    from(server, peer, method.clone(), path).await,
                    status,
                    "{method} {path} from {peer}"
                );
            }
        })
        .await;
    Setup { access: trusting(Required::Always), ..Setup::default() }
        .with_server(async |server| {
            assert_eq!(from(server, "10.1.2.3", Method::GET, "/v1/tasks").await, 401);
        })
        .await;
}

#[tokio::test]
async fn a_trusted_network_reaches_every_front_without_a_token_and_nobody_else_does() {
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
                let routes =
                    router(server.state.clone(), LIMITS, Box::new(move |routes| mount(routes, &fronts)));
                let mut asked = 0;
                for Route { method, path, .. } in front_routes() {
                    let request = Request::builder().method(&method).uri(&path);
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
                    asked += 1;
                }
                assert!(asked >= 33, "{asked}");
            })
            .await;
    }
}

#[tokio::test]
async fn where_one_is_always_demanded_the_configured_one_is_the_first() {
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
            let (status, issued) = ask(
                server,
                Method::POST,
                "/v1/tokens",
                Some(token),
                &json!({"name": "ci", "scopes": ["task:read"]}),
            )
            .await;
            assert_eq!(status, 201, "{issued}");
            let text = issued["token"].as_str().unwrap();
            assert_eq!(ask(server, Method::GET, "/v1/tasks", Some(text), &json!({})).await.0, 200);
            assert_eq!(ask(server, Method::GET, "/v1/tasks", Some("any text"), &json!({})).await.0, 401);
        })
        .await;
}

fn digest(text: &str) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(text).iter().fold(String::new(), |digits, byte| digits + &format!("{byte:02x}"))
}

#[tokio::test]
async fn a_token_is_kept_as_a_digest_and_listed_without_its_secret() {
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
async fn a_token_that_makes_no_sense_is_refused_by_its_field() {
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
            assert_eq!(told(server.post("/v1/tokens", &body).await), super::field(field), "{body}");
        }
        assert_eq!(server.get("/v1/tokens").await.1, json!({"tokens": []}));
    })
    .await;
}

pub async fn a_revoked_token_is_refused_here_at_once_and_on_other_nodes_within_two_seconds(here: &Server) {
    let there = Setup::default().start(here.store.clone(), here.records.clone()).await;
    let text = issue(here, &json!({"name": "n", "scopes": ["task:read"]})).await;
    let asked =
        async |server: &Server| ask(server, Method::GET, "/v1/tasks", Some(&text), &json!({})).await.0;
    assert_eq!((asked(here).await, asked(&there).await), (200, 200));
    let (_, list) = here.get("/v1/tokens").await;
    let path = format!("/v1/tokens/{}", list["tokens"][0]["id"].as_str().unwrap());
    assert_eq!(here.ask(Method::DELETE, &path, &[], &json!({})).await.0, 200);
    assert_eq!(asked(here).await, 401);
    there.clock.set(NOW.plus_ms(2_000));
    assert_eq!(asked(&there).await, 401);
    assert_eq!(here.ask(Method::DELETE, &path, &[], &json!({})).await.0, 404);
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

/// In alphabetical order: what is made in one millisecond lies in any.
fn names(list: &Value) -> Vec<&str> {
    let tasks = list["tasks"].as_array().unwrap().iter();
    let mut names: Vec<_> = tasks.map(|task| task["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn a_limited_token_lists_what_it_reaches_page_by_page() {
    with_limited_token(async |server, token| {
        let get = async |path: &str| ask(server, Method::GET, path, Some(token), &json!({})).await;
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
        assert_eq!(told(get("/v1/tasks?name=secret").await).1, "forbidden");
        assert_eq!(told(get("/v1/runs?tag=secret").await).1, "forbidden");
        assert_eq!(get("/v1/api/query-task-by-name?name=secret").await.0, 403);
        assert_eq!(told(get("/metrics").await).1, "forbidden");
    })
    .await;
}

#[tokio::test]
async fn what_a_limited_token_does_not_reach_is_not_there_for_it() {
    with_limited_token(async |server, token| {
        let (_, list) = server.get("/v1/tasks?name=secret").await;
        let id = list["tasks"][0]["id"].as_str().unwrap().to_owned();
        let call = async |method: Method, path: &str, body: &Value| {
            let headers = [("authorization", format!("Bearer {token}")), ("if-match", "*".to_owned())];
            let headers: Vec<(&str, &str)> =
                headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            server.ask(method, path, &headers, body).await
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
            let answer = told(call(method.clone(), &path, &json!({"data": "mine"})).await);
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
            "nothing came of it"
        );
    })
    .await;
}

#[tokio::test]
async fn a_limited_token_creates_and_renames_within_its_limits_only() {
    with_limited_token(async |server, token| {
        let post = async |body: &Value| ask(server, Method::POST, "/v1/tasks", Some(token), body).await;
        assert_eq!(post(&json!({"name": "mail"})).await.0, 201);
        assert_eq!(told(post(&json!({"name": "secret"})).await).1, "forbidden");
        assert_eq!(told(post(&json!({"name": "mail", "queue": "secret"})).await).1, "forbidden");
        let (_, several) = post(&json!({"tasks": [{"name": "order"}, {"name": "secret"}]})).await;
        let statuses: Vec<_> =
            several["results"].as_array().unwrap().iter().map(|item| item["status"].as_u64()).collect();
        assert_eq!(statuses, [Some(201), Some(403)]);
        let id = several["results"][0]["id"].as_str().unwrap();
        let headers = [("authorization", format!("Bearer {token}")), ("if-match", "*".to_owned())];
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let renamed =
            server.ask(Method::PATCH, &format!("/v1/tasks/{id}"), &headers, &json!({"name": "secret"})).await;
        assert_eq!(told(renamed).1, "forbidden");
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
            ask(server, Method::POST, path, Some(token), body).await
        };
        assert_eq!(told(post("/v1/runs/lease", &other, &lease("q")).await).1, "forbidden");
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
        let mut outcome = held.clone();
        outcome["outcome"] = "succeeded".into();
        let settle = json!({"outcomes": [outcome]});
        assert_eq!(answer(&other, "/v1/runs/settle", &settle).await, Some(404));
        assert_eq!(answer(&mine, "/v1/runs/settle", &settle).await, Some(200));
    })
    .await;
}

#[test]
fn the_tests_own_end_of_a_token_is_a_second_away() {
    let end: jiff::Timestamp = "2033-05-18T03:33:21Z".parse().unwrap();
    assert_eq!(Moment::from_ms(end.as_millisecond()), NOW.plus_ms(1_000));
}
