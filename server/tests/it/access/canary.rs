//! One secret in every place that can hold one, and everything that can go wrong: nobody ever sees it.

use std::fmt::Write as _;

use reqwest::{Client, Method};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::node::{NEVER, Node, taskcenter};

const CANARY: &str = "canary7f3acanary7f3acanary7f3acanary";

fn assert_unseen(place: &str, text: &str) {
    assert!(!text.contains(CANARY), "{place} shows it: {text}");
}

/// Every way to ask that is wrong, with the secret wherever it could be repeated; what is answered.
async fn provoke(address: &str, bearer: &str) -> String {
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
            for elsewhere in [false, true] {
                let request = client.request(method.clone(), format!("http://{address}{path}"));
                let request = request.header(header, &value).body(body);
                let request = if elsewhere { request.header("x-real-ip", "203.0.113.9") } else { request };
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
async fn a_cluster_node_whose_back_ends_are_away_tells_no_secret() {
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
    let answers = provoke(&node.address, CANARY).await;
    node.until("Redis").await;
    assert!(answers.contains("store_unavailable"), "{answers}");
    assert_unseen("an answer", &answers);
    assert_unseen("the log", &node.stop().await.join("\n"));
    let (code, printed) = taskcenter(&["config", "print"], &env).await;
    assert_eq!(code, 0, "{printed}");
    assert_unseen("config print", &printed);
    for (key, value) in [
        ("TASKCENTER__MONGODB__URI", CANARY),
        ("TASKCENTER__ROCKETMQ__ACCESS_KEY", ""),
        ("TASKCENTER__ALERTS__WEBHOOK_URL", CANARY),
        ("TASKCENTER__ACCESS__ADMIN_TOKEN_SHA256", CANARY),
    ] {
        let mut wrong = env.to_vec();
        wrong.push((key, value));
        let (code, said) = taskcenter(&["serve"], &wrong).await;
        assert_eq!(code, 2, "{key}: {said}");
        assert_unseen(key, &said);
    }
}

#[tokio::test]
async fn an_embedded_node_tells_neither_tokens_nor_payloads_nor_its_webhook() {
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
    let verb = async |words: &[&str], token: &str| {
        taskcenter(&[words, &["--server", &url]].concat(), &[("TASKCENTER_TOKEN", token)]).await
    };
    let (code, said) = verb(&["token", "add", "ci", "--scope", "admin"], "").await;
    assert_eq!(code, 0, "{said}");
    let token = said.lines().find(|line| line.starts_with("tc_")).expect("it is told once").to_owned();
    for data in ["1", "2", "3"] {
        let payload = format!("{CANARY}{data}");
        assert_eq!(verb(&["task", "add", "mail", "--data", &payload], &token).await.0, 0);
    }
    let (code, said) = verb(&["task", "list"], CANARY).await;
    assert_eq!(code, 4, "{said}");
    assert_unseen("the command line", &said);
    let (code, help) = taskcenter(&["task", "list", "--help"], &[("TASKCENTER_TOKEN", CANARY)]).await;
    assert_eq!(code, 0);
    assert_unseen("--help", &help);
    let listed = verb(&["token", "list", "--json"], &token).await.1;
    node.until("#TOTAL_TO_MANY_TASK").await;
    node.until("webhook").await;
    // It is the payloads' as well, which are answered to whoever may read them; here nobody may.
    assert_unseen("an answer", &provoke(&node.address, "nonsense").await.replace("\"data\":\"canary", ""));
    let log = node.stop().await.join("\n");
    assert_unseen("the log", &log);
    let secret = token.rsplit('_').next().unwrap();
    assert!(!log.contains(secret) && !listed.contains(secret), "{listed}");
    let files: Vec<u8> = std::fs::read_dir(data.path())
        .unwrap()
        .flat_map(|entry| std::fs::read(entry.unwrap().path()).unwrap_or_default())
        .collect();
    let is_there = |text: &str| files.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(is_there(CANARY) && !is_there(secret), "payloads lie in the files, secrets do not");
}

/// What people sign in with and what callbacks are signed with; the number is one that a decoder would repeat as it is.
const PASSWORD: &str = "canary-password-7f3a-canary";
const NUMBER: &str = "7319402857190338";
const SIGNING: &str = "canary-signing-7f3a-canary";

/// Whatever people and services are told of and asked for, rightly and wrongly; what is answered.
async fn provoke_with_people_and_services(address: &str, callee: &str) -> String {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::new();
    let node = format!(r#""nodes":[{{"url":"http://{callee}"}}]"#);
    let long = PASSWORD.repeat(100);
    let body = |text: String| (Method::POST, "/v1/users".to_owned(), text);
    let service = |text: String| (Method::POST, "/v1/services".to_owned(), text);
    let mut calls = vec![
        body(format!(r#"{{"name":"smq","password":"{PASSWORD}","senior":true}}"#)),
        body(format!(r#"{{"name":"smq","password":"{long}"}}"#)),
        body(format!(r#"{{"name":"smq","password":{NUMBER}}}"#)),
        body(format!(r#"{{"name":"smq","password":["{PASSWORD}"]}}"#)),
        body(format!(r#"{{"name":"smq","password":"{PASSWORD}","password":"{PASSWORD}"}}"#)),
        body(format!(r#"{{"name":"smq","password":"{PASSWORD}\ud800"}}"#)),
        body(format!(r#"{{"name":"smq","password":"{PASSWORD}""#)),
        body(format!(r#"{{"name":"smq","pasword":"{PASSWORD}"}}"#)),
        body(format!(r#"{{"name":" ","password":"{PASSWORD}"}}"#)),
        service(format!(r#"{{"name":"shop",{node},"secret":"{SIGNING}"}}"#)),
        service(format!(r#"{{"name":"other",{node},"secret":"{}"}}"#, SIGNING.repeat(100))),
        service(format!(r#"{{"name":"other",{node},"secret":{NUMBER}}}"#)),
        service(format!(r#"{{"name":"other",{node},"secret":{{"a":"{SIGNING}"}}}}"#)),
        service(format!(r#"{{"name":"other",{node},"secret":"{SIGNING}","secret":"{SIGNING}"}}"#)),
        service(format!(r#"{{"name":"other","nodes":[],"secret":"{SIGNING}"}}"#)),
    ];
    for user in ["smq", "nobody"] {
        for password in [PASSWORD, NUMBER] {
            let form = format!("operation=userLogin&username={user}&password={password}");
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
        let response = request.send().await.expect("it answers");
        let _ = write!(answers, "{:?}", response.headers());
        answers.push_str(&response.text().await.expect("it answers in text"));
    }
    answers
}

/// Takes one call, which fails; what it said.
async fn called_in_vain(callee: &TcpListener) -> String {
    let taken = async {
        let (mut stream, _) = callee.accept().await.unwrap();
        let mut said = Vec::new();
        while !said.ends_with(b"{}") {
            assert_ne!(stream.read_buf(&mut said).await.unwrap(), 0, "it broke off");
        }
        stream.write_all(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await.unwrap();
        String::from_utf8(said).unwrap()
    };
    timeout(NEVER, taken).await.expect("it is called")
}

#[tokio::test]
async fn a_node_tells_neither_the_passwords_of_people_nor_the_signing_secrets_of_services() {
    let data = tempfile::tempdir().unwrap();
    let env = [
        ("TASKCENTER__EMBEDDED__DATA_DIR", data.path().to_str().unwrap()),
        ("TASKCENTER__CALLBACK__ALLOW", "127.0.0.1/32"),
        ("TASKCENTER__COMPAT__TASKDASH__ENABLED", "true"),
        ("TASKCENTER__COMPAT__EASYTASK_PULL__ENABLED", "true"),
        ("TASKCENTER__LOG__LEVEL", "trace"),
    ];
    let mut node = Node::start(&env).await;
    let callee = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let answers =
        provoke_with_people_and_services(&node.address, &callee.local_addr().unwrap().to_string()).await;
    assert!(answers.contains(r#""signed":true"#) && answers.contains("taskdash_session"), "{answers}");
    // A callback that is signed, and fails.
    let url = format!("http://{}", node.address);
    let job = r#"{"service":"shop","path":"/up","body":"{}"}"#;
    let add = ["task", "add", "call", "--data", job, "--queue", "callback", "--server", &url];
    let (code, said) = taskcenter(&add, &[]).await;
    assert_eq!(code, 0, "{said}");
    let mut places = vec![("an answer", answers), ("a callback", called_in_vain(&callee).await)];
    assert!(places[1].1.contains("x-taskcenter-signature: v1="), "{places:?}");
    node.until("500").await;
    let metrics = reqwest::get(format!("{url}/metrics")).await.expect("it answers");
    places.push(("the metrics", metrics.text().await.expect("it is text")));
    for words in [["user", "list"], ["task", "list"], ["run", "list"]] {
        places
            .push(("the command line", taskcenter(&[&words[..], &["--server", &url]].concat(), &[]).await.1));
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
    let is_there = |text: &str| files.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(is_there("smq") && !is_there(PASSWORD), "of a password only a digest is kept");
}

#[tokio::test]
async fn a_first_token_is_drawn_without_a_server() {
    let (code, said) = taskcenter(&["token", "draw"], &[]).await;
    assert_eq!(code, 0, "{said}");
    let token = said.lines().find(|line| line.starts_with("tc_")).unwrap().to_owned();
    let line = said.lines().find(|line| line.starts_with("TASKCENTER__ACCESS__")).unwrap();
    let (key, sha256) = line.split_once('=').unwrap();
    let data = tempfile::tempdir().unwrap();
    let dir = data.path().to_str().unwrap();
    let env =
        [("TASKCENTER__EMBEDDED__DATA_DIR", dir), ("TASKCENTER__ACCESS__REQUIRED", "always"), (key, sha256)];
    let node = Node::start(&env).await;
    let url = format!("http://{}", node.address);
    let list = ["task", "list", "--server", &url];
    let (code, said) = taskcenter(&list, &[]).await;
    assert!(
        code == 4 && said.contains("taskcenter token add") && said.contains("TASKCENTER_TOKEN"),
        "{said}"
    );
    assert_eq!(taskcenter(&list, &[("TASKCENTER_TOKEN", &token)]).await.0, 0);
    let (code, said) =
        taskcenter(&["token", "add", "w", "--scope", "run:pull", "--token", &token, "--server", &url], &[])
            .await;
    assert_eq!(code, 0, "{said}");
    node.stop().await;
}
