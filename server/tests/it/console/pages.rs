//! What the pages show, and that nothing in them can run.

use reqwest::Method;
use serde_json::json;
use taskcenter_server::core::access::Scope;
use taskcenter_server::core::run::Outcome;
use taskcenter_server::engine::service::{LeaseTerms, MIN_LEASE_MS, Report};

use super::{Browser, PAGES, Shown, create, hourly, token, with_console};
use crate::http::{NOW, Server};

/// Markup that would run where a text is not escaped.
const ATTACK: &str = "\"'><img src=x onerror=alert(1)><script>alert(2)</script>";

/// Asserts that a page has a strict policy, and nothing that the policy forbids.
#[track_caller]
fn is_clean(shown: &Shown, path: &str) {
    let policy = shown.header("content-security-policy");
    assert!(policy.contains("default-src 'none'; script-src 'self'"), "{path}: {policy}");
    assert!(policy.contains("frame-ancestors 'none'"), "{path}: {policy}");
    assert!(!policy.contains("unsafe"), "{path}: {policy}");
    assert_eq!(shown.header("cache-control"), "no-store", "{path}");
    assert_eq!(shown.header("x-content-type-options"), "nosniff", "{path}");
    for forbidden in [" style=\"", "<style", " onclick", " onerror=", "javascript:", "http://", "https://"] {
        shown.lacks(forbidden);
    }
    for (at, _) in shown.html.match_indices("<script") {
        assert!(shown.html[at..].starts_with("<script type=\"module\" src=\"/console/assets/"), "{path}");
    }
}

#[tokio::test]
async fn every_page_is_shown_in_both_languages_under_a_strict_policy() {
    with_console(async |server| {
        let browser = Browser::new(server);
        for (lang, word) in [("en", "Skip to content"), ("zh", "跳到内容")] {
            browser.set_cookie("taskcenter_lang", lang);
            for page in PAGES {
                let shown = browser.get(page).await;
                assert_eq!(shown.status, 200, "{page}");
                shown.has(word).has(&format!("<html lang=\"{lang}\""));
                is_clean(&shown, page);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn the_browser_chooses_the_language_and_a_person_another_one() {
    with_console(async |server| {
        let browser = Browser::new(server);
        let chinese = browser.request(Method::GET, "/").header("accept-language", "zh-CN,zh;q=0.9,en;q=0.8");
        browser.send(chinese).await.has("lang=\"zh\"").has("概览").lacks("data-theme");
        let set =
            browser.post("/console/runs", "/console/preferences", &[("theme", "dark"), ("back", "/x")]).await;
        assert_eq!((set.status, set.location()), (303, "/"));
        browser.get("/console/runs").await.has("data-theme=\"dark\"").has("name=\"theme\" value=\"light\"");
        browser.set_cookie("taskcenter_theme", "\"><script>");
        browser.get("/").await.lacks("data-theme");
    })
    .await;
}

#[tokio::test]
async fn lists_link_to_the_pages_of_tasks_and_runs() {
    with_console(async |server| {
        let browser = Browser::new(server);
        let daily = json!({"name": "report", "data": "{\"day\":1}",
            "schedule": {"kind": "cron", "cron": "30 2 * * *", "zone": "Europe/Berlin"}});
        let id = create(server, daily).await;
        let path = format!("/console/tasks/{id}");
        let list = browser.get("/console/tasks").await;
        list.has("Every day at 02:30").has("30 2 * * * Europe/Berlin").has(&format!("href=\"{path}\""));
        let task = browser.get(&path).await;
        task.has("Next moments").has("02:30:00").has("{&#34;day&#34;:1}").has("9 B");
        is_clean(&task, &path);
        let run = server.ready("payload-of-the-run").await;
        let run_path = format!("/console/runs/{}", run.id);
        browser.get("/console/runs").await.has(&format!("href=\"{run_path}\"")).lacks("payload-of-the-run");
        let shown = browser.get(&run_path).await;
        shown.has("payload-of-the-run").has("No worker takes runs from the queue q.").has("Ready");
        is_clean(&shown, &run_path);
        browser.get("/console/queues").await.has("no worker").has(">q<");
        browser.get("/").await.has("No worker takes runs from the queue q.");
    })
    .await;
}

#[tokio::test]
async fn tasks_are_shown_with_a_strip_of_their_last_runs() {
    with_console(async |server| {
        let browser = Browser::new(server);
        let mut trigger = Vec::new();
        let id = create(server, hourly("mail")).await;
        create(server, hourly("idle")).await;
        for _ in 0..3 {
            let (status, run) = server.post(&format!("/v1/tasks/{id}/trigger"), &json!({})).await;
            assert_eq!(status, 202, "{run}");
            trigger.push(run["run_id"].as_str().unwrap().to_owned());
        }
        let (status, cancelled) = server.post(&format!("/v1/runs/{}/cancel", trigger[0]), &json!({})).await;
        assert_eq!(status, 200, "{cancelled}");
        let list = browser.get("/console/tasks").await;
        assert_eq!(list.html.matches("<svg class=\"strip").count(), 1, "a task without runs has no strip");
        for page in [list, browser.get(&format!("/console/tasks/{id}")).await] {
            page.has("role=\"img\" aria-label=\"0 succeeded, 0 dead, 2 open, 1 skipped or cancelled\"");
            page.has("<title>Cancelled · ");
            is_clean(&page, "a page with a strip");
        }
    })
    .await;
}

#[tokio::test]
async fn the_overview_has_charts_of_the_last_hour_of_this_node() {
    with_console(async |server| {
        let run = server.ready("1").await;
        let worker = server.state.service.clone();
        let terms = LeaseTerms {
            worker: "w".to_owned(),
            queues: vec!["q".to_owned()],
            limit: 1,
            lease_ms: MIN_LEASE_MS,
            wait: std::time::Duration::ZERO,
            request_id: None,
        };
        let leased = worker.lease(&terms).await.unwrap();
        let outcome = Outcome::Succeeded { result: None };
        let attempt_token = leased[0].token.clone();
        let report = Report { attempt: 1, token: attempt_token, outcome, message: None, started_at: None };
        worker.report(&run.id, &report).await.unwrap();
        let (admin, limited) = (Browser::new(server), Browser::new(server));
        let (_, text) = token(server, &[Scope::TaskRead], &["order.close"]).await;
        assert_eq!(limited.sign_in(&text).await.status, 303);
        let overview = admin.get("/").await;
        overview.has("aria-labelledby=\"late-leased-t late-leased-d\"><title id=\"late-leased-t\">");
        overview
            .has("0 fired · 1 succeeded · 0 dead")
            .has("Last hour, on this node")
            .has("Figures as a table");
        is_clean(&overview, "/");
        limited.get("/").await.lacks("<svg class=\"chart").lacks("Last hour");
    })
    .await;
}

#[tokio::test]
async fn moments_around_a_clock_change_are_marked() {
    with_console(async |server| {
        // The clocks of Berlin go forward on 27 March 2033.
        server.clock.advance_ms(1_995_400_000_000 - NOW.ms());
        let daily = json!({"name": "report",
            "schedule": {"kind": "cron", "cron": "30 2 * * *", "zone": "Europe/Berlin"}});
        let id = create(server, daily).await;
        let shown = Browser::new(server).get(&format!("/console/tasks/{id}")).await;
        shown.has("Clock forward").has("03:00:00").has("CEST");
        assert_eq!(shown.html.matches("class=\"dst\"").count(), 1);
        shown.lacks(">…<");
    })
    .await;
}

#[tokio::test]
async fn the_first_moment_after_a_clock_change_is_shown_however_far_it_is() {
    with_console(async |server| {
        // In May. The clocks of Berlin go back on 30 October 2033.
        let browser = Browser::new(server);
        let daily = json!({"name": "report",
            "schedule": {"kind": "cron", "cron": "0 9 * * *", "zone": "Europe/Berlin"}});
        let id = create(server, daily.clone()).await;
        let shown = browser.get(&format!("/console/tasks/{id}")).await;
        shown.has("Clock back").has("30 Oct 2033, 09:00:00").has(">…<");
        for limit in [json!({"max_fires": 20}), json!({"end_at": "2033-06-15T00:00:00Z"})] {
            let mut limited = daily.clone();
            limited.as_object_mut().unwrap().extend(limit.as_object().unwrap().clone());
            let id = create(server, limited).await;
            browser.get(&format!("/console/tasks/{id}")).await.lacks("Clock back");
        }
    })
    .await;
}

#[tokio::test]
async fn filters_are_in_the_url() {
    with_console(async |server| {
        let browser = Browser::new(server);
        for name in ["order.close", "mail"] {
            create(server, hourly(name)).await;
        }
        let filtered = browser.get("/console/tasks?q=name%3Amail+state%3Aactive").await;
        filtered.has("value=\"name:mail state:active\"").lacks("order.close");
        browser.get("/console/tasks?q=mail").await.has(">mail<").lacks("order.close");
        browser.get("/console/tasks?q=state%3Apaused").await.has("No task matches this filter");
        browser.get("/console/tasks?q=since%3A2h").await.has("Unknown filter").has("order.close");
        browser.get("/console/runs?q=state%3Awrong").await.has("Unknown filter");
        browser.get("/console/runs?q=task%3Awrong").await.has("Unknown filter");
        server.ready("1").await;
        browser.get("/console/runs?q=tag%3Aorder.close+state%3Aready").await.has("href=\"/console/runs/");
        browser.get("/console/runs?q=tag%3Amail").await.has("No run matches this filter");
        browser.get("/console/dead-letters").await.has("No dead run.");
    })
    .await;
}

#[tokio::test]
async fn long_lists_have_pages() {
    with_console(async |server| {
        let browser = Browser::new(server);
        for number in 0..60 {
            create(server, hourly(&format!("task-{number:02}"))).await;
            server.ready(&number.to_string()).await;
        }
        for path in ["/console/tasks", "/console/runs"] {
            let mut rows = 0;
            let mut next = path.to_owned();
            for page in 0.. {
                let shown = browser.get(&next).await;
                rows += shown.html.matches("data-key=").count();
                let link = shown.html.split("rel=\"next\" href=\"").nth(1);
                let Some(link) = link else {
                    assert!(page > 0, "{path} has one page");
                    shown.has("First page");
                    break;
                };
                next = link.split('"').next().unwrap().replace("&#38;", "&");
            }
            let all = if path == "/console/tasks" { 120 } else { 60 };
            assert_eq!(rows, all, "{path}");
        }
    })
    .await;
}

#[tokio::test]
async fn unknown_pages_and_methods_have_the_look_of_the_console() {
    with_console(async |server| {
        let browser = Browser::new(server);
        let id = "0".repeat(32);
        for path in [
            "/console/nothing",
            "/console/a/b/c",
            "/console/tasks/x",
            "/console/runs/x",
            "/console/runs/%ff",
            &format!("/console/tasks/{id}"),
            "/console/assets/console.css",
        ] {
            let shown = browser.get(path).await;
            assert_eq!(shown.status, 404, "{path}");
            shown.has("<nav class=\"side\"").has("Not found");
            is_clean(&shown, path);
        }
        let refused = browser.send(browser.request(Method::POST, "/console/tasks")).await;
        assert_eq!(refused.status, 405);
        refused.has("<nav class=\"side\"");
        assert_eq!(browser.get("/console").await.location(), "/");
        let (status, problem) = server.get("/nothing").await;
        assert_eq!(
            (status, &problem["code"]),
            (404, &json!("no_such_route")),
            "other paths belong to the API"
        );
    })
    .await;
}

#[tokio::test]
async fn assets_are_kept_for_good_under_names_that_change_with_them() {
    with_console(async |server| {
        let browser = Browser::new(server);
        let page = browser.get("/console/sign-in").await;
        for (before, kind) in [("rel=\"stylesheet\" href=\"", "text/css"), ("src=\"", "text/javascript")] {
            let path = page.html.split(before).nth(1).unwrap().split('"').next().unwrap();
            let asset = browser.get(path).await;
            assert_eq!(asset.status, 200);
            assert!(asset.header("content-type").starts_with(kind));
            assert_eq!(asset.header("cache-control"), "public, max-age=31536000, immutable");
            let etag = asset.header("etag");
            assert!(path.contains(etag.trim_matches('"')), "{path} {etag}");
            let again = browser.request(Method::GET, path).header("if-none-match", etag);
            let again = browser.send(again).await;
            assert_eq!((again.status, again.html.as_str()), (304, ""));
            let head = browser.send(browser.request(Method::HEAD, path)).await;
            assert_eq!((head.status, head.header("etag")), (200, etag));
        }
    })
    .await;
}

/// Stores tasks and runs whose texts are attacks. Returns the pages that show them.
async fn attacked(server: &Server) -> Vec<String> {
    let spec = json!({"name": ATTACK, "data": ATTACK, "queue": ATTACK,
        "headers": {"x-note": "</pre><script>"}, "schedule": {"kind": "cron", "cron": "0 0 1 1 *"}});
    let id = create(server, spec).await;
    let run = server.ready(ATTACK).await;
    server.ready("another").await;
    let lease = json!({"worker": ATTACK, "queues": ["q"], "lease_ms": 10_000, "limit": 2});
    let (status, leased) = server.post("/v1/runs/lease", &lease).await;
    assert_eq!(status, 200, "{leased}");
    let first = leased["runs"].as_array().unwrap().iter().find(|leased| leased["run_id"] == run.id.as_str());
    let outcome = json!({"run_id": run.id, "attempt": 1, "token": first.unwrap()["token"], "outcome": "dead",
        "message": ATTACK});
    let (status, reply) = server.post("/v1/runs/settle", &json!({"outcomes": [outcome]})).await;
    assert_eq!((status, &reply["results"][0]["status"]), (200, &json!(200)), "{reply}");
    let (status, trigger) = server.post(&format!("/v1/tasks/{id}/trigger"), &json!({})).await;
    assert_eq!(status, 202, "{trigger}");
    let triggered = trigger["run_id"].as_str().unwrap();
    let silence = json!({"subject": ATTACK, "comment": ATTACK, "until": "2033-05-19T00:00:00Z"});
    let (status, silence) = server.post("/v1/alerts/silences", &silence).await;
    assert_eq!(status, 201, "{silence}");
    let silence = silence["id"].as_str().unwrap();
    // The queue of this hold has no run, so that the other runs stay ready.
    let name = ATTACK.replace(['|', '*'], "");
    let hold = json!({"scope": "queue", "name": name, "reason": ATTACK});
    let (status, hold) = server.post("/v1/holds", &hold).await;
    assert_eq!(status, 201, "{hold}");
    let mut pages = vec![
        format!("/console/alerts/silences/{silence}/end"),
        format!("/console/tasks/{id}"),
        format!("/console/runs/{}", run.id),
    ];
    pages.push(format!("/console/runs/{triggered}"));
    pages.extend(PAGES.map(str::to_owned));
    let query: String = form_urlencoded::byte_serialize(ATTACK.as_bytes()).collect();
    for list in ["/console/tasks", "/console/runs", "/console/dead-letters"] {
        pages.push(format!("{list}?q={query}"));
        pages.push(format!("{list}?q=nothing%3A{query}&before={query}"));
    }
    pages.push(format!("/console/alerts/silences/new?rule={query}&subject={query}&comment={query}"));
    pages.push(format!("/console/holds/new?name={query}&reason={query}&length={query}"));
    pages.push(format!("/console/holds/release?scope=queue&name={query}"));
    pages.push(format!("/console/sign-in?next={query}"));
    pages.push(format!("/console/{query}"));
    pages
}

#[tokio::test]
async fn markup_in_texts_is_shown_and_never_runs() {
    with_console(async |server| {
        let browser = Browser::new(server);
        let pages = attacked(server).await;
        let dead = browser.get("/console/dead-letters").await;
        dead.has("&#60;script&#62;alert(2)&#60;/script&#62;");
        for page in pages {
            let shown = browser.get(&page).await;
            shown.lacks("<img").lacks("<script>").lacks("</pre><script");
        }
    })
    .await;
}
