//! The page that backfills a task.

use super::{Browser, create, hourly, with_console};

#[tokio::test]
async fn a_range_is_counted_before_the_operation_is_created() {
    with_console(async |server| {
        let browser = Browser::new(server);
        let id = create(server, hourly("report")).await;
        let path = format!("/console/tasks/{id}/backfill");
        browser.get(&format!("/console/tasks/{id}")).await.has(&path);
        browser.get(&path).await.has("Count moments").lacks("method=\"post\" action=\"/console/tasks");
        let none = browser.get(&format!("{path}?from=2025-11-01T00%3A00&to=2025-11-01T00%3A00")).await;
        assert_eq!(none.status, 422);
        let asked = browser.get(&format!("{path}?from=2025-11-01T00%3A00&to=2025-11-02T00%3A00")).await;
        asked.has("<dd>24</dd>").has("The task keeps its place in its schedule.");
        let fields = asked.hidden_fields();
        let fields = fields.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let fields: Vec<(&str, &str)> = fields.chain([("rate", "5"), ("reason", "outage")]).collect();
        let answer = browser.post_raw(&path, &fields).await;
        assert_eq!(answer.status, 303, "{}", answer.html);
        let again = browser.post_raw(&path, &fields).await;
        assert_eq!(again.location(), answer.location(), "a form that is sent twice creates one operation");
        let operation = answer.location().to_owned();
        browser.get(&operation).await.has("Backfill").has("0 of 24").has("5 per second").has("outage");
        super::operations::carry_out(server).await;
        server.clock.advance_ms(1_000);
        super::operations::carry_out(server).await;
        browser
            .get(&format!("/console/runs?q=task%3A{id}"))
            .await
            .has("<span class=\"chip\">Backfill</span>");
    })
    .await;
}
