//! Equal requests at the same time.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use super::server::Server;

pub async fn one_of_equal_edits_is_done(server: &Server) {
    let task = server.create(&json!({"name": "n", "data": "first"})).await;
    let path = format!("/v1/tasks/{}", task["id"].as_str().unwrap());
    let (headers, body) = ([("if-match", "\"1\"")], json!({"data": "same"}));
    let edits = (0..6).map(|_| server.request(Method::PATCH, &path, &headers, &body));
    let mut statuses: Vec<u16> = join_all(edits).await.into_iter().map(|(status, _)| status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412, 412, 412, 412, 412]);
    assert_eq!(server.get(&path).await.1["rev"], 2);
}
