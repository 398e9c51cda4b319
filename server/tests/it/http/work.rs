//! What workers do over HTTP: lease, renew, settle.

use std::time::Duration;

use serde_json::{Value, json};
use taskcenter_server::core::RunState;
use taskcenter_server::http::HttpLimits;

use super::{LIMITS, SHORT, Server, Setup, field, refusal, told, with, with_server};

fn wanted(changes: &Value) -> Value {
    with(json!({"worker": "w", "queues": ["q"], "limit": 10}), changes)
}

async fn lease(server: &Server, changes: &Value) -> Vec<Value> {
    let (status, reply) = server.post("/v1/runs/lease", &wanted(changes)).await;
    assert_eq!(status, 200, "{reply}");
    reply["runs"].as_array().unwrap().clone()
}

/// What the worker that was given this run says of it.
fn outcome(run: &Value, outcome: &str) -> Value {
    json!({"run_id": run["run_id"], "attempt": run["attempt"], "token": run["token"], "outcome": outcome})
}

async fn settle(server: &Server, outcomes: &[Value]) -> Vec<Value> {
    let (status, reply) = server.post("/v1/runs/settle", &json!({"outcomes": outcomes})).await;
    assert_eq!(status, 200, "{reply}");
    reply["results"].as_array().unwrap().clone()
}

fn problem(result: &Value) -> (u16, String, Option<String>) {
    told((result["status"].as_u64().unwrap() as u16, result["problem"].clone()))
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
async fn a_lease_takes_as_many_as_it_asks_for_from_where_it_asks() {
    with_server(async |server| {
        for n in 0..5 {
            server.ready(&n.to_string()).await;
        }
        assert!(lease(server, &json!({"queues": ["another"]})).await.is_empty());
        assert!(
            lease(server, &json!({"queues": ["*"]})).await.is_empty(),
            "the queue does not bear the tag's name"
        );
        assert_eq!(lease(server, &json!({"limit": null})).await.len(), 1, "one where it does not say");
        assert_eq!(lease(server, &json!({"limit": 3, "queues": ["another", "q", "q"]})).await.len(), 3);
        assert_eq!(lease(server, &json!({})).await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_worker_that_waits_is_woken() {
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
            tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("it is woken")
        };
        assert_eq!(
            (&runs[0]["run_id"], &runs[0]["attempt"]),
            (&held["run_id"], &json!(1)),
            "it did not count"
        );
        assert_ne!(runs[0]["token"], held["token"]);
    })
    .await;
}

#[tokio::test]
async fn a_wait_ends_before_the_requests_time_is_up() {
    let limits = HttpLimits { request_timeout: Duration::from_secs(2), ..LIMITS };
    Setup { limits, ..Setup::default() }
        .with_server(async |server| {
            // The first request of all makes the ledger's indexes.
            server.get("/v1/queues").await;
            assert!(
                lease(server, &json!({"wait_ms": u64::MAX})).await.is_empty(),
                "and is answered with 200"
            );
        })
        .await;
}

#[tokio::test]
async fn a_lease_names_the_field_that_is_wrong() {
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
            let refused = server.post("/v1/runs/lease", &wanted(&changes)).await;
            assert_eq!(told(refused), field(name), "{changes}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_lease_is_renewed_by_who_holds_it() {
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
        assert_eq!(problem(&results[1]), refusal(409, "stale"));
        assert_eq!(problem(&results[2]), refusal(404, "not_found"));
        assert_eq!(results[2]["run_id"], "nobody");
        assert!(!reply.to_string().contains(held["token"].as_str().unwrap()), "{reply}");
        for (body, name) in [
            (json!({"runs": []}), "runs"),
            (json!({"runs": [of(&json!("t"))], "lease_ms": 0}), "lease_ms"),
            (json!({"runs": [{"run_id": "r", "attempt": "1", "token": "t"}]}), "runs[0].attempt"),
            (json!({"runs": [{"run_id": "r", "token": "t"}]}), "runs[0].attempt"),
        ] {
            assert_eq!(told(server.post("/v1/runs/renew", &body).await), field(name), "{body}");
        }
    }).await;
}

#[tokio::test]
async fn outcomes_are_settled_each_on_its_own() {
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
            outcomes.push(with(outcomes[5].clone(), &json!({"attempt": 0})));
            outcomes.push(with(outcomes[5].clone(), &json!({"result": "x".repeat(65_535)})));
            let results = settle(server, &outcomes).await;
            let states: Vec<_> =
                results.iter().map(|result| result["state"].as_str().unwrap_or("-")).collect();
            assert_eq!(states, ["succeeded", "retrying", "dead", "skipped", "ready", "-", "-", "-", "-"]);
            assert_eq!(problem(&results[5]), refusal(409, "stale"));
            assert_eq!(problem(&results[6]), refusal(404, "not_found"));
            assert_eq!(problem(&results[7]), field("outcomes[7].attempt"));
            assert_eq!(problem(&results[8]), field("outcomes[8].result"));
            let shown = async |at: usize| {
                server.get(&format!("/v1/runs/{}", held[at]["run_id"].as_str().unwrap())).await.1
            };
            assert_eq!(shown(0).await["result"], json!({"total": 42}));
            assert_eq!(shown(1).await["attention_at"], "2033-05-18T03:33:25Z");
            assert_eq!(shown(2).await["reason"], "no such order");
            assert_eq!(shown(5).await["state"], "leased", "a stranger's word changes nothing");
            let again = settle(server, &outcomes[..4]).await;
            assert_eq!(again, results[..4], "the same again, had its answer been lost");
        })
        .await;
}

#[tokio::test]
async fn a_settlement_that_cannot_be_read_is_refused_as_a_whole() {
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
            let body = json!({"outcomes": [good.clone(), with(good.clone(), &changes)]});
            assert_eq!(told(server.post("/v1/runs/settle", &body).await), field(name), "{changes}");
        }
        let many = json!({"outcomes": vec![json!({"run_id": "r", "attempt": 1, "token": "", "outcome": "dead"}); 1_001]});
        for body in [json!({"outcomes": []}), many] {
            assert_eq!(told(server.post("/v1/runs/settle", &body).await), field("outcomes"));
        }
        assert_eq!(server.state.service.run(&run.id).await.unwrap().state, RunState::Leased);
    }).await;
}
