//! TLS of the server, with certificates that each test creates.

use taskcenter_client::TaskCenter;

use super::certificates;
use super::node::{Node, TIMEOUT, taskcenter};

fn text(path: &std::path::Path) -> &str {
    path.to_str().expect("the path is UTF-8")
}

#[tokio::test]
async fn only_clients_that_trust_the_authority_can_connect() {
    let dir = tempfile::tempdir().unwrap();
    let certificates = certificates::create(dir.path());
    let env = [
        ("TASKCENTER__EMBEDDED__DATA_DIR", text(dir.path())),
        ("TASKCENTER__SERVER__TLS__CERT", text(&certificates.cert)),
        ("TASKCENTER__SERVER__TLS__KEY", text(&certificates.key)),
    ];
    let node = Node::start(&env).await;
    let port = node.address.rsplit_once(':').unwrap().1.to_owned();
    let url = format!("https://localhost:{port}");
    let plain = format!("http://localhost:{port}");
    let client = |address: &str| TaskCenter::builder(address).retries(0, TIMEOUT);
    let trusting = client(&url).ca_file(&certificates.authority).build().unwrap();
    assert!(trusting.tokens().await.unwrap().tokens.is_empty());
    assert!(client(&url).build().unwrap().tokens().await.is_err(), "an unknown authority is not trusted");
    assert!(client(&plain).build().unwrap().tokens().await.is_err(), "plain HTTP is refused");
    let (code, output) =
        taskcenter(&["stat", "--server", &url, "--ca", text(&certificates.authority)], &[]).await;
    assert_eq!(code, 0, "{output}");
    node.stop().await;
}

#[tokio::test]
async fn an_unusable_certificate_is_reported_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let certificates = certificates::create(dir.path());
    let other_key = dir.path().join("ca.key");
    let empty = dir.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    for (cert, key, setting) in [
        (dir.path().join("none.pem"), certificates.key.clone(), "server.tls.cert"),
        (empty, certificates.key.clone(), "server.tls.cert"),
        (certificates.cert.clone(), certificates.cert.clone(), "server.tls.key"),
        (certificates.cert.clone(), other_key, "server.tls"),
    ] {
        let env = [
            ("TASKCENTER__EMBEDDED__DATA_DIR", text(dir.path())),
            ("TASKCENTER__SERVER__TLS__CERT", text(&cert)),
            ("TASKCENTER__SERVER__TLS__KEY", text(&key)),
        ];
        let (code, output) = taskcenter(&["serve", "--listen", "127.0.0.1:0"], &env).await;
        assert!(code == 1 && output.contains(setting), "{output}");
        assert!(!output.contains("PRIVATE KEY"), "{output}");
    }
}
