//! Commands that call a server.

use serde_json::Value;

use crate::docs::pages::Page;

use super::program::{Dev, Running, data_dir, http_client, taskcenter, taskcenter_with_input};

fn text<'a>(document: &'a Value, field: &str) -> &'a str {
    document[field].as_str().unwrap_or_else(|| panic!("{document} has no {field}"))
}

#[tokio::test]
async fn a_task_can_be_created_edited_and_ended() {
    let data = data_dir();
    let dev = Dev::start(data.path(), &[]).await;
    let task = dev
        .json(&["task", "add", "mail", "--data", "hi", "--every", "1h", "--in", "1h", "--times", "9"])
        .await;
    let id = text(&task, "id").to_owned();
    let mut task = task;
    let warnings = task.as_object_mut().unwrap().remove("warnings").unwrap();
    let expected = "the runs will wait for a worker on queue \"mail\"; none has asked this node";
    assert!(warnings[0].as_str().unwrap().starts_with(expected), "{warnings}");
    assert_eq!(dev.json(&["task", "get", &id]).await, task);
    let list = dev.json(&["task", "list", "--name", "mail", "--state", "active"]).await;
    assert_eq!(list["tasks"][0], task);

    let edited =
        dev.json(&["task", "edit", &id, "--data", "ho", "--cron", "@daily", "--clear", "times"]).await;
    let edited = &edited["task"];
    assert_eq!((text(edited, "data"), text(&edited["schedule"], "cron")), ("ho", "@daily"));
    assert!(edited["max_fires"].is_null() && edited["rev"].as_u64() > task["rev"].as_u64(), "{edited}");

    assert_eq!(text(&dev.json(&["task", "pause", &id]).await["task"], "state"), "paused");
    assert_eq!(text(&dev.json(&["task", "resume", &id]).await["task"], "state"), "active");
    let run = dev.json(&["task", "trigger", &id]).await;
    let run_id = text(&run, "run_id").to_owned();
    assert!(run["triggered"].as_bool().unwrap(), "{run}");
    assert_eq!(text(&dev.json(&["run", "get", &run_id]).await, "task_id"), id);
    let runs = dev.json(&["run", "list", "--task", &id]).await;
    assert_eq!(text(&runs["runs"][0], "run_id"), run_id);
    assert_eq!(text(&dev.json(&["run", "cancel", &run_id]).await, "state"), "cancelled");

    assert_eq!(text(&dev.json(&["task", "cancel", &id]).await["task"], "state"), "cancelled");
    let _ = dev.json(&["task", "delete", &id]).await;
    assert_eq!(dev.run(&["task", "get", &id]).await.0, 3);
    assert_eq!(dev.running.stop().await, 0);
}

#[tokio::test]
async fn the_definitions_of_a_task_are_listed_and_compared() {
    let data = data_dir();
    let dev = Dev::start(data.path(), &[]).await;
    let task = dev.json(&["task", "add", "mail", "--data", "42", "--in", "1h", "--label", "team=pay"]).await;
    let id = text(&task, "id").to_owned();
    let commands = Page::read("docs/history.md").code("sh").concat();
    let lines: Vec<&str> = commands.lines().filter(|line| line.contains(" task ")).collect();
    assert_eq!(lines.len(), 3);
    let mut out = String::new();
    for line in lines {
        let line = line.strip_prefix("taskcenter ").unwrap().replace("019aa4c81b7a7c3e8a51f3d6c2b90417", &id);
        let words: Vec<&str> = line.split(' ').collect();
        let (code, printed, err) = dev.run(&words).await;
        assert_eq!(code, 0, "{line}: {printed}{err}");
        out = printed;
    }
    assert_eq!(out, Page::read("docs/history.md").code("text")[0]);
    let (_, out, _) = dev.run(&["task", "revisions", &id]).await;
    let rows: Vec<Vec<&str>> = out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        (rows.len(), rows[0][0], rows[1][..2].to_vec()),
        (3, "REVISION", vec!["2", "edited"]),
        "{out}"
    );
    let changes = dev.json(&["task", "revisions", &id, "--diff", "2", "1"]).await;
    assert_eq!(changes, serde_json::json!({"data": "42"}));
    let listed = dev.json(&["task", "revisions", &id]).await;
    assert_eq!(listed["revisions"][1]["definition"]["labels"], serde_json::json!({"team": "pay"}));
    let (code, _, err) = dev.run(&["task", "revisions", &id, "--diff", "1", "9"]).await;
    assert!(code == 1 && err.contains("no revision 9"), "{code} {err}");
    assert_eq!(dev.running.stop().await, 0);
}

#[tokio::test]
async fn the_audit_log_is_listed_and_filtered() {
    let data = data_dir();
    let dev = Dev::start(data.path(), &[]).await;
    let task = dev.json(&["task", "add", "mail", "--in", "1h"]).await;
    let id = text(&task, "id").to_owned();
    let _ = dev.json(&["task", "pause", &id]).await;
    let _ = dev.json(&["task", "resume", &id]).await;
    let (code, out, _) = dev.run(&["audit", "--object", &id, "--since", "1h"]).await;
    let rows: Vec<&str> = out.lines().collect();
    assert!(code == 0 && rows.len() == 3 && rows[0].contains("ACTOR"), "{out}");
    assert!(rows[1].contains("task.resume") && rows[1].contains("loopback"), "{out}");
    let paused = dev.json(&["audit", "--action", "task.pause", "--actor", "loopback"]).await;
    assert_eq!(text(&paused["entries"][0], "object"), id);
    let (code, _, err) = dev.run(&["audit", "--actor", "ann"]).await;
    assert_eq!((code, err.as_str()), (0, "no entries\n"));
    assert_eq!(dev.running.stop().await, 0);
}

#[tokio::test]
async fn labels_are_set_changed_removed_and_filter_lists() {
    let data = data_dir();
    let dev = Dev::start(data.path(), &[]).await;
    let add = ["task", "add", "mail", "--in", "1h", "--label", "team=pay", "--label", "tier=1"];
    let task = dev.json(&add).await;
    let id = text(&task, "id").to_owned();
    assert_eq!(task["labels"], serde_json::json!({"team": "pay", "tier": "1"}));
    let _ = dev.json(&["task", "add", "other", "--in", "1h", "--label", "team=pay"]).await;
    let run = dev.json(&["task", "trigger", &id]).await;
    let list = dev.json(&["task", "list", "--label", "team=pay", "--label", "tier=1"]).await;
    assert_eq!((list["tasks"].as_array().unwrap().len(), text(&list["tasks"][0], "id")), (1, &*id));
    let runs = dev.json(&["run", "list", "--label", "tier=1"]).await;
    assert_eq!(text(&runs["runs"][0], "run_id"), text(&run, "run_id"));
    let (_, shown, _) = dev.run(&["run", "get", text(&run, "run_id")]).await;
    assert!(shown.contains("team=pay; tier=1"), "{shown}");

    let edited = dev.json(&["task", "edit", &id, "--label", "tier=", "--label", "zone=eu"]).await;
    assert_eq!(edited["task"]["labels"], serde_json::json!({"team": "pay", "zone": "eu"}));
    let (_, shown, _) = dev.run(&["task", "get", &id]).await;
    assert!(shown.contains("team=pay; zone=eu"), "{shown}");
    let edited = dev.json(&["task", "edit", &id, "--clear", "labels"]).await;
    assert!(edited["task"]["labels"].is_null(), "{edited}");
    let (code, _, err) = dev.run(&["task", "list", "--label", "Team=pay"]).await;
    assert!(code == 4 && err.contains("set by --label"), "{code} {err}");
    assert_eq!(dev.running.stop().await, 0);
}

#[tokio::test]
async fn nodes_and_workers_are_listed() {
    let data = data_dir();
    let dev = Dev::start(data.path(), &[]).await;
    let nodes = dev.json(&["node", "list"]).await;
    let node = &nodes["nodes"][0];
    assert_eq!((nodes["nodes"].as_array().unwrap().len(), text(node, "role")), (1, "leader"));
    assert_eq!(node["shards"].as_array().unwrap().len(), 64);
    let (code, table, _) = dev.run(&["node", "list"]).await;
    assert!(code == 0 && table.contains("ROLE") && table.contains("leader"), "{table}");
    let (code, table, _) = dev.run(&["worker", "list"]).await;
    assert!(code == 0 && table.contains("callback") && table.contains("LAST SEEN"), "{table}");
    let workers = dev.json(&["worker", "list"]).await;
    assert!(workers["workers"][0]["built_in"].as_bool().unwrap(), "{workers}");
    assert_eq!(dev.running.stop().await, 0);
}

#[tokio::test]
async fn lists_are_tables_and_quiet_prints_ids() {
    let data = data_dir();
    let dev = Dev::start(data.path(), &[]).await;
    let (code, out, err) = dev.run(&["task", "list"]).await;
    assert_eq!((code, out.as_str(), err.as_str()), (0, "", "no tasks\n"));
    let server = &["--server", &dev.url];
    let add = ["task", "add", "mail", "--data-file", "-", "--at", "2100-01-01T00:00:00Z", "--quiet"];
    let (code, id, _) = taskcenter_with_input(&[&add[..], server].concat(), "two\nlines").await;
    let id = id.trim();
    assert_eq!((code, id.len()), (0, 32));
    assert_eq!(text(&dev.json(&["task", "get", id]).await, "data"), "two\nlines");

    let (_, out, _) = dev.run(&["task", "list"]).await;
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines.len() == 2 && lines[0].starts_with("ID ") && lines[0].contains("NEXT"), "{out}");
    assert!(lines[1].starts_with(id) && lines[1].ends_with("two\\nlines"), "{out}");
    let (_, out, _) = dev.run(&["task", "get", id]).await;
    assert!(out.contains("state        active\n"), "{out}");

    assert_eq!(dev.run(&["task", "add", "mail", "-q"]).await.0, 0);
    let (_, out, err) = dev.run(&["task", "list", "--limit", "1"]).await;
    assert!(out.lines().count() == 2 && err.contains("--all"), "{out}{err}");
    let (_, out, err) = dev.run(&["task", "list", "--all"]).await;
    assert_eq!((out.lines().count(), err.as_str()), (3, ""));

    let (_, out, _) =
        dev.run(&["task", "next", "0 9 * * *", "--zone", "Asia/Shanghai", "--count", "2"]).await;
    assert!(out.matches("09:00:00 +08:00").count() == 2 && out.matches("  in ").count() == 2, "{out}");
    let moments = dev.json(&["task", "next", "@daily", "--count", "3"]).await;
    assert_eq!(moments["moments"].as_array().unwrap().len(), 3);
    assert!(dev.json(&["stat"]).await["tags"].is_array());
    assert!(dev.json(&["queue", "list"]).await["queues"].is_array());
}

#[tokio::test]
async fn events_prints_each_change() {
    let data = data_dir();
    let dev = Dev::start(data.path(), &[]).await;
    let options = ["--kind", "task", "--tag", "mail", "--server", &dev.url];
    let mut text_events = Running::start(&[&["events"][..], &options].concat());
    let mut json_events = Running::start(&[&["events", "--json"][..], &options].concat());
    // A change before the connection is not printed.
    let add = async {
        loop {
            assert_eq!(dev.run(&["task", "add", "mail", "-q", "--in", "1h"]).await.0, 0);
        }
    };
    let (line, json) = tokio::select! {
        lines = async { (text_events.until("task ").await, json_events.until("{").await) } => lines,
        () = add => unreachable!("the tasks are created without end"),
    };
    assert!(line.starts_with("task       active     mail  "), "{line}");
    let event: Value = serde_json::from_str(&json).expect("each line is a JSON document");
    assert_eq!(
        (text(&event, "kind"), text(&event, "tag"), text(&event, "state")),
        ("task", "mail", "active")
    );
    assert_eq!(dev.run(&["events", "--kind", "tasks"]).await.0, 4);
    assert_eq!(dev.running.stop().await, 0);
    text_events.until_error("retrying every second").await;
    assert_eq!((text_events.stop().await, json_events.stop().await), (0, 0));
}

#[tokio::test]
async fn tail_prints_a_run_and_its_state_changes() {
    let data = data_dir();
    let dev = Dev::start(data.path(), &[]).await;
    let mut text_tail = Running::start(&["tail", "--tag", "mail", "--server", &dev.url]);
    let mut json_tail = Running::start(&["tail", "--json", "--server", &dev.url]);
    let (_, id, _) = dev.run(&["task", "add", "mail", "-q"]).await;
    let id = id.trim();
    let line = text_tail.until("  ready ").await;
    assert!(line.contains(id) && line.contains("  mail  ") && line.contains("  fired +"), "{line}");
    let run: Value =
        serde_json::from_str(&json_tail.until("\"ready\"").await).expect("each line is a JSON document");
    let run_id = text(&run, "run_id").to_owned();
    assert_eq!(text(&run, "task_id"), id);
    assert_eq!(dev.run(&["run", "cancel", &run_id]).await.0, 0);
    text_tail.until("  cancelled  mail  ").await;
    json_tail.until("\"cancelled\"").await;
    assert_eq!(dev.running.stop().await, 0);
    text_tail.until_error("retrying every second").await;
    assert_eq!((text_tail.stop().await, json_tail.stop().await), (0, 0));
}

#[tokio::test]
async fn a_run_gets_another_payload_than_its_task() {
    let data = data_dir();
    let dev = Dev::start(data.path(), &[]).await;
    let task = dev.json(&["task", "add", "mail", "--data", "own", "--in", "1h"]).await;
    let id = text(&task, "id").to_owned();
    let file = data.path().join("other.json");
    std::fs::write(&file, "{\"id\": 43}\n").unwrap();
    let trigger = ["task", "trigger", &id, "--data-file", file.to_str().unwrap(), "--header", "tenant=7"];
    let run = dev.json(&trigger).await;
    let shown = dev.json(&["run", "get", text(&run, "run_id")]).await;
    assert_eq!((text(&shown, "data"), text(&shown["headers"], "tenant")), ("{\"id\": 43}\n", "7"));
    assert_eq!(text(&dev.json(&["task", "get", &id]).await, "data"), "own");
    let run_id = text(&run, "run_id");
    let confirmation = serde_json::json!({"succeeded": false});
    let confirm = format!("{}/v1/runs/{run_id}/confirm", dev.url);
    http_client().post(confirm).json(&confirmation).send().await.unwrap().error_for_status().unwrap();
    let _ = dev.json(&["run", "retry", run_id, "--data", "-1"]).await;
    let (_, shown, _) = dev.run(&["run", "get", run_id]).await;
    assert!(shown.contains("data         -1") && shown.contains("data before  {\"id\": 43}"), "{shown}");
    assert_eq!(dev.running.stop().await, 0);
}

#[tokio::test]
async fn a_schedule_is_previewed_with_an_absence() {
    let data = data_dir();
    let dev = Dev::start(data.path(), &[]).await;
    let preview = ["schedule", "preview", "0 * * * *", "--zone", "UTC", "--count", "2"];
    let away =
        ["--away-from", "2034-01-01T00:30:00Z", "--away-to", "2034-01-01T03:30:00Z", "--policy", "skip"];
    let (code, out, err) = dev.run(&[&preview[..], &away[..]].concat()).await;
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("FROM NOW") && out.contains("policy skip, grace period 5m"), "{out}");
    let row = out.lines().find(|line| line.contains("skipped")).unwrap();
    assert!(row.contains(" 3 "), "{out}");
    assert_eq!(dev.run(&["schedule", "preview", "61 * * * *"]).await.0, 4);
    assert_eq!(dev.running.stop().await, 0);
}

#[tokio::test]
async fn failures_have_exit_codes_and_messages() {
    let data = data_dir();
    let dev = Dev::start(data.path(), &[]).await;
    let (code, out, err) = dev.run(&["task", "add", "mail", "--cron", "61 * * * *"]).await;
    assert_eq!((code, out.as_str()), (4, ""));
    assert!(err.contains("field schedule.cron, set by --cron"), "{err}");
    let (code, out, err) = dev.run(&["run", "retry", "one", "two"]).await;
    assert_eq!((code, out.as_str()), (3, ""));
    assert!(err.contains("no run has the id \"one\"") && err.contains("no run has the id \"two\""), "{err}");

    let (_, id, _) = dev.run(&["task", "add", "mail", "-q", "--in", "1h"]).await;
    let id = id.trim();
    // A failure for one id does not stop the others.
    let (code, out, _) = dev.run(&["task", "cancel", "unknown", id]).await;
    assert!(code == 3 && out.contains(id), "{out}");
    let (code, _, err) = dev.run(&["task", "pause", id]).await;
    assert!(code == 4 && err.contains(id) && err.contains("only an active task can be paused"), "{err}");
    let (_, ready, _) = dev.run(&["task", "add", "mail", "-q"]).await;
    let run = dev.json(&["task", "trigger", ready.trim()]).await["run_id"].as_str().unwrap().to_owned();
    let (code, _, err) = dev.run(&["run", "retry", &run]).await;
    assert!(code == 4 && err.contains("; only a dead or retrying run"), "{err}");
    assert_eq!(dev.run(&["task", "edit", id]).await.0, 2);

    let url = dev.url.clone();
    assert_eq!(dev.running.stop().await, 0);
    let unknown = "http://no-such-host.invalid:8275";
    let (code, _, err) = taskcenter(&["stat", "--server", unknown]).await;
    let message = format!("cannot resolve the host name in {unknown}");
    assert!(code == 1 && err.contains(&message), "{err}");
    let (code, _, err) = taskcenter(&["stat", "--server", &url]).await;
    assert_eq!(code, 1);
    assert!(err.contains(&format!("cannot reach {url}: start a server with `taskcenter dev`")), "{err}");
}

#[tokio::test]
async fn invalid_options_end_with_2_before_any_request() {
    for command in [
        &["task", "add"][..],
        &["task", "add", "n", "--every", "10"],
        &["task", "add", "n", "--every", "1s", "--cron", "@daily"],
        &["task", "add", "n", "--at", "tomorrow"],
        &["task", "add", "n", "--at", "2100-01-01T00:00:00Z", "--in", "1s"],
        &["task", "add", "n", "--zone", "UTC"],
        &["task", "add", "n", "--max-runtime", "1500ms"],
        &["task", "add", "n", "--times", "3"],
        &["task", "add", "n", "--in", "-5s"],
        &["task", "add", "n", "--data-file", "no/such/file"],
        &["task", "list", "--state", "ready"],
        &["task", "list", "--limit", "0"],
        &["task", "delete"],
        &["run", "list", "--state", "paused"],
        &["stat", "--server", "localhost:8275"],
        &["tail", "--nothing"],
    ] {
        let (code, out, err) = taskcenter(command).await;
        assert_eq!((code, out.as_str()), (2, ""), "{command:?}: {err}");
        assert!(err.starts_with("error: "), "{command:?}: {err}");
    }
}

#[tokio::test]
async fn calendars_are_managed_by_name() {
    let data = data_dir();
    let dev = Dev::start(data.path(), &[]).await;
    let put = [
        "calendar",
        "put",
        "workdays",
        "--zone",
        "Asia/Shanghai",
        "--weekly",
        "mon-fri",
        "--exclude",
        "2033-10-01/2033-10-07",
    ];
    let workdays = dev.json(&put).await;
    assert_eq!((text(&workdays, "zone"), workdays["version"].as_u64()), ("Asia/Shanghai", Some(1)));
    let task = dev.json(&["task", "add", "report", "--cron", "@daily", "--only-within", "workdays"]).await;
    assert_eq!(task["calendars"], serde_json::json!({"only": ["workdays"]}));
    let id = text(&task, "id");
    let (_, out, _) = dev.run(&["calendar", "get", "workdays"]).await;
    assert!(out.contains(id) && out.contains("mon-fri"), "{out}");
    let (_, out, _) = dev.run(&["calendar", "list"]).await;
    assert!(out.contains("Asia/Shanghai"), "{out}");
    let (code, _, error) = dev.run(&["calendar", "delete", "workdays"]).await;
    assert!(code != 0 && error.contains(id), "{error}");
    let cleared = dev.json(&["task", "edit", id, "--clear", "calendars"]).await;
    assert!(cleared["task"].get("calendars").is_none(), "{cleared}");
    assert_eq!(dev.run(&["calendar", "delete", "workdays"]).await.0, 0);
    assert_eq!(dev.running.stop().await, 0);
}

#[tokio::test]
async fn services_are_managed_by_name() {
    let data = data_dir();
    let dev = Dev::start(data.path(), &[]).await;
    let put =
        ["service", "put", "shop", "http://10.1.0.5:8080", "--health-path", "/health", "--timeout", "5s"];
    let shop = dev.json(&put).await;
    assert_eq!((text(&shop, "name"), shop["timeout_ms"].as_u64()), ("shop", Some(5_000)));
    assert_eq!(dev.json(&["service", "get", "shop"]).await, shop);
    let (_, out, _) = dev.run(&["service", "list"]).await;
    assert!(out.lines().count() == 2 && out.contains("http://10.1.0.5:8080"), "{out}");
    let (code, out, _) = dev.run(&["service", "delete", "shop", "unknown"]).await;
    assert_eq!((code, out.as_str()), (3, "deleted shop\n"));
}

#[tokio::test]
async fn the_time_zone_database_is_shown_and_notes_are_printed() {
    let data = data_dir();
    let dev = Dev::start(data.path(), &[]).await;
    let version = text(&dev.json(&["stat"]).await, "zone_database").to_owned();
    assert!(version.starts_with("20"), "{version}");
    let (_, out, _) = dev.run(&["stat"]).await;
    assert!(out.contains(&format!("time zone database: {version}")), "{out}");
    let (_, out, _) = taskcenter(&["config", "print"]).await;
    assert!(out.starts_with(&format!("# time zone database: {version}\n")), "{out}");
    let (_, out, _) = dev.run(&["task", "next", "0 */24 * * *"]).await;
    assert!(out.starts_with("note: hour: the step 24"), "{out}");
}

#[tokio::test]
async fn a_repeated_dedup_key_and_a_past_time_are_named() {
    let data = data_dir();
    let dev = Dev::start(data.path(), &[]).await;
    let add = ["task", "add", "mail", "--dedup-key", "k", "--in"];
    let (_, first, _) = dev.run(&[&add[..], &["2h"]].concat()).await;
    let id = first.split(' ').nth(1).unwrap();
    let (code, again, _) = dev.run(&[&add[..], &["5m"]].concat()).await;
    assert_eq!(code, 0);
    assert!(again.starts_with(&format!("exists already {id} mail, once, fires at ")), "{again}");
    assert!(!again.contains("(in 5m") && again.contains("nothing was created"), "{again}");
    let (code, _, err) = dev.run(&[&add[..], &["5m", "--on-conflict", "reject"]].concat()).await;
    assert!(code == 4 && err.contains(id), "{err}");
    let (_, replaced, _) = dev.run(&[&add[..], &["5m", "--on-conflict", "replace"]].concat()).await;
    assert!(replaced.starts_with(&format!("replaced {id} mail, fires at ")), "{replaced}");
    let (_, edited, _) = dev.run(&["task", "edit", "mail|k", "--in", "3h"]).await;
    assert!(edited.starts_with(&format!("edited {id} mail")), "{edited}");
    let (_, cancelled, _) = dev.run(&["task", "cancel", "mail|k"]).await;
    assert!(cancelled.starts_with(&format!("cancelled {id} mail")), "{cancelled}");
    let (code, _, err) = dev.run(&["task", "cancel", "mail|k"]).await;
    assert!(code == 3 && err.contains("mail|k"), "{err}");
    let debounce =
        ["task", "add", "save", "--dedup-key", "k", "--debounce", "1h", "--debounce-max", "2h", "-q"];
    let ((_, one, _), (_, two, _)) = (dev.run(&debounce).await, dev.run(&debounce).await);
    assert_eq!(one, two, "the second one joins the first one");
    let (_, _, err) = dev.run(&["task", "add", "mail", "--at", "2020-01-01T00:00:00Z"]).await;
    assert!(err.contains("--at 2020-01-01T00:00:00Z is in the past"), "{err}");
    let (_, runs, _) = dev.run(&["run", "list", "--queue", "other", "--since", "1h"]).await;
    assert_eq!(runs, "");
}
