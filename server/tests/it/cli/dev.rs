//! `taskcenter dev`, as a new user runs it.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::program::{Dev, Running, data_dir, http_client, taskcenter};

/// Asserts that the error is one line for a user, without debug output.
fn assert_one_line_error(err: &str, word: &str) {
    assert!(err.starts_with("error: ") && err.contains(word), "{err}");
    assert_eq!(err.lines().count(), 1, "{err}");
    for debug in ["Error {", "Os {", "Custom", "panicked", "RUST_BACKTRACE"] {
        assert!(!err.contains(debug), "{err}");
    }
}

#[tokio::test]
async fn the_commands_of_the_banner_work() {
    let data = data_dir();
    let mut dev = Dev::start(data.path(), &[]).await;
    for link in ["  console ", "API docs"] {
        let line = dev.running.until(link).await;
        let url = line.split_whitespace().last().unwrap();
        assert!(http_client().get(url).send().await.unwrap().status().is_success(), "{url}");
    }
    let line = dev.running.until("  data ").await;
    assert!(line.ends_with(data.path().to_str().unwrap()), "{line}");

    let curl = dev.running.until("curl ").await;
    assert!(curl.ends_with(" \\"), "{curl}");
    let (body, url) = (curl.split('\'').nth(1).unwrap(), dev.running.until("/v1/tasks").await);
    let url = url.trim();
    let form = "application/x-www-form-urlencoded"; // the default of curl
    let request = http_client().post(url).header("content-type", form).body(body.to_owned());
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 201);
    let tasks = dev.json(&["task", "list"]).await;
    assert_eq!(tasks["tasks"][0]["name"], "hello");

    let hint = dev.running.until("taskcenter tail").await;
    let program = env!("CARGO_BIN_EXE_taskcenter");
    assert_eq!(hint.trim(), format!("{program} tail --server {}", dev.url));
    dev.running.interrupt();
    dev.running.until("stopping").await;
    dev.running.until("stopped").await;
    assert_eq!(dev.running.wait().await, 0);
}

#[tokio::test]
async fn a_start_that_fails_prints_one_line() {
    let data = data_dir();
    let dev = Dev::start(data.path(), &[]).await;
    let path = data.path().to_str().unwrap();
    let (code, out, err) = taskcenter(&["dev", "--listen", "127.0.0.1:0", "--data-dir", path]).await;
    assert_eq!((code, out.as_str()), (1, ""));
    assert_one_line_error(&err, &format!("{path} is in use by another taskcenter"));

    let port = dev.url.trim_start_matches("http://");
    let (code, _, err) = taskcenter(&["dev", "--listen", port]).await;
    assert_eq!(code, 1);
    assert_one_line_error(&err, &format!("{port} is in use"));
    assert_eq!(dev.running.stop().await, 0);

    let file = data.path().join("file");
    std::fs::write(&file, "").unwrap();
    let below = file.join("data");
    let below = below.to_str().unwrap();
    let (code, _, err) = taskcenter(&["dev", "--listen", "127.0.0.1:0", "--data-dir", below]).await;
    assert_eq!(code, 1);
    assert_one_line_error(&err, below);
}

#[tokio::test]
async fn dev_refuses_addresses_beyond_loopback() {
    let (code, out, err) = taskcenter(&["dev", "--listen", "0.0.0.0:0"]).await;
    assert_eq!((code, out.as_str()), (2, ""));
    assert_one_line_error(&err, "taskcenter serve --listen 0.0.0.0:0");
    let (code, _, err) = taskcenter(&["dev", "--log", "="]).await;
    assert_eq!(code, 2);
    assert_one_line_error(&err, "log.level");
}

#[tokio::test]
async fn dev_requires_a_token_if_it_is_told_to() {
    const ALWAYS: (&str, &str) = ("TASKCENTER__ACCESS__REQUIRED", "always");
    let data = data_dir();
    let start = |options: &[&str]| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_taskcenter"));
        command.args(["dev", "--listen", "127.0.0.1:0", "--data-dir", data.path().to_str().unwrap()]);
        command.args(options).env(ALWAYS.0, ALWAYS.1).kill_on_drop(true);
        command
    };
    let refused = start(&["--demo"]).output().await.unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert_one_line_error(&String::from_utf8(refused.stderr).unwrap(), ALWAYS.0);
    let mut running = Running::spawn(start(&[]));
    let line = running.until("  address ").await;
    let url = line.split_whitespace().last().unwrap();
    let answer = http_client().get(format!("{url}/v1/tasks")).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 401);
    assert_eq!(running.stop().await, 0);
}

#[tokio::test]
async fn the_demo_delivers_and_a_second_start_creates_no_duplicates() {
    let data = data_dir();
    for _ in 0..2 {
        let mut dev = Dev::start(data.path(), &["--demo"]).await;
        for _ in 0..3 {
            let line = dev.running.until("delivered demo.").await;
            assert!(line.contains(" ms late"), "{line}");
        }
        let tasks = dev.json(&["task", "list", "--name", "demo.cron"]).await;
        assert_eq!(tasks["tasks"].as_array().unwrap().len(), 1);
        let tasks = dev.json(&["task", "list", "--name", "demo.loop"]).await;
        assert_eq!(tasks["tasks"].as_array().unwrap().len(), 1);
        dev.running.interrupt();
        dev.running.until("stopped").await;
        assert_eq!(dev.running.wait().await, 0);
    }
}

#[tokio::test]
async fn a_second_signal_ends_the_process() {
    let data = data_dir();
    let mut dev = Dev::start(data.path(), &[]).await;
    // The shutdown waits for a request whose body is missing. The server asks for the body when it
    // has started to process the request.
    let mut slow = TcpStream::connect(dev.url.trim_start_matches("http://")).await.unwrap();
    let head =
        "POST /v1/tasks HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n";
    slow.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(slow.read_u8().await.unwrap(), b'H');
    dev.running.interrupt();
    dev.running.until("stopping").await;
    dev.running.interrupt();
    assert_eq!(dev.running.wait().await, 1);
}

#[tokio::test]
async fn the_kingtask_and_easytask_apis_answer() {
    let data = data_dir();
    let dev = Dev::start(data.path(), &[]).await;
    let post = async |path: &str, body: &'static str| {
        let url = format!("{}{path}", dev.url);
        http_client().post(url).body(body).send().await.unwrap().text().await.unwrap()
    };
    let later = post("/api/v1/task", r#"{"bin_name":"b","start_time":"4000000000"}"#).await;
    assert_eq!(later.len(), 38, "{later}");
    let unknown = post("/stop_task", r#"{"task_id":"0"}"#).await;
    assert!(unknown.starts_with(r#"{"code":10002,"msg":"task not found","data":null,"#), "{unknown}");
    assert_eq!(dev.running.stop().await, 0);
}
