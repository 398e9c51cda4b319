//! Memory of the real program, with callers that do not read their answers.

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::access::node::Node;

const TASKS: usize = 17;
const CONNECTIONS: usize = 100;
/// Largest `data` of a task, in bytes.
const DATA: usize = 4 * 1024 * 1024 - 64 * 1024;
const MOST_KIB: u64 = 512 * 1024;

async fn list(node: &Node, limit: usize) -> Value {
    let url = format!("http://{}/v1/tasks?limit={limit}", node.address);
    let text = reqwest::get(url).await.unwrap().text().await.unwrap();
    assert!(text.len() <= 8 * 1024 * 1024, "a page has {} bytes", text.len());
    serde_json::from_str(&text).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_nobody_reads_share_one_budget() {
    let dir = tempfile::tempdir().unwrap();
    let env = [
        ("TASKCENTER__EMBEDDED__DATA_DIR", dir.path().to_str().unwrap()),
        ("TASKCENTER__SERVER__REQUEST_TIMEOUT_MS", "5000"),
    ];
    let mut node = Node::start(&env).await;
    let client = reqwest::Client::new();
    let data = "x".repeat(DATA);
    let mut ids = Vec::new();
    for _ in 0..TASKS {
        let task = json!({"name": "large", "data": data, "delay_ms": 86_400_000}).to_string();
        let created =
            client.post(format!("http://{}/v1/tasks", node.address)).body(task).send().await.unwrap();
        assert_eq!(created.status(), 201);
        let created: Value = serde_json::from_str(&created.text().await.unwrap()).unwrap();
        ids.push(created["id"].as_str().unwrap().to_owned());
    }
    let mut silent = Vec::new();
    for n in 0..CONNECTIONS {
        let path = match n % 4 {
            0 => format!("/v1/tasks/{}?n={n}", ids[n % TASKS]),
            1 => "/v1/api/query-task-by-name?name=large".to_owned(),
            _ => "/v1/tasks?limit=1000".to_owned(),
        };
        let mut connection = TcpStream::connect(&node.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nx-request-id: silent-{n}\r\n\r\n");
        connection.write_all(request.as_bytes()).await.unwrap();
        silent.push(connection);
    }
    for n in 0..CONNECTIONS {
        node.until(&format!("\"silent-{n}\"")).await;
    }
    let peak = node.peak_memory_kib();
    println!("peak of {} MiB", peak / 1024);
    assert!(peak < MOST_KIB, "the process used {peak} KiB");
    drop(silent);
    let page = list(&node, 1000).await;
    assert!(page["tasks"].as_array().unwrap().len() >= 2 && page["next_cursor"].is_string());
    node.stop().await;
}
