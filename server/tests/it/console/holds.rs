//! Holds of queues and tags.

use serde_json::json;
use taskcenter_server::core::access::Scope;
use taskcenter_server::core::{Run, TaskId};
use taskcenter_server::ports::Clock as _;

use super::{Browser, create, token, with_console, with_locked_console};

const QUEUES: &str = "/console/queues";
const NEW: &str = "/console/holds/new";
const RELEASE: &str = "/console/holds/release";

#[tokio::test]
async fn a_queue_is_held_and_the_hold_ended_after_a_question() {
    with_console(async |server| {
        let browser = Browser::new(server);
        let id =
            create(server, json!({"name": "mail", "queue": "q&", "start_at": "2999-01-01T00:00:00Z"})).await;
        let task = server.state.service.shown_task(&TaskId::parse(&id).unwrap()).await.unwrap();
        let now = server.clock.now();
        let mut run = Run::firing(&task, now, "node", "token".to_owned(), now);
        server.store.insert_runs(std::slice::from_ref(&run)).await.unwrap();
        run.enqueue(now).unwrap();
        assert_eq!(server.store.update_runs(&[run.clone()]).await.unwrap(), [true]);
        let form = format!("{NEW}?scope=queue&name=q%26");
        browser.get(QUEUES).await.has("Nothing is on hold.").has(&form.replace('&', "&#38;"));
        browser.get(&form).await.has("<option value=\"queue\" selected>").has("value=\"q&#38;\"");
        let fields =
            [("scope", "queue"), ("name", "q&"), ("length", "30"), ("unit", "min"), ("reason", "deploy")];
        let answer = browser.post(&form, NEW, &fields).await;
        assert_eq!((answer.status, answer.location()), (303, "/console/queues?done=held"));
        let holds = server.get("/v1/holds").await.1["holds"].clone();
        assert_eq!(holds[0]["until"], "2033-05-18T04:03:20Z");
        let shown = browser.get(answer.location()).await;
        shown.has("The hold is created.").has("deploy").has(">on hold<");
        for page in [format!("/console/tasks/{id}"), format!("/console/runs/{}", run.id)] {
            let shown = browser.get(&page).await;
            shown.has(">on hold<").has("Runs wait for the end of the hold of the queue q&#38; · until ");
            shown.has(" · deploy</strong>");
        }
        let release = format!("{RELEASE}?scope=queue&name=q%26");
        browser.get(&release).await.has("deploy").has("The hold ends now.");
        assert_eq!(server.get("/v1/holds").await.1["holds"], holds, "the question changes nothing");
        let ended = browser.post(&release, RELEASE, &[("scope", "queue"), ("name", "q&")]).await;
        assert_eq!(ended.location(), "/console/queues?done=released");
        browser.get(ended.location()).await.has("The hold is ended.").has("Nothing is on hold.");
        assert_eq!(browser.get(&release).await.status, 404);
        assert_eq!(browser.post(QUEUES, RELEASE, &[("scope", "queue"), ("name", "q&")]).await.status, 404);
    })
    .await;
}

#[tokio::test]
async fn an_invalid_hold_keeps_what_was_typed() {
    with_console(async |server| {
        let browser = Browser::new(server);
        for (fields, why) in [
            (&[("scope", "queue"), ("name", "a|b")][..], "should not contain"),
            (&[("scope", "tag"), ("name", "a"), ("length", "soon")], "&#34;soon&#34; is no number"),
            (&[("scope", "tag"), ("name", "a"), ("length", "-1")], "until should be later than now"),
            (&[("name", "a"), ("scope", "host")], "Unknown scope: host"),
            (&[("scope", "tag"), ("name", "a"), ("reason", &"x".repeat(501))], "at most 500"),
        ] {
            let refused = browser.post(NEW, NEW, fields).await;
            assert_eq!(refused.status, 422, "{fields:?}");
            refused.has(why);
            for (_, value) in fields.iter().filter(|(name, _)| *name != "scope") {
                refused.has(&format!("value=\"{value}\""));
            }
        }
        assert_eq!(browser.post_raw(NEW, &[("scope", "tag"), ("name", "a")]).await.status, 403);
        assert_eq!(server.get("/v1/holds").await.1["holds"], json!([]));
    })
    .await;
}

#[tokio::test]
async fn viewers_and_limited_operators_hold_nothing() {
    with_locked_console(async |server| {
        for (scope, tags) in [(Scope::TaskRead, &[][..]), (Scope::TaskWrite, &["mail"])] {
            let (_, text) = token(server, &[scope], tags).await;
            let browser = Browser::new(server);
            browser.sign_in(&text).await;
            browser.get(QUEUES).await.lacks(NEW);
            assert_eq!(browser.get(NEW).await.status, 403);
            assert_eq!(browser.post("/", NEW, &[("scope", "tag"), ("name", "mail")]).await.status, 403);
            assert_eq!(browser.post("/", RELEASE, &[("scope", "tag"), ("name", "mail")]).await.status, 403);
        }
    })
    .await;
}
