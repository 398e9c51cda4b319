//! Payloads in forms: what an edit, a trigger and a retry change, and what they keep.

use serde_json::json;

use super::{Browser, Shown, create, with_console};
use crate::http::Server;

/// Returns a run that a worker has reported as dead.
async fn dead_run(server: &Server, data: &str) -> String {
    let run = server.ready(data).await;
    let lease = json!({"worker": "w", "queues": ["q"], "lease_ms": 10_000});
    let leased = server.post("/v1/runs/lease", &lease).await.1["runs"][0].clone();
    let outcome = json!({"run_id": run.id, "attempt": 1, "token": leased["token"], "outcome": "dead"});
    let (status, answer) = server.post("/v1/runs/settle", &json!({"outcomes": [outcome]})).await;
    assert_eq!(status, 200, "{answer}");
    run.id.to_string()
}

#[tokio::test]
async fn a_trigger_form_gives_its_run_another_payload() {
    with_console(async |server| {
        let browser = Browser::new(server);
        let id = create(server, json!({"name": "a", "data": "\none\r\ntwo", "delay_ms": 3_600_000})).await;
        let path = format!("/console/tasks/{id}/trigger");
        let asked = browser.get(&path).await;
        asked.has("Payload of this run").has("\n\none\ntwo</textarea>");
        let run_of = async |data: &str| {
            let sent = browser.post(&path, &path, &[("data", data), ("key", &"k".repeat(64))]).await;
            assert_eq!(sent.status, 303, "{}", sent.html);
            let run = sent.location().replace("/console/", "/v1/");
            server.get(run.split('?').next().unwrap()).await.1
        };
        let edited = run_of("three").await;
        assert_eq!(edited["data"], "three");
        assert_eq!(run_of("three").await["run_id"], edited["run_id"], "a form that is sent twice fires once");
        let shown = browser.get(&format!("/console/runs/{}", edited["run_id"].as_str().unwrap())).await;
        shown.has("three</pre>");
        assert_eq!(server.get(&format!("/v1/tasks/{id}")).await.1["data"], "\none\r\ntwo");
        let fields = [("data", "\r\none\r\ntwo"), ("key", &*"l".repeat(64))];
        let sent = browser.post(&path, &path, &fields).await;
        let run = sent.location().replace("/console/", "/v1/");
        let run = server.get(run.split('?').next().unwrap()).await.1;
        assert_eq!(run["data"], "\none\r\ntwo", "a field that is not changed keeps every byte");
        let long = "x".repeat(taskcenter_server::core::submission::MAX_DATA_BYTES + 1);
        let refused = browser.post(&path, &path, &[("data", &*long)]).await;
        assert_eq!(refused.status, 422);
    })
    .await;
}

#[tokio::test]
async fn a_dead_run_is_retried_with_a_payload_whose_changes_were_shown() {
    with_console(async |server| {
        let browser = Browser::new(server);
        let run = dead_run(server, r#"{"id":7,"to":"<b>"}"#).await;
        let (path, api) = (format!("/console/runs/{run}/retry"), format!("/v1/runs/{run}"));
        browser.get(&path).await.has("Show changes").has("&#34;id&#34;:7").lacks("<b>");
        let edited = r#"{"id":8,"to":"<b>"}"#;
        let shown = browser.post(&path, &path, &[("data", edited)]).await;
        assert_eq!(shown.status, 200, "changes are shown before they are made");
        shown.has(r#"<div class="del">  &#34;id&#34;: 7,"#).has(r#"<div class="add">  &#34;id&#34;: 8,"#);
        assert_eq!(server.get(&api).await.1["state"], "dead");
        let fields = shown.hidden_fields();
        let fields: Vec<(&str, &str)> =
            fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let forged: Vec<(&str, &str)> = fields
            .iter()
            .map(|(name, value)| (*name, if *name == "data" { "other" } else { *value }))
            .collect();
        assert_eq!(browser.post_raw(&path, &forged).await.status, 200, "other changes are shown again");
        let confirmed: Vec<(&str, &str)> = fields
            .iter()
            .map(|(name, value)| (*name, if *name == "data" { edited } else { *value }))
            .collect();
        let retried = browser.post_raw(&path, &confirmed).await;
        assert_eq!(retried.status, 303, "{}", retried.html);
        assert_eq!(server.get(&api).await.1["data"], edited);
        browser.get(retried.location()).await.has("Original payload").has("Delivered 19 B, SHA-256 ");
    })
    .await;
}

#[tokio::test]
async fn a_retry_that_is_overtaken_keeps_its_text_and_says_what_has_changed() {
    with_console(async |server| {
        let browser = Browser::new(server);
        let run = dead_run(server, "theirs").await;
        let (path, api) = (format!("/console/runs/{run}/retry"), format!("/v1/runs/{run}"));
        let send = async |form: &Shown, more: &[(&str, &str)]| {
            let hidden = form.hidden_fields();
            let hidden = hidden.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            browser.post_raw(&path, &hidden.chain(more.iter().copied()).collect::<Vec<_>>()).await
        };
        let asked = browser.get(&path).await;
        let shown = send(&asked, &[("data", "mine")]).await;
        assert_eq!(shown.status, 200);
        server.post(&format!("{api}/retry"), &json!({"data": "other"})).await;
        for more in [&[("data", "mine")][..], &[("data", "mine"), ("review", "1")]] {
            let overtaken = send(&asked, more).await;
            assert_eq!(overtaken.status, 409);
            overtaken.has("mine</textarea>").has("has changed since this page was shown. State: Retrying");
        }
        let overtaken = send(&shown, &[]).await;
        assert_eq!(overtaken.status, 409, "the changes that were shown are no longer true");
        overtaken.has("mine</textarea>");
        assert_eq!(server.get(&api).await.1["data"], "other");
        let again = send(&overtaken, &[("data", "mine")]).await;
        again.has("<div class=\"del\">other").has("<div class=\"add\">mine");
        server.post(&format!("{api}/cancel"), &json!({})).await;
        let ended = send(&again, &[]).await;
        assert_eq!(ended.status, 409);
        ended.has("mine</textarea>").has("cannot be retried now. State: Cancelled");
        let ended = send(&ended, &[]).await;
        assert_eq!(ended.status, 409, "the run stays as it is");
    })
    .await;
}

#[tokio::test]
async fn a_trigger_that_is_refused_keeps_its_payload() {
    with_console(async |server| {
        let browser = Browser::new(server);
        let id = create(server, json!({"name": "a", "data": "one", "delay_ms": 3_600_000})).await;
        let path = format!("/console/tasks/{id}/trigger");
        let key = "k".repeat(64);
        let send = async |data: &str| browser.post(&path, &path, &[("data", data), ("key", &key)]).await;
        assert_eq!(send("two").await.status, 303);
        let sent_before = send("three").await;
        assert_eq!(sent_before.status, 409);
        sent_before.has("This form was sent before with another payload").has("three</textarea>").lacks(&key);
        server.post(&format!("/v1/tasks/{id}/cancel"), &json!({})).await;
        let over = browser.post(&path, &path, &[("data", "four"), ("key", &"l".repeat(64))]).await;
        assert_eq!(over.status, 409);
        over.has("the task is cancelled").has("four</textarea>");
    })
    .await;
}

#[tokio::test]
async fn an_edit_of_another_field_keeps_every_byte_of_the_payload() {
    with_console(async |server| {
        let browser = Browser::new(server);
        for (data, sent) in [("a\rb\r\nc", Some("a\r\nb\r\nc")), ("a\0b\r", None)] {
            let spec =
                json!({"name": "a", "data": data, "schedule": {"kind": "every", "period_ms": 3_600_000}});
            let id = create(server, spec).await;
            let path = format!("/console/tasks/{id}/edit");
            let form = browser.get(&path).await;
            match sent {
                Some(_) => form.has("a\nb\nc</textarea>"),
                None => form.lacks("name=\"data\"").has("a NUL character, which a form cannot send"),
            };
            let hidden = form.hidden_fields();
            let hidden = hidden.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            let typed = [("name", "a"), ("kind", "every"), ("period", "2"), ("unit", "h")];
            let fields = hidden.chain(typed).chain(sent.map(|sent| ("data", sent)));
            let saved = browser.post_raw(&path, &fields.collect::<Vec<_>>()).await;
            assert_eq!(saved.status, 303, "{}", saved.html);
            let task = server.get(&format!("/v1/tasks/{id}")).await.1;
            assert_eq!((&task["data"], &task["schedule"]["period_ms"]), (&json!(data), &json!(7_200_000)));
        }
    })
    .await;
}
