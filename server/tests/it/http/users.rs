//! People who sign in to the legacy fronts.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Server, field, refusal, told, with_server};

pub async fn people_come_get_another_rank_and_go(server: &Server) {
    let li = json!({"name": "li", "password": "correct horse", "senior": true});
    assert_eq!(server.post("/v1/users", &li).await, (200, json!({"name": "li", "senior": true})));
    let plain = json!({"name": "li", "password": "other horse"});
    assert_eq!(server.post("/v1/users", &plain).await, (200, json!({"name": "li", "senior": false})));
    let all = json!({"users": [{"name": "li", "senior": false}]});
    assert_eq!(server.get("/v1/users").await, (200, all));
    let gone = server.ask(Method::DELETE, "/v1/users/li", &[], &Value::Null).await;
    assert_eq!(gone, (200, json!({"name": "li", "senior": false})));
    let again = server.ask(Method::DELETE, "/v1/users/li", &[], &Value::Null).await;
    assert_eq!(told(again), refusal(404, "not_found"));
}

#[tokio::test]
async fn a_name_or_a_password_that_cannot_be_one_is_named() {
    with_server(async |server| {
        let long = "x".repeat(129);
        for name in ["", " li", "l\ni", &long] {
            let refused = server.post("/v1/users", &json!({"name": name, "password": "correct horse"})).await;
            assert_eq!(told(refused), field("name"), "{name:?}");
        }
        for password in ["", "short", &"x".repeat(1_025)] {
            let refused = server.post("/v1/users", &json!({"name": "li", "password": password})).await;
            assert_eq!(told(refused), field("password"));
        }
        assert_eq!(told(server.post("/v1/users", &json!({"name": "li"})).await), field("password"));
        assert_eq!(server.get("/v1/users").await.1, json!({"users": []}));
    })
    .await;
}
