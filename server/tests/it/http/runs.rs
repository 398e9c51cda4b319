//! Runs: reading, listing, reporting, confirming, retrying and cancelling.

use serde_json::{Value, json};
use taskcenter_server::core::retry::RetryPolicy;
use taskcenter_server::core::run::{Outcome, PayloadDigest, Stretch};
use taskcenter_server::core::{Moment, Run, TaskId};

use super::{
    LIMITS, NOW, NOW_SEC, Server, Setup, invalid_field, one_shot, parse_problem, refusal, with_changes,
    with_server,
};
use taskcenter_server::http::HttpLimits;

/// Stores a run in the state `fired` with the attempt token `secret-token`.
async fn fired_run(server: &Server) -> Run {
    let id = server.add(&with_changes(one_shot(), &json!({"ack": true, "max_runtime": 30}))).await;
    let task = server.state.service.task(&TaskId::parse(&id).unwrap()).await.unwrap();
    let due = task.next_due_at.unwrap();
    let mut run = Run::firing(&task, due, "node", "secret-token".to_owned(), NOW.plus_ms(10_000));
    run.mark_fired(Moment::from_sec(NOW_SEC + 3_601)).unwrap();
    server.store.insert_runs(std::slice::from_ref(&run)).await.unwrap();
    run
}

fn report(outcome: &str) -> Value {
    json!({"attempt": 1, "token": "secret-token", "outcome": outcome})
}

#[tokio::test]
async fn a_run_is_returned_without_its_token() {
    with_server(async |server| {
        let run = fired_run(server).await;
        let shown = server.get(&format!("/v1/runs/{}", run.id)).await;
        let wanted = json!({
            "run_id": run.id, "task_id": run.task_id, "tag": "order.close", "queue": null,
            "scheduled_at": "2033-05-18T04:33:20Z", "triggered": false, "state": "fired", "reason": null, "attempt": 1,
            "claim": 1, "worker": null, "attention_at": "2033-05-18T04:33:51Z", "fired_at": "2033-05-18T04:33:21Z",
            "leased_at": null, "started_at": null, "ended_at": null, "result": null, "skipped_to": null, "skipped_count": null,
            "data": "42", "waits_for": "an outcome report, until 2033-05-18T04:33:51Z",
            "attempts": [{"attempt": 1, "worker": null, "started_at": "2033-05-18T04:33:21Z", "ended_at": null,
                "outcome": null, "error": null}],
        });
        assert_eq!(shown, (200, wanted));
        for id in ["nobody", "%00"] {
            let unknown = server.get(&format!("/v1/runs/{id}")).await;
            assert_eq!(parse_problem(unknown), refusal(404, "not_found"), "{id}");
        }
        assert_eq!(parse_problem(server.get("/v1/runs/%ff").await), invalid_field("run_id"));
    }).await;
}

#[tokio::test]
async fn skipped_moments_are_one_run() {
    with_server(async |server| {
        let fired = fired_run(server).await;
        let task = server.state.service.task(&fired.task_id).await.unwrap();
        let stretch = Stretch { to: NOW.plus_ms(5_000), count: 6 };
        let run = Run::skipped(&task, NOW, stretch, "too late".into(), "", NOW);
        server.store.insert_runs(std::slice::from_ref(&run)).await.unwrap();
        let (_, shown) = server.get(&format!("/v1/runs/{}", run.id)).await;
        let fields = (&shown["state"], &shown["reason"], &shown["skipped_to"], &shown["skipped_count"]);
        assert_eq!(
            fields,
            (&json!("skipped"), &json!("too late"), &json!("2033-05-18T03:33:25Z"), &json!(6))
        );
    })
    .await;
}

pub async fn runs_are_listed_page_by_page(server: &Server) {
    let first = fired_run(server).await;
    let task = server.state.service.task(&first.task_id).await.unwrap();
    let mut runs = vec![first];
    for n in 1..=4 {
        // Two runs share each moment, so the id decides their order.
        let at = NOW.plus_ms((n / 2) * 1_000);
        let mut run = Run::triggered(&task, &format!("mark{n}"), "t".into(), at);
        run.mark_fired(at).unwrap();
        runs.push(run);
    }
    runs[2].report(&Outcome::Dead, None, &RetryPolicy::default(), NOW).unwrap();
    server.store.insert_runs(&runs[1..]).await.unwrap();
    runs.sort_by(|a, b| (b.scheduled_at, &b.id).cmp(&(a.scheduled_at, &a.id)));
    let wanted: Vec<Value> = runs.iter().map(|run| json!(run.id)).collect();
    let of = async |query: &str| {
        let (status, page) = server.get(&format!("/v1/runs?{query}")).await;
        assert_eq!(status, 200, "{page}");
        let ids: Vec<Value> =
            page["runs"].as_array().unwrap().iter().map(|run| run["run_id"].clone()).collect();
        (ids, page["next_cursor"].as_str().map(str::to_owned))
    };
    for limit in [1, 2, 5] {
        let (mut seen, mut next, mut pages) = (Vec::new(), Some(String::new()), 0);
        while let Some(cursor) = next {
            let (ids, following) = of(&format!("limit={limit}&cursor={cursor}")).await;
            assert!(ids.len() <= limit && (following.is_none() || ids.len() == limit));
            seen.extend(ids);
            (next, pages) = (following, pages + 1);
        }
        assert_eq!((pages, &seen), (5_usize.div_ceil(limit), &wanted), "latest first, each once");
    }
    assert_eq!(of("state=dead").await.0.len(), 1);
    assert_eq!(of("tag=order.close&state=fired").await.0.len(), 4);
    assert_eq!(of(&format!("task_id={}", task.id)).await.0, wanted);
    assert!(of("tag=another").await.0.is_empty());
    assert!(of(&format!("task_id={}", "0".repeat(32))).await.0.is_empty());
}

#[tokio::test]
async fn an_invalid_list_parameter_is_named() {
    with_server(async |server| {
        for (query, name) in [
            ("limit=0", "limit"),
            ("limit=1001", "limit"),
            ("state=over", "state"),
            ("task_id=7", "task_id"),
            ("cursor=7", "cursor"),
            ("cursor=99999999999999999999~a", "cursor"),
            ("queue=q", "queue"),
        ] {
            assert_eq!(
                parse_problem(server.get(&format!("/v1/runs?{query}")).await),
                invalid_field(name),
                "{query}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn a_dead_run_is_retried_and_cancelled() {
    with_server(async |server| {
        let run = fired_run(server).await;
        let post =
            async |action: &str| server.post(&format!("/v1/runs/{}/{action}", run.id), &json!({})).await;
        assert_eq!(
            parse_problem(post("retry").await),
            refusal(409, "run_state"),
            "the run still waits for its outcome"
        );
        server.post(&format!("/v1/runs/{}/report", run.id), &report("dead")).await;
        let (status, shown) = post("retry").await;
        assert_eq!((status, &shown["state"], &shown["run_id"]), (200, &json!("retrying"), &json!(run.id)));
        let (status, shown) = post("cancel").await;
        assert_eq!(
            (status, &shown["state"], &shown["ended_at"]),
            (200, &json!("cancelled"), &json!("2033-05-18T03:33:20Z"))
        );
        let (status, problem) = post("cancel").await;
        assert_eq!(problem["detail"], "the run is cancelled");
        assert_eq!(parse_problem((status, problem)), refusal(409, "run_state"));
        server.post("/v1/api/delete-task", &json!({"ids": [run.task_id]})).await;
        assert_eq!(parse_problem(post("retry").await), refusal(409, "task_over"));
        for action in ["retry", "cancel"] {
            let unknown = server.post(&format!("/v1/runs/nobody/{action}"), &json!({})).await;
            assert_eq!(parse_problem(unknown), refusal(404, "not_found"));
        }
    })
    .await;
}

#[tokio::test]
async fn the_result_of_a_handler_is_returned() {
    Setup { limits: HttpLimits { body_limit_bytes: 1 << 20, ..LIMITS }, ..Setup::default() }
        .with_server(async |server| {
            let run = fired_run(server).await;
            let path = format!("/v1/runs/{}/report", run.id);
            let too_large = with_changes(report("succeeded"), &json!({"result": "x".repeat(64 * 1024 - 1)}));
            assert_eq!(parse_problem(server.post(&path, &too_large).await), invalid_field("result"));
            let result = json!({"total": 42, "parts": [1.5, null, "é"]});
            let (status, reply) =
                server.post(&path, &with_changes(report("succeeded"), &json!({"result": result}))).await;
            assert_eq!((status, &reply["state"]), (200, &json!("succeeded")));
            assert_eq!(server.get(&format!("/v1/runs/{}", run.id)).await.1["result"], result);
            assert_eq!(server.get("/v1/runs").await.1["runs"][0]["result"], result);
        })
        .await;
}

#[tokio::test]
async fn a_run_delivered_over_the_bus_cannot_be_released() {
    with_server(async |server| {
        let run = fired_run(server).await;
        let refused = server.post(&format!("/v1/runs/{}/report", run.id), &report("released")).await;
        assert_eq!(parse_problem(refused), refusal(409, "stale"));
    })
    .await;
}

#[tokio::test]
async fn a_repeated_report_returns_the_same_answer() {
    with_server(async |server| {
        for (outcome, state) in
            [("succeeded", "succeeded"), ("dead", "dead"), ("skipped", "skipped"), ("failed", "retrying")]
        {
            let run = fired_run(server).await;
            let path = format!("/v1/runs/{}/report", run.id);
            let wanted = (200, json!({"run_id": run.id, "state": state}));
            let body = with_changes(report(outcome), &json!({"message": "why", "retry_after_ms": 5_000}));
            assert_eq!(server.post(&path, &body).await, wanted);
            assert_eq!(server.post(&path, &body).await, wanted);
            let stored = server.state.service.run(&run.id).await.unwrap();
            assert_eq!(stored.reason.as_deref(), Some("why"));
            if outcome == "failed" {
                assert_eq!(stored.attention_at, Some(NOW.plus_ms(5_000)));
            }
            server.post("/v1/api/delete-task", &json!({"ids": [run.task_id]})).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_stale_report_is_refused_and_changes_nothing() {
    with_server(async |server| {
        let run = fired_run(server).await;
        let path = format!("/v1/runs/{}/report", run.id);
        for stale in [json!({"attempt": 2}), json!({"token": "another"})] {
            let (status, reply) = server.post(&path, &with_changes(report("succeeded"), &stale)).await;
            assert!(!reply.to_string().contains("secret-token"), "{reply}");
            assert_eq!(parse_problem((status, reply)), refusal(409, "stale"));
        }
        assert_eq!(server.state.service.run(&run.id).await.unwrap().state, run.state);
        server.post(&path, &report("dead")).await;
        assert_eq!(
            server.post(&path, &report("succeeded")).await.0,
            409,
            "the run has ended with another outcome"
        );
        let unknown = server.post("/v1/runs/nobody/report", &report("dead")).await;
        assert_eq!(parse_problem(unknown), refusal(404, "not_found"));
    })
    .await;
}

#[tokio::test]
async fn a_confirmation_needs_no_attempt_token_and_is_accepted_for_a_dead_run() {
    with_server(async |server| {
        let run = fired_run(server).await;
        let path = format!("/v1/runs/{}/confirm", run.id);
        server.post(&format!("/v1/runs/{}/report", run.id), &report("dead")).await;
        let done = json!({"succeeded": true, "message": "by hand", "result": {"order": 7}});
        let (status, shown) = server.post(&path, &done).await;
        assert_eq!(
            (status, &shown["state"], &shown["reason"]),
            (200, &json!("succeeded"), &json!("by hand"))
        );
        assert_eq!(shown["result"], json!({"order": 7}));
        let (status, again) = server.post(&path, &json!({"succeeded": false})).await;
        assert_eq!((status, &again["state"]), (200, &json!("succeeded")), "a succeeded run stays succeeded");

        let unknown = server.post("/v1/runs/nobody/confirm", &done).await;
        assert_eq!(parse_problem(unknown), refusal(404, "not_found"));
        for (body, name) in [
            (json!({}), "succeeded"),
            (json!({"succeeded": "yes"}), "succeeded"),
            (json!({"succeeded": true, "token": "t"}), "token"),
            (
                json!({"succeeded": true, "result": (0..65).fold(json!(1), |inner, _| json!([inner]))}),
                "result",
            ),
        ] {
            assert_eq!(parse_problem(server.post(&path, &body).await), invalid_field(name));
        }
    })
    .await;
}

#[tokio::test]
async fn a_confirmation_of_a_failure_makes_the_run_dead() {
    with_server(async |server| {
        let run = fired_run(server).await;
        let (_, shown) =
            server.post(&format!("/v1/runs/{}/confirm", run.id), &json!({"succeeded": false})).await;
        assert_eq!((&shown["state"], &shown["reason"]), (&json!("dead"), &json!("failed")));
    })
    .await;
}

/// The row exists before its moment is decided: a change of the task may still end it without a fire.
#[tokio::test]
async fn a_run_whose_moment_is_not_decided_refuses_a_confirmation() {
    with_server(async |server| {
        let id = server.add(&with_changes(one_shot(), &json!({"ack": true}))).await;
        let task = server.state.service.task(&TaskId::parse(&id).unwrap()).await.unwrap();
        let run =
            Run::firing(&task, task.next_due_at.unwrap(), "node", "token".to_owned(), NOW.plus_ms(10_000));
        server.store.insert_runs(std::slice::from_ref(&run)).await.unwrap();
        let path = format!("/v1/runs/{}/confirm", run.id);
        for succeeded in [true, false] {
            let answer = server.post(&path, &json!({"succeeded": succeeded})).await;
            assert_eq!(parse_problem(answer), refusal(409, "run_state"));
        }
        assert_eq!(server.state.service.run(&run.id).await.unwrap(), run, "the run is unchanged");
    })
    .await;
}

#[tokio::test]
async fn an_invalid_report_is_refused_with_the_name_of_the_field() {
    with_server(async |server| {
        let run = fired_run(server).await;
        let path = format!("/v1/runs/{}/report", run.id);
        for (change, name) in [
            (json!({"attempt": "1"}), "attempt"),
            (json!({"attempt": 0}), "attempt"),
            (json!({"token": ""}), "token"),
            (json!({"outcome": "done"}), "outcome"),
            (json!({"outcome": null}), "outcome"),
            (json!({"message": 7}), "message"),
            (json!({"retry_after_ms": -1}), "retry_after_ms"),
            (json!({"retry_after_ms": 1.5}), "retry_after_ms"),
            (json!({"run_id": "r"}), "run_id"),
            (json!({"tokn": "t"}), "tokn"),
        ] {
            let refused = server.post(&path, &with_changes(report("failed"), &change)).await;
            assert_eq!(parse_problem(refused), invalid_field(name), "{change}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_dead_run_is_retried_with_an_edited_payload() {
    with_server(async |server| {
        let run = server.ready("own").await;
        let path = format!("/v1/runs/{}", run.id);
        let retry = async |body: &Value| server.post(&format!("{path}/retry"), body).await;
        assert_eq!(parse_problem(retry(&json!({"data": "x"})).await), refusal(409, "run_state"));
        let lease = json!({"worker": "w", "queues": ["q"], "lease_ms": 10_000});
        let leased = server.post("/v1/runs/lease", &lease).await.1["runs"][0].clone();
        let outcome = json!({"run_id": run.id, "attempt": 1, "token": leased["token"], "outcome": "dead"});
        server.post("/v1/runs/settle", &json!({"outcomes": [outcome]})).await;
        let before = server.get(&path).await.1;
        assert!(
            before.get("original").is_none() && before["attempts"][0].get("data_bytes").is_none(),
            "{before}"
        );
        assert_eq!(parse_problem(retry(&json!({"data": "x", "json": 1})).await), invalid_field("json"));
        let (status, retried) = retry(&json!({"json": {"id": 43}, "headers": {"b": "2"}})).await;
        assert_eq!((status, &retried["state"]), (200, &json!("retrying")));
        let shown = server.get(&path).await.1;
        assert_eq!((&shown["data"], &shown["headers"]), (&json!("{\"id\":43}"), &json!({"b": "2"})));
        assert_eq!(shown["original"], json!({"data": "own"}));
        let first = &shown["attempts"][0];
        let digest = PayloadDigest::of("own");
        let expected = (json!(digest.bytes), json!(digest.sha256));
        assert_eq!((first["data_bytes"].clone(), first["data_sha256"].clone()), expected);
    })
    .await;
}
