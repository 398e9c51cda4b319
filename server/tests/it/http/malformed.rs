//! Invalid requests to the legacy task API, and the field that each answer names.

use reqwest::Method;
use serde_json::{Value, json};

use super::{NOW_SEC, PREFIXES, Server, one_shot, status_and_body, with_changes, with_server};

/// Sends the request under both prefixes and compares status, message and field. Apart from a detail,
/// the answer holds nothing else.
async fn assert_refused(server: &Server, method: Method, path: &str, body: &str, msg: &str, field: &str) {
    for prefix in PREFIXES {
        let response = server.send(method.clone(), &format!("{prefix}{path}"), body.to_owned()).await;
        let (status, mut reply) = status_and_body(response).await;
        reply.as_object_mut().unwrap().remove("detail");
        assert_eq!((status, reply), (400, json!({"err": 400, "msg": msg, "field": field})), "{path} {body}");
    }
}

#[tokio::test]
async fn every_message_of_the_contract_is_returned() {
    with_server(async |server| {
        let refused = async |changes: Value, msg: &str, field: &str| {
            let body = with_changes(one_shot(), &changes).to_string();
            assert_refused(server, Method::POST, "/task", &body, msg, field).await;
        };
        for kind in [json!(0), json!(4), json!(-1), json!(i64::MAX), Value::Null] {
            refused(json!({"type": kind}), "params type error", "type").await;
        }
        for crontab in
            [json!(""), json!("* * 34 * *"), json!("* 25 * * * "), json!("0 0 30 2 *"), Value::Null]
        {
            refused(json!({"type": 3, "crontab": crontab}), "params cron invalid", "crontab").await;
        }
        for loop_time in [json!(0), json!(-5), json!(i64::MAX), Value::Null] {
            refused(json!({"type": 2, "loop_time": loop_time}), "params loop_time invalid", "loop_time")
                .await;
        }
        for end_time in [json!(1), json!(NOW_SEC - 1), json!(-1)] {
            refused(
                json!({"end_time": end_time}),
                "end_time should large than current timestamp",
                "end_time",
            )
            .await;
        }
        for name in [json!(""), json!("  "), Value::Null] {
            refused(json!({"name": name}), "name should not be empty", "name").await;
        }
    })
    .await;
}

#[tokio::test]
async fn every_other_rule_names_its_field() {
    with_server(async |server| {
        for (changes, field) in [
            (json!({"data": null}), "data"),
            (json!({"name": "a||b"}), "name"),
            (json!({"name": "*"}), "name"),
            (json!({"name": "x".repeat(129)}), "name"),
            (json!({"loop_count": -1}), "loop_count"),
            (json!({"start_time": -1}), "start_time"),
            (json!({"start_time": i64::MAX}), "start_time"),
            (json!({"end_time": NOW_SEC + 60}), "end_time"),
            (json!({"max_runtime": -1}), "max_runtime"),
            (json!({"max_runtime": i64::MAX}), "max_runtime"),
            (json!({"dedup_key": ""}), "dedup_key"),
            (json!({"dedup_key": "x".repeat(257)}), "dedup_key"),
        ] {
            let (status, reply) = server.post("/v1/api/task", &with_changes(one_shot(), &changes)).await;
            assert_eq!(
                (status, &reply["err"], &reply["field"]),
                (400, &json!(400), &json!(field)),
                "{reply}"
            );
            assert!(reply["msg"].as_str().unwrap().contains(field) || field == "end_time", "{reply}");
        }
    })
    .await;
}

#[tokio::test]
async fn every_field_of_the_wrong_type_is_named() {
    with_server(async |server| {
        let kinds = [json!(true), json!(7), json!(1.5), json!("7"), json!([1]), json!({"a": 1})];
        let fields: [(&str, &[usize]); 11] = [
            ("name", &[3]),
            ("type", &[1]),
            ("data", &[3]),
            ("crontab", &[3]),
            ("loop_time", &[1]),
            ("loop_count", &[1]),
            ("start_time", &[1]),
            ("end_time", &[1]),
            ("max_runtime", &[1]),
            ("ack", &[0]),
            ("dedup_key", &[3]),
        ];
        for (field, right) in fields {
            for (nth, kind) in kinds.iter().enumerate().filter(|(nth, _)| !right.contains(nth)) {
                let (status, reply) =
                    server.post("/v1/api/task", &with_changes(one_shot(), &json!({field: kind}))).await;
                let named = (status, reply["msg"].as_str().unwrap(), reply["field"].as_str().unwrap());
                assert_eq!(named, (400, "request body format error", field), "kind {nth}: {reply}");
            }
        }
        for ids in [json!("a"), json!({"a": 1}), json!([1]), json!([["a"]])] {
            let body = json!({"ids": ids}).to_string();
            assert_refused(server, Method::POST, "/delete-task", &body, "request body format error", "ids")
                .await;
        }
        let body = json!({"name": 7}).to_string();
        let msg = "request body format error";
        assert_refused(server, Method::POST, "/delete-task-by-name", &body, msg, "name").await;
    })
    .await;
}

#[tokio::test]
async fn an_error_answer_is_one_json_document() {
    // For these bodies the old server wrote two documents. `status_and_body` accepts only one.
    with_server(async |server| {
        let deep = format!("{{\"a\":{}", "[".repeat(20_000));
        let msg = "request body format error";
        for body in
            ["", "{", "[]", "null", "7", "\"text\"", "{} {}", "name=a&type=1", "{\"name\":\"a\",}", &deep]
        {
            for path in ["/task", "/delete-task", "/delete-task-by-name"] {
                assert_refused(server, Method::POST, path, body, msg, "body").await;
            }
        }
        let bytes = b"{\"name\":\"\xff\xfe\"}".to_vec();
        let response = server.send(Method::POST, "/v1/api/task", bytes).await;
        assert_eq!(status_and_body(response).await.1["field"], "body");
    })
    .await;
}

#[tokio::test]
async fn deletes_and_queries_name_the_missing_field() {
    with_server(async |server| {
        let get = async |path: &str, msg: &str, field: &str| {
            assert_refused(server, Method::GET, path, "", msg, field).await;
        };
        for body in [r#"{"ids":[]}"#, r#"{"ids":null}"#, "{}"] {
            assert_refused(server, Method::POST, "/delete-task", body, "id should not by empty", "ids").await;
        }
        for body in [r#"{"name":""}"#, r#"{"name":null}"#, r#"{"name":"  "}"#, "{}"] {
            let msg = "name should not be empty";
            assert_refused(server, Method::POST, "/delete-task-by-name", body, msg, "name").await;
        }
        get("/query-task-by-id", "taskid is empty", "taskid").await;
        get("/query-task-by-id?taskid=", "taskid is empty", "taskid").await;
        for id in ["7", "5dc27d8f9b8f1a0001b2c3d4", "%00", "%ff", &"A".repeat(32), &"a".repeat(5_000)] {
            get(&format!("/query-task-by-id?taskid={id}"), "taskid is malformed", "taskid").await;
        }
        get("/query-task-by-name", "name should not be empty", "name").await;
        get("/query-task-by-name?name=%20", "name should not be empty", "name").await;
        for limit in ["0", "1001", "-1", "many", "", "1.5"] {
            let msg = "limit should be between 1 and 1000";
            get(&format!("/query-task-by-name?name=a&limit={limit}"), msg, "limit").await;
        }
        get("/query-task-by-name?name=a&cursor=x", "cursor is malformed", "cursor").await;
    })
    .await;
}

#[tokio::test]
async fn unknown_routes_and_methods_are_answered_in_json() {
    with_server(async |server| {
        for path in ["/v1/api", "/v1/api/", "/v1/api/tasks", "/v1/api/task/", "/api/v1", "/api/v1/task/"] {
            assert_eq!(server.get(path).await, (404, json!({"err": 404, "msg": "no such route"})), "{path}");
        }
        let wrong_method = (405, json!({"err": 405, "msg": "method not allowed"}));
        assert_eq!(server.get("/v1/api/task").await, wrong_method);
        assert_eq!(server.post("/api/v1/task/stat", &json!({})).await, wrong_method);
        let response = server.send(Method::DELETE, "/v1/api/task", "").await;
        assert_eq!(response.headers()["allow"], "POST");
    })
    .await;
}
