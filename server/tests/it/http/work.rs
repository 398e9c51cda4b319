//! The worker API: leasing, renewing and settling runs.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use taskcenter_server::core::RunState;
use taskcenter_server::http::HttpLimits;

use super::{LIMITS, SHORT, Server, Setup, invalid_field, parse_problem, refusal, with_changes, with_server};

fn lease_request(changes: &Value) -> Value {
    with_changes(json!({"worker": "w", "queues": ["q"], "limit": 10}), changes)
}

async fn lease(server: &Server, changes: &Value) -> Vec<Value> {
    let (status, reply) = server.post("/v1/runs/lease", &lease_request(changes)).await;
    assert_eq!(status, 200, "{reply}");
    reply["runs"].as_array().unwrap().clone()
}

/// Outcome of a leased run, as its worker sends it.
fn outcome(run: &Value, outcome: &str) -> Value {
    json!({"run_id": run["run_id"], "attempt": run["attempt"], "token": run["token"], "outcome": outcome})
}

async fn settle(server: &Server, outcomes: &[Value]) -> Vec<Value> {
    let (status, reply) = server.post("/v1/runs/settle", &json!({"outcomes": outcomes})).await;
    assert_eq!(status, 200, "{reply}");
    reply["results"].as_array().unwrap().clone()
}

fn parse_result(result: &Value) -> (u16, String, Option<String>) {
    parse_problem((result["status"].as_u64().unwrap() as u16, result["problem"].clone()))
}

pub async fn a_run_is_leased_to_one_worker(server: &Server) {
    let ready = server.ready("{\"id\":42}").await;
    let shown = server.get(&format!("/v1/runs/{}", ready.id)).await.1;
    assert_eq!(
        (&shown["state"], &shown["attention_at"], &shown["worker"]),
        (&json!("ready"), &Value::Null, &Value::Null)
    );
    let runs = lease(server, &json!({"lease_ms": 5_000})).await;
    let token = runs[0]["token"].clone();
    assert!(token.as_str().is_some_and(|token| !token.is_empty() && token != "first"));
    let wanted = json!({
        "run_id": ready.id, "task_id": ready.task_id, "tag": "order.close", "queue": "q", "data": "{\"id\":42}",
        "scheduled_at": "2033-05-18T03:33:20Z", "attempt": 1, "number": 1, "claim": 2, "token": token,
        "lease_until": "2033-05-18T03:33:25Z",
    });
    assert_eq!(runs, [wanted]);
    assert!(lease(server, &json!({"worker": "another"})).await.is_empty());
    let shown = server.get(&format!("/v1/runs/{}", ready.id)).await.1;
    assert_eq!((&shown["state"], &shown["worker"]), (&json!("leased"), &json!("w")));
    assert_eq!(shown["attention_at"], "2033-05-18T03:33:25Z");
    assert!(shown.get("token").is_none());
}

#[tokio::test]
async fn a_lease_takes_at_most_the_limit_from_the_named_queues() {
    with_server(async |server| {
        for n in 0..5 {
            server.ready(&n.to_string()).await;
        }
        assert!(lease(server, &json!({"queues": ["another"]})).await.is_empty());
        assert!(
            lease(server, &json!({"queues": ["*"]})).await.is_empty(),
            "`*` means the queues named after their tag"
        );
        assert_eq!(lease(server, &json!({"limit": null})).await.len(), 1, "the default limit is 1");
        assert_eq!(lease(server, &json!({"limit": 3, "queues": ["another", "q", "q"]})).await.len(), 3);
        assert_eq!(lease(server, &json!({})).await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_lease_request_with_an_id_can_be_repeated() {
    with_server(async |server| {
        server.ready("1").await;
        server.ready("2").await;
        let request = json!({"request_id": "a7", "limit": 1});
        let first = lease(server, &request).await;
        assert_eq!(lease(server, &request).await, first);
        assert_ne!(lease(server, &json!({"request_id": "a8", "limit": 1})).await, first);
        let invalid = lease_request(&json!({"request_id": "a b"}));
        assert_eq!(parse_problem(server.post("/v1/runs/lease", &invalid).await), invalid_field("request_id"));
    })
    .await;
}

#[tokio::test]
async fn headers_of_a_task_are_shown_edited_and_checked() {
    with_server(async |server| {
        let headers = json!({"traceparent": "00-1-2-01", "tenant": "7"});
        let task = server.create(&json!({"name": "n", "headers": headers})).await;
        assert_eq!(task["headers"], headers);
        let path = format!("/v1/tasks/{}", task["id"].as_str().unwrap());
        let change = json!({"headers": {"tenant": null, "a": "1"}});
        assert_eq!(server.request(Method::PATCH, &path, &[("if-match", "*")], &change).await.0, 200);
        assert_eq!(server.get(&path).await.1["headers"], json!({"traceparent": "00-1-2-01", "a": "1"}));
        for refused in
            [json!({"Host": "a"}), json!({"TC_RUN_ID": "a"}), json!({"tc_run": "a"}), json!({"a": "b\n"})]
        {
            let answer = server.post("/v1/tasks", &json!({"name": "n", "headers": refused})).await;
            assert_eq!(parse_problem(answer), invalid_field("headers"), "{refused}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_waiting_worker_is_woken() {
    with_server(async |server| {
        server.ready("42").await;
        let held = lease(server, &json!({})).await.remove(0);
        let terms = json!({"worker": "patient", "wait_ms": 20_000});
        let runs = {
            let waiting = lease(server, &terms);
            tokio::pin!(waiting);
            assert!(tokio::time::timeout(SHORT, &mut waiting).await.is_err(), "nothing is ready");
            let released = settle(server, &[outcome(&held, "released")]).await;
            assert_eq!(released[0]["state"], "ready");
            tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("the worker is woken")
        };
        assert_eq!(
            (&runs[0]["run_id"], &runs[0]["attempt"]),
            (&held["run_id"], &json!(1)),
            "a released attempt does not count"
        );
        assert_ne!(runs[0]["token"], held["token"]);
    })
    .await;
}

#[tokio::test]
async fn a_wait_ends_before_the_request_times_out() {
    let limits = HttpLimits { request_timeout: Duration::from_secs(2), ..LIMITS };
    Setup { limits, ..Setup::default() }
        .with_server(async |server| {
            // The first request creates the indexes of the store.
            server.get("/v1/queues").await;
            assert!(
                lease(server, &json!({"wait_ms": u64::MAX})).await.is_empty(),
                "the answer is an empty 200"
            );
        })
        .await;
}

#[tokio::test]
async fn an_invalid_lease_request_is_refused_with_the_name_of_the_field() {
    with_server(async |server| {
        for (changes, name) in [
            (json!({"worker": null}), "worker"),
            (json!({"worker": ""}), "worker"),
            (json!({"worker": "w".repeat(129)}), "worker"),
            (json!({"queues": null}), "queues"),
            (json!({"queues": []}), "queues"),
            (json!({"queues": "q"}), "queues"),
            (json!({"queues": ["q", 7]}), "queues[1]"),
            (json!({"queues": ["q", "*"]}), "queues[1]"),
            (json!({"queues": ["a|b"]}), "queues[0]"),
            (json!({"limit": 0}), "limit"),
            (json!({"limit": 1_001}), "limit"),
            (json!({"limit": -1}), "limit"),
            (json!({"lease_ms": 999}), "lease_ms"),
            (json!({"lease_ms": 86_400_001}), "lease_ms"),
            (json!({"wait_ms": -1}), "wait_ms"),
            (json!({"wait": 1}), "wait"),
        ] {
            let refused = server.post("/v1/runs/lease", &lease_request(&changes)).await;
            assert_eq!(parse_problem(refused), invalid_field(name), "{changes}");
        }
    })
    .await;
}

#[tokio::test]
async fn only_the_holder_of_a_lease_renews_it() {
    with_server(async |server| {
        server.ready("1").await;
        let held = lease(server, &json!({"lease_ms": 1_000})).await.remove(0);
        let of = |token: &Value| json!({"run_id": held["run_id"], "attempt": 1, "token": token});
        let runs =
            json!([of(&held["token"]), of(&json!("stolen")), {"run_id": "nobody", "attempt": 1, "token": "t"}]);
        let (status, reply) = server.post("/v1/runs/renew", &json!({"runs": runs, "lease_ms": 60_000})).await;
        let results = &reply["results"];
        let renewed = json!({"run_id": held["run_id"], "status": 200, "lease_until": "2033-05-18T03:34:20Z"});
        assert_eq!((status, &results[0]), (200, &renewed));
        assert_eq!(parse_result(&results[1]), refusal(409, "stale"));
        assert_eq!(parse_result(&results[2]), refusal(404, "not_found"));
        assert_eq!(results[2]["run_id"], "nobody");
        assert!(!reply.to_string().contains(held["token"].as_str().unwrap()), "{reply}");
        for (body, name) in [
            (json!({"runs": []}), "runs"),
            (json!({"runs": [of(&json!("t"))], "lease_ms": 0}), "lease_ms"),
            (json!({"runs": [{"run_id": "r", "attempt": "1", "token": "t"}]}), "runs[0].attempt"),
            (json!({"runs": [{"run_id": "r", "token": "t"}]}), "runs[0].attempt"),
            (json!({"runs": [with_changes(of(&json!("t")), &json!({"progress": {"percent": 101}}))]}), "runs[0].progress.percent"),
        ] {
            assert_eq!(parse_problem(server.post("/v1/runs/renew", &body).await), invalid_field(name), "{body}");
        }
    }).await;
}

#[tokio::test]
async fn outcomes_are_settled_independently() {
    Setup { limits: HttpLimits { body_limit_bytes: 1 << 20, ..LIMITS }, ..Setup::default() }
        .with_server(async |server| {
            for n in 0..6 {
                server.ready(&n.to_string()).await;
            }
            let held = lease(server, &json!({})).await;
            let mut outcomes: Vec<Value> =
                ["succeeded", "failed", "dead", "skipped", "released", "succeeded"]
                    .iter()
                    .zip(&held)
                    .map(|(word, run)| outcome(run, word))
                    .collect();
            outcomes[0]["result"] = json!({"total": 42});
            outcomes[1]["retry_after_ms"] = json!(5_000);
            outcomes[2]["message"] = json!("no such order");
            outcomes[5]["token"] = json!("stolen");
            outcomes.push(json!({"run_id": "nobody", "attempt": 1, "token": "t", "outcome": "dead"}));
            outcomes.push(with_changes(outcomes[5].clone(), &json!({"attempt": 0})));
            outcomes.push(with_changes(outcomes[5].clone(), &json!({"result": "x".repeat(65_535)})));
            let results = settle(server, &outcomes).await;
            let states: Vec<_> =
                results.iter().map(|result| result["state"].as_str().unwrap_or("-")).collect();
            assert_eq!(states, ["succeeded", "retrying", "dead", "skipped", "ready", "-", "-", "-", "-"]);
            assert_eq!(parse_result(&results[5]), refusal(409, "stale"));
            assert_eq!(parse_result(&results[6]), refusal(404, "not_found"));
            assert_eq!(parse_result(&results[7]), invalid_field("outcomes[7].attempt"));
            assert_eq!(parse_result(&results[8]), invalid_field("outcomes[8].result"));
            let shown = async |at: usize| {
                server.get(&format!("/v1/runs/{}", held[at]["run_id"].as_str().unwrap())).await.1
            };
            assert_eq!(shown(0).await["result"], json!({"total": 42}));
            assert_eq!(shown(1).await["attention_at"], "2033-05-18T03:33:25Z");
            assert_eq!(shown(2).await["reason"], "no such order");
            assert_eq!(shown(5).await["state"], "leased", "a report with another token changes nothing");
            let again = settle(server, &outcomes[..4]).await;
            assert_eq!(again, results[..4], "repeated outcomes return the same answers");
        })
        .await;
}

#[tokio::test]
async fn a_malformed_settlement_is_refused_as_a_whole() {
    let limits = HttpLimits { body_limit_bytes: 1 << 20, ..LIMITS };
    Setup { limits, ..Setup::default() }.with_server(async |server| {
        let run = server.ready("1").await;
        let held = lease(server, &json!({})).await.remove(0);
        let good = outcome(&held, "succeeded");
        for (changes, name) in [
            (json!({"run_id": null}), "outcomes[1].run_id"),
            (json!({"attempt": "1"}), "outcomes[1].attempt"),
            (json!({"token": null}), "outcomes[1].token"),
            (json!({"outcome": "done"}), "outcomes[1].outcome"),
            (json!({"reslt": 1}), "outcomes[1].reslt"),
        ] {
            let body = json!({"outcomes": [good.clone(), with_changes(good.clone(), &changes)]});
            assert_eq!(parse_problem(server.post("/v1/runs/settle", &body).await), invalid_field(name), "{changes}");
        }
        let many = json!({"outcomes": vec![json!({"run_id": "r", "attempt": 1, "token": "", "outcome": "dead"}); 1_001]});
        for body in [json!({"outcomes": []}), many] {
            assert_eq!(parse_problem(server.post("/v1/runs/settle", &body).await), invalid_field("outcomes"));
        }
        assert_eq!(server.state.service.run(&run.id).await.unwrap().state, RunState::Leased);
    }).await;
}

#[tokio::test]
async fn a_run_shows_its_attempts_and_what_it_waits_for() {
    with_server(async |server| {
        let run = server.ready("1").await;
        let path = format!("/v1/runs/{}", run.id);
        let waits_for = async || server.get(&path).await.1["waits_for"].as_str().unwrap_or("-").to_owned();
        let absent = "a worker on queue \"q\"; none has asked this node for runs since 2033-05-18T03:33:20Z";
        assert_eq!(waits_for().await, absent);
        let queue = server.get("/v1/queues/q").await.1;
        assert_eq!(queue["waits_for"], absent);

        let held = lease(server, &json!({})).await.remove(0);
        assert!(waits_for().await.starts_with("the outcome of worker \"w\", until "));
        assert_eq!(server.get(&path).await.1["attempts"][0]["outcome"], Value::Null);
        let mut failed = outcome(&held, "failed");
        (failed["message"], failed["retry_after_ms"]) = (json!("no such order"), json!(0));
        settle(server, &[failed]).await;
        assert!(waits_for().await.starts_with("the pause before the next attempt"));

        let (_, shown) = server.get(&path).await;
        let at = "2033-05-18T03:33:20Z";
        let attempt = json!({"attempt": 1, "worker": "w", "started_at": at, "ended_at": at,
            "outcome": "failed", "error": "no such order"});
        assert_eq!((&shown["attempts"], &shown["data"]), (&json!([attempt]), &json!(run.data)));
        let listed = &server.get("/v1/runs").await.1["runs"][0];
        assert!(listed.get("data").is_none() && listed.get("attempts").is_none(), "{listed}");
    })
    .await;
}

#[tokio::test]
async fn a_cancelled_run_waits_for_its_worker() {
    with_server(async |server| {
        let run = server.ready("1").await;
        let path = format!("/v1/runs/{}", run.id);
        let held = lease(server, &json!({})).await.remove(0);
        let (status, cancelled) = server.post(&format!("{path}/cancel"), &json!({})).await;
        assert_eq!((status, &cancelled["state"]), (200, &json!("leased")), "{cancelled}");
        assert_eq!(cancelled["cancel_requested_at"], "2033-05-18T03:33:20Z");
        let progress = json!({"percent": 42, "text": "420 of 1000 rows"});
        let attempt = json!({"run_id": held["run_id"], "attempt": 1, "token": held["token"], "progress": progress});
        let body = json!({"runs": [attempt], "lease_ms": 60_000});
        let (_, renewed) = server.post("/v1/runs/renew", &body).await;
        let grace_end = "2033-05-18T03:33:30Z";
        let expected = json!({"run_id": run.id.as_str(), "status": 200, "lease_until": grace_end, "cancel_requested": true});
        assert_eq!(renewed["results"], json!([expected]));
        let (_, shown) = server.get(&path).await;
        assert_eq!(shown["attention_at"], grace_end);
        let progress = json!({"percent": 42, "text": "420 of 1000 rows", "at": "2033-05-18T03:33:20Z"});
        assert_eq!(shown["progress"], progress);
        let waits_for = format!("worker \"w\" to stop: a user has cancelled the run, until {grace_end}");
        assert_eq!(shown["waits_for"], waits_for);
        let mut stopped = outcome(&held, "failed");
        stopped["message"] = json!("half of the rows");
        assert_eq!(settle(server, &[stopped]).await[0]["state"], "cancelled");
        assert_eq!(server.get(&path).await.1["reason"], "cancelled by hand: half of the rows");
    })
    .await;
}
