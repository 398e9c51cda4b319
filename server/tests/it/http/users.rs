//! Users of the console and of the legacy APIs.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Server, invalid_field, parse_problem, refusal, with_server};

pub async fn users_are_added_changed_and_removed(server: &Server) {
    let li = json!({"name": "li", "password": "correct horse", "senior": true});
    assert_eq!(server.post("/v1/users", &li).await, (200, json!({"name": "li", "senior": true})));
    let plain = json!({"name": "li", "senior": false});
    assert_eq!(server.post("/v1/users", &plain).await, (200, plain.clone()));
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

#[tokio::test]
async fn a_role_and_its_tags_are_stored_and_checked() {
    with_server(async |server| {
        let with = |role: &str, tags: &[&str]| json!({"name": "li", "password": "correct", "role": role, "tags": tags});
        let short = server.post("/v1/users", &with("viewer", &[])).await;
        assert_eq!((short.0, &short.1["field"]), (400, &json!("password")), "{short:?}");
        let mut user = with("operator", &["mail"]);
        user["password"] = json!("correct horse");
        let shown = json!({"name": "li", "senior": false, "role": "operator", "tags": ["mail"]});
        assert_eq!(server.post("/v1/users", &user).await, (200, shown.clone()));
        assert_eq!(server.get("/v1/users").await, (200, json!({"users": [shown]})));
        for (role, tags, field) in [
            (json!("root"), json!([]), "role"),
            (json!("none"), json!(["a"]), "tags"),
            (json!("admin"), json!(["a"]), "tags"),
            (json!("viewer"), json!(["a|b"]), "tags"),
        ] {
            user["role"] = role;
            user["tags"] = tags;
            let refused = server.post("/v1/users", &user).await;
            assert_eq!((refused.0, &refused.1["field"]), (400, &json!(field)), "{refused:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_expiry_is_set_kept_and_removed() {
    with_server(async |server| {
        let post = async |body: Value| server.post("/v1/users", &body).await;
        let end = "2033-05-18T03:33:21Z";
        let li = json!({"name": "li", "password": "correct horse", "expires_at": end});
        let shown = json!({"name": "li", "senior": false, "expires_at": end});
        assert_eq!(post(li).await, (200, shown.clone()));
        assert_eq!(post(json!({"name": "li", "senior": false})).await, (200, shown.clone()));
        for past in ["2033-05-18T03:33:20Z", "2026-01-01T00:00:00Z"] {
            let refused = post(json!({"name": "li", "expires_at": past})).await;
            assert_eq!(parse_problem(refused), invalid_field("expires_at"), "{past}");
        }
        assert_eq!(server.get("/v1/users").await, (200, json!({"users": [shown]})));
        let never = json!({"name": "li", "senior": false});
        assert_eq!(post(json!({"name": "li", "expires_at": null})).await, (200, never));
    })
    .await;
}

#[tokio::test]
async fn a_change_keeps_what_it_omits() {
    with_server(async |server| {
        let post = async |body: Value| server.post("/v1/users", &body).await;
        let li = json!({"name": "li", "password": "correct horse", "role": "operator", "tags": ["mail"]});
        assert_eq!(post(li).await.0, 200);
        let shown = |role: &str| json!({"name": "li", "senior": false, "role": role, "tags": ["mail"]});
        let password = json!({"name": "li", "password": "other horse"});
        assert_eq!(post(password).await, (200, shown("operator")), "a new password keeps role and tags");
        assert_eq!(post(json!({"name": "li", "role": "viewer"})).await, (200, shown("viewer")));
        let admin = post(json!({"name": "li", "role": "admin"})).await;
        assert_eq!(parse_problem(admin), invalid_field("tags"), "the stored tags cannot limit an admin");
        let all = json!({"name": "li", "senior": false, "role": "admin"});
        assert_eq!(post(json!({"name": "li", "role": "admin", "tags": []})).await, (200, all));
        let none = json!({"name": "li", "senior": false});
        assert_eq!(post(json!({"name": "li", "role": "none"})).await, (200, none.clone()));
        let again = post(json!({"name": "li", "role": "viewer"})).await;
        assert_eq!(parse_problem(again), invalid_field("password"), "the stored password may be too short");
        assert_eq!(server.get("/v1/users").await, (200, json!({"users": [none]})));
    })
    .await;
}
