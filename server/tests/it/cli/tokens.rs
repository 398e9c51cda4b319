//! Commands for tokens.

use serde_json::json;

use super::program::{Dev, data_dir};

#[tokio::test]
async fn a_token_is_created_with_quotas_and_listed_with_them() {
    let data = data_dir();
    let dev = Dev::start(data.path(), &[]).await;
    let add = ["token", "add", "import", "--scope", "task:write"];
    let issued =
        dev.json(&[&add[..], &["--max-live-tasks", "1", "--max-creates-per-sec", "20"]].concat()).await;
    assert_eq!((&issued["max_live_tasks"], &issued["max_creates_per_sec"]), (&json!(1), &json!(20)));
    assert_eq!(dev.run(&add).await.0, 0);
    let (_, list, _) = dev.run(&["token", "list"]).await;
    assert!(list.contains("1 live, 20/s"), "{list}");
    let (code, _, error) = dev.run(&[&add[..], &["--max-live-tasks", "0"]].concat()).await;
    assert!(
        code != 0 && error.contains("max_live_tasks should be between 1 and 100000, and is 0"),
        "{code} {error}"
    );

    let create = ["task", "add", "mail", "--in", "1h", "--token", issued["token"].as_str().unwrap()];
    assert_eq!(dev.run(&create).await.0, 0);
    let (code, _, error) = dev.run(&create).await;
    assert!(code != 0 && error.contains("the token has 1 of 1 live tasks"), "{code} {error}");
    assert_eq!(dev.running.stop().await, 0);
}
