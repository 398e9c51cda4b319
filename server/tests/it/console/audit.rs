//! The page of the audit log.

use serde_json::json;
use taskcenter_server::core::access::Scope;

use super::{Browser, create, hourly, token, with_console, with_locked_console};

#[tokio::test]
async fn an_action_appears_and_is_found_by_each_filter() {
    with_console(async |server| {
        let browser = Browser::new(server);
        browser.get("/console/audit").await.has("No entry matches");
        let id = create(server, hourly("report")).await;
        for action in ["pause", "resume"] {
            server.post(&format!("/v1/tasks/{id}/{action}"), &json!({})).await;
        }
        let task = format!("/console/tasks/{id}");
        browser.get(&task).await.has(&format!("href=\"/console/audit?object={id}\""));
        let all = browser.get("/console/audit").await;
        all.has("task.pause</td>").has("task.resume</td>").has("loopback").has("revision 2");
        all.has(&format!("href=\"{task}\""));
        let paused = browser.get("/console/audit?action=task.pause").await;
        paused.has("task.pause</td>").lacks("task.resume</td>").has("selected");
        let recent = browser.get(&format!("/console/audit?object={id}&since=1h")).await;
        recent.has("task.resume</td>").has("--since=").has("since=20");
        browser.get("/console/audit?actor=unknown").await.lacks("task.resume</td>").has("No entry matches");
    })
    .await;
}

#[tokio::test]
async fn only_an_administrator_sees_the_audit_log() {
    with_locked_console(async |server| {
        let browser = Browser::new(server);
        let (_, reader) = token(server, &[Scope::TaskWrite], &[]).await;
        browser.sign_in(&reader).await;
        browser.get("/").await.lacks("/console/audit");
        assert_eq!(browser.get("/console/audit").await.status, 403);
        let admin = Browser::new(server);
        let (_, text) = token(server, &[Scope::Admin], &[]).await;
        admin.sign_in(&text).await;
        admin.get("/").await.has("/console/audit");
        admin.get("/console/audit").await.has("session.open</td>").has("console");
    })
    .await;
}
