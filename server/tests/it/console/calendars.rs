//! Calendars in the console.

use serde_json::json;
use taskcenter_server::core::access::Scope;

use super::{Browser, create, token, with_console, with_locked_console};

const CALENDARS: &str = "/console/calendars";
const NEW: &str = "/console/calendars/new";
const WORKDAYS: &str = "/console/calendars/workdays";

const FORM: [(&str, &str); 6] = [
    ("name", "workdays"),
    ("zone", "Asia/Shanghai"),
    ("weekly", "mon-fri 09:00-18:00\r\n"),
    ("exclude", "2033-10-01/2033-10-07"),
    ("include", "2033-10-08"),
    ("description", "<b>office</b>"),
];

fn with<'a>(field: &str, value: &'a str) -> Vec<(&'a str, &'a str)> {
    FORM.into_iter().map(|(name, old)| (name, if name == field { value } else { old })).collect()
}

#[tokio::test]
async fn a_calendar_is_created_changed_and_deleted() {
    with_console(async |server| {
        let browser = Browser::new(server);
        browser.get(CALENDARS).await.has("No calendars");
        let refused = browser.post(NEW, NEW, &with("exclude", "2033-02-30")).await;
        assert_eq!(refused.status, 422);
        refused.has("is no date").has("id=\"exclude\"").has("2033-02-30").has("aria-invalid");
        let saved = browser.post(NEW, NEW, &FORM).await;
        assert_eq!((saved.status, saved.location()), (303, "/console/calendars?done=calendar_saved"));
        let list = browser.get(CALENDARS).await;
        list.has("workdays").has("mon-fri 09:00-18:00").has("+ 2033-10-08").has("&#60;b&#62;office");
        let twice = browser.post(NEW, NEW, &FORM).await;
        twice.has("Calendar workdays exists already");
        let id = create(
            server,
            json!({"name": "report", "calendars": {"only": ["workdays"]},
            "schedule": {"kind": "cron", "cron": "0 10 * * *", "zone": "Asia/Shanghai"}}),
        )
        .await;
        browser.get(&format!("/console/tasks/{id}")).await.has("only within workdays");
        browser.get(WORKDAYS).await.has(&id).has("2033-10-01/2033-10-07");
        let in_use = browser.post(WORKDAYS, &format!("{WORKDAYS}/delete"), &[]).await;
        assert_eq!(in_use.status, 409);
        in_use.has(&id);
        let closed = with("exclude", "2033-01-01/9999-12-31");
        assert_eq!(browser.post(WORKDAYS, WORKDAYS, &closed[1..]).await.status, 303);
        // The included date is left.
        browser.get(&format!("/console/tasks/{id}")).await.has("2033-10-08");
        server.post(&format!("/v1/tasks/{id}/cancel"), &json!({})).await;
        assert_eq!(browser.post(WORKDAYS, &format!("{WORKDAYS}/delete"), &[]).await.status, 303);
        assert_eq!(browser.get(WORKDAYS).await.status, 404);
    })
    .await;
}

#[tokio::test]
async fn the_form_of_a_task_has_its_calendars() {
    with_console(async |server| {
        let browser = Browser::new(server);
        browser.post(NEW, NEW, &FORM).await;
        let new = "/console/tasks/new";
        browser.get(new).await.has("<option value=\"workdays\">");
        let task = |only: &'static str| {
            let cron =
                [("name", "report"), ("kind", "cron"), ("cron", "0 10 * * *"), ("zone", "Asia/Shanghai")];
            cron.into_iter().chain([("only_within", only)]).collect::<Vec<_>>()
        };
        let refused = browser.post(new, new, &task("holidays")).await;
        assert_eq!(refused.status, 422);
        refused.has("calendar &#34;holidays&#34; does not exist");
        let preview = [task("workdays"), vec![("preview", "1")]].concat();
        browser.post(new, new, &preview).await.has("Calendars: only within workdays");
        let saved = browser.post(new, new, &task("workdays")).await;
        assert_eq!(saved.status, 303);
        let path = saved.location().split('?').next().unwrap().to_owned();
        browser.get(&path).await.has("only within workdays").has("--only-within");
        browser.get(&format!("{path}/edit")).await.has("name=\"only_within\" value=\"workdays\"");
    })
    .await;
}

#[tokio::test]
async fn a_reader_sees_calendars_and_cannot_change_them() {
    with_locked_console(async |server| {
        let admin = Browser::new(server);
        admin.sign_in(&token(server, &[Scope::Admin], &[]).await.1).await;
        assert_eq!(admin.post(NEW, NEW, &FORM).await.status, 303);
        let reader = Browser::new(server);
        reader.sign_in(&token(server, &[Scope::TaskRead], &["mail"]).await.1).await;
        reader.get(CALENDARS).await.has("workdays").lacks(NEW);
        reader.get(WORKDAYS).await.has("mon-fri 09:00-18:00").lacks("btn primary");
        assert_eq!(reader.get(NEW).await.status, 403);
        assert_eq!(reader.post(WORKDAYS, WORKDAYS, &FORM[1..]).await.status, 403);
    })
    .await;
}
