//! Quotas of tokens: how they are set, and the refusals of creates.

use reqwest::{Method, Response};
use serde_json::{Value, json};

use super::access::issue;
use super::{Server, invalid_field, parse_problem, status_and_body, with_server};
use crate::docs::pages::Page;

fn token(quotas: &Value) -> Value {
    let mut token = json!({"name": "import", "scopes": ["task:write"]});
    token.as_object_mut().unwrap().extend(quotas.as_object().unwrap().clone());
    token
}

async fn send(server: &Server, token: &str, path: &str, body: &Value) -> Response {
    let bearer = format!("Bearer {token}");
    server.send_with(Method::POST, path, &[("authorization", bearer.as_str())], body).await
}

async fn create(server: &Server, token: &str, body: &Value) -> (u16, Value) {
    status_and_body(send(server, token, "/v1/tasks", body).await).await
}

fn later(name: &str) -> Value {
    json!({"name": name, "delay_ms": 3_600_000})
}

fn list(count: usize) -> Value {
    json!({ "tasks": vec![later("n"); count] })
}

async fn counts_refusals(server: &Server, quota: &str) -> bool {
    let metrics = server.send(Method::GET, "/metrics", "").await.text().await.unwrap();
    metrics.contains(&format!("taskcenter_quota_refusals_total{{quota=\"{quota}\"}} "))
}

#[tokio::test]
async fn the_quotas_of_a_token_are_set_and_listed() {
    with_server(async |server| {
        let quotas = json!({"max_live_tasks": 100_000, "max_creates_per_sec": 1});
        let (status, issued) = server.post("/v1/tokens", &token(&quotas)).await;
        assert_eq!(status, 201, "{issued}");
        let listed = server.get("/v1/tokens").await.1["tokens"][0].clone();
        for shown in [&issued, &listed] {
            assert_eq!(
                (&shown["max_live_tasks"], &shown["max_creates_per_sec"]),
                (&json!(100_000), &json!(1))
            );
        }
        let (_, plain) = server.post("/v1/tokens", &token(&json!({}))).await;
        assert!(
            plain.get("max_live_tasks").is_none() && plain.get("max_creates_per_sec").is_none(),
            "{plain}"
        );
        for field in ["max_live_tasks", "max_creates_per_sec"] {
            for number in [json!(0), json!(100_001), json!(-1), json!("7")] {
                let refused = server.post("/v1/tokens", &token(&json!({ field: number }))).await;
                assert_eq!(parse_problem(refused), invalid_field(field), "{number}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn too_many_live_tasks_are_refused_until_one_ends() {
    with_server(async |server| {
        let text = issue(server, &token(&json!({"max_live_tasks": 3}))).await;
        assert_eq!(create(server, &text, &later("n")).await.0, 201);
        let (status, problem) = create(server, &text, &list(3)).await;
        assert_eq!((status, &problem["code"]), (409, &json!("too_many_live_tasks")), "{problem}");
        assert_eq!(problem["quota"], json!({"name": "max_live_tasks", "limit": 3, "used": 1}));
        assert_eq!(
            problem["detail"],
            "quota max_live_tasks: the token has 1 of 3 live tasks, so 2 of 3 new tasks fit: cancel tasks, wait until tasks \
             finish, or use a token with a larger quota"
        );
        let (status, created) = create(server, &text, &list(2)).await;
        assert_eq!(status, 200, "{created}");
        let refused = send(server, &text, "/v1/tasks", &later("n")).await;
        assert!(!refused.headers().contains_key("retry-after"), "time alone does not help");
        assert_eq!(parse_problem(status_and_body(refused).await).1, "too_many_live_tasks");
        assert!(counts_refusals(server, "max_live_tasks").await);
        let id = created["results"][0]["id"].as_str().unwrap();
        assert_eq!(server.post(&format!("/v1/tasks/{id}/cancel"), &json!({})).await.0, 200);
        assert_eq!(create(server, &text, &later("n")).await.0, 201);
        assert_eq!(server.post("/v1/tasks", &later("n")).await.0, 201, "other callers have no quota");
    })
    .await;
}

#[tokio::test]
async fn creates_beyond_the_rate_are_refused_with_the_time_to_wait() {
    with_server(async |server| {
        let text = issue(server, &token(&json!({"max_creates_per_sec": 4}))).await;
        // The clock of the store passes meanwhile, and gives one permit after the other.
        let refused = loop {
            let answer = send(server, &text, "/v1/tasks", &list(2)).await;
            if answer.status().as_u16() != 200 {
                break answer;
            }
        };
        assert_eq!(refused.headers()["retry-after"], "1");
        let (status, problem) = status_and_body(refused).await;
        assert_eq!((status, &problem["code"]), (429, &json!("too_many_creates")), "{problem}");
        let used = problem["quota"]["used"].as_u64().unwrap();
        assert_eq!(problem["quota"], json!({"name": "max_creates_per_sec", "limit": 4, "used": used}));
        let fits = 4_u64.checked_sub(used).filter(|fits| *fits < 2).unwrap();
        let detail = format!(
            "quota max_creates_per_sec: the token may create 4 tasks per second, and {fits} of 2 new tasks fit now: repeat the \
             request after "
        );
        assert!(problem["detail"].as_str().unwrap().starts_with(&detail), "{problem}");
        assert!(counts_refusals(server, "max_creates_per_sec").await);
        let longer = create(server, &text, &list(5)).await;
        assert!(longer.1["detail"].as_str().unwrap().contains("send at most 4 tasks in a list"), "{longer:?}");
        assert_eq!(parse_problem(longer), invalid_field("tasks"));
        while create(server, &text, &list(2)).await.0 == 429 {
            server.clock.advance_ms(50);
        }
    })
    .await;
}

#[tokio::test]
async fn a_repeated_request_is_answered_although_the_quotas_are_used() {
    with_server(async |server| {
        let quotas = json!({"max_live_tasks": 1, "max_creates_per_sec": 1});
        let bearer = format!("Bearer {}", issue(server, &token(&quotas)).await);
        let send = async |key: &str| {
            let headers = [("authorization", bearer.as_str()), ("idempotency-key", key)];
            server.request(Method::POST, "/v1/tasks", &headers, &later("n")).await
        };
        let (status, first) = send("a").await;
        assert_eq!(status, 201, "{first}");
        assert_ne!(send("b").await.0, 201);
        let (status, again) = send("a").await;
        assert_eq!((status, &again["id"]), (201, &first["id"]));
        let mut refused = send("b").await.0;
        while refused == 429 {
            server.clock.advance_ms(50);
            refused = send("b").await.0;
        }
        assert_eq!(refused, 409, "a permit and no place");
        assert_eq!(send("a").await.1["id"], first["id"]);
    })
    .await;
}

#[tokio::test]
async fn the_legacy_api_names_the_quota() {
    with_server(async |server| {
        let text = issue(server, &token(&json!({"max_live_tasks": 1}))).await;
        let task = super::one_shot();
        assert_eq!(send(server, &text, "/v1/api/task", &task).await.status().as_u16(), 200);
        assert_eq!(send(server, &text, "/v1/api/task", &task).await.status().as_u16(), 200, "the same task");
        let other = super::with_changes(task.clone(), &json!({"data": "43"}));
        let (_, refused) = status_and_body(send(server, &text, "/v1/api/task", &other).await).await;
        assert_eq!(refused["err"], 409, "{refused}");
        assert!(refused["msg"].as_str().unwrap().starts_with("quota max_live_tasks: "), "{refused}");
    })
    .await;
}

#[tokio::test]
async fn the_server_accepts_the_example_of_the_page() {
    with_server(async |server| {
        let examples = Page::read("docs/access.md").code("json");
        let example = examples.iter().find(|example| example.contains("max_live_tasks")).unwrap();
        let example: Value = serde_json::from_str(example).unwrap();
        let text = issue(server, &example).await;
        assert_eq!(create(server, &text, &later("n")).await.0, 201);
        let stored = server.get("/v1/tokens").await.1["tokens"][0].clone();
        assert_eq!(stored["max_live_tasks"], example["max_live_tasks"]);
        assert_eq!(stored["max_creates_per_sec"], example["max_creates_per_sec"]);
    })
    .await;
}
