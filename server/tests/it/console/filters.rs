//! Filter lines: labels, beginnings of names, errors, ranges of time, and searches that no index serves.

use serde_json::{Value, json};
use taskcenter_server::core::{Run, TaskId};
use taskcenter_server::ports::Clock as _;

use super::{Browser, Shown, create, hourly, with_console};
use crate::http::{NOW, Server};

const TASKS: &str = "/console/tasks";
const RUNS: &str = "/console/runs";
const DEAD: &str = "/console/dead-letters";

fn path(list: &str, line: &str) -> String {
    format!("{list}?q={}", form_urlencoded::byte_serialize(line.as_bytes()).collect::<String>())
}

fn labelled(name: &str, labels: &Value) -> Value {
    let mut spec = hourly(name);
    spec["labels"] = labels.clone();
    spec
}

/// Stores runs of a new task, one a millisecond from now, each with an error. Returns the id of the task.
async fn runs(server: &Server, spec: Value, errors: &[&str]) -> String {
    let id = create(server, spec).await;
    let task = server.state.service.shown_task(&TaskId::parse(&id).unwrap()).await.unwrap();
    let now = server.clock.now();
    let run = |(at, error): (usize, &&str)| {
        let mut run = Run::firing(&task, now.plus_ms(at as i64), "node", "first".to_owned(), now);
        run.enqueue(now).unwrap();
        run.reason = (!error.is_empty()).then(|| (*error).to_owned());
        run
    };
    let runs: Vec<Run> = errors.iter().enumerate().map(run).collect();
    for batch in runs.chunks(500) {
        server.store.insert_runs(batch).await.unwrap();
    }
    server.clock.advance_ms(errors.len() as i64);
    id
}

fn rows(shown: &Shown) -> usize {
    shown.html.matches("<tr role=\"row\" data-key=").count()
}

fn next(shown: &Shown) -> Option<String> {
    let link = shown.html.split("rel=\"next\" href=\"").nth(1)?;
    Some(link.split('"').next().unwrap().replace("&#38;", "&"))
}

#[tokio::test]
async fn labels_are_shown_and_lead_to_the_rows_with_the_same_label() {
    with_console(async |server| {
        let browser = Browser::new(server);
        let labels = json!({"team": "pay <b>", "acme.com/region": "eu-1", "a": "1", "tier": "2"});
        let id = create(server, labelled("order.close", &labels)).await;
        create(server, labelled("mail", &json!({"team": "mail"}))).await;
        create(server, hourly("plain")).await;
        let list = browser.get(TASKS).await;
        list.has(">team: mail</a>").has("<span class=\"chip\">+1</span>").has(">Labels</th>");
        let task = browser.get(&format!("{TASKS}/{id}")).await;
        let link = "href=\"/console/tasks?q=label.team%3A%22pay+%3Cb%3E%22\">team: pay &#60;b&#62;</a>";
        task.has(link).has("acme.com/region: eu-1").has("tier: 2");
        let found = browser.get("/console/tasks?q=label.team%3A%22pay+%3Cb%3E%22").await;
        found.has("order.close").lacks(">mail</a>").lacks(">plain</a>");
        let two = browser.get(&path(TASKS, "label.team:\"pay <b>\" label.tier:2 name:order.close")).await;
        assert_eq!(rows(&two), 1);
        two.has("No index serves the whole filter")
            .has("data-api=\"/v1/tasks?name=order.close&#38;label.team=pay");
        let wrong = browser.get(&path(TASKS, "label.Team:pay")).await;
        wrong.has("label key &#34;Team&#34; is invalid");
        create(server, hourly("bare")).await;
        browser.get(&path(TASKS, "name:bare")).await.lacks(">Labels</th>");

        let (status, fired) = server.post(&format!("/v1/tasks/{id}/trigger"), &json!({})).await;
        assert_eq!(status, 202, "{fired}");
        let run = browser.get(&format!("{RUNS}/{}", fired["run_id"].as_str().unwrap())).await;
        run.has("href=\"/console/runs?q=label.team%3A%22pay+%3Cb%3E%22\"");
        let found = browser.get(&path(RUNS, "label.acme.com/region:eu-1")).await;
        assert_eq!(rows(&found), 1);
        found.has("acme.com/region: eu-1").lacks("No index serves");
    })
    .await;
}

#[tokio::test]
async fn the_form_edits_labels() {
    with_console(async |server| {
        let browser = Browser::new(server);
        let id = create(server, labelled("mail", &json!({"team": "mail", "tier": "2"}))).await;
        let edit = format!("{TASKS}/{id}/edit");
        let form = browser.get(&edit).await;
        form.has("team=mail\ntier=2</textarea>");
        let fields = [("name", "mail"), ("kind", "every"), ("period", "1"), ("unit", "h"), ("rev", "1")];
        for (labels, why) in
            [("team", "&#34;team&#34; is no label"), ("Team=x", "label key"), ("team=", "the value")]
        {
            let refused = browser.post(&edit, &edit, &[&fields[..], &[("labels", labels)]].concat()).await;
            assert_eq!(refused.status, 422, "{labels}");
            refused.has(why).has("aria-invalid=\"true\">").has(labels);
        }
        let saved = browser
            .post(&edit, &edit, &[&fields[..], &[("labels", "team=pay\r\n\r\nzone = eu 1 \r\n")]].concat())
            .await;
        assert_eq!(saved.status, 303, "{}", saved.html);
        let (_, task) = server.get(&format!("/v1/tasks/{id}")).await;
        assert_eq!(task["labels"], json!({"team": "pay", "zone": "eu 1"}));
    })
    .await;
}

#[tokio::test]
async fn a_name_can_be_quoted_or_be_the_beginning_of_names() {
    with_console(async |server| {
        let browser = Browser::new(server);
        for name in ["order.close", "order.open", "orders", "two words"] {
            create(server, hourly(name)).await;
        }
        assert_eq!(rows(&browser.get(&path(TASKS, "name:\"two words\"")).await), 1);
        assert_eq!(rows(&browser.get(&path(TASKS, "\"two words\"")).await), 1);
        let orders = browser.get(&path(TASKS, "name:order.* state:active")).await;
        assert_eq!(rows(&orders), 2);
        orders
            .has("No index serves the whole filter (name)")
            .lacks("name=\"all\"")
            .has("name=\"id\"")
            .lacks("data-api");
        browser.get(&path(TASKS, "name:*.close")).await.has("Unknown filter");
        browser.get(&path(TASKS, "name:\"two words")).await.has("A quote (&#34;) is missing");
        let refused = browser
            .get(&path("/console/operations/new", "name:order.*").replace('?', "?action=pause&all=1&"))
            .await;
        assert_eq!(refused.status, 422);
        refused.has("An operation cannot select all rows of this filter");
        runs(server, hourly("order.ship"), &["", ""]).await;
        runs(server, hourly("mail"), &[""]).await;
        assert_eq!(rows(&browser.get(&path(RUNS, "tag:order.*")).await), 2);
    })
    .await;
}

#[tokio::test]
async fn a_range_of_time_limits_the_runs() {
    with_console(async |server| {
        let browser = Browser::new(server);
        runs(server, hourly("old"), &["", ""]).await;
        server.clock.advance_ms(3_600_000);
        runs(server, hourly("new"), &[""]).await;
        for (line, expected) in [
            ("since:30m", 1),
            ("since:2h", 3),
            ("until:30m", 2),
            ("since:2h until:30m tag:old", 2),
            ("until:30m tag:new", 0),
            ("since:2033-05-18T03:33:20.001Z until:30m", 1),
            ("until:2033-05-18T03:33:20Z", 0),
            ("since:2033-05-18", 3),
        ] {
            let shown = browser.get(&path(RUNS, line)).await;
            assert_eq!(rows(&shown), expected, "{line}");
            shown.lacks("No index serves").lacks("Unknown filter");
        }
        browser.get(&path(RUNS, "since:tomorrow")).await.has("Unknown filter").has("2h, 2026-11-29");
        let empty = browser.get(&path(RUNS, "until:30m tag:new")).await;
        assert_eq!(next(&empty), None);
        empty.has("No run matches this filter");
    })
    .await;
}

#[tokio::test]
async fn an_error_without_a_state_is_not_searched_and_a_narrower_filter_is_offered() {
    with_console(async |server| {
        let browser = Browser::new(server);
        let id = runs(server, hourly("mail"), &["Timed OUT after 3 s", "quota", ""]).await;
        let refused = browser.get(&path(RUNS, "error:\"timed out\"")).await;
        assert_eq!(rows(&refused), 0);
        refused.has("Name a state or a task").has("error:&#34;timed out&#34; state:dead</span>");
        refused.has("q=error%3A%22timed+out%22+state%3Aretrying").lacks("No run matches");
        for line in [&*format!("error:\"timed out\" task:{id}"), "error:\"timed out\" state:ready"] {
            let found = browser.get(&path(RUNS, line)).await;
            assert_eq!(rows(&found), 1, "{line}");
            found.has("Timed OUT").has("No index serves the whole filter (error)");
        }
        let dead = browser.get(&path(DEAD, "error:\"timed out\"")).await;
        dead.has("No run matches this filter").lacks("Name a state");
    })
    .await;
}

#[tokio::test]
async fn a_search_ends_after_a_number_of_rows_and_continues_there() {
    with_console(async |server| {
        let browser = Browser::new(server);
        let mut errors = vec![""; 6_000];
        errors[10] = "needle";
        errors[5_990] = "needle";
        runs(server, hourly("mail"), &errors).await;
        let mut page = browser.get(&path(RUNS, "state:ready error:needle")).await;
        assert_eq!(rows(&page), 1);
        page.has("runs were searched, back to").has(">Continue</a>");
        let (mut found, mut pages) = (1, 1);
        while let Some(link) = next(&page) {
            page = browser.get(&link).await;
            found += rows(&page);
            pages += 1;
        }
        assert_eq!((found, pages), (2, 3), "each page examines about 2,500 rows");
        page.lacks(">Continue</a>");
        let none = browser.get(&path(RUNS, "state:ready error:nothing")).await;
        none.has("No match so far.").lacks("No run matches this filter");
        let since = format!("state:ready error:needle since:{}", NOW.plus_ms(5_000));
        let ranged = browser.get(&path(RUNS, &since)).await;
        assert_eq!((rows(&ranged), next(&ranged)), (1, None), "the range ends the search");
    })
    .await;
}

#[tokio::test]
async fn the_states_have_counts_that_are_kept_for_some_seconds() {
    with_console(async |server| {
        let browser = Browser::new(server);
        let spec = labelled("mail", &json!({"team": "pay"}));
        runs(server, spec, &[""; 3]).await;
        runs(server, hourly("other"), &[""; 2]).await;
        let ready = |count: &str| format!("Ready <span class=\"n\">{count}</span>");
        let all = browser.get(RUNS).await;
        all.has(&ready("5")).has("Dead <span class=\"n\">0</span>");
        browser.get(&path(RUNS, "tag:mail state:dead")).await.has(&ready("3"));
        browser.get(&path(RUNS, "label.team:pay")).await.has(&ready("3"));
        for unindexed in ["tag:m*", "since:2h", "tag:mail label.team:pay", "error:x state:dead"] {
            browser.get(&path(RUNS, unindexed)).await.lacks("<span class=\"n\">");
        }
        runs(server, hourly("more"), &[""; 4]).await;
        browser.get(RUNS).await.has(&ready("5"));
        server.clock.advance_ms(10_000);
        browser.get(RUNS).await.has(&ready("9"));
    })
    .await;
}

#[tokio::test]
async fn a_count_ends_at_ten_thousand() {
    with_console(async |server| {
        runs(server, hourly("mail"), &vec![""; 10_050]).await;
        let ready = "Ready <span class=\"n\">10k+</span>";
        Browser::new(server).get(RUNS).await.has(ready);
    })
    .await;
}

#[tokio::test]
async fn dead_runs_are_grouped_by_tag_and_error() {
    with_console(async |server| {
        let browser = Browser::new(server);
        let fail = async |tag: &str, errors: &[&str]| {
            let mut spec = hourly(tag);
            spec["queue"] = json!("dies");
            runs(server, spec, &vec![""; errors.len()]).await;
            let lease = json!({"worker": "w", "queues": ["dies"], "limit": errors.len()});
            let (_, leased) = server.post("/v1/runs/lease", &lease).await;
            let leased = leased["runs"].as_array().unwrap();
            let outcome = |(run, error): (&Value, &&str)| {
                json!({"run_id": run["run_id"], "attempt": 1, "token": run["token"], "outcome": "dead", "message": error})
            };
            let outcomes: Vec<Value> = leased.iter().zip(errors).map(outcome).collect();
            assert_eq!(outcomes.len(), errors.len());
            server.post("/v1/runs/settle", &json!({"outcomes": outcomes})).await;
        };
        fail("mail", &["order 17 <b> not found", "order 18 <b> not found", "quota"]).await;
        fail("report", &["order 17 <b> not found"]).await;
        let page = browser.get(DEAD).await;
        page.has("of the latest 200 dead runs").has("aria-label=\"Redrive the tag: mail\"");
        let panel = page.html.split("data-region=\"groups\"").nth(1).unwrap().split("</section>").next().unwrap();
        assert_eq!(panel.matches("<li>").count(), 3, "{panel}");
        let first = panel.split("<li>").nth(1).unwrap();
        assert!(first.contains("&#60;b&#62; not found") && first.contains("<span class=\"strong\">2</span>"), "{first}");
        let link = first.split("href=\"").nth(1).unwrap().split('"').next().unwrap().replace("&#38;", "&");
        assert_eq!(link, "/console/dead-letters?q=tag%3Amail+error%3A%22%3Cb%3E+not+found%22");
        let group = browser.get(&link).await;
        assert_eq!(group.html.matches("<tr role=\"row\" data-key=").count(), 2);
        let redrive = first.split("href=\"").nth(2).unwrap().split('"').next().unwrap().replace("&#38;", "&");
        browser.get(&redrive).await.has("<dd>tag:mail state:dead</dd>").has("<dd>3</dd>");
    })
    .await;
}

#[tokio::test]
async fn the_words_of_a_line_are_known() {
    with_console(async |server| {
        runs(server, hourly("mail"), &[""]).await;
        let get = async |query: &str| server.get(&format!("/console/filter-words{query}")).await;
        let (status, words) = get("?path=/console/runs").await;
        assert_eq!((status, &words["keys"][3]), (200, &json!("label.key")), "{words}");
        assert_eq!(words["values"]["tag"], json!(["mail"]));
        assert!(words["values"]["state"].as_array().unwrap().contains(&json!("dead")));
        assert_eq!(get("?path=/console/tasks").await.1["values"]["name"], json!(["mail"]));
        assert_eq!(get("?path=/x").await, (200, json!({"keys": [], "values": {}})));
    })
    .await;
}

#[tokio::test]
async fn all_rows_with_a_label_are_paused() {
    with_console(async |server| {
        let browser = Browser::new(server);
        for n in 0..3 {
            create(server, labelled("mail", &json!({"team": "pay", "n": n.to_string()}))).await;
        }
        create(server, labelled("mail", &json!({"team": "mail"}))).await;
        server.clock.advance_ms(1);
        let list = browser.get(&path(TASKS, "label.team:pay")).await;
        list.has("All rows that match the filter");
        let ask = path("/console/operations/new", "label.team:pay").replace('?', "?action=pause&all=1&");
        let asked = browser.get(&ask).await;
        asked.has("<dd>label.team:pay</dd>").has("<dd>3</dd>");
        let fields = asked.hidden_fields();
        let fields: Vec<(&str, &str)> =
            fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let created = browser.post_raw("/console/operations/new", &fields).await;
        assert_eq!(created.status, 303, "{}", created.html);
        super::operations::carry_out(server).await;
        let (_, paused) = server.get("/v1/tasks?state=paused").await;
        let teams: Vec<&Value> =
            paused["tasks"].as_array().unwrap().iter().map(|task| &task["labels"]["team"]).collect();
        assert_eq!(teams, [&json!("pay"); 3]);
        let (_, list) = server.get("/v1/operations").await;
        assert_eq!(list["operations"][0]["filter"], json!({"labels": {"team": "pay"}}));
    })
    .await;
}

#[tokio::test]
async fn a_wrong_value_of_a_parameter_is_named_with_the_allowed_values() {
    with_console(async |server| {
        let browser = Browser::new(server);
        let id = create(server, hourly("n")).await;
        let wrong = [
            ("/console/audit?action=wrong%3C", "&#34;wrong&#60;&#34; of the parameter action", "task.create"),
            ("/console/audit?since=1y", "&#34;1y&#34; of the parameter since", "1h, 1d, 7d, 30d"),
            ("/console/audit?before=x", "parameter before", "an id"),
            ("/console/tasks?before=x", "parameter before", "an id"),
            ("/console/runs?before=x", "parameter before", "a place"),
            ("/console/dead-letters?before=x", "parameter before", "a place"),
            ("/console/operations?before=x", "parameter before", "an id"),
            (&format!("/console/tasks/{id}/revisions?from=x"), "parameter from", "a whole number"),
            ("/console/alerts/silences/new?rule=x", "parameter rule", "no_worker"),
            ("/console/holds/new?scope=x", "parameter scope", "queue, tag"),
        ];
        for (path, problem, allowed) in wrong {
            let shown = browser.get(path).await;
            assert_eq!(shown.status, 400, "{path}");
            shown.has("role=\"alert\"").has(problem).has(allowed).lacks("tabindex=\"-1\" data-live");
            let clean = browser.get(path.split('?').next().unwrap()).await;
            assert_eq!(clean.status, 200, "{path}");
            clean.lacks("is not allowed");
        }
    })
    .await;
}
