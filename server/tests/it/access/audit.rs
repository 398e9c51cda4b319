//! Audit log: caller, action, ids and outcome.

use reqwest::{Client, Method};
use serde_json::{Value, json};

use super::node::Node;

struct Admin<'a> {
    client: Client,
    node: &'a Node,
    headers: Vec<(&'static str, String)>,
}

impl Admin<'_> {
    /// Sends a request, and returns the JSON answer.
    async fn call_json(&self, method: Method, path: &str, body: &Value) -> Value {
        let mut request = self.client.request(method, format!("http://{}{path}", self.node.address));
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let response = request.body(body.to_string()).send().await.expect("the server answers");
        response.json().await.expect("the answer is JSON")
    }

    /// Sends a request, and returns the answer as text. The legacy APIs do not always answer JSON.
    async fn call_text(&self, method: Method, path: &str, body: &str) -> String {
        let mut request = self.client.request(method, format!("http://{}{path}", self.node.address));
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let response = request.body(body.to_owned()).send().await.expect("the server answers");
        response.text().await.expect("the answer is text")
    }
}

/// Returns the audit lines as `name change ids outcome`, with generated ids replaced by words.
fn audit_lines(log: &[String], ids: &[(&str, &str)]) -> Vec<String> {
    let lines = log.iter().map(|line| serde_json::from_str::<Value>(line).expect("each line is JSON"));
    let format_line = |line: Value| {
        let text = |field: &str| line[field].as_str().unwrap_or_default().to_owned();
        assert!(!text("request_id").is_empty() && !text("caller").is_empty(), "{line}");
        let mut line = format!("{} {} {} {}", text("name"), text("change"), text("ids"), text("outcome"));
        for (id, word) in ids {
            line = line.replace(id, word);
        }
        line
    };
    let is_change = |line: &Value| line["target"] == "audit" && line["message"] == "audit";
    lines.filter(is_change).map(format_line).collect()
}

#[tokio::test]
async fn each_action_is_logged_with_its_caller_and_without_its_payload() {
    const PAYLOAD: &str = "canary-7f3a";
    let data = tempfile::tempdir().unwrap();
    let dir = data.path().to_str().unwrap();
    let node = Node::start(&[("TASKCENTER__EMBEDDED__DATA_DIR", dir)]).await;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut admin = Admin { client: Client::new(), node: &node, headers: vec![("if-match", "*".to_owned())] };
    let post = Method::POST;
    let token =
        admin.call_json(post.clone(), "/v1/tokens", &json!({"name": "ci", "scopes": ["admin"]})).await;
    let (token_id, text) = (token["id"].as_str().unwrap(), token["token"].as_str().unwrap().to_owned());
    admin.headers.push(("authorization", format!("Bearer {text}")));

    let task = json!({"name": "mail", "data": PAYLOAD, "delay_ms": 3_600_000});
    let task = admin.call_json(post.clone(), "/v1/tasks", &task).await;
    let id = task["id"].as_str().unwrap();
    let of = |end: &str| format!("/v1/tasks/{id}{end}");
    admin.call_json(Method::PATCH, &of(""), &json!({"data": format!("{PAYLOAD}2")})).await;
    admin.call_json(post.clone(), &of("/pause"), &json!({})).await;
    admin.call_json(post.clone(), &of("/resume"), &json!({})).await;
    let run = admin.call_json(post.clone(), &of("/trigger"), &json!({})).await;
    let run = run["run_id"].as_str().unwrap();
    admin.call_json(post.clone(), &format!("/v1/runs/{run}/cancel"), &json!({})).await;
    admin.call_json(post.clone(), &format!("/v1/runs/{run}/retry"), &json!({})).await;
    admin.call_json(post.clone(), &of("/cancel"), &json!({})).await;
    admin.call_json(Method::DELETE, &of(""), &json!({})).await;
    admin.call_json(post.clone(), &format!("/v1/runs/{run}/confirm"), &json!({"succeeded": true})).await;
    admin
        .call_json(
            post.clone(),
            "/v1/tasks",
            &json!({"tasks": [{"name": "other", "delay_ms": 3_600_000}, {"name": "|"}]}),
        )
        .await;
    admin.call_json(Method::DELETE, &format!("/v1/tokens/{token_id}"), &json!({})).await;
    admin.call_json(Method::GET, "/v1/tasks", &json!({})).await;

    drop(admin);
    let (id, run, token_id) = (id.to_owned(), run.to_owned(), token_id.to_owned());
    let log = node.stop().await;
    let several: Vec<String> =
        audit_lines(&log, &[]).into_iter().filter(|line| line.contains("1 refused")).collect();
    assert_eq!(several.len(), 1, "{several:?}");
    let lines = audit_lines(
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
            "ci run.confirm RUN done",
            "ci task.create SEVERAL",
            "ci token.revoke TOKEN done",
        ]
    );
    let whole = log.join("\n");
    assert!(!whole.contains(PAYLOAD) && !whole.contains(&text), "{whole}");
    let refused = log.iter().any(|line| line.contains("access refused") && line.contains("unknown token"));
    assert!(refused, "refused calls are logged: {whole}");
}

#[tokio::test]
async fn each_change_of_a_record_is_logged_even_if_it_fails() {
    let data = tempfile::tempdir().unwrap();
    let keys =
        ["EASYTASK", "EASYTASK_PULL", "TASKDASH"].map(|api| format!("TASKCENTER__COMPAT__{api}__ENABLED"));
    let mut env = vec![("TASKCENTER__EMBEDDED__DATA_DIR", data.path().to_str().unwrap())];
    env.extend(keys.iter().map(|key| (key.as_str(), "true")));
    let node = Node::start(&env).await;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let admin = Admin { client: Client::new(), node: &node, headers: Vec::new() };
    let (get, post, delete) = (Method::GET, Method::POST, Method::DELETE);

    let shop =
        json!({"name": "shop", "nodes": [{"url": "http://127.0.0.1:1"}], "secret": "canary-canary-canary"});
    admin.call_json(post.clone(), "/v1/services", &shop).await;
    for _ in 0..2 {
        admin.call_json(delete.clone(), "/v1/services/shop", &json!({})).await;
    }
    admin.call_json(post.clone(), "/v1/users", &json!({"name": "smq", "password": "canary"})).await;
    for _ in 0..2 {
        admin.call_json(delete.clone(), "/v1/users/smq", &json!({})).await;
    }
    let server = json!({"name": "mail", "schema": "http", "host": "127.0.0.1", "port": 1}).to_string();
    admin.call_text(post.clone(), "/add_task_server", &server).await;
    for _ in 0..2 {
        admin.call_text(post.clone(), "/del_task_server", &server).await;
    }
    // The second request finds the type, and changes nothing.
    for _ in 0..2 {
        admin.call_text(get.clone(), "/newtype?name=download", "").await;
    }
    let task = r#"{"TaskID":"t","Status":"\u7f16\u8f91\u4e2d"}"#;
    admin.call_text(post.clone(), "/rpost/updateStatus", task).await;
    admin.call_text(post.clone(), "/rpost/taskRegister", r#"{"TaskID":"t"}"#).await;
    let id = "e358efa489f58062f10dd7316b65649e";
    for user in ["smq", "li"] {
        admin
            .call_text(post.clone(), "/rpost/task", &format!("operation=TaskBind&id={id}&user={user}"))
            .await;
    }
    admin.call_text(post.clone(), "/rpost/updateStatus", task).await;
    admin.call_text(post.clone(), "/rpost/heartBeat", r#"{"URL":"http://127.0.0.1:1"}"#).await;
    admin
        .call_text(post.clone(), "/rpost/serviceRegister", r#"{"URL":"http://127.0.0.1:1","Name":"n"}"#)
        .await;

    drop(admin);
    let log = node.stop().await;
    let lines = audit_lines(&log, &[(id, "ID")]);
    let (created, lines): (Vec<String>, Vec<String>) =
        lines.into_iter().partition(|line| line.starts_with(" task.create"));
    assert_eq!(created.len(), 1, "a registered service gets one task: {created:?}");
    assert_eq!(
        lines,
        [
            " record.put service shop done",
            " record.remove service shop done",
            " record.remove service shop not found",
            " record.put user smq done",
            " record.remove user smq done",
            " record.remove user smq not found",
            " record.put service mail done",
            " record.put service mail done",
            " record.remove service mail done",
            " record.put service mail refused",
            " record.put easytask_pull.type download done",
            " record.put taskdash.task ID unchanged",
            " record.put taskdash.task ID done",
            " record.put taskdash.task ID done",
            " record.put taskdash.task ID refused",
            " record.put taskdash.task ID done",
            " record.put taskdash.service http://127.0.0.1:1 done",
        ]
    );
    assert!(!log.join("\n").contains("canary"), "the log contains no payload");
}

#[tokio::test]
async fn a_refused_sign_in_to_the_console_is_logged_without_the_token() {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(&[("TASKCENTER__EMBEDDED__DATA_DIR", data.path().to_str().unwrap())]).await;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (client, page) = (Client::new(), format!("http://{}/console/sign-in", node.address));
    let form = client.get(&page).send().await.unwrap();
    let cookie = form.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let html = form.text().await.unwrap();
    let form_token = html.split("name=\"form_token\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let body = format!("form_token={form_token}&token=tc_canary");
    let refused = client.post(&page).header("cookie", cookie).body(body).send().await.unwrap();
    assert_eq!(refused.status(), 401);

    drop(client);
    let log = node.stop().await;
    let of_sign_in = |line: &&String| line.contains("access refused") && line.contains("/console/sign-in");
    let line: Value =
        serde_json::from_str(log.iter().find(of_sign_in).expect("the refusal is logged")).unwrap();
    assert_eq!((&line["target"], &line["outcome"]), (&json!("audit"), &json!("unknown token")));
    assert_eq!(line["peer"], "127.0.0.1");
    assert!(!log.join("\n").contains("canary"));
}
