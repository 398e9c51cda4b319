//! Logs of runs: append, pages, streams, and the SDK's handlers over HTTP.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use taskcenter_client::resources::{LeaseRequest, LeasedRun};
use taskcenter_client::transport::pull::{Pull, PullConfig};
use taskcenter_client::{Consumer, Context, HandlerError, TaskCenter};
use taskcenter_server::core::Run;

use super::{Server, Setup, invalid_field, parse_problem, refusal, with_changes, with_server};

fn center(server: &Server) -> TaskCenter {
    TaskCenter::new(format!("http://{}", server.address)).unwrap()
}

async fn leased(server: &Server) -> LeasedRun {
    server.ready("1").await;
    let request = json!({"worker": "w", "queues": ["q"]});
    let request: LeaseRequest = serde_json::from_value(request).unwrap();
    center(server).lease(&request).await.unwrap().runs.remove(0)
}

fn path(run_id: &str) -> String {
    format!("/v1/runs/{run_id}/log")
}

fn batch(run: &LeasedRun, texts: &[&str]) -> Value {
    let line = |text: &&str| json!({"at": "2033-05-18T03:33:20Z", "level": "info", "text": text});
    let lines: Vec<Value> = texts.iter().map(line).collect();
    let batch_id = format!("{}-{}", texts.len(), texts[0].len());
    json!({"attempt": run.attempt, "token": run.token, "batch_id": batch_id, "lines": lines})
}

async fn append(server: &Server, run: &LeasedRun, texts: &[&str]) {
    let answer = server.post(&path(&run.run_id), &batch(run, texts)).await;
    assert_eq!(answer, (200, json!({"stored": true})));
}

async fn succeed(server: &Server, run: &LeasedRun) {
    let report = json!({"attempt": run.attempt, "token": run.token, "outcome": "succeeded"});
    let (status, reply) = server.post(&format!("/v1/runs/{}/report", run.run_id), &report).await;
    assert_eq!(status, 200, "{reply}");
}

pub async fn a_log_is_read_page_by_page(server: &Server) {
    let run = leased(server).await;
    let log = path(&run.run_id);
    let empty = json!({"lines": [], "next_from": 0, "has_more": false, "end_state": null});
    assert_eq!(server.get(&log).await, (200, empty));
    append(server, &run, &["<b>", "ends\r\n"]).await;
    let repeated = server.post(&log, &batch(&run, &["<b>", "ends\r\n"])).await;
    assert_eq!(repeated, (200, json!({"stored": false})));
    let line = |line: u64, text: &str| json!({"line": line, "attempt": 1, "at": "2033-05-18T03:33:20Z", "level": "info", "text": text});
    let (_, page) = server.get(&log).await;
    assert_eq!(page["lines"], json!([line(0, "<b>"), line(1, "ends")]));
    let (_, page) = server.get(&format!("{log}?from=1&wait_ms=60000")).await;
    assert_eq!((&page["lines"], &page["next_from"]), (&json!([line(1, "ends")]), &json!(2)));
    succeed(server, &run).await;
    let (_, page) = server.get(&format!("{log}?from=2&wait_ms=60000")).await;
    assert_eq!(page, json!({"lines": [], "next_from": 2, "has_more": false, "end_state": "succeeded"}));
}

#[tokio::test]
async fn a_request_waits_for_lines() {
    with_server(async |server| {
        let run = leased(server).await;
        let center = center(server);
        let waiting = center.run_log(&run.run_id, 0, Duration::from_mins(1));
        let written = async {
            // The request may arrive before or after the line; both get it.
            append(server, &run, &["a"]).await;
        };
        let (page, ()) = tokio::join!(waiting, written);
        assert_eq!(page.unwrap().lines[0].text, "a");
    })
    .await;
}

#[tokio::test]
async fn invalid_and_stale_batches_are_refused() {
    with_server(async |server| {
        let run = leased(server).await;
        let line = json!({"at": "2033-05-18T03:33:20Z", "level": "info", "text": ""});
        let changed = |changes: &Value| with_changes(batch(&run, &["a"]), changes);
        for (changes, field) in [
            (json!({"attempt": 0}), "attempt"),
            (json!({"token": null}), "token"),
            (json!({"batch_id": "a b"}), "batch_id"),
            (json!({"batch_id": "x".repeat(65)}), "batch_id"),
            (json!({"lines": []}), "lines"),
            (json!({"lines": vec![line.clone(); 501]}), "lines"),
            (json!({"lines": [with_changes(line.clone(), &json!({"level": "loud"}))]}), "lines[0].level"),
            (json!({"lines": [with_changes(line.clone(), &json!({"at": "now"}))]}), "lines[0].at"),
            (json!({"more": 1}), "more"),
        ] {
            let answer = server.post(&path(&run.run_id), &changed(&changes)).await;
            assert_eq!(parse_problem(answer), invalid_field(field), "{changes}");
        }
        for changes in [json!({"token": "another"}), json!({"attempt": 2})] {
            let answer = server.post(&path(&run.run_id), &changed(&changes)).await;
            assert_eq!(parse_problem(answer), refusal(409, "stale"), "{changes}");
        }
        let unknown = server.post(&path("none"), &batch(&run, &["a"])).await;
        assert_eq!(parse_problem(unknown), refusal(404, "not_found"));
        assert_eq!(parse_problem(server.get(&path("none")).await), refusal(404, "not_found"));
        for query in ["from=-1", "from=x", "wait_ms=x", "more=1"] {
            let answer = server.get(&format!("{}?{query}", path(&run.run_id))).await;
            let field = query.split('=').next().unwrap();
            assert_eq!(parse_problem(answer), invalid_field(field), "{query}");
        }
        let (_, page) = server.get(&path(&run.run_id)).await;
        assert_eq!(page["lines"], json!([]), "nothing was stored");
    })
    .await;
}

#[tokio::test]
async fn a_batch_has_a_maximum_size_and_a_long_line_is_cut() {
    let setup = Setup {
        limits: super::HttpLimits { body_limit_bytes: 1 << 20, ..super::LIMITS },
        ..Setup::default()
    };
    setup
        .with_server(async |server| {
            let run = leased(server).await;
            let long = "x".repeat(5_000);
            append(server, &run, &[&long]).await;
            let (_, page) = server.get(&path(&run.run_id)).await;
            assert_eq!(page["lines"][0]["text"].as_str().map(str::len), Some(4_096));
            let large = batch(&run, &[long.as_str(); 16]);
            assert_eq!(parse_problem(server.post(&path(&run.run_id), &large).await), invalid_field("lines"));
        })
        .await;
}

/// Reads a stream to its end. Returns the id, the name and the data of each event.
async fn events(response: reqwest::Response) -> Vec<(u64, String, Value)> {
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let text = response.text().await.unwrap();
    let event = |event: &str| {
        let field = |name: &str| {
            let line =
                event.lines().find_map(|line| line.strip_prefix(name)).expect("the event has the field");
            line.to_owned()
        };
        let data = serde_json::from_str(&field("data: ")).unwrap();
        (field("id: ").parse().unwrap(), field("event: "), data)
    };
    text.split_terminator("\n\n").filter(|event| !event.starts_with(':')).map(event).collect()
}

#[tokio::test]
async fn a_stream_follows_a_log_and_ends_with_the_run() {
    with_server(async |server| {
        let run = leased(server).await;
        let log = path(&run.run_id);
        let accept = ("accept", "text/event-stream");
        append(server, &run, &["a", "</script>\n\nevent: end"]).await;
        let mut stream = server.send_with(Method::GET, &log, &[accept], &Value::Null).await;
        let first = stream.chunk().await.unwrap().expect("the lines so far");
        let first = String::from_utf8(first.to_vec()).unwrap();
        assert!(first.starts_with("id: 2\nevent: lines\ndata: {") && first.ends_with("}\n\n"), "{first}");
        assert_eq!(first.lines().count(), 4, "a line cannot start another event: {first}");
        append(server, &run, &["live"]).await;
        let live = stream.chunk().await.unwrap().expect("the next line");
        assert!(String::from_utf8_lossy(&live).contains("live"));
        succeed(server, &run).await;
        let rest = events(stream).await;
        assert_eq!((rest.len(), rest[0].0, rest[0].1.as_str()), (1, 3, "end"));
        assert_eq!(rest[0].2["end_state"], "succeeded");

        let last = ("last-event-id", "1");
        let again = server.send_with(Method::GET, &log, &[accept, last], &Value::Null).await;
        let again = events(again).await;
        assert_eq!((again.len(), again[0].0, again[0].1.as_str()), (1, 3, "end"));
        assert_eq!(again[0].2["lines"].as_array().map(Vec::len), Some(2));
        let invalid = [accept, ("last-event-id", "x")];
        let answer = server.request(Method::GET, &log, &invalid, &Value::Null).await;
        assert_eq!(parse_problem(answer), invalid_field("Last-Event-ID"));
        let unknown = server.request(Method::GET, &path("none"), &[accept], &Value::Null).await;
        assert_eq!(parse_problem(unknown), refusal(404, "not_found"));
    })
    .await;
}

#[tokio::test]
async fn a_stream_ends_with_the_server() {
    with_server(async |server| {
        let run = leased(server).await;
        let accept = [("accept", "text/event-stream")];
        let stream = server.send_with(Method::GET, &path(&run.run_id), &accept, &Value::Null).await;
        server.stop().await;
        assert!(events(stream).await.is_empty());
    })
    .await;
}

async fn talk(ctx: Context, _: u32) -> Result<(), HandlerError> {
    ctx.info(format!("run {} begins", ctx.run_id().unwrap_or_default()));
    ctx.error("two\nlines");
    Ok(())
}

#[tokio::test]
async fn a_handler_writes_to_the_log_before_its_outcome() {
    with_server(async |server| {
        let run: Run = server.ready("1").await;
        let config = PullConfig { queues: vec!["q".to_owned()], ..PullConfig::default() };
        let consumer =
            Consumer::builder().on("order.close", talk).transport(Pull::new(center(server), config));
        let consumer = consumer.start().unwrap();
        let mut lines = Vec::new();
        loop {
            let from = lines.len() as u64;
            let page = center(server).run_log(run.id.as_str(), from, Duration::from_secs(20)).await.unwrap();
            lines.extend(page.lines);
            if page.end_state.is_some() {
                break;
            }
        }
        let lines: Vec<_> = lines.iter().map(|line| (line.level.as_str(), line.text.as_str())).collect();
        let begins = format!("run {} begins", run.id);
        assert_eq!(lines, [("info", begins.as_str()), ("error", "two"), ("error", "lines")]);
        consumer.shutdown().await.unwrap();
    })
    .await;
}
