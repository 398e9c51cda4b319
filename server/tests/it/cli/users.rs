//! Commands for users.

use serde_json::Value;

use super::program::{Dev, data_dir, http_client, taskcenter_with_input};

#[tokio::test]
async fn a_user_is_created_with_a_password_from_standard_input_and_can_log_in() {
    let data = data_dir();
    let dev = Dev::start(data.path(), &[]).await;
    let add = ["user", "add", "li", "--senior", "--json", "--server", &dev.url];
    let (code, out, err) = taskcenter_with_input(&add, "correct horse\nsecond line").await;
    assert_eq!((code, err.as_str()), (0, ""));
    let li = serde_json::json!({"name": "li", "senior": true});
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap(), li);
    assert_eq!(dev.json(&["user", "list"]).await, serde_json::json!({ "users": [li] }));
    let (code, _, err) = taskcenter_with_input(&add, "short").await;
    assert!(code == 4 && err.contains("password"), "{code} {err}");
    let add_viewer =
        ["user", "add", "wang", "--role", "viewer", "--tag", "mail", "--json", "--server", &dev.url];
    let (_, out, _) = taskcenter_with_input(&add_viewer, "correct horse").await;
    let wang = serde_json::json!({"name": "wang", "senior": false, "role": "viewer", "tags": ["mail"]});
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap(), wang);
    let (_, out, _) =
        taskcenter_with_input(&["user", "add", "wang", "--json", "--server", &dev.url], "other horse").await;
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap(), wang, "role and tags stay");
    let change = async |options: &[&str]| {
        let words = [&["user", "add", "wang", "--keep-password"][..], options].concat();
        dev.json(&words).await
    };
    let of = |role: &str| serde_json::json!({"name": "wang", "senior": true, "role": role});
    assert_eq!(change(&["--role", "admin", "--all-tags", "--senior"]).await, of("admin"));
    let none = serde_json::json!({"name": "wang", "senior": false});
    assert_eq!(change(&["--role", "none", "--senior=false"]).await, none);
    let expiring = change(&["--until", "2100-01-31T08:00:00Z"]).await;
    assert_eq!(expiring["expires_at"], "2100-01-31T08:00:00Z");
    assert_eq!(change(&["--senior=false"]).await, expiring, "the expiry stays");
    assert_eq!(change(&["--no-expiry"]).await, none);
    assert!(change(&["--expires-in", "90d"]).await["expires_at"].is_string());

    // In dev, all legacy APIs are on.
    let form = "operation=userLogin&username=li&password=correct+horse";
    let login = http_client().post(format!("{}/rpost/task", dev.url)).body(form).send().await.unwrap();
    assert_eq!(login.text().await.unwrap(), "success");
    let download = http_client().get(format!("{}/newtype?name=download", dev.url)).send().await.unwrap();
    assert_eq!(download.text().await.unwrap(), "OK");

    let (code, out, _) = dev.run(&["user", "remove", "li"]).await;
    assert!(code == 0 && out.contains("SENIOR") && out.contains("li    -     -     yes"), "{out}");
    assert_eq!(dev.run(&["user", "remove", "li"]).await.0, 3);
    assert_eq!(dev.running.stop().await, 0);
}
