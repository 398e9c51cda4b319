//! The audit log: who, what, on which ids, with which outcome.

use reqwest::{Client, Method};
use serde_json::{Value, json};

use super::node::Node;

struct Person<'a> {
    client: Client,
    node: &'a Node,
    headers: Vec<(&'static str, String)>,
}

impl Person<'_> {
    async fn ask(&self, method: Method, path: &str, body: &Value) -> Value {
        let mut request = self.client.request(method, format!("http://{}{path}", self.node.address));
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let response = request.body(body.to_string()).send().await.expect("it answers");
        response.json().await.expect("it answers in JSON")
    }
}

/// What the audit lines say, as `change ids outcome`, with made ids by what they are.
fn told(log: &[String], ids: &[(&str, &str)]) -> Vec<String> {
    let lines = log.iter().map(|line| serde_json::from_str::<Value>(line).expect("a line is JSON"));
    let of_change = |line: Value| {
        let text = |field: &str| line[field].as_str().unwrap_or_default().to_owned();
        assert!(!text("request_id").is_empty() && !text("caller").is_empty(), "{line}");
        let mut told = format!("{} {} {} {}", text("name"), text("change"), text("ids"), text("outcome"));
        for (id, word) in ids {
            told = told.replace(id, word);
        }
        told
    };
    let is_change = |line: &Value| line["target"] == "audit" && line["message"] == "audit";
    lines.filter(is_change).map(of_change).collect()
}

#[tokio::test]
async fn every_change_leaves_a_line_with_who_and_what_and_without_what_it_holds() {
    const PAYLOAD: &str = "canary-7f3a";
    let data = tempfile::tempdir().unwrap();
    let dir = data.path().to_str().unwrap();
    let node = Node::start(&[("TASKCENTER__EMBEDDED__DATA_DIR", dir)]).await;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut admin =
        Person { client: Client::new(), node: &node, headers: vec![("if-match", "*".to_owned())] };
    let post = Method::POST;
    let token = admin.ask(post.clone(), "/v1/tokens", &json!({"name": "ci", "scopes": ["admin"]})).await;
    let (token_id, text) = (token["id"].as_str().unwrap(), token["token"].as_str().unwrap().to_owned());
    admin.headers.push(("authorization", format!("Bearer {text}")));

    let task = json!({"name": "mail", "data": PAYLOAD, "delay_ms": 3_600_000});
    let task = admin.ask(post.clone(), "/v1/tasks", &task).await;
    let id = task["id"].as_str().unwrap();
    let of = |end: &str| format!("/v1/tasks/{id}{end}");
    admin.ask(Method::PATCH, &of(""), &json!({"data": format!("{PAYLOAD}2")})).await;
    admin.ask(post.clone(), &of("/pause"), &json!({})).await;
    admin.ask(post.clone(), &of("/resume"), &json!({})).await;
    let run = admin.ask(post.clone(), &of("/trigger"), &json!({})).await;
    let run = run["run_id"].as_str().unwrap();
    admin.ask(post.clone(), &format!("/v1/runs/{run}/cancel"), &json!({})).await;
    admin.ask(post.clone(), &format!("/v1/runs/{run}/retry"), &json!({})).await;
    admin.ask(post.clone(), &of("/cancel"), &json!({})).await;
    admin.ask(Method::DELETE, &of(""), &json!({})).await;
    admin
        .ask(
            post.clone(),
            "/v1/tasks",
            &json!({"tasks": [{"name": "other", "delay_ms": 3_600_000}, {"name": "|"}]}),
        )
        .await;
    admin.ask(Method::DELETE, &format!("/v1/tokens/{token_id}"), &json!({})).await;
    admin.ask(Method::GET, "/v1/tasks", &json!({})).await;

    drop(admin);
    let (id, run, token_id) = (id.to_owned(), run.to_owned(), token_id.to_owned());
    let log = node.stop().await;
    let several: Vec<String> =
        told(&log, &[]).into_iter().filter(|line| line.contains("1 refused")).collect();
    assert_eq!(several.len(), 1, "{several:?}");
    let lines = told(
        &log,
        &[(&run, "RUN"), (&id, "TASK"), (&token_id, "TOKEN"), (&several[0], "ci task.create SEVERAL")],
    );
    assert_eq!(
        lines,
        [
            " token.issue TOKEN done",
            "ci task.create TASK done",
            "ci task.edit TASK done",
            "ci task.pause TASK done",
            "ci task.resume TASK done",
            "ci task.trigger TASK RUN done",
            "ci run.cancel RUN done",
            "ci run.retry RUN run state",
            "ci task.cancel TASK done",
            "ci task.delete TASK done",
            "ci task.create SEVERAL",
            "ci token.revoke TOKEN done",
        ]
    );
    let whole = log.join("\n");
    assert!(!whole.contains(PAYLOAD) && !whole.contains(&text), "{whole}");
    let refused = log.iter().any(|line| line.contains("access refused") && line.contains("unknown token"));
    assert!(refused, "who tries doors is told of: {whole}");
}
