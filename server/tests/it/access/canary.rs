//! Secrets stay hidden: each test puts a known secret into every place that can hold one, causes
//! every kind of error, and searches all output for the secret.

use std::fmt::Write as _;

use reqwest::{Client, Method};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::node::{Node, TIMEOUT, taskcenter};

const CANARY: &str = "canary7f3acanary7f3acanary7f3acanary";

fn assert_hidden(place: &str, text: &str) {
    assert!(!text.contains(CANARY), "{place} shows the secret: {text}");
}

/// Sends wrong requests with the secret in every place that an answer could repeat, and returns the
/// answers.
async fn send_wrong_requests(address: &str, bearer: &str) -> String {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::new();
    let mut answers = String::new();
    let long = format!("{CANARY}{}", "x".repeat(100_000));
    for (method, path, body) in [
        (Method::GET, "/v1/tasks", ""),
        (Method::GET, "/metrics", ""),
        (Method::GET, "/readyz", ""),
        (Method::POST, "/v1/tasks", "{"),
        (Method::POST, "/v1/tasks", r#"{"name":"a"}"#),
        (Method::POST, "/v1/api/task", r#"{"name":"a","type":1,"data":"d"}"#),
        (Method::POST, "/v1/runs/lease", r#"{"worker":"w","queues":["q"],"limit":1,"lease_ms":60000}"#),
        (Method::GET, "/v1/queues", ""),
        (Method::DELETE, "/v1/tokens/0", ""),
        (Method::PUT, "/nothing", ""),
    ] {
        for (header, value) in [
            ("authorization", format!("Bearer {bearer}")),
            ("authorization", format!("Basic {CANARY}")),
            ("authorization", format!("Bearer tc_{CANARY}_{CANARY}")),
            ("authorization", long.clone()),
            ("cookie", format!("session={CANARY}")),
            ("x-request-id", "plain".to_owned()),
        ] {
            for is_remote in [false, true] {
                let request = client.request(method.clone(), format!("http://{address}{path}"));
                let request = request.header(header, &value).body(body);
                let request = if is_remote { request.header("x-real-ip", "203.0.113.9") } else { request };
                let Ok(response) = request.send().await else { continue };
                let headers = format!("{:?}", response.headers());
                answers.push_str(&headers);
                answers.push_str(&response.text().await.unwrap_or_default());
            }
        }
    }
    answers
}

#[cfg(feature = "cluster")]
#[tokio::test]
async fn a_cluster_node_without_its_back_ends_shows_no_secret() {
    let uri = format!(
        "mongodb://app:{CANARY}@127.0.0.1:1/?replicaSet=rs0&serverSelectionTimeoutMS=100&connectTimeoutMS=100"
    );
    let webhook = format!("http://user:{CANARY}@127.0.0.1:1/{CANARY}?token={CANARY}");
    let env = [
        ("TASKCENTER__SERVER__MODE", "cluster"),
        ("TASKCENTER__MONGODB__URI", &*uri),
        ("TASKCENTER__REDIS__ADDR", "127.0.0.1:1"),
        ("TASKCENTER__REDIS__PASSWORD", CANARY),
        ("TASKCENTER__ROCKETMQ__NAMESVR", "127.0.0.1:1"),
        ("TASKCENTER__ROCKETMQ__ACCESS_KEY", "access"),
        ("TASKCENTER__ROCKETMQ__SECRET_KEY", CANARY),
        ("TASKCENTER__ALERTS__WEBHOOK_URL", &*webhook),
        ("TASKCENTER__LOG__LEVEL", "trace"),
    ];
    let mut node = Node::start(&env).await;
    let answers = send_wrong_requests(&node.address, CANARY).await;
    node.until("Redis").await;
    assert!(answers.contains("store_unavailable"), "{answers}");
    assert_hidden("an answer", &answers);
    assert_hidden("the log", &node.stop().await.join("\n"));
    let (code, printed) = taskcenter(&["config", "print"], &env).await;
    assert_eq!(code, 0, "{printed}");
    assert_hidden("config print", &printed);
    for (key, value) in [
        ("TASKCENTER__MONGODB__URI", CANARY),
        ("TASKCENTER__ROCKETMQ__ACCESS_KEY", ""),
        ("TASKCENTER__ALERTS__WEBHOOK_URL", CANARY),
        ("TASKCENTER__ACCESS__ADMIN_TOKEN_SHA256", CANARY),
    ] {
        let mut wrong = env.to_vec();
        wrong.push((key, value));
        let (code, output) = taskcenter(&["serve"], &wrong).await;
        assert_eq!(code, 2, "{key}: {output}");
        assert_hidden(key, &output);
    }
}

#[tokio::test]
async fn an_embedded_node_shows_no_token_no_payload_and_no_webhook() {
    let data = tempfile::tempdir().unwrap();
    let webhook = format!("http://user:{CANARY}@127.0.0.1:1/{CANARY}");
    let env = [
        ("TASKCENTER__EMBEDDED__DATA_DIR", data.path().to_str().unwrap()),
        ("TASKCENTER__ALERTS__WEBHOOK_URL", &*webhook),
        ("TASKCENTER__ALERTS__WEBHOOK_ATTEMPTS", "1"),
        ("TASKCENTER__TASK_CENTER__TOTAL_ALERT_COUNT", "1"),
        ("TASKCENTER__ENGINE__BACKLOG_SEC", "1"),
        ("TASKCENTER__LOG__LEVEL", "trace"),
    ];
    let mut node = Node::start(&env).await;
    let url = format!("http://{}", node.address);
    let run = async |arguments: &[&str], token: &str| {
        taskcenter(&[arguments, &["--server", &url]].concat(), &[("TASKCENTER_TOKEN", token)]).await
    };
    let (code, output) = run(&["token", "add", "ci", "--scope", "admin"], "").await;
    assert_eq!(code, 0, "{output}");
    let token = output.lines().find(|line| line.starts_with("tc_")).expect("the token is printed").to_owned();
    for data in ["1", "2", "3"] {
        let payload = format!("{CANARY}{data}");
        assert_eq!(run(&["task", "add", "mail", "--data", &payload], &token).await.0, 0);
    }
    let (code, output) = run(&["task", "list"], CANARY).await;
    assert_eq!(code, 4, "{output}");
    assert_hidden("the command line", &output);
    let (code, help) = taskcenter(&["task", "list", "--help"], &[("TASKCENTER_TOKEN", CANARY)]).await;
    assert_eq!(code, 0);
    assert_hidden("--help", &help);
    let listed = run(&["token", "list", "--json"], &token).await.1;
    node.until("#TOTAL_TO_MANY_TASK").await;
    node.until("webhook").await;
    // The canary is part of the payloads too, which an authorized caller may read. This caller has
    // no valid token.
    assert_hidden(
        "an answer",
        &send_wrong_requests(&node.address, "nonsense").await.replace("\"data\":\"canary", ""),
    );
    let log = node.stop().await.join("\n");
    assert_hidden("the log", &log);
    let secret = token.rsplit('_').next().unwrap();
    assert!(!log.contains(secret) && !listed.contains(secret), "{listed}");
    let files: Vec<u8> = std::fs::read_dir(data.path())
        .unwrap()
        .flat_map(|entry| std::fs::read(entry.unwrap().path()).unwrap_or_default())
        .collect();
    let is_stored = |text: &str| files.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(is_stored(CANARY) && !is_stored(secret), "the files contain payloads, but no secrets");
}

/// Password of a user, signing secret of a callback service, and a number that a decoder would
/// repeat unchanged.
const PASSWORD: &str = "canary-password-7f3a-canary";
const NUMBER: &str = "7319402857190338";
const SIGNING: &str = "canary-signing-7f3a-canary";

/// Sends valid and wrong requests for users and callback services, and returns the answers.
async fn send_user_and_service_requests(address: &str, service_address: &str) -> String {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::new();
    let node = format!(r#""nodes":[{{"url":"http://{service_address}"}}]"#);
    let long = PASSWORD.repeat(100);
    let user = |text: String| (Method::POST, "/v1/users".to_owned(), text);
    let service = |text: String| (Method::POST, "/v1/services".to_owned(), text);
    let mut calls = vec![
        user(format!(r#"{{"name":"smq","password":"{PASSWORD}","senior":true}}"#)),
        user(format!(r#"{{"name":"smq","password":"{long}"}}"#)),
        user(format!(r#"{{"name":"smq","password":{NUMBER}}}"#)),
        user(format!(r#"{{"name":"smq","password":["{PASSWORD}"]}}"#)),
        user(format!(r#"{{"name":"smq","password":"{PASSWORD}","password":"{PASSWORD}"}}"#)),
        user(format!(r#"{{"name":"smq","password":"{PASSWORD}\ud800"}}"#)),
        user(format!(r#"{{"name":"smq","password":"{PASSWORD}""#)),
        user(format!(r#"{{"name":"smq","pasword":"{PASSWORD}"}}"#)),
        user(format!(r#"{{"name":" ","password":"{PASSWORD}"}}"#)),
        service(format!(r#"{{"name":"shop",{node},"secret":"{SIGNING}"}}"#)),
        service(format!(r#"{{"name":"other",{node},"secret":"{}"}}"#, SIGNING.repeat(100))),
        service(format!(r#"{{"name":"other",{node},"secret":{NUMBER}}}"#)),
        service(format!(r#"{{"name":"other",{node},"secret":{{"a":"{SIGNING}"}}}}"#)),
        service(format!(r#"{{"name":"other",{node},"secret":"{SIGNING}","secret":"{SIGNING}"}}"#)),
        service(format!(r#"{{"name":"other","nodes":[],"secret":"{SIGNING}"}}"#)),
    ];
    for name in ["smq", "nobody"] {
        for password in [PASSWORD, NUMBER] {
            let form = format!("operation=userLogin&username={name}&password={password}");
            calls.push((Method::POST, "/rpost/task".to_owned(), form.clone()));
            calls.push((Method::GET, format!("/rget/task?{form}"), String::new()));
            calls.push((Method::POST, format!("/rpost/task?{form}"), String::new()));
            calls.push((Method::POST, "/api/login".to_owned(), form));
        }
    }
    for path in ["/v1/users", "/v1/services", "/v1/services/shop", "/metrics", "/no/such/route"] {
        calls.push((Method::GET, path.to_owned(), String::new()));
    }
    let mut answers = String::new();
    for (method, path, body) in calls {
        let request = client.request(method, format!("http://{address}{path}")).body(body);
        let response = request.send().await.expect("the server answers");
        let _ = write!(answers, "{:?}", response.headers());
        answers.push_str(&response.text().await.expect("the answer is text"));
    }
    answers
}

/// Answers one callback with an error, and returns the request.
async fn refuse_one_callback(listener: &TcpListener) -> String {
    let answered = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"{}") {
            assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0, "the connection was closed early");
        }
        stream.write_all(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await.unwrap();
        String::from_utf8(request).unwrap()
    };
    timeout(TIMEOUT, answered).await.expect("the callback arrives in time")
}

#[tokio::test]
async fn a_node_shows_no_password_and_no_signing_secret() {
    let data = tempfile::tempdir().unwrap();
    let env = [
        ("TASKCENTER__EMBEDDED__DATA_DIR", data.path().to_str().unwrap()),
        ("TASKCENTER__CALLBACK__ALLOW", "127.0.0.1/32"),
        ("TASKCENTER__COMPAT__TASKDASH__ENABLED", "true"),
        ("TASKCENTER__COMPAT__EASYTASK_PULL__ENABLED", "true"),
        ("TASKCENTER__LOG__LEVEL", "trace"),
    ];
    let mut node = Node::start(&env).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let answers =
        send_user_and_service_requests(&node.address, &listener.local_addr().unwrap().to_string()).await;
    assert!(answers.contains(r#""signed":true"#) && answers.contains("taskdash_session"), "{answers}");
    // A signed callback that fails.
    let url = format!("http://{}", node.address);
    let job = r#"{"service":"shop","path":"/up","body":"{}"}"#;
    let add = ["task", "add", "call", "--data", job, "--queue", "callback", "--server", &url];
    let (code, output) = taskcenter(&add, &[]).await;
    assert_eq!(code, 0, "{output}");
    let mut places = vec![("an answer", answers), ("a callback", refuse_one_callback(&listener).await)];
    assert!(places[1].1.contains("x-taskcenter-signature: v1="), "{places:?}");
    node.until("500").await;
    let metrics = reqwest::get(format!("{url}/metrics")).await.expect("the server answers");
    places.push(("the metrics", metrics.text().await.expect("the answer is text")));
    for command in [["user", "list"], ["task", "list"], ["run", "list"]] {
        places.push((
            "the command line",
            taskcenter(&[&command[..], &["--server", &url]].concat(), &[]).await.1,
        ));
    }
    places.push(("the log", node.stop().await.join("\n")));
    for (place, text) in places {
        for secret in ["canary-password", "canary-signing", NUMBER] {
            assert!(!text.contains(secret), "{place} shows {secret}: {text}");
        }
    }
    let files: Vec<u8> = std::fs::read_dir(data.path())
        .unwrap()
        .flat_map(|entry| std::fs::read(entry.unwrap().path()).unwrap_or_default())
        .collect();
    let is_stored = |text: &str| files.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(is_stored("smq") && !is_stored(PASSWORD), "only a digest of the password is stored");
}

#[tokio::test]
async fn a_first_token_is_created_without_a_server() {
    let (code, output) = taskcenter(&["token", "draw"], &[]).await;
    assert_eq!(code, 0, "{output}");
    let token = output.lines().find(|line| line.starts_with("tc_")).unwrap().to_owned();
    let line = output.lines().find(|line| line.starts_with("TASKCENTER__ACCESS__")).unwrap();
    let (key, sha256) = line.split_once('=').unwrap();
    let data = tempfile::tempdir().unwrap();
    let dir = data.path().to_str().unwrap();
    let env =
        [("TASKCENTER__EMBEDDED__DATA_DIR", dir), ("TASKCENTER__ACCESS__REQUIRED", "always"), (key, sha256)];
    let node = Node::start(&env).await;
    let url = format!("http://{}", node.address);
    let list = ["task", "list", "--server", &url];
    let (code, output) = taskcenter(&list, &[]).await;
    assert!(
        code == 4 && output.contains("taskcenter token add") && output.contains("TASKCENTER_TOKEN"),
        "{output}"
    );
    assert_eq!(taskcenter(&list, &[("TASKCENTER_TOKEN", &token)]).await.0, 0);
    let (code, output) =
        taskcenter(&["token", "add", "w", "--scope", "run:pull", "--token", &token, "--server", &url], &[])
            .await;
    assert_eq!(code, 0, "{output}");
    node.stop().await;
}
