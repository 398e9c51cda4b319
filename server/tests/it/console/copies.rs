//! Views and actions as texts to copy.

use serde_json::{Value, json};
use taskcenter_server::core::access::Scope;

use super::browser::unescape;
use super::{Browser, Shown, create, token, with_console, with_locked_console};

/// Returns the texts of a page with their kinds.
fn texts(page: &Shown) -> Vec<(String, String)> {
    let parts = page.html.split("<div class=\"copytext\"><span class=\"dim\">").skip(1);
    let text = |part: &str| {
        let (kind, rest) = part.split_once("</span>").unwrap();
        let text = rest.split_once("data-copy-text>").unwrap().1.split_once("</pre>").unwrap().0;
        (kind.to_owned(), unescape(text))
    };
    parts.map(text).collect()
}

#[tokio::test]
async fn a_copied_definition_creates_the_same_task() {
    with_console(async |server| {
        let browser = Browser::new(server);
        for spec in [
            json!({"name": "a", "data": "it's\n<b>\u{1b}[2J", "start_at": "2033-06-01T08:00:00.5Z"}),
            json!({"name": "-b", "schedule": {"kind": "every", "period_ms": 90_000}, "max_fires": 3, "queue": "q",
                "end_at": "2034-01-01T00:00:00Z", "headers": {"tenant": "7"}, "labels": {"team": "pay"},
                "overlap": {"policy": "queue_all", "max": 9},
                "concurrency": [{"max": 2, "scope": "task"}, {"max": 9, "scope": "all", "key": "a:b c"}],
                "rate": {"limit": 5, "period_ms": 90_000, "burst": 2, "scope": "tag", "key": "a:b c", "on_excess": "drop"}}),
            json!({"name": "c", "schedule": {"kind": "cron", "cron": "30 2 * * *", "zone": "Asia/Shanghai"}, "ack": true,
                "max_runtime_sec": 9, "retry": {"max_attempts": 2, "backoff_ms": 3, "max_backoff_ms": 4},
                "misfire": {"policy": "fire_all", "grace_ms": 5, "max": 6}, "jitter_ms": 7}),
        ] {
            let id = create(server, spec).await;
            let texts = texts(&browser.get(&format!("/console/tasks/{id}")).await);
            let document = &texts.iter().find(|(kind, _)| kind == "JSON").unwrap().1;
            let copy = create(server, serde_json::from_str(document).unwrap()).await;
            let definition = async |id: &str| {
                let mut task = server.get(&format!("/v1/tasks/{id}")).await.1;
                let fields = task.as_object_mut().unwrap();
                for field in ["id", "created_at", "next_due_at"] {
                    fields.remove(field);
                }
                task
            };
            assert_eq!(definition(&copy).await, definition(&id).await, "{document}");
        }
    })
    .await;
}

#[tokio::test]
async fn every_view_has_its_request_and_its_command() {
    with_console(async |server| {
        let browser = Browser::new(server);
        let run = server.ready("1").await;
        for (page, path, command) in [
            (
                "/console/tasks?q=name%3Aa+state%3Aactive",
                "/v1/tasks?name=a&state=active",
                "task list --name=a --state=active",
            ),
            ("/console/runs?q=tag%3Aa", "/v1/runs?tag=a", "run list --name=a"),
            (&*format!("/console/tasks/{}", run.task_id), &*format!("/v1/tasks/{}", run.task_id), "task get"),
            (&*format!("/console/runs/{}", run.id), &*format!("/v1/runs/{}", run.id), "run get"),
            ("/console/queues", "/v1/queues", "queue list"),
            ("/", "/v1/stat", "stat"),
        ] {
            let texts = texts(&browser.get(page).await);
            assert!(
                texts[0].1.starts_with("curl ")
                    && texts[0].1.contains(&format!("\"$TASKCENTER_SERVER{path}")),
                "{texts:?}"
            );
            assert!(texts[1].1.starts_with(&format!("taskcenter {command}")), "{texts:?}");
            assert_eq!(server.get(path).await.0, 200, "{path}");
        }
        let paused = browser.get("/console/operations/new?action=pause&all=1&q=name%3Aorder.close").await;
        let copied = texts(&paused);
        let of_kind = |kind: &str| copied.iter().find(|(name, _)| name == kind).unwrap().1.as_str();
        let document: Value = serde_json::from_str(of_kind("JSON")).unwrap();
        let yaml = "# taskcenter operation create --file operation.yaml\naction: pause\nselect:\n  filter:\n    name: order.close\n";
        assert_eq!(of_kind("YAML"), yaml);
        let (status, _) = server.post("/v1/operations", &document).await;
        assert_eq!((status, &document["action"]), (201, &json!("pause")));
    })
    .await;
}

#[tokio::test]
async fn a_copied_text_has_the_variable_and_never_the_token() {
    with_locked_console(async |server| {
        let (_, write) = token(server, &[Scope::TaskWrite], &[]).await;
        let (_, read) = token(server, &[Scope::TaskRead], &[]).await;
        let bearer = format!("Bearer {write}");
        let headers = [("authorization", bearer.as_str())];
        let task = server.request(reqwest::Method::POST, "/v1/tasks", &headers, &super::hourly("a")).await.1;
        let page = format!("/console/tasks/{}", task["id"].as_str().unwrap());
        for (secret, is_writer) in [(&write, true), (&read, false)] {
            let browser = Browser::new(server);
            browser.sign_in(secret).await;
            let shown = browser.get(&page).await;
            shown.has("Authorization: Bearer $TASKCENTER_TOKEN").lacks(secret);
            let acts = texts(&shown).iter().any(|(_, text)| text.contains("-X POST"));
            assert_eq!(acts, is_writer, "a viewer gets no text that it may not use");
        }
    })
    .await;
}

#[tokio::test]
async fn the_texts_of_an_operation_have_the_values_that_were_typed() {
    with_console(async |server| {
        let browser = Browser::new(server);
        let run = server.ready("{}").await;
        let lease = json!({"worker": "w", "queues": ["q"], "lease_ms": 10_000});
        let leased = server.post("/v1/runs/lease", &lease).await.1["runs"][0].clone();
        let outcome = json!({"run_id": run.id, "attempt": 1, "token": leased["token"], "outcome": "dead"});
        server.post("/v1/runs/settle", &json!({"outcomes": [outcome]})).await;
        let path = "/console/operations/new";
        let typed = [("reason", "gateway"), ("rate", "50"), ("canary", "1"), ("patch", r#"{"to":"mia"}"#)];
        let select = [("action", "redrive"), ("id", run.id.as_str()), ("preview", "1")];
        let shown = browser.post("/", path, &[&select[..], &typed].concat()).await;
        assert_eq!(shown.status, 200, "{}", shown.html);
        shown
            .has("class=\"copyas\" open")
            .has("value=\"gateway\"")
            .has("{&#34;to&#34;:&#34;mia&#34;}</textarea>");
        let texts = texts(&shown);
        let of_kind = |kind: &str| texts.iter().find(|(name, _)| name == kind).unwrap().1.as_str();
        assert!(of_kind("CLI").ends_with("'--patch={\"to\":\"mia\"}' --reason=gateway --rate=50 --canary=1"));
        let document: Value = serde_json::from_str(of_kind("JSON")).unwrap();
        assert!(of_kind("curl").contains(&document.to_string()));
        assert!(of_kind("YAML").contains("canary: 1\n") && of_kind("YAML").contains("patch:\n  to: mia\n"));
        assert_eq!(server.get("/v1/operations").await.1["operations"], json!([]), "nothing is created");
        let (status, created) = server.post("/v1/operations", &document).await;
        assert_eq!(status, 201, "{created}");
        for (field, value, why) in [("canary", "0", "canary should be"), ("patch", "[]", "patch should be")] {
            let wrong = [&select[..], &[(field, value)]].concat();
            let refused = browser.post("/", path, &wrong).await;
            assert_eq!(refused.status, 422, "{field}");
            refused.has(why).lacks("data-copy-text");
        }
    })
    .await;
}
