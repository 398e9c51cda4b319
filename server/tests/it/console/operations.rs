//! Operations: their pages, and the actions on many rows of a list.

use serde_json::{Value, json};
use taskcenter_server::core::access::Scope;
use taskcenter_server::ports::Clock;

use super::{Browser, Shown, create, hourly, token, with_console, with_locked_console};
use crate::http::Server;

const NEW: &str = "/console/operations/new";

/// Carries out all operations, as the loop of a node does.
pub(super) async fn carry_out(server: &Server) {
    let service = &server.state.service;
    for _ in 0..20 {
        for running in service.running_operations().await.unwrap() {
            service.step_operation(&running.operation.unwrap(), server.clock.now()).await.unwrap();
        }
    }
}

async fn tasks(server: &Server, name: &str, number: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for _ in 0..number {
        ids.push(create(server, hourly(name)).await);
        server.clock.advance_ms(1);
    }
    ids
}

async fn dead(server: &Server, data: &str) -> String {
    let run = server.ready(data).await;
    let lease = json!({"worker": "w", "queues": ["q"], "lease_ms": 10_000});
    let leased = server.post("/v1/runs/lease", &lease).await.1["runs"][0].clone();
    let outcome =
        json!({"run_id": run.id, "attempt": 1, "token": leased["token"], "outcome": "dead", "message": "no"});
    server.post("/v1/runs/settle", &json!({"outcomes": [outcome]})).await;
    run.id.to_string()
}

/// Sends the form of a page that asks, with these fields in addition.
async fn send(browser: &Browser<'_>, asked: &Shown, more: &[(&str, &str)]) -> Shown {
    let fields = asked.hidden_fields();
    let mut fields: Vec<(&str, &str)> =
        fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    fields.extend(more);
    browser.post_raw(NEW, &fields).await
}

async fn operations(server: &Server) -> Vec<Value> {
    server.get("/v1/operations").await.1["operations"].as_array().unwrap().clone()
}

#[tokio::test]
async fn all_matching_tasks_are_paused_after_a_question() {
    with_console(async |server| {
        let browser = Browser::new(server);
        tasks(server, "mail", 60).await;
        tasks(server, "report", 1).await;
        let list = browser.get("/console/tasks?q=name%3Amail").await;
        list.has("All rows that match the filter").has("name=\"action\" value=\"pause\"").has("name=\"id\"");
        let asked = browser.get(&format!("{NEW}?q=name%3Amail&all=1&action=pause")).await;
        asked
            .has("Pause tasks")
            .has("<dd>name:mail</dd>")
            .has("<dd>60</dd>")
            .has("Runs that have fired before");
        assert!(operations(server).await.is_empty(), "the question changes nothing");
        let answer = send(&browser, &asked, &[("reason", "broker <b>"), ("rate", "500")]).await;
        assert_eq!(answer.status, 303, "{}", answer.html);
        let again = send(&browser, &asked, &[("reason", "broker <b>"), ("rate", "500")]).await;
        assert_eq!(again.location(), answer.location(), "a form that is sent twice creates one operation");
        let (_, audit) = server.get("/v1/audit?action=operation.create").await;
        assert_eq!(audit["entries"].as_array().unwrap().len(), 1, "{audit}");
        let changed = send(&browser, &asked, &[("reason", "another")]).await;
        assert_eq!(changed.status, 422);
        changed.has("This form was sent before with other values.").has("value=\"another\"");
        let path = answer.location().to_owned();
        browser
            .get(&path)
            .await
            .has("0 of 60")
            .has("500 per second")
            .has("data-live data-events=\"kind=operation\" data-api")
            .has("Abort…")
            .has("broker &#60;b&#62;");
        browser.get("/console/operations").await.has(&path).has("0 of 60");
        for _ in 0..10 {
            carry_out(server).await;
            server.clock.advance_ms(1_000);
        }
        let shown = browser.get(&path).await;
        shown.has("60 of 60").has("Completed").has("Done 60").lacks("data-events").lacks("Abort…");
        let (_, paused) = server.get("/v1/tasks?state=paused&limit=100").await;
        assert_eq!(paused["tasks"].as_array().unwrap().len(), 60);
        assert_eq!(operations(server).await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn selected_rows_are_changed_and_failures_are_named() {
    with_console(async |server| {
        let browser = Browser::new(server);
        let ids = tasks(server, "mail", 3).await;
        server.post(&format!("/v1/tasks/{}/cancel", ids[1]), &json!({})).await;
        let asked = browser.get(&format!("{NEW}?q=&action=cancel&id={}&id={}", ids[0], ids[1])).await;
        asked.has("2 selected").has("This cannot be undone.").has("class=\"btn danger solid\"");
        let answer = send(&browser, &asked, &[]).await;
        carry_out(server).await;
        let states = async || {
            let mut states = Vec::new();
            for id in &ids {
                states.push(
                    server.get(&format!("/v1/tasks/{id}")).await.1["state"].as_str().unwrap().to_owned(),
                );
            }
            states
        };
        assert_eq!(states().await, ["cancelled", "cancelled", "active"]);
        let asked = browser.get(&format!("{NEW}?action=resume&id={}", ids[0])).await;
        let failed = send(&browser, &asked, &[]).await;
        carry_out(server).await;
        let shown = browser.get(failed.location()).await;
        shown.has("Failures").has(&format!("href=\"/console/tasks/{}\"", ids[0]));
        browser.get(answer.location()).await.has("Completed");
    })
    .await;
}

#[tokio::test]
async fn dead_runs_are_redriven() {
    with_console(async |server| {
        let browser = Browser::new(server);
        let runs = [dead(server, "1").await, dead(server, "2").await];
        server.clock.advance_ms(1);
        let list = browser.get("/console/dead-letters").await;
        list.has("value=\"redrive\"").has(&format!("name=\"id\" value=\"{}\"", runs[0]));
        browser.get("/console/runs").await.lacks("name=\"id\"").lacks("value=\"redrive\"");
        let asked = browser.get(&format!("{NEW}?action=redrive&id={}", runs[0])).await;
        asked.has("1 selected").has("Each dead run gets one more attempt.");
        send(&browser, &asked, &[("rate", "1000")]).await;
        carry_out(server).await;
        let state = async |id: &str| server.get(&format!("/v1/runs/{id}")).await.1["state"].clone();
        assert_eq!((state(&runs[0]).await, state(&runs[1]).await), (json!("retrying"), json!("dead")));
        let asked = browser.get(&format!("{NEW}?action=redrive&all=1&q=tag%3Aorder.close")).await;
        asked.has("<dd>tag:order.close state:dead</dd>").has("<dd>1</dd>");
        send(&browser, &asked, &[]).await;
        carry_out(server).await;
        assert_eq!(state(&runs[1]).await, json!("retrying"));
    })
    .await;
}

#[tokio::test]
async fn a_form_that_selects_nothing_or_is_not_understood_is_refused() {
    with_console(async |server| {
        let browser = Browser::new(server);
        tasks(server, "mail", 2).await;
        for (query, why) in [
            ("action=pause&q=name%3Amail", "Select at least one row"),
            ("action=pause&all=1&q=name%3Amail+since%3A2h", "Unknown filter"),
            ("action=pause&all=1&q=state%3Awrong", "Unknown filter"),
            ("action=pause&all=1&q=state%3Apaused", "pause acts on these states: active"),
            ("action=pause&all=1&q=name%3Anothing", "No item matches."),
            ("action=redrive&all=1&q=state%3Aready", "Unknown filter"),
            ("action=pause&id=wrong", "the id is malformed"),
        ] {
            let refused = browser.get(&format!("{NEW}?{query}")).await;
            assert_eq!(refused.status, 422, "{query}");
            refused.has(why).lacks("method=\"post\" action=\"/console/operations/new\"");
        }
        for (query, action) in [("action=delete&all=1", "delete"), ("action=x&all=1", "x"), ("all=1", "")] {
            let refused = browser.get(&format!("{NEW}?{query}")).await;
            assert_eq!(refused.status, 400, "{query}");
            refused.has(&format!("no action &#34;{action}&#34;")).has("Select rows on the page of tasks");
        }
        browser.get("/console/tasks?q=name%3Amail+since%3A2h").await.has("mail").lacks("name=\"all\"");
        let asked = browser.get(&format!("{NEW}?action=pause&all=1")).await;
        for (field, value, why) in
            [("rate", "0", "rate_per_sec"), ("rate", "fast", "fast"), ("reason", &"x".repeat(501), "reason")]
        {
            let refused = send(&browser, &asked, &[(field, value)]).await;
            assert_eq!(refused.status, 422, "{field}");
            refused.has(why).has(&format!("value=\"{value}\"")).has("<dd>2</dd>");
        }
        let forged = browser.post_raw(NEW, &[("action", "pause"), ("all", "1")]).await;
        assert_eq!(forged.status, 403);
        assert!(operations(server).await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn an_operation_is_aborted_after_a_question() {
    with_console(async |server| {
        let browser = Browser::new(server);
        tasks(server, "mail", 3).await;
        let asked = browser.get(&format!("{NEW}?action=pause&all=1")).await;
        let path = send(&browser, &asked, &[("rate", "1")]).await.location().to_owned();
        let asked = browser.get(&format!("{path}/abort")).await;
        asked.has("What the operation has done stays.");
        assert_eq!(operations(server).await[0]["state"], "running");
        let aborted = browser.post(&path, &format!("{path}/abort"), &[]).await;
        assert_eq!(aborted.status, 303);
        browser.get(aborted.location()).await.has("The operation is aborted.").has("Aborted").lacks("Abort…");
        for unknown in ["x", &"0".repeat(32)] {
            assert_eq!(browser.get(&format!("/console/operations/{unknown}")).await.status, 404);
            assert_eq!(browser.get(&format!("/console/operations/{unknown}/abort")).await.status, 404);
        }
    })
    .await;
}

#[tokio::test]
async fn a_viewer_gets_no_bulk_actions_and_a_limited_operator_changes_its_tags_only() {
    with_locked_console(async |server| {
        let (_, all) = token(server, &[Scope::TaskWrite], &[]).await;
        let bearer = format!("Bearer {all}");
        let headers = [("authorization", bearer.as_str())];
        for name in ["pay", "mail"] {
            server.request(reqwest::Method::POST, "/v1/tasks", &headers, &hourly(name)).await;
        }
        server.clock.advance_ms(1);
        let (_, read) = token(server, &[Scope::TaskRead], &[]).await;
        let viewer = Browser::new(server);
        viewer.sign_in(&read).await;
        viewer.get("/console/tasks").await.has("mail").lacks("name=\"id\"").lacks("id=\"bulk\"");
        let ask = format!("{NEW}?action=pause&all=1");
        assert_eq!(viewer.get(&ask).await.status, 403);
        assert_eq!(viewer.post("/", NEW, &[("action", "pause"), ("all", "1")]).await.status, 403);
        let (_, limited) = token(server, &[Scope::TaskWrite], &["pay"]).await;
        let operator = Browser::new(server);
        operator.sign_in(&limited).await;
        let asked = operator.get(&ask).await;
        asked.has("<dd>1</dd>");
        let path = send(&operator, &asked, &[]).await.location().to_owned();
        viewer.get(&path).await.has("Pause tasks").lacks("Abort…");
        assert_eq!(viewer.get(&format!("{path}/abort")).await.status, 403);
        assert_eq!(viewer.post("/", &format!("{path}/abort"), &[]).await.status, 403);
        carry_out(server).await;
        let list = server.request(reqwest::Method::GET, "/v1/tasks", &headers, &json!({})).await.1;
        let mut states: Vec<(&str, &str)> = list["tasks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|task| (task["name"].as_str().unwrap(), task["state"].as_str().unwrap()))
            .collect();
        states.sort_unstable();
        assert_eq!(states, [("mail", "active"), ("pay", "paused")]);
    })
    .await;
}

#[tokio::test]
async fn a_filtered_list_offers_actions_on_all_rows_that_match() {
    with_console(async |server| {
        let browser = Browser::new(server);
        tasks(server, "mail", 1).await;
        let all = "href=\"/console/operations/new?action=pause&#38;all=1&#38;q=name%3Amail\"";
        browser.get("/console/tasks?q=name%3Amail").await.has(all).has("Pause tasks: all that match");
        browser.get("/console/tasks").await.lacks("all=1");
        browser.get("/console/tasks?q=since%3A2h").await.lacks("all=1");
        let asked = browser.get("/console/operations/new?action=pause&all=1&q=name%3Amail").await;
        let answer = send(&browser, &asked, &[]).await;
        browser.get(answer.location()).await.has("name:mail");
    })
    .await;
}

#[tokio::test]
async fn the_overview_leads_to_the_dead_runs_of_a_tag() {
    with_console(async |server| {
        let browser = Browser::new(server);
        browser.get("/").await.lacks("aria-label=\"Dead today\"").has("aria-label=\"Find tasks\"");
        let run = dead(server, "1").await;
        // The counts of the overview are up to 2 s old.
        let overview = loop {
            let shown = browser.get("/").await;
            if shown.html.contains("aria-label=\"Dead today\"") {
                break shown;
            }
        };
        overview.has("href=\"/console/dead-letters?q=tag%3Aorder.close\"");
        browser
            .get("/console/dead-letters?q=tag%3Aorder.close")
            .await
            .has(&run)
            .has("Redrive runs: all that match");
    })
    .await;
}

#[tokio::test]
async fn a_page_that_answers_to_a_form_keeps_its_selection_in_another_language() {
    with_console(async |server| {
        let browser = Browser::new(server);
        let ids = tasks(server, "mail", 2).await;
        let all = "q=name%3Amail&all=1".to_owned();
        for selection in [all, format!("id={}&id={}", ids[0], ids[1])] {
            let asked = browser.get(&format!("{NEW}?action=pause&{selection}")).await;
            let refused = send(&browser, &asked, &[("rate", "fast")]).await;
            assert_eq!(refused.status, 422);
            let back = refused.hidden_fields().into_iter().find(|(name, _)| name == "back").unwrap().1;
            assert_eq!(back, format!("{NEW}?action=pause&{selection}"));
            let chosen = browser.post("/", "/console/preferences", &[("back", &back), ("lang", "zh")]).await;
            browser.get(chosen.location()).await.has("暂停任务").has("<dd>2</dd>");
            browser.set_cookie("taskcenter_lang", "en");
        }
        let backfill = format!("/console/tasks/{}/backfill", ids[0]);
        let fields = [("from", "2033-01-01T00:00:00"), ("to", "2033-01-02T00:00:00"), ("rate", "fast")];
        let refused = browser.post(&backfill, &backfill, &fields).await;
        assert_eq!(refused.status, 422);
        refused.has("backfill?from=2033-01-01T00%3A00%3A00&#38;to=2033-01-02T00%3A00%3A00\"");
    })
    .await;
}
