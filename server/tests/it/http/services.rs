//! Callback services.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Server, invalid_field, parse_problem, refusal, with_changes, with_server};

const SECRET: &str = "0123456789abcdef-secret";

fn shop() -> Value {
    json!({"name": "shop", "nodes": [{"url": "https://a.shop.example"}], "secret": SECRET})
}

pub async fn a_service_is_created_changed_and_deleted_without_showing_its_secret(server: &Server) {
    let shown = json!({
        "name": "shop", "nodes": [{"url": "https://a.shop.example", "weight": 1, "heartbeat": false}], "health": null,
        "heartbeat_body": "", "timeout_ms": null, "signed": true, "checked_by": [], "down": [],
    });
    assert_eq!(server.post("/v1/services", &shop()).await, (201, shown.clone()));
    assert_eq!(server.get("/v1/services").await, (200, json!({"services": [shown]})));

    let mut changed = with_changes(shop(), &json!({"timeout_ms": 5_000, "health": {"path": "/up"}}));
    changed.as_object_mut().unwrap().remove("secret");
    let (status, kept) = server.post("/v1/services", &changed).await;
    assert_eq!((status, &kept["signed"], &kept["timeout_ms"]), (201, &json!(true), &json!(5_000)));
    let (_, unsigned) = server.post("/v1/services", &with_changes(changed, &json!({"secret": ""}))).await;
    assert_eq!(unsigned["signed"], false);
    assert_eq!(server.get("/v1/services/shop").await, (200, unsigned.clone()));

    let delete = async || server.request(Method::DELETE, "/v1/services/shop", &[], &Value::Null).await;
    assert_eq!(delete().await, (200, unsigned));
    assert_eq!(parse_problem(delete().await), refusal(404, "not_found"));
    assert_eq!(parse_problem(server.get("/v1/services/shop").await), refusal(404, "not_found"));
}

#[tokio::test]
async fn an_invalid_service_is_refused_with_the_field_and_without_the_secret() {
    with_server(async |server| {
        for (change, name) in [
            (json!({"name": ""}), "name"),
            (json!({"nodes": []}), "nodes"),
            (json!({"nodes": [{"url": "ftp://a"}]}), "nodes[0].url"),
            (json!({"nodes": [{"url": "http://a", "weight": 0}]}), "nodes[0].weight"),
            (json!({"nodes": [{"url": "http://a", "wieght": 2}]}), "nodes[0].wieght"),
            (json!({"health": {"path": "up"}}), "health.path"),
            (json!({"timeout_ms": 0}), "timeout_ms"),
            (json!({"secret": "short"}), "secret"),
        ] {
            let refused = server.post("/v1/services", &with_changes(shop(), &change)).await;
            assert!(!refused.1.to_string().contains(SECRET), "{refused:?}");
            assert_eq!(parse_problem(refused), invalid_field(name), "{change}");
        }
        assert_eq!(server.get("/v1/services").await.1, json!({"services": []}));
    })
    .await;
}
