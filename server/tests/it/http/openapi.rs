//! The OpenAPI document: complete, equal to the committed one, and readable without the Internet.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use reqwest::Method;
use serde_json::Value;

use super::{Server, with_server};

const RENEW: &str = "TASKCENTER_TEST_RENEW_OPENAPI";

fn manifest(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

async fn document(server: &Server) -> Value {
    let (status, document) = server.get("/v1/openapi.json").await;
    assert_eq!(status, 200);
    document
}

/// Every operation with its method and path.
fn operations(document: &Value) -> Vec<(Method, String, Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    let of_path = |(path, item): (&String, &Value)| {
        let operations = item.as_object().unwrap().clone().into_iter();
        let method = |method: &str| method.to_uppercase().parse().unwrap();
        operations.map(|(name, operation)| (method(&name), path.clone(), operation)).collect::<Vec<_>>()
    };
    paths.flat_map(of_path).collect()
}

#[tokio::test]
async fn the_document_equals_the_committed_one() {
    with_server(async |server| {
        let document = document(server).await;
        let snapshot = manifest("tests/it/http/openapi.json");
        if std::env::var_os(RENEW).is_some() {
            let text = serde_json::to_string_pretty(&document).unwrap() + "\n";
            std::fs::write(&snapshot, text).unwrap();
        }
        let text = std::fs::read_to_string(&snapshot).unwrap_or_default();
        let committed: Value = serde_json::from_str(&text).unwrap_or_default();
        assert!(
            committed == document,
            "the API differs from openapi.json next to this test. If the change is intended, run this test \
             with {RENEW}=1 and commit the file"
        );
    })
    .await;
}

#[tokio::test]
async fn every_documented_operation_has_a_route_and_a_problem_answer() {
    with_server(async |server| {
        let document = document(server).await;
        let operations = operations(&document);
        assert!(operations.len() >= 22, "only {} operations", operations.len());
        let mut ids = BTreeSet::new();
        for (method, path, operation) in operations {
            let request_path =
                path.replace("{task_id}", &"0".repeat(32)).replace("{run_id}", "r").replace("{queue}", "q");
            let response = server.send(method.clone(), &request_path, "").await;
            let (status, text) = (response.status().as_u16(), response.text().await.unwrap());
            assert!(status != 405 && !text.contains("no_such_route"), "{method} {path}: {text}");
            let problem =
                &operation["responses"]["default"]["content"]["application/problem+json"]["schema"]["$ref"];
            assert_eq!(problem, "#/components/schemas/Problem", "{method} {path}");
            assert!(operation["summary"].is_string(), "{method} {path} has no summary");
            assert!(
                ids.insert(operation["operationId"].to_string()),
                "{} is not unique",
                operation["operationId"]
            );
        }
    })
    .await;
}

#[tokio::test]
async fn every_reference_of_the_document_resolves() {
    with_server(async |server| {
        let document = document(server).await;
        let text = document.to_string();
        let references: BTreeSet<&str> =
            text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(references.len() > 15, "{references:?}");
        for reference in references {
            assert!(document.pointer(reference).is_some(), "{reference} is missing");
        }
    })
    .await;
}

#[test]
fn every_route_of_v1_is_in_the_document() {
    let mut handlers = 0;
    let files = std::fs::read_dir(manifest("src/http")).unwrap().map(|entry| entry.unwrap().path());
    for file in files.filter(|path| path.is_file()) {
        let source = std::fs::read_to_string(file).unwrap();
        let routed: Vec<&str> =
            source.split(".route(\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(!routed.iter().any(|path| path.starts_with("/v1")), "{routed:?}");
        handlers += source.matches("#[utoipa::path(").count();
    }
    let source = std::fs::read_to_string(manifest("src/http/openapi.rs")).unwrap();
    let lists = source.split("routes!(").skip(1).filter_map(|rest| rest.split(')').next());
    let listed: usize = lists.map(|list| list.split(',').count()).sum();
    assert_eq!(listed, handlers, "every documented handler has a route");
}

#[tokio::test]
async fn every_operation_is_in_the_manual() {
    with_server(async |server| {
        let document = document(server).await;
        let page = std::fs::read_to_string(manifest("../docs/api.md")).unwrap();
        for (method, path, _) in operations(&document) {
            assert!(
                page.contains(&format!("`{method} {path}`")),
                "docs/api.md does not name {method} {path}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn the_viewer_loads_nothing_from_other_hosts() {
    with_server(async |server| {
        let read = async |path: &str| {
            let response = server.send(Method::GET, path, "").await;
            assert_eq!(response.status(), 200, "{path}");
            let policy = response.headers()["content-security-policy"].to_str().unwrap().to_owned();
            assert!(policy.starts_with("default-src 'self';"), "{policy}");
            response.text().await.unwrap()
        };
        let page = read("/docs").await;
        assert_eq!(page, read("/docs/").await);
        let assets: Vec<&str> = ["src=\"", "href=\""]
            .iter()
            .flat_map(|mark| page.split(mark).skip(1))
            .filter_map(|rest| rest.split('"').next())
            .collect();
        assert!(assets.len() >= 3, "{assets:?}");
        for asset in assets {
            assert!(!asset.contains("//"), "{asset} is on another host");
            if !asset.starts_with("../v1/") {
                assert!(!read(&format!("/docs/{asset}")).await.is_empty());
            }
        }
        let script = read("/docs/viewer.js").await;
        for code in [&page, &script] {
            assert!(!code.contains("http://") && !code.contains("https://"), "{code}");
        }
        assert!(script.contains("../v1/openapi.json"), "{script}");
    })
    .await;
}
