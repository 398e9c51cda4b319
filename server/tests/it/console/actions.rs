//! Actions and forms: what they change, and who may send them.

use serde_json::{Value, json};
use taskcenter_server::core::access::Scope;
use taskcenter_server::core::{Run, RunId};

use super::{Browser, create, hourly, token, with_console, with_locked_console};
use crate::http::{NOW, Server};

async fn task(server: &Server, id: &str) -> Value {
    server.get(&format!("/v1/tasks/{id}")).await.1
}

/// Opens the page that asks, and sends its form as a browser does, with the fields that it has.
async fn confirm(browser: &Browser<'_>, path: &str) -> super::Shown {
    let asked = browser.get(path).await;
    assert_eq!(asked.status, 200, "{path}");
    let fields = asked.hidden_fields();
    let fields: Vec<(&str, &str)> =
        fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    browser.post_raw(path, &fields).await
}

#[tokio::test]
async fn a_task_is_paused_resumed_triggered_and_cancelled() {
    with_console(async |server| {
        let browser = Browser::new(server);
        let id = create(server, hourly("order.close")).await;
        let path = format!("/console/tasks/{id}");
        browser
            .get(&path)
            .await
            .has("Pause…")
            .has("Trigger…")
            .has("Cancel task…")
            .has("Edit")
            .lacks("Resume…");
        for (action, state, done) in
            [("pause", "paused", "The task is paused."), ("resume", "active", "The task is resumed.")]
        {
            let answer = confirm(&browser, &format!("{path}/{action}")).await;
            assert_eq!(answer.status, 303, "{action}");
            browser.get(answer.location()).await.has(done);
            assert_eq!(task(server, &id).await["state"], state);
        }
        let triggered = confirm(&browser, &format!("{path}/trigger")).await;
        assert!(
            triggered.location().starts_with(&format!("/console/runs/{id}-t")),
            "{}",
            triggered.location()
        );
        browser.get(triggered.location()).await.has("The task has fired.").has("Cancel run…");
        let cancelled = confirm(&browser, &format!("{path}/cancel")).await;
        assert_eq!(cancelled.status, 303);
        assert_eq!(task(server, &id).await["state"], "cancelled");
        browser.get(&path).await.lacks("Pause…").lacks("Trigger…");
    })
    .await;
}

#[tokio::test]
async fn a_trigger_form_that_is_sent_twice_fires_once() {
    with_console(async |server| {
        let browser = Browser::new(server);
        let id = create(server, hourly("order.close")).await;
        let path = format!("/console/tasks/{id}/trigger");
        let fields = browser.get(&path).await.hidden_fields();
        let fields: Vec<(&str, &str)> =
            fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let (first, second) =
            (browser.post_raw(&path, &fields).await, browser.post_raw(&path, &fields).await);
        assert_eq!(first.location(), second.location());
        let triggers = async || {
            let (_, page) = server.get(&format!("/v1/audit?object={id}&action=task.trigger")).await;
            page["entries"].as_array().unwrap().len()
        };
        assert_eq!(triggers().await, 1, "one trigger has one entry");
        assert_ne!(confirm(&browser, &path).await.location(), first.location(), "a new page fires again");
        assert_eq!(triggers().await, 2);
    })
    .await;
}

#[tokio::test]
async fn an_action_on_a_task_that_has_changed_asks_again() {
    with_console(async |server| {
        let browser = Browser::new(server);
        let id = create(server, hourly("order.close")).await;
        let path = format!("/console/tasks/{id}/cancel");
        let fields = browser.get(&path).await.hidden_fields();
        let fields: Vec<(&str, &str)> =
            fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        server.post(&format!("/v1/tasks/{id}/pause"), &json!({})).await;
        let asked = browser.post_raw(&path, &fields).await;
        assert_eq!(asked.status, 409);
        asked.has("The task has changed since this page was shown.").has("name=\"rev\" value=\"2\"");
        assert_eq!(task(server, &id).await["state"], "paused");
    })
    .await;
}

#[tokio::test]
async fn a_run_is_cancelled_and_a_dead_run_retried() {
    with_console(async |server| {
        let browser = Browser::new(server);
        let run = server.ready("1").await;
        let path = format!("/console/runs/{}", run.id);
        browser.get(&path).await.has("Cancel run…").lacks("Retry now");
        let lease = json!({"worker": "w", "queues": ["q"], "lease_ms": 10_000});
        let leased = server.post("/v1/runs/lease", &lease).await.1["runs"][0].clone();
        let outcome = json!({"run_id": run.id, "attempt": 1, "token": leased["token"], "outcome": "dead",
            "message": "HTTP 503 from the gateway"});
        server.post("/v1/runs/settle", &json!({"outcomes": [outcome]})).await;
        browser.get("/console/dead-letters").await.has("HTTP 503 from the gateway").has(&path);
        browser.get("/").await.has("HTTP 503 from the gateway");
        browser.get(&path).await.has("Retry now…").lacks("Cancel run…").has("HTTP 503 from the gateway");
        let retried = confirm(&browser, &format!("{path}/retry")).await;
        assert_eq!(retried.status, 303);
        browser.get(retried.location()).await.has("The run gets another attempt.");
        assert_eq!(confirm(&browser, &format!("{path}/cancel")).await.status, 303);
        let state = server.get(&format!("/v1/runs/{}", run.id)).await.1["state"].clone();
        assert_eq!(state, "cancelled");
        let refused = confirm(&browser, &format!("{path}/cancel")).await;
        assert_eq!(refused.status, 409);
        refused.has("the run is cancelled");
    })
    .await;
}

#[tokio::test]
async fn a_viewer_gets_no_buttons_and_every_form_is_refused() {
    with_locked_console(async |server| {
        let (_, write) = token(server, &[Scope::TaskWrite], &[]).await;
        let bearer = format!("Bearer {write}");
        let headers = [("authorization", bearer.as_str())];
        let created = server.request(reqwest::Method::POST, "/v1/tasks", &headers, &hourly("pay")).await.1;
        let path = format!("/console/tasks/{}", created["id"].as_str().unwrap());
        let (_, read) = token(server, &[Scope::TaskRead], &[]).await;
        let viewer = Browser::new(server);
        viewer.sign_in(&read).await;
        viewer.get(&path).await.lacks("Pause…").lacks("Edit").lacks("Cancel task…").lacks("Trigger…");
        for page in ["/", "/console/tasks"] {
            viewer.get(page).await.lacks("New task");
        }
        for action in ["pause", "resume", "trigger", "cancel", "edit"] {
            assert_eq!(viewer.get(&format!("{path}/{action}")).await.status, 403, "{action}");
            let fields = [("rev", "1"), ("name", "x"), ("kind", "once")];
            let refused = viewer.post("/", &format!("{path}/{action}"), &fields).await;
            assert_eq!(refused.status, 403, "{action}");
            refused.has("Not allowed");
        }
        let refused = viewer.post("/", "/console/tasks/new", &[("name", "x"), ("kind", "once")]).await;
        assert_eq!(refused.status, 403);
        let operator = Browser::new(server);
        operator.sign_in(&write).await;
        operator.get(&path).await.has("Pause…").has("Edit");
        let (api, none) = (path.replace("/console", "/v1"), json!({}));
        let unchanged = server.request(reqwest::Method::GET, &api, &headers, &none).await.1;
        assert_eq!(unchanged["rev"], created["rev"]);
    })
    .await;
}

#[tokio::test]
async fn every_kind_of_schedule_is_created_by_the_form() {
    with_console(async |server| {
        let browser = Browser::new(server);
        let once = [("name", "a"), ("kind", "once"), ("start", "2033-06-01T08:00:00"), ("data", "x\r\ny")];
        let every =
            [("name", "b"), ("kind", "every"), ("period", "1.5"), ("unit", "min"), ("max_fires", "3")];
        let cron = [
            ("name", "c"),
            ("kind", "cron"),
            ("cron", "30 2 * * *"),
            ("zone", "Asia/Shanghai"),
            ("queue", "q"),
        ];
        let cases: [(&[(&str, &str)], Value); 3] = [
            (&once, json!({"kind": "once"})),
            (&every, json!({"kind": "every", "period_ms": 90_000})),
            (&cron, json!({"kind": "cron", "cron": "30 2 * * *", "zone": "Asia/Shanghai"})),
        ];
        for (fields, schedule) in cases {
            let created = browser.post("/console/tasks/new", "/console/tasks/new", fields).await;
            assert_eq!(created.status, 303, "{schedule}: {}", created.html);
            let id = created.location().split(['/', '?']).nth(3).unwrap();
            let task = task(server, id).await;
            assert_eq!(task["schedule"], schedule);
            browser.get(created.location()).await.has("The task is created.");
        }
        let (_, list) = server.get("/v1/tasks?name=a").await;
        assert_eq!(list["tasks"][0]["data"], "x\ny");
        assert_eq!(list["tasks"][0]["next_due_at"], "2033-06-01T08:00:00Z");
    })
    .await;
}

#[tokio::test]
async fn the_form_rejects_or_replaces_a_live_task_with_the_key() {
    with_console(async |server| {
        let (browser, new) = (Browser::new(server), "/console/tasks/new");
        let fields = [("name", "a"), ("kind", "once"), ("start", "2033-06-01T08:00:00"), ("dedup_key", "k")];
        let send = async |more: &[(&str, &str)]| browser.post(new, new, &[&fields[..], more].concat()).await;
        let created = send(&[]).await;
        let page = created.location().split('?').next().unwrap();
        assert_eq!(send(&[]).await.location(), format!("{page}?done=existing"));
        let refused = send(&[("on_conflict", "reject")]).await;
        assert_eq!(refused.status, 422);
        refused.has(page.rsplit('/').next().unwrap()).has("<option value=\"reject\" selected>");
        let replaced = send(&[("on_conflict", "replace"), ("data", "new")]).await;
        assert_eq!(replaced.location(), format!("{page}?done=replaced"));
        browser.get(replaced.location()).await.has("It has this definition now.").has("new");
    })
    .await;
}

#[tokio::test]
async fn the_form_shows_next_moments_and_names_a_wrong_field() {
    with_console(async |server| {
        let browser = Browser::new(server);
        let new = "/console/tasks/new";
        let fields = [
            ("name", "a"),
            ("kind", "cron"),
            ("cron", "30 2 * * *"),
            ("zone", "Europe/Berlin"),
            ("preview", "1"),
        ];
        let shown = browser.post(new, new, &fields).await;
        assert_eq!(shown.status, 200);
        shown.has("Every day at 02:30").has("02:30:00").has("value=\"30 2 * * *\"");
        for (name, value, word) in
            [("cron", "61 * * * *", "61"), ("zone", "Mars/Base", "Mars/Base"), ("name", "a|b", "name")]
        {
            let mut fields = fields.to_vec();
            fields.retain(|(field, _)| *field != name && *field != "preview");
            fields.push((name, value));
            let refused = browser.post(new, new, &fields).await;
            assert_eq!(refused.status, 422, "{name}");
            refused.has("aria-invalid=\"true\"").has(word).has(&format!("value=\"{value}\""));
        }
        assert_eq!(server.get("/v1/tasks").await.1["tasks"], json!([]));
    })
    .await;
}

#[tokio::test]
async fn an_edit_that_is_overtaken_keeps_its_changes_and_can_be_saved_again() {
    with_console(async |server| {
        let browser = Browser::new(server);
        let id = create(server, hourly("order.close")).await;
        let path = format!("/console/tasks/{id}/edit");
        let form = browser.get(&path).await;
        form.has("name=\"rev\" value=\"1\"").has("value=\"order.close\"").has("name=\"period\" value=\"1\"");
        let token = form.form_token();
        let (api, if_match) = (format!("/v1/tasks/{id}"), [("if-match", "\"1\"")]);
        let theirs = json!({"data": "theirs"});
        let (status, _) = server.request(reqwest::Method::PATCH, &api, &if_match, &theirs).await;
        assert_eq!(status, 200);
        let fields = |rev| {
            [
                ("form_token", token.as_str()),
                ("rev", rev),
                ("name", "order.close"),
                ("kind", "every"),
                ("period", "2"),
                ("unit", "h"),
                ("data", "mine"),
            ]
        };
        let overtaken = browser.post_raw(&path, &fields("1")).await;
        assert_eq!(overtaken.status, 409);
        overtaken.has("revision 2").has("name=\"rev\" value=\"2\"").has("mine</textarea>");
        assert_eq!(task(server, &id).await["data"], "theirs");
        assert_eq!(browser.post_raw(&path, &fields("2")).await.status, 303);
        let saved = task(server, &id).await;
        assert_eq!((&saved["data"], &saved["schedule"]["period_ms"]), (&json!("mine"), &json!(7_200_000)));
    })
    .await;
}

#[tokio::test]
async fn a_run_names_the_run_that_stopped_it_or_wanted_to() {
    with_console(async |server| {
        let browser = Browser::new(server);
        let replaced = async |run: &Run| {
            let mut run = server.store.run(&run.id).await.unwrap().unwrap();
            run.replace_by(&RunId::from_text("later"), NOW).unwrap();
            assert_eq!(server.store.update_runs(&[run]).await.unwrap(), [true]);
        };
        let page = async |run: &Run| browser.get(&format!("/console/runs/{}", run.id)).await;
        let worked = server.ready("1").await;
        let lease = json!({"worker": "w", "queues": ["q"], "lease_ms": 10_000});
        let leased = server.post("/v1/runs/lease", &lease).await.1["runs"][0].clone();
        replaced(&worked).await;
        page(&worked).await.has("Stop requested for run").lacks("Because of run");
        let outcome =
            json!({"run_id": worked.id, "attempt": 1, "token": leased["token"], "outcome": "succeeded"});
        let (status, answer) = server.post("/v1/runs/settle", &json!({"outcomes": [outcome]})).await;
        assert_eq!(status, 200, "{answer}");
        page(&worked).await.has("Succeeded").has("Stop requested for run").lacks("Because of run");
        let waiting = server.ready("2").await;
        replaced(&waiting).await;
        page(&waiting).await.has("Cancelled").has("Because of run").lacks("Stop requested for run");
    })
    .await;
}
