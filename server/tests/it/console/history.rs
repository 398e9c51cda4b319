//! Definitions of a task over time.

use reqwest::Method;
use serde_json::{Value, json};
use taskcenter_server::core::access::Scope;

use super::{Browser, create, hourly, token, with_console, with_locked_console};
use crate::http::Server;

async fn edit(server: &Server, id: &str, change: &Value) {
    let path = format!("/v1/tasks/{id}");
    let (status, edited) = server.request(Method::PATCH, &path, &[("If-Match", "*")], change).await;
    assert_eq!(status, 200, "{edited}");
}

#[tokio::test]
async fn two_definitions_are_compared_and_an_earlier_one_is_edited() {
    with_console(async |server| {
        let browser = Browser::new(server);
        let id = create(server, hourly("report")).await;
        let path = format!("/console/tasks/{id}/revisions");
        browser.get(&path).await.has("Created").has("loopback").lacks("Show changes").lacks("Changes from");
        edit(server, &id, &json!({"data": "{\"day\":2}", "max_fires": 7})).await;
        edit(server, &id, &json!({"data": "{\"day\":3}"})).await;
        browser.get(&format!("/console/tasks/{id}")).await.has(&format!("href=\"{path}\""));
        let latest = browser.get(&path).await;
        latest.has("Changes from revision 2 to revision 3").has("loopback").has("&#34;day&#34;: 3");
        latest.lacks("max_fires");
        let first = browser.get(&format!("{path}?from=1&to=2")).await;
        first.has("Changes from revision 1 to revision 2").has("&#34;max_fires&#34;: 7");
        browser.get(&format!("{path}?from=3&to=3")).await.lacks("Changes from");
        assert_eq!(browser.get(&format!("{path}?from=1&to=9")).await.status, 404);
        let form = browser.get(&format!("/console/tasks/{id}/edit?from=2")).await;
        form.has("{&#34;day&#34;:2}").lacks("{&#34;day&#34;:3}");
        let unknown = format!("/console/tasks/{}/revisions", "0".repeat(32));
        assert_eq!(browser.get(&unknown).await.status, 404);
    })
    .await;
}

/// A field cannot show a NUL character, so that the form has no field for such a payload.
#[tokio::test]
async fn an_earlier_definition_is_restored_with_every_byte_of_its_payload() {
    with_console(async |server| {
        let browser = Browser::new(server);
        for (first, second, shows_first) in [("a\0b", "plain", false), ("two\r\nlines", "a\0b", true)] {
            let mut spec = hourly("report");
            spec["data"] = json!(first);
            spec["headers"] = json!({"trace": "1"});
            let id = create(server, spec).await;
            edit(server, &id, &json!({"data": second, "headers": {}})).await;
            let path = format!("/console/tasks/{id}/edit?from=1");
            let form = browser.get(&path).await;
            form.has(&format!("action=\"{path}\""));
            assert_eq!(form.html.contains("name=\"data\""), shows_first);
            assert_eq!(form.html.contains("has a NUL character"), !shows_first);
            let fields =
                [("name", "report"), ("kind", "every"), ("period", "1"), ("unit", "h"), ("rev", "2")];
            let data = ("data", "two\r\nlines");
            let fields = if shows_first { [&fields[..], &[data]].concat() } else { fields.to_vec() };
            let saved = browser.post(&path, &path, &fields).await;
            assert_eq!(saved.status, 303, "{}", saved.html);
            let task = server.get(&format!("/v1/tasks/{id}")).await.1;
            assert_eq!((&task["data"], &task["headers"]), (&json!(first), &json!({"trace": "1"})));
        }
    })
    .await;
}

#[tokio::test]
async fn many_definitions_are_shown_in_pages() {
    with_console(async |server| {
        let browser = Browser::new(server);
        let id = create(server, hourly("report")).await;
        for data in 0..25 {
            edit(server, &id, &json!({"data": data.to_string()})).await;
        }
        let path = format!("/console/tasks/{id}/revisions");
        browser.get(&path).await.has("data-key=\"26\"").has("data-key=\"7\"").has("?before=7");
        let second = browser.get(&format!("{path}?before=7")).await;
        second.has("data-key=\"6\"").has("data-key=\"1\"").lacks("?before=1\"");
    })
    .await;
}

#[tokio::test]
async fn a_reader_cannot_edit_from_a_definition() {
    with_locked_console(async |server| {
        let id = create_with_token(server).await;
        let browser = Browser::new(server);
        let (_, reader) = token(server, &[Scope::TaskRead], &[]).await;
        browser.sign_in(&reader).await;
        browser.get(&format!("/console/tasks/{id}/revisions")).await.has("Created").lacks("Edit from");
    })
    .await;
}

async fn create_with_token(server: &Server) -> String {
    let definition = taskcenter_server::core::submission::Submission::named("report", "1");
    let submitted = server.state.service.submit(definition).await.unwrap();
    submitted.id.to_string()
}
