//! Users of the legacy APIs.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Server, invalid_field, parse_problem, refusal, with_server};

pub async fn users_are_added_changed_and_removed(server: &Server) {
    let li = json!({"name": "li", "password": "correct horse", "senior": true});
    assert_eq!(server.post("/v1/users", &li).await, (200, json!({"name": "li", "senior": true})));
    let plain = json!({"name": "li", "password": "other horse"});
    assert_eq!(server.post("/v1/users", &plain).await, (200, json!({"name": "li", "senior": false})));
    let all = json!({"users": [{"name": "li", "senior": false}]});
    assert_eq!(server.get("/v1/users").await, (200, all));
    let removed = server.request(Method::DELETE, "/v1/users/li", &[], &Value::Null).await;
    assert_eq!(removed, (200, json!({"name": "li", "senior": false})));
    let again = server.request(Method::DELETE, "/v1/users/li", &[], &Value::Null).await;
    assert_eq!(parse_problem(again), refusal(404, "not_found"));
}

#[tokio::test]
async fn an_invalid_name_or_password_is_refused() {
    with_server(async |server| {
        let long = "x".repeat(129);
        for name in ["", " li", "l\ni", &long] {
            let refused = server.post("/v1/users", &json!({"name": name, "password": "correct horse"})).await;
            assert_eq!(parse_problem(refused), invalid_field("name"), "{name:?}");
        }
        for password in ["", "short", &"x".repeat(1_025)] {
            let refused = server.post("/v1/users", &json!({"name": "li", "password": password})).await;
            assert_eq!(parse_problem(refused), invalid_field("password"));
        }
        assert_eq!(
            parse_problem(server.post("/v1/users", &json!({"name": "li"})).await),
            invalid_field("password")
        );
        assert_eq!(server.get("/v1/users").await.1, json!({"users": []}));
    })
    .await;
}
