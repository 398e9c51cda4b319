//! TLS of the server, with certificates that each test creates.

use taskcenter_client::TaskCenter;

use super::certificates;
use super::node::{NEVER, Node, taskcenter};

fn text(path: &std::path::Path) -> &str {
    path.to_str().expect("a path is text")
}

#[tokio::test]
async fn the_server_speaks_tls_to_who_trusts_its_authority_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let certificates = certificates::make(dir.path());
    let env = [
        ("TASKCENTER__EMBEDDED__DATA_DIR", text(dir.path())),
        ("TASKCENTER__SERVER__TLS__CERT", text(&certificates.cert)),
        ("TASKCENTER__SERVER__TLS__KEY", text(&certificates.key)),
    ];
    let node = Node::start(&env).await;
    let port = node.address.rsplit_once(':').unwrap().1.to_owned();
    let url = format!("https://localhost:{port}");
    let plain = format!("http://localhost:{port}");
    let center = |address: &str| TaskCenter::builder(address).retries(0, NEVER);
    let trusting = center(&url).ca_file(&certificates.authority).build().unwrap();
    assert!(trusting.tokens().await.unwrap().tokens.is_empty());
    assert!(center(&url).build().unwrap().tokens().await.is_err(), "an authority that nobody named");
    assert!(center(&plain).build().unwrap().tokens().await.is_err(), "plain HTTP");
    let (code, said) =
        taskcenter(&["stat", "--server", &url, "--ca", text(&certificates.authority)], &[]).await;
    assert_eq!(code, 0, "{said}");
    node.stop().await;
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_is_named_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let certificates = certificates::make(dir.path());
    let other_key = dir.path().join("ca.key");
    let empty = dir.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    for (cert, key, named) in [
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
        let (code, said) = taskcenter(&["serve", "--listen", "127.0.0.1:0"], &env).await;
        assert!(code == 1 && said.contains(named), "{said}");
        assert!(!said.contains("PRIVATE KEY"), "{said}");
    }
}
