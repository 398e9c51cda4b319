//! Runs that wait for admission.

use serde_json::json;
use taskcenter_server::core::admission::slot;
use taskcenter_server::core::run::slot_of_task;
use taskcenter_server::core::{Run, TaskId};
use taskcenter_server::ports::Clock as _;

use super::{Browser, create, with_console};

#[tokio::test]
async fn runs_that_wait_for_admission_are_counted_and_the_task_names_the_run_that_blocks_them() {
    with_console(async |server| {
        let browser = Browser::new(server);
        let spec = json!({"name": "sync", "queue": "q", "schedule": {"kind": "every", "period_ms": 3_600_000},
            "overlap": {"policy": "queue_one"}});
        let id = create(server, spec).await;
        let page = format!("/console/tasks/{id}");
        browser.get(&page).await.lacks("Runs of this task wait");
        let task = server.state.service.shown_task(&TaskId::parse(&id).unwrap()).await.unwrap();
        let now = server.clock.now();
        let run = |at| Run::firing(&task, now.plus_ms(at), "node", "first".to_owned(), now);
        let [mut running, mut waiting] = [0, 1].map(run);
        waiting.hold().unwrap();
        server.store.insert_runs(&[running.clone(), waiting]).await.unwrap();
        running.admit(vec![slot_of_task(&task.id)], "node", now.plus_ms(60_000)).unwrap();
        running.enqueue(now).unwrap();
        let path = format!("href=\"/console/runs/{}\"", running.id);
        assert_eq!(server.store.update_runs(&[running]).await.unwrap(), [true]);
        let shown = browser.get(&page).await;
        shown.has("Runs of this task wait for admission.").has("One waits, the first");
        shown.has(&format!("They wait for the end of this run: <a class=\"link mono\" {path}"));
        let queues = browser.get("/console/queues").await;
        queues.has("data-l=\"Held\"><div>1</div>").has("data-l=\"Ready\"><div>1</div>");
        queues.has("data-l=\"Leases per minute\"><div>0</div>");
    })
    .await;
}

#[tokio::test]
async fn a_run_that_waits_for_a_limit_names_the_limit_and_the_run_with_its_slot() {
    with_console(async |server| {
        let browser = Browser::new(server);
        let limits = json!([{"max": 1, "scope": "queue", "key": "eu"}]);
        let spec =
            json!({"name": "sync", "queue": "q", "start_at": "2999-01-01T00:00:00Z", "concurrency": limits});
        let id = create(server, spec).await;
        let page = format!("/console/tasks/{id}");
        browser.get(&page).await.has("1 runs of this queue at a time, key eu");
        let task = server.state.service.shown_task(&TaskId::parse(&id).unwrap()).await.unwrap();
        let now = server.clock.now();
        let run = |at| Run::firing(&task, now.plus_ms(at), "node", "first".to_owned(), now);
        let [mut running, mut waiting] = [0, 1].map(run);
        waiting.hold().unwrap();
        server.store.insert_runs(&[running.clone(), waiting.clone()]).await.unwrap();
        let starts = browser.get(&format!("/console/runs/{}", waiting.id)).await;
        starts.has("The run starts within a second.");
        let slots = running.limits().iter().map(|limit| slot(&limit.key, 0)).collect();
        running.admit(slots, "node", now.plus_ms(60_000)).unwrap();
        let link = format!("<a class=\"link mono\" href=\"/console/runs/{}\"", running.id);
        assert_eq!(server.store.update_runs(&[running]).await.unwrap(), [true]);
        let shown = browser.get(&format!("/console/runs/{}", waiting.id)).await;
        shown.has("waits for a free slot of a concurrency limit: 1 runs of this queue at a time, key eu");
        shown.has(&format!("This run has a slot: {link}"));
        let shown = browser.get(&page).await;
        shown.has(&format!("All slots of a concurrency limit are in use, one of them by this run: {link}"));
        let form = browser.get(&format!("{page}/edit")).await;
        form.has("1:queue:eu</textarea>");
        let queues = browser.get("/console/queues").await;
        queues.has("data-key=\"q queue:q:eu\"").has("data-l=\"In use\"><div>1 / 1</div>");
        queues.has("data-l=\"Waiting\"><div>1</div>");
    })
    .await;
}

#[tokio::test]
async fn a_run_that_waits_for_a_rate_limit_names_the_limit_and_its_next_start() {
    with_console(async |server| {
        let browser = Browser::new(server);
        let rate = json!({"limit": 2, "period_ms": 60_000, "burst": 1, "scope": "queue", "key": "eu"});
        let spec = json!({"name": "sync", "queue": "q", "start_at": "2999-01-01T00:00:00Z", "rate": rate});
        let id = create(server, spec).await;
        let page = format!("/console/tasks/{id}");
        let words = "2 starts per 1m in this queue, key eu, up to 1 at once";
        browser.get(&page).await.has(words);
        let task = server.state.service.shown_task(&TaskId::parse(&id).unwrap()).await.unwrap();
        let now = server.clock.now();
        let mut waiting = Run::firing(&task, now, "node", "first".to_owned(), now);
        waiting.hold().unwrap();
        server.store.insert_runs(&[waiting.clone()]).await.unwrap();
        let run = format!("/console/runs/{}", waiting.id);
        browser.get(&run).await.has("The run starts within a second.");
        server.store.take_permits(&waiting.rate_limit().unwrap(), 1, 1).await.unwrap();
        let shown = browser.get(&run).await;
        shown.has(&format!("waits for its turn within a rate limit: {words}. The next run starts at "));
        let shown = browser.get(&page).await;
        shown.has("The next one starts at ").has(&format!("Rate limit: {words}"));
        let form = browser.get(&format!("{page}/edit")).await;
        form.has("name=\"rate\" value=\"2/1m:queue:eu\"").has("name=\"rate_burst\" value=\"1\"");
    })
    .await;
}
