//! Who may open a page: sessions, forms, rights and limits.

use reqwest::Method;
use serde_json::Value;
use taskcenter_server::core::access::Scope;
use taskcenter_server::engine::service::RecordKind;

use super::{Browser, PAGES, create, hourly, token, with_console, with_locked_console};

#[tokio::test]
async fn a_page_without_a_session_leads_to_the_sign_in_page_and_back() {
    with_locked_console(async |server| {
        let browser = Browser::new(server);
        for page in PAGES.iter().filter(|page| **page != "/console/sign-in") {
            assert_eq!(browser.get(page).await.status, 303, "{page}");
        }
        let refused = browser.get("/console/tasks?q=state%3Aactive").await;
        assert_eq!(
            (refused.status, refused.location()),
            (303, "/console/sign-in?next=%2Fconsole%2Ftasks%3Fq%3Dstate%253Aactive")
        );
        let form = browser.get(refused.location()).await;
        form.has("name=\"next\" value=\"/console/tasks?q=state%3Aactive\"");
        let (_, text) = token(server, &[Scope::TaskRead], &[]).await;
        let fields = [("token", text.as_str()), ("next", "/console/tasks?q=state%3Aactive")];
        let signed_in = browser.post("/console/sign-in", "/console/sign-in", &fields).await;
        assert_eq!((signed_in.status, signed_in.location()), (303, "/console/tasks?q=state%3Aactive"));
        assert_eq!(browser.get("/").await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn another_site_is_no_target_after_the_sign_in() {
    with_locked_console(async |server| {
        let (_, text) = token(server, &[Scope::TaskRead], &[]).await;
        for next in ["//evil.example/", "https://evil.example/", "/v1/tasks"] {
            let fields = [("token", text.as_str()), ("next", next)];
            let signed_in = Browser::new(server).post("/console/sign-in", "/console/sign-in", &fields).await;
            assert_eq!((signed_in.status, signed_in.location()), (303, "/"), "{next}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_wrong_token_opens_no_session_and_attempts_are_limited() {
    with_locked_console(async |server| {
        let browser = Browser::new(server);
        let (_, text) = token(server, &[Scope::TaskRead], &[]).await;
        let wrong = format!("{}{}", &text[..text.len() - 4], "0000");
        for attempt in 0..10 {
            let refused = browser.sign_in(&wrong).await;
            assert_eq!(refused.status, 401, "attempt {attempt}");
            refused.has("role=\"alert\"").lacks(&wrong);
        }
        assert_eq!(browser.sign_in(&wrong).await.status, 429);
        assert_eq!(browser.sign_in(&text).await.status, 429, "the attempts of one token are counted");
        assert!(browser.cookie("taskcenter_session").is_none());
        let (_, other) = token(server, &[Scope::TaskRead], &[]).await;
        assert_eq!(browser.sign_in(&other).await.status, 303, "other tokens are not delayed");
    })
    .await;
}

#[tokio::test]
async fn a_session_ends_with_a_sign_out_its_token_or_its_lifetime() {
    with_locked_console(async |server| {
        let status = async |browser: &Browser<'_>| browser.get("/console/tasks").await.status;
        let (id, text) = token(server, &[Scope::TaskRead], &[]).await;
        let [out, revoked, old] = [(); 3].map(|()| Browser::new(server));
        for browser in [&out, &revoked, &old] {
            assert_eq!(browser.sign_in(&text).await.status, 303);
            assert_eq!(status(browser).await, 200);
        }
        let stolen = out.cookie("taskcenter_session").unwrap();
        let signed_out = out.post("/", "/console/sign-out", &[]).await;
        assert_eq!((signed_out.status, signed_out.location()), (303, "/console/sign-in"));
        assert_eq!(status(&out).await, 303);
        out.set_cookie("taskcenter_session", &stolen);
        assert_eq!(status(&out).await, 303, "the secret of a closed session is worthless");
        server.clock.advance_ms(12 * 3_600_000 - 1);
        assert_eq!(status(&old).await, 200);
        server.clock.advance_ms(1);
        assert_eq!(status(&old).await, 303);
        assert_eq!(revoked.sign_in(&text).await.status, 303);
        server.state.service.revoke_token(&id).await.unwrap();
        assert_eq!(status(&revoked).await, 303);
    })
    .await;
}

#[tokio::test]
async fn a_form_without_the_token_of_its_browser_changes_nothing() {
    with_console(async |server| {
        let (browser, other) = (Browser::new(server), Browser::new(server));
        let of_other = other.get("/").await.form_token();
        browser.get("/").await;
        for fields in [&[][..], &[("form_token", "")], &[("form_token", of_other.as_str())]] {
            let fields = [fields, &[("lang", "zh")]].concat();
            let refused = browser.post_raw("/console/preferences", &fields).await;
            assert_eq!(refused.status, 403);
            refused.has("The form has expired");
        }
        assert!(browser.cookie("taskcenter_lang").is_none());
        let token = browser.get("/").await.form_token();
        let body = format!("form_token={token}&lang=zh");
        let request = browser.request(Method::POST, "/console/preferences").body(body);
        let refused = browser.send(request.header("sec-fetch-site", "cross-site")).await;
        assert_ne!(refused.status, 303, "a form on another site");
        assert!(browser.cookie("taskcenter_lang").is_none());
        assert_eq!(browser.post("/", "/console/preferences", &[("lang", "zh")]).await.status, 303);
        assert_eq!(browser.cookie("taskcenter_lang").as_deref(), Some("zh"));
    })
    .await;
}

#[tokio::test]
async fn a_link_on_another_site_opens_the_page_with_a_second_request() {
    with_console(async |server| {
        let browser = Browser::new(server);
        let link = browser.request(Method::GET, "/console/tasks?q=%22%3E%3Cscript%3E");
        let link = link.header("sec-fetch-site", "cross-site").header("sec-fetch-mode", "navigate");
        let shown = browser.send(link).await;
        assert_eq!(shown.status, 200);
        shown.has("content=\"0;url=/console/tasks?q=%22%3E%3Cscript%3E\"").lacks("<main");
        let script = browser.request(Method::GET, "/").header("sec-fetch-site", "cross-site");
        let refused = browser.send(script.header("sec-fetch-mode", "no-cors")).await;
        assert_eq!(refused.status, 303, "a page of another site gets nothing without a session");
    })
    .await;
}

#[tokio::test]
async fn a_token_that_is_limited_to_tags_shows_those_tags_only() {
    with_locked_console(async |server| {
        let (own, foreign) =
            (create_as_node(server, "pay").await, create_as_node(server, "secret-name").await);
        let (_, text) = token(server, &[Scope::TaskRead], &["pay"]).await;
        let browser = Browser::new(server);
        browser.sign_in(&text).await;
        for page in ["/", "/console/tasks", "/console/runs", "/console/queues", "/console/dead-letters"] {
            let shown = browser.get(page).await;
            assert_eq!(shown.status, 200, "{page}");
            shown.lacks("secret-name");
        }
        browser.get("/console/tasks").await.has("pay").lacks("/console/access").lacks("/console/services");
        assert_eq!(browser.get(&format!("/console/tasks/{own}")).await.status, 200);
        assert_eq!(browser.get(&format!("/console/tasks/{foreign}")).await.status, 404);
        assert_eq!(browser.get("/console/tasks?q=secret-name").await.status, 403);
        for page in ["/console/access", "/console/services"] {
            assert_eq!(browser.get(page).await.status, 403, "{page}");
        }
    })
    .await;
}

/// Creates a task where every request needs a token.
async fn create_as_node(server: &crate::http::Server, name: &str) -> String {
    let (_, text) = token(server, &[Scope::TaskWrite], &[]).await;
    let bearer = format!("Bearer {text}");
    let headers = [("authorization", bearer.as_str())];
    let (status, task) = server.request(Method::POST, "/v1/tasks", &headers, &hourly(name)).await;
    assert_eq!(status, 201, "{task}");
    task["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn only_an_administrator_sees_tokens() {
    with_console(async |server| {
        let (id, text) = token(server, &[Scope::TaskRead], &[]).await;
        let shown = Browser::new(server).get("/console/access").await;
        shown.has(&id).has("task:read").lacks(&text);
        let reader = Browser::new(server);
        reader.sign_in(&text).await;
        assert_eq!(reader.get("/console/access").await.status, 403);
        reader.get("/").await.lacks("/console/access").has("reader");
        create(server, hourly("x")).await;
    })
    .await;
}

#[tokio::test]
async fn a_token_has_a_limited_number_of_sessions_and_none_after_its_revocation() {
    with_locked_console(async |server| {
        let service = &server.state.service;
        let sessions = async || {
            let kind = RecordKind::internal("browser_session");
            service.list_records::<Value>(kind, None, None, 1_000).await.unwrap().len()
        };
        let (id, text) = token(server, &[Scope::TaskRead], &[]).await;
        let (_, other) = token(server, &[Scope::TaskRead], &[]).await;
        let kept = service.open_browser_session(&other, 1_000).await.unwrap();
        let first = service.open_browser_session(&text, 1_000).await.unwrap();
        for after_ms in 1..100 {
            service.open_browser_session(&text, 1_000 + after_ms).await.unwrap();
        }
        assert!(service.browser_session(&first).await.unwrap().is_some());
        let last = service.open_browser_session(&text, 2_000).await.unwrap();
        assert_eq!(sessions().await, 101, "100 of one token, and 1 of the other");
        assert!(service.browser_session(&first).await.unwrap().is_none(), "the first to expire was removed");
        assert!(service.browser_session(&last).await.unwrap().is_some());
        service.revoke_token(&id).await.unwrap();
        assert_eq!(sessions().await, 1);
        assert!(service.browser_session(&kept).await.unwrap().is_some());
    })
    .await;
}
