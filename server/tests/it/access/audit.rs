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

    /// What a front answers, which is JSON or not.
    async fn say(&self, method: Method, path: &str, body: &str) -> String {
        let mut request = self.client.request(method, format!("http://{}{path}", self.node.address));
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let response = request.body(body.to_owned()).send().await.expect("it answers");
        response.text().await.expect("it answers in text")
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
    admin.ask(post.clone(), &format!("/v1/runs/{run}/confirm"), &json!({"succeeded": true})).await;
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
            "ci run.confirm RUN done",
            "ci task.create SEVERAL",
            "ci token.revoke TOKEN done",
        ]
    );
    let whole = log.join("\n");
    assert!(!whole.contains(PAYLOAD) && !whole.contains(&text), "{whole}");
    let refused = log.iter().any(|line| line.contains("access refused") && line.contains("unknown token"));
    assert!(refused, "who tries doors is told of: {whole}");
}

#[tokio::test]
async fn changes_of_the_documents_beside_the_ledger_leave_a_line_each_and_so_do_those_that_failed() {
    let data = tempfile::tempdir().unwrap();
    let on = ["EASYTASK", "EASYTASK_PULL", "TASKDASH"]
        .map(|front| format!("TASKCENTER__COMPAT__{front}__ENABLED"));
    let mut env = vec![("TASKCENTER__EMBEDDED__DATA_DIR", data.path().to_str().unwrap())];
    env.extend(on.iter().map(|key| (key.as_str(), "true")));
    let node = Node::start(&env).await;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let person = Person { client: Client::new(), node: &node, headers: Vec::new() };
    let (get, post, delete) = (Method::GET, Method::POST, Method::DELETE);

    let shop =
        json!({"name": "shop", "nodes": [{"url": "http://127.0.0.1:1"}], "secret": "canary-canary-canary"});
    person.ask(post.clone(), "/v1/services", &shop).await;
    for _ in 0..2 {
        person.ask(delete.clone(), "/v1/services/shop", &json!({})).await;
    }
    person.ask(post.clone(), "/v1/users", &json!({"name": "smq", "password": "canary"})).await;
    for _ in 0..2 {
        person.ask(delete.clone(), "/v1/users/smq", &json!({})).await;
    }
    let server = json!({"name": "mail", "schema": "http", "host": "127.0.0.1", "port": 1}).to_string();
    person.say(post.clone(), "/add_task_server", &server).await;
    for _ in 0..2 {
        person.say(post.clone(), "/del_task_server", &server).await;
    }
    // The second one finds the type, and changes nothing.
    for _ in 0..2 {
        person.say(get.clone(), "/newtype?name=download", "").await;
    }
    let task = r#"{"TaskID":"t","Status":"\u7f16\u8f91\u4e2d"}"#;
    person.say(post.clone(), "/rpost/updateStatus", task).await;
    person.say(post.clone(), "/rpost/taskRegister", r#"{"TaskID":"t"}"#).await;
    let id = "e358efa489f58062f10dd7316b65649e";
    for user in ["smq", "li"] {
        person.say(post.clone(), "/rpost/task", &format!("operation=TaskBind&id={id}&user={user}")).await;
    }
    person.say(post.clone(), "/rpost/updateStatus", task).await;
    person.say(post.clone(), "/rpost/heartBeat", r#"{"URL":"http://127.0.0.1:1"}"#).await;
    person.say(post.clone(), "/rpost/serviceRegister", r#"{"URL":"http://127.0.0.1:1","Name":"n"}"#).await;

    drop(person);
    let log = node.stop().await;
    let lines = told(&log, &[(id, "ID")]);
    let (asked, lines): (Vec<String>, Vec<String>) =
        lines.into_iter().partition(|line| line.starts_with(" task.create"));
    assert_eq!(asked.len(), 1, "a service that registers is asked for its tasks: {asked:?}");
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
    assert!(!log.join("\n").contains("canary"), "who, what and how it ended; never what it holds");
}
