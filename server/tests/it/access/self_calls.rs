//! The server never calls itself, and never takes a call of a server for a call of a local program.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

use super::node::{Node, TIMEOUT};

/// Allows every address, also those of this machine.
const ALLOW: (&str, &str) = ("TASKCENTER__CALLBACK__ALLOW", "0.0.0.0/0,::/0");

/// Posts a token request from the server to this URL, and returns the run when it has ended.
async fn call(node: &Node, url: &str) -> Value {
    let client = reqwest::Client::new();
    let api = |path: &str| format!("http://{}{path}", node.address);
    let data = json!({"method": "POST", "url": url, "content_type": "application/json", "retry_after_ms": [],
        "body": r#"{"name":"stolen","scopes":["admin"]}"#, "success": [200, 201]});
    let task = json!({"name": "call", "queue": "rpc", "data": data.to_string()});
    let created = client.post(api("/v1/tasks")).body(task.to_string()).send().await.unwrap();
    let created: Value = serde_json::from_str(&created.text().await.unwrap()).unwrap();
    let runs = api(&format!("/v1/runs?task_id={}", created["id"].as_str().expect("the task is created")));
    let ended = async {
        let mut turn = tokio::time::interval(Duration::from_millis(20));
        loop {
            turn.tick().await;
            let text = client.get(&runs).send().await.unwrap().text().await.unwrap();
            let page: Value = serde_json::from_str(&text).unwrap();
            let run = page["runs"][0].clone();
            if run["state"] == "dead" || run["state"] == "succeeded" {
                return run;
            }
        }
    };
    tokio::time::timeout(TIMEOUT, ended).await.expect("the run ends")
}

async fn tokens(node: &Node) -> String {
    reqwest::get(format!("http://{}/v1/tokens", node.address)).await.unwrap().text().await.unwrap()
}

#[tokio::test]
async fn a_call_to_the_own_address_is_refused_whatever_is_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let dir = ("TASKCENTER__EMBEDDED__DATA_DIR", dir.path().to_str().unwrap());
    let node = Node::start(&[dir, ALLOW]).await;
    let port = node.address.rsplit(':').next().unwrap();
    for host in ["127.0.0.1", "localhost", "0.0.0.0", "[::ffff:127.0.0.1]", "2130706433", "0"] {
        let run = call(&node, &format!("http://{host}:{port}/v1/tokens")).await;
        assert_eq!(run["state"], "dead", "{host}: {run}");
        assert!(run["reason"].as_str().unwrap().contains("never calls itself"), "{host}: {run}");
    }
    assert!(!tokens(&node).await.contains("stolen"));
    node.stop().await;
}

/// Forwards connections to the node without any change, as a port mapping does. Returns the address.
async fn forward(target: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut server = TcpStream::connect(&target).await.unwrap();
            tokio::spawn(async move { copy_bidirectional(&mut stream, &mut server).await });
        }
    });
    address
}

#[tokio::test]
async fn a_call_that_comes_back_over_another_address_needs_a_token() {
    let dir = tempfile::tempdir().unwrap();
    let dir = ("TASKCENTER__EMBEDDED__DATA_DIR", dir.path().to_str().unwrap());
    let node = Node::start(&[dir, ALLOW]).await;
    let forwarded = forward(node.address.clone()).await;
    let run = call(&node, &format!("http://{forwarded}/v1/tokens")).await;
    assert_eq!(run["state"], "dead", "{run}");
    assert!(run["reason"].as_str().unwrap().starts_with("answered 401"), "{run}");
    assert!(!tokens(&node).await.contains("stolen"));
    node.stop().await;
}
