//! Lists of workers and of nodes.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use taskcenter_server::adapters::absent::NoBus;
use taskcenter_server::adapters::clock::ManualClock;
use taskcenter_server::adapters::local::LocalLock;
use taskcenter_server::core::access::{Grant, Scope};
use taskcenter_server::core::task::SHARDS;
use taskcenter_server::engine::ids::Ids;
use taskcenter_server::engine::node::{Node, NodePorts};
use taskcenter_server::engine::service::{Caller, Forbidden, ServiceError};
use taskcenter_server::engine::settings::Settings;
use taskcenter_server::engine::{membership, probe};
use taskcenter_server::ports::Lock;

use super::{NOW, Server, Setup, with_server};

async fn lease(server: &Server, worker: &str, queues: &[&str], limit: u32) -> usize {
    let request = json!({"worker": worker, "queues": queues, "limit": limit, "lease_ms": 30_000});
    let (status, leased) = server.post("/v1/runs/lease", &request).await;
    assert_eq!(status, 200, "{leased}");
    leased["runs"].as_array().unwrap().len()
}

async fn workers(server: &Server) -> Vec<Value> {
    let (status, list) = server.get("/v1/workers").await;
    assert_eq!((status, &list["complete"]), (200, &json!(true)), "{list}");
    list["workers"].as_array().unwrap().clone()
}

pub async fn workers_are_listed_with_their_runs(server: &Server) {
    assert_eq!(workers(server).await, [] as [Value; 0]);
    let runs = [server.ready("1").await, server.ready("2").await];
    assert_eq!(lease(server, "idle", &["*"], 1).await, 0);
    assert_eq!(lease(server, "busy", &["q", "mail"], 9).await, 2);
    let idle = json!({
        "name": "idle", "built_in": false, "queues": ["*"], "waiting": 0, "last_seen_at": "2033-05-18T03:33:20Z",
        "leased": 0, "oldest_lease_at": null, "runs": [],
    });
    let listed = workers(server).await;
    assert_eq!((listed.len(), &listed[1]), (2, &idle));
    let busy = &listed[0];
    assert_eq!(
        (&busy["name"], &busy["queues"], &busy["leased"]),
        (&json!("busy"), &json!(["mail", "q"]), &json!(2))
    );
    assert_eq!(busy["oldest_lease_at"], "2033-05-18T03:33:20Z");
    let held = busy["runs"].as_array().unwrap();
    let mut ids: Vec<&str> = held.iter().map(|run| run["run_id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    let mut expected = runs.each_ref().map(|run| run.id.as_str());
    expected.sort_unstable();
    assert_eq!(ids, expected);
    let run = json!({
        "run_id": held[0]["run_id"], "tag": "order.close", "queue": "q", "attempt": 1,
        "leased_at": "2033-05-18T03:33:20Z", "lease_until": "2033-05-18T03:33:50Z",
    });
    assert_eq!(held[0], run, "without payload and token");
}

#[tokio::test]
async fn a_worker_that_asks_is_listed_while_it_waits() {
    with_server(async |server| {
        let request = json!({"worker": "w", "queues": ["q"], "wait_ms": 20_000});
        let waits = server.post("/v1/runs/lease", &request);
        let is_seen = async {
            while workers(server).await.first().is_none_or(|worker| worker["waiting"] != 1) {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            answer = waits => panic!("the request has not waited: {answer:?}"),
            seen = tokio::time::timeout(Duration::from_secs(10), is_seen) => seen.expect("the worker is listed"),
        }
    })
    .await;
}

#[tokio::test]
async fn a_worker_without_requests_is_listed_while_it_holds_a_run() {
    with_server(async |server| {
        server.ready("1").await;
        assert_eq!(lease(server, "w", &["q"], 1).await, 1);
        assert_eq!(lease(server, "other", &["q"], 1).await, 0);
        server.clock.set(NOW.plus_ms(601_000));
        let listed = workers(server).await;
        assert_eq!(listed.len(), 1, "{listed:?}");
        assert_eq!((&listed[0]["name"], &listed[0]["leased"]), (&json!("w"), &json!(1)));
    })
    .await;
}

#[tokio::test]
async fn only_some_runs_of_a_worker_are_listed() {
    with_server(async |server| {
        for n in 0..25 {
            server.ready(&n.to_string()).await;
        }
        assert_eq!(lease(server, "w", &["q"], 25).await, 25);
        let listed = workers(server).await;
        assert_eq!((&listed[0]["leased"], listed[0]["runs"].as_array().unwrap().len()), (&json!(25), 20));
    })
    .await;
}

#[tokio::test]
async fn a_limited_caller_sees_the_workers_of_its_queues() {
    with_server(async |server| {
        server.ready("1").await;
        lease(server, "w", &["q", "mail"], 1).await;
        lease(server, "all", &["*"], 1).await;
        let service = |tag: &str| {
            let grant = Grant { scopes: vec![Scope::TaskRead], tags: vec![tag.to_owned()], expires_at: None };
            server.state.service.for_caller(Caller { grant, ..Caller::anonymous() })
        };
        let mail = service("mail").workers().await.unwrap().rows;
        assert_eq!((mail.len(), &mail[0].queues[..], mail[0].held), (1, &["mail".to_owned()][..], 0));
        assert_eq!(service("q").workers().await.unwrap().rows[0].held, 1);
        assert_eq!(service("other").workers().await.unwrap().rows, []);
        let refused = service("mail").nodes().await.unwrap_err();
        assert!(matches!(refused, ServiceError::Forbidden(Forbidden::Limited)), "{refused}");
    })
    .await;
}

fn node(server: &Server, name: &str, lock: Arc<dyn Lock>) -> Arc<Node> {
    let ports = NodePorts {
        store: Arc::clone(&server.store),
        bus: Arc::new(NoBus),
        lock,
        clock: server.clock.clone(),
    };
    Arc::new(Node::new(name, ports, Arc::new(Ids::new(1)), Settings::default()))
}

#[tokio::test]
async fn nodes_are_listed_with_their_descriptions() {
    let lock = LocalLock::new(Arc::new(ManualClock::new(NOW)));
    let setup = Setup { lock: Some(Arc::new(lock.another())), ..Setup::default() };
    setup
        .with_server(async |server| {
            let other = node(server, "other", Arc::new(lock.another()));
            drop(other.workers.enter("remote", &["q".to_owned()], NOW));
            membership::run_once(&other, other.clock.steady_ms()).await.unwrap();
            let (status, list) = server.get("/v1/nodes").await;
            assert_eq!((status, &list["complete"]), (200, &json!(true)), "{list}");
            let nodes = list["nodes"].as_array().unwrap();
            let names: Vec<&str> = nodes.iter().map(|node| node["name"].as_str().unwrap()).collect();
            assert_eq!(names, ["node under test", "other"]);
            let unknown = ["store", "lock", "bus", "rows", "clock"].map(|check| (check.to_owned(), "unknown".into()));
            let expected = json!({
                "name": "other", "version": env!("CARGO_PKG_VERSION"), "started_at": "2033-05-18T03:33:20Z",
                "last_seen_at": "2033-05-18T03:33:20Z", "role": "leader", "shards": (0..SHARDS).collect::<Vec<_>>(),
                "clock_ahead_ms": null, "checks": Value::Object(unknown.into_iter().collect()),
                "zone_database": nodes[0]["zone_database"],
            });
            assert_eq!(nodes[1], expected);

            // The clock of the store is years behind the clock of the test.
            probe::run_once(&other).await;
            membership::run_once(&other, other.clock.steady_ms()).await.unwrap();
            let (_, list) = server.get("/v1/nodes").await;
            let wrong = &list["nodes"][1];
            assert_eq!((&wrong["role"], &wrong["shards"]), (&json!("member"), &json!([])), "{wrong}");
            assert!(wrong["clock_ahead_ms"].as_i64() > Some(1_000_000) && wrong["checks"]["store"] == "ok", "{wrong}");
            assert_eq!(workers(server).await[0]["name"], "remote", "workers of other nodes are listed");
        })
        .await;
}

#[cfg(feature = "cluster")]
#[tokio::test]
async fn without_the_lock_service_the_list_has_the_answering_node() {
    use taskcenter_server::adapters::redis::RedisLock;
    let setup =
        Setup { lock: Some(Arc::new(RedisLock::new("127.0.0.1:1", "p").unwrap())), ..Setup::default() };
    setup
        .with_server(async |server| {
            let (_, list) = server.get("/v1/nodes").await;
            assert_eq!((list["nodes"].as_array().unwrap().len(), &list["complete"]), (1, &json!(false)));
            let (_, list) = server.get("/v1/workers").await;
            assert_eq!(list, json!({"workers": [], "complete": false}));
        })
        .await;
}
