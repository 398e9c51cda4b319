//! Queues and statistics.

use serde_json::{Value, json};
use taskcenter_server::core::zone::database_version;

use super::{NOW, Server, invalid_field, parse_problem, with_server};

#[tokio::test]
async fn queues_show_the_number_of_their_runs() {
    with_server(async |server| {
        assert_eq!(server.get("/v1/queues").await, (200, json!({"queues": []})));
        for n in 0..3 {
            server.ready(&n.to_string()).await;
        }
        let lease = json!({"worker": "w", "queues": ["q"]});
        let held = server.post("/v1/runs/lease", &lease).await.1["runs"][0].clone();
        server.post("/v1/runs/lease", &lease).await;
        let failed = json!({"attempt": 1, "token": held["token"], "outcome": "failed"});
        server.post(&format!("/v1/runs/{}/report", held["run_id"].as_str().unwrap()), &failed).await;
        let mut q = server.get("/v1/queues/q").await.1;
        let oldest = q.as_object_mut().unwrap().remove("oldest_ready_at").unwrap();
        assert!(oldest.as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{oldest}");
        let counts = json!({"queue": "q", "held": 0, "ready": 1, "leased": 1, "retrying": 1,
            "leases_per_minute": 2});
        assert_eq!(q, counts);
        q["oldest_ready_at"] = oldest;
        assert_eq!(server.get("/v1/queues").await, (200, json!({"queues": [q]})));
        assert_eq!(server.get("/v1/queues/q").await, (200, q));
        let empty = json!({"queue": "a/b 订单", "held": 0, "ready": 0, "leased": 0, "retrying": 0,
            "leases_per_minute": 0});
        assert_eq!(server.get("/v1/queues/a%2Fb%20%E8%AE%A2%E5%8D%95").await, (200, empty));
        for wrong in ["%2A", "a%7Cb", "%20a"] {
            assert_eq!(
                parse_problem(server.get(&format!("/v1/queues/{wrong}")).await),
                invalid_field("queue")
            );
        }
    })
    .await;
}

pub async fn statistics_are_by_tag_and_by_queue(server: &Server) {
    assert_eq!(
        server.get("/v1/stat").await,
        (200, json!({"tags": [], "queues": [], "zone_database": database_version()}))
    );
    server.store.count_fires(NOW, &[("total".to_owned(), 2), ("a".to_owned(), 1)]).await.unwrap();
    server.create(&json!({"name": "order.close"})).await;
    server.ready("1").await;
    server.post("/v1/runs/lease", &json!({"worker": "w", "queues": ["q"]})).await;
    let (status, stat) = server.get("/v1/stat").await;
    let tags: Vec<&Value> = stat["tags"].as_array().unwrap().iter().map(|row| &row["tag"]).collect();
    assert_eq!((status, tags), (200, vec![&json!("a"), &json!("order.close"), &json!("total")]));
    assert_eq!(
        stat["tags"][0],
        json!({"tag": "a", "fires_this_minute": 1, "due": 0, "unreported": 0, "held": 0})
    );
    assert_eq!(stat["tags"][1]["unreported"], 1);
    assert!(stat["tags"][1]["due"].as_u64().unwrap() >= 1, "{stat}");
    let queue = json!({"queue": "q", "held": 0, "ready": 0, "leased": 1, "retrying": 0,
        "leases_per_minute": 1});
    assert_eq!(stat["queues"], json!([queue]));
}
