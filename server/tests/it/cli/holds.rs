//! Commands for holds.

use serde_json::json;

use super::program::{Dev, data_dir};

#[tokio::test]
async fn queues_and_tags_are_held_and_released() {
    let data = data_dir();
    let dev = Dev::start(data.path(), &[]).await;
    let add = ["hold", "add", "queue", "mail", "--reason", "deploy 2.1", "--for", "30m"];
    let hold = dev.json(&add).await;
    assert_eq!(
        (&hold["scope"], &hold["name"], &hold["reason"]),
        (&json!("queue"), &json!("mail"), &json!("deploy 2.1"))
    );
    assert!(hold["until"].is_string(), "{hold}");
    let (code, _, err) = dev.run(&["hold", "add", "tag", "a", "b"]).await;
    assert_eq!((code, err.as_str()), (0, ""));
    let names = async || {
        let list = dev.json(&["hold", "list"]).await;
        let holds = list["holds"].as_array().unwrap().clone();
        holds.iter().map(|hold| hold["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names().await, ["mail", "a", "b"]);
    assert_eq!(dev.run(&["hold", "remove", "tag", "a", "c", "b"]).await.0, 3, "c is not on hold");
    assert_eq!(names().await, ["mail"]);
    let (code, _, err) = dev.run(&["hold", "add", "host", "a"]).await;
    assert!(code == 2 && err.contains("use queue or tag"), "{code} {err}");
    assert_eq!(dev.running.stop().await, 0);
}
