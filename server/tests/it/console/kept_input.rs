//! Forms whose session has ended: their input is kept, and sent only by a person.

use reqwest::Method;
use serde_json::{Value, json};
use taskcenter_server::core::access::Scope;

use super::{Browser, Shown, token, with_locked_console};
use crate::http::Server;

const NEW: &str = "/console/tasks/new";
const SIGN_IN: &str = "/console/sign-in";
const DATA: &str = "\r\n<b> \"x\" & y\r\n";
const SESSION_MS: i64 = 12 * 3_600_000;

/// Returns the tasks as the holder of a token sees them.
async fn tasks(server: &Server, token: &str) -> Vec<Value> {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    let (_, list) = server.request(Method::GET, "/v1/tasks", &headers, &json!({})).await;
    list["tasks"].as_array().unwrap().clone()
}

/// Opens the form for a task, and returns what a person sends with it.
async fn filled(browser: &Browser<'_>) -> Vec<(String, String)> {
    let own = [("name", "kept"), ("kind", "once"), ("zone", "UTC"), ("data", DATA), ("save", "1")];
    let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
    browser.get(NEW).await.hidden_fields().into_iter().chain(own).collect()
}

async fn send(browser: &Browser<'_>, path: &str, fields: &[(String, String)]) -> Shown {
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (&**name, &**value)).collect();
    browser.post_raw(path, &fields).await
}

/// Signs in with the form of a page.
async fn sign_in(browser: &Browser<'_>, form: &Shown, token: &str) -> Shown {
    let mut fields = form.hidden_fields();
    fields.push(("token".to_owned(), token.to_owned()));
    send(browser, SIGN_IN, &fields).await
}

/// Sends the input of the page that asks, and asserts that the task is the one of the form.
async fn confirm(server: &Server, browser: &Browser<'_>, asked: &Shown, token: &str) {
    asked.has("Your input is kept").has(&format!("action=\"{NEW}\"")).has("href=\"/console/tasks/new\"");
    assert_eq!(tasks(server, token).await, [json!(null); 0], "nothing is sent without a person");
    let fields = asked.hidden_fields();
    let sent = send(browser, NEW, &fields).await;
    assert_eq!(sent.status, 303, "{}", sent.html);
    assert_eq!(send(browser, NEW, &fields).await.location(), sent.location());
    let tasks = tasks(server, token).await;
    assert_eq!((tasks.len(), &tasks[0]["name"]), (1, &json!("kept")));
    assert_eq!(tasks[0]["data"], DATA.replace("\r\n", "\n"));
}

#[tokio::test]
async fn the_input_of_a_form_survives_the_end_of_its_session() {
    with_locked_console(async |server| {
        let (_, text) = token(server, &[Scope::TaskWrite], &[]).await;
        let browser = Browser::new(server);
        browser.sign_in(&text).await;
        let fields = filled(&browser).await;
        server.clock.advance_ms(SESSION_MS);
        let refused = send(&browser, NEW, &fields).await;
        assert_eq!(refused.status, 401, "{}", refused.html);
        refused.has("Your input is kept").has("name=\"kept.name\" value=\"kept\"").lacks("kept.form_token");
        let wrong = sign_in(&browser, &refused, "tc_wrong").await;
        assert_eq!(wrong.status, 401);
        wrong.has("role=\"alert\"").has("name=\"kept.name\" value=\"kept\"").lacks("tc_wrong");
        let asked = sign_in(&browser, &wrong, &text).await;
        assert_eq!(asked.status, 200, "{}", asked.html);
        asked.lacks(&text).lacks("name=\"token\"");
        confirm(server, &browser, &asked, &text).await;
    })
    .await;
}

#[tokio::test]
async fn a_form_of_an_earlier_session_asks_before_its_input_is_sent() {
    with_locked_console(async |server| {
        let (_, text) = token(server, &[Scope::TaskWrite], &[]).await;
        let browser = Browser::new(server);
        browser.sign_in(&text).await;
        let fields = filled(&browser).await;
        browser.post("/", "/console/sign-out", &[]).await;
        browser.sign_in(&text).await;
        let asked = send(&browser, NEW, &fields).await;
        assert_eq!(asked.status, 200);
        confirm(server, &browser, &asked, &text).await;
    })
    .await;
}

#[tokio::test]
async fn a_form_that_the_browser_did_not_get_is_not_kept() {
    with_locked_console(async |server| {
        let (_, text) = token(server, &[Scope::TaskWrite], &[]).await;
        let (browser, other) = (Browser::new(server), Browser::new(server));
        let of_other = other.get(SIGN_IN).await.form_token();
        browser.sign_in(&text).await;
        let own = filled(&browser).await;
        let changed = |token: &str| {
            let token = ("form_token".to_owned(), token.to_owned());
            [&[token][..], &own].concat()
        };
        for forged in [changed(""), changed(&of_other), changed(&"é".repeat(64))] {
            let refused = send(&browser, NEW, &forged).await;
            assert_eq!(refused.status, 403, "in a session");
            refused.has("The form has expired").lacks("kept.name");
        }
        server.clock.advance_ms(SESSION_MS);
        for forged in [changed(""), changed(&of_other)] {
            let refused = send(&browser, NEW, &forged).await;
            assert_eq!((refused.status, refused.html.as_str()), (303, ""), "without a session");
        }
        let body = "kept.name=kept&name=x&form_token=".to_owned() + &browser.get(SIGN_IN).await.form_token();
        let foreign = browser.request(Method::POST, NEW).header("sec-fetch-site", "cross-site").body(body);
        assert_eq!(browser.send(foreign).await.status, 303, "a form on another site");
        let out = browser.post_raw("/console/sign-out", &[]).await;
        assert_eq!((out.status, out.location()), (303, "/console/sign-in?next=%2F"));
        assert_eq!(tasks(server, &text).await, [json!(null); 0]);
    })
    .await;
}

#[tokio::test]
async fn kept_input_goes_to_pages_of_the_console_only() {
    with_locked_console(async |server| {
        let (_, text) = token(server, &[Scope::TaskWrite], &[]).await;
        for next in ["//evil.example/", "https://evil.example/", "/v1/tasks"] {
            let fields = [("token", text.as_str()), ("next", next), ("kept.name", "a"), ("kept.back", next)];
            let asked = Browser::new(server).post(SIGN_IN, SIGN_IN, &fields).await;
            assert_eq!(asked.status, 200);
            asked.has("action=\"/\"").has("href=\"/\"").lacks(next);
        }
    })
    .await;
}
