//! The stream of events that an open page follows.

use taskcenter_server::core::access::Scope;

use super::{Browser, create, hourly, token, with_console, with_locked_console};

const PATH: &str = "/console/events";

#[tokio::test]
async fn the_stream_of_a_page_ends_with_its_session() {
    with_locked_console(async |server| {
        let browser = Browser::new(server);
        assert_eq!(browser.get(PATH).await.status, 303, "without a session");
        let (_, text) = token(server, &[Scope::TaskRead], &[]).await;
        assert_eq!(browser.sign_in(&text).await.status, 303);
        let mut stream = browser.open(PATH).await;
        assert_eq!(stream.headers()["content-type"], "text/event-stream");
        assert!(stream.chunk().await.unwrap().is_some());
        assert_eq!(browser.post("/", "/console/sign-out", &[]).await.status, 303);
        while stream.chunk().await.unwrap().is_some() {}
    })
    .await;
}

#[tokio::test]
async fn a_page_names_the_events_that_it_follows() {
    with_console(async |server| {
        let browser = Browser::new(server);
        let id = create(server, hourly("mail")).await;
        for (page, events) in [
            ("/", "kind=run%2Coperation"),
            ("/console/tasks?q=name%3Amail", "kind=task%2Crun"),
            ("/console/queues", "kind=queue"),
            (&*format!("/console/tasks/{id}"), &*format!("kind=task%2Crun&#38;task_id={id}")),
        ] {
            let shown = browser.get(page).await;
            shown.has(&format!("data-events=\"{events}\"")).has("/console/assets/live-");
        }
        browser.get("/console/tasks/new").await.lacks("data-events").lacks("/console/assets/live-");
        let mut stream = browser.open("/console/events?kind=task&tag=mail").await;
        create(server, hourly("other")).await;
        let other = create(server, hourly("mail")).await;
        let mut text = String::new();
        while !text.contains(&other) {
            text.push_str(std::str::from_utf8(&stream.chunk().await.unwrap().unwrap()).unwrap());
        }
        assert!(!text.contains("other"), "{text}");
    })
    .await;
}
