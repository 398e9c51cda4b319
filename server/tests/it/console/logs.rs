//! The log of a run on its page.

use serde_json::{Value, json};

use super::{Browser, with_console};
use crate::http::Server;

/// Leases the run of the queue `q`.
async fn lease(server: &Server) -> Value {
    let lease = json!({"worker": "w", "queues": ["q"], "lease_ms": 10_000});
    server.post("/v1/runs/lease", &lease).await.1["runs"][0].clone()
}

async fn write(server: &Server, run: &Value, batch_id: &str, texts: &[String]) {
    let line = |text: &String| json!({"at": "2033-05-18T03:33:20.007Z", "level": "warn", "text": text});
    let lines: Vec<Value> = texts.iter().map(line).collect();
    let batch =
        json!({"attempt": run["attempt"], "token": run["token"], "batch_id": batch_id, "lines": lines});
    let path = format!("/v1/runs/{}/log", run["run_id"].as_str().unwrap());
    assert_eq!(server.post(&path, &batch).await, (200, json!({"stored": true})));
}

#[tokio::test]
async fn the_page_of_a_run_shows_the_last_lines_and_leads_to_older_ones() {
    with_console(async |server| {
        let browser = Browser::new(server);
        let stored = server.ready("1").await;
        let path = format!("/console/runs/{}", stored.id);
        browser.get(&path).await.has("No log lines.").lacks("Older lines");
        let run = lease(server).await;
        let texts: Vec<String> = (1..=250).map(|number| format!("line-{number:03}")).collect();
        for (at, texts) in texts.chunks(70).enumerate() {
            write(server, &run, &at.to_string(), texts).await;
        }
        let shown = browser.get(&path).await;
        shown
            .has("line-250")
            .has("line-151")
            .lacks("line-150")
            .has("Lines 151 to 250 of 250")
            .lacks("Newest lines");
        shown.has(">03:33:20.007</time>").has("<span class=\"lv warn\">warn</span>").has("Attempt 1</li>");
        shown.has("data-region=\"log\"").has(&format!("href=\"{path}?log=150#log\""));
        let older = browser.get(&format!("{path}?log=150")).await;
        older.has("line-150").has("line-051").lacks("line-050").lacks("line-151").has("Newest lines");
        let oldest = browser.get(&format!("{path}?log=50")).await;
        oldest.has("line-050").has("line-001").lacks("line-051").lacks("Older lines");
        browser.get(&format!("{path}?log=wrong")).await.has("line-250");
        browser.get(&format!("{path}?log=99999999999")).await.has("line-250").lacks("Newest lines");
    })
    .await;
}

#[tokio::test]
async fn a_long_log_says_that_its_middle_is_missing() {
    with_console(async |server| {
        let stored = server.ready("1").await;
        let run = lease(server).await;
        let filler = "x".repeat(4_000);
        for batch in 0..60 {
            let texts: Vec<String> =
                (0..10).map(|line| format!("line-{}-{filler}", batch * 10 + line)).collect();
            write(server, &run, &batch.to_string(), &texts).await;
        }
        let browser = Browser::new(server);
        let path = format!("/console/runs/{}", stored.id);
        browser
            .get(&path)
            .await
            .has("line-599-")
            .has("Lines 501 to 600 of 600")
            .has("Lines are missing here");
        browser
            .get(&format!("{path}?log=400"))
            .await
            .has("Lines are missing here")
            .has("First lines")
            .lacks("xxxx");
        browser.get(&format!("{path}?log=100")).await.has("line-0-").lacks("First lines");
    })
    .await;
}

#[tokio::test]
async fn markup_in_a_log_is_text() {
    with_console(async |server| {
        let stored = server.ready("1").await;
        let run = lease(server).await;
        write(server, &run, "1", &["<script>alert(1)</script>".to_owned()]).await;
        let shown = Browser::new(server).get(&format!("/console/runs/{}", stored.id)).await;
        shown.has("&#60;script&#62;alert(1)").lacks("<script>");
    })
    .await;
}
