//! The table of required access covers all routes, and only direct calls of this machine count as
//! local.

use std::collections::BTreeSet;

use axum::body::Body;

use super::*;
use crate::http::openapi;

/// Returns the method and the path of each route outside the OpenAPI document. Reads the source:
/// the paths in `.route(`, and for the legacy v1 API each path after each prefix in `.nest(`.
fn routes_of_source() -> BTreeSet<(String, String)> {
    let source = include_str!("mod.rs");
    let (outer, v1) = source.split_once("fn v1()").expect("the function v1 has the routes of the legacy API");
    let quoted = |text: &str, mark: &str| -> Vec<(String, String)> {
        let found = text.split(mark).skip(1).filter_map(|rest| {
            let (path, rest) = rest.strip_prefix('"')?.split_once('"')?;
            let method = rest.trim_start_matches([',', ' ']).split('(').next()?.to_uppercase();
            Some((method, path.to_owned()))
        });
        found.collect()
    };
    let mut routes: BTreeSet<_> = quoted(outer, ".route(").into_iter().collect();
    for (_, prefix) in quoted(outer, ".nest(") {
        routes
            .extend(quoted(v1, ".route(").into_iter().map(|(method, path)| (method, prefix.clone() + &path)));
    }
    routes
}

fn documented_routes() -> BTreeSet<(String, String)> {
    let (_, document) = openapi::resources().split_for_parts();
    let document = serde_json::to_value(document).unwrap();
    let mut operations = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        operations
            .extend(item.as_object().unwrap().keys().map(|method| (method.to_uppercase(), path.clone())));
    }
    operations
}

#[test]
fn the_table_has_exactly_the_routes() {
    let routes: BTreeSet<_> = routes_of_source().into_iter().chain(documented_routes()).collect();
    assert!(routes.len() > 40, "too few routes: {routes:?}");
    let row = |(method, path, _): &(&str, &str, Access)| ((*method).to_owned(), (*path).to_owned());
    let table: BTreeSet<_> = ROUTES.iter().map(row).collect();
    assert_eq!(table.len(), ROUTES.len(), "the table has a route twice");
    assert_eq!(table, routes);
}

#[test]
fn only_probes_are_public_and_an_unknown_route_requires_an_unlimited_token() {
    let public: Vec<_> =
        ROUTES.iter().filter(|(.., access)| *access == Public).map(|(_, path, _)| *path).collect();
    assert_eq!(public, ["/livez", "/readyz"]);
    assert_eq!(required_access(&Method::POST, "/rpost/anything"), UnlimitedToken(TaskWrite));
    assert_eq!(required_access(&Method::PUT, "/livez"), UnlimitedToken(TaskWrite));
    assert_eq!(required_access(&Method::HEAD, "/v1/tasks"), AnyToken(TaskRead));
}

fn request(peer: Option<&str>, headers: &[(&str, &str)]) -> Request {
    let mut request = Request::builder();
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut request = request.body(Body::empty()).unwrap();
    request.extensions_mut().extend(http_peer(peer));
    request
}

fn http_peer(peer: Option<&str>) -> axum::http::Extensions {
    let mut extensions = axum::http::Extensions::new();
    if let Some(peer) = peer {
        extensions.insert(Peer(peer.parse().unwrap()));
    }
    extensions
}

fn is_local(request: &Request) -> bool {
    caller_address(request).is_some_and(|address| address.is_loopback())
}

#[test]
fn a_host_name_in_the_own_network_keeps_the_address() {
    let at = |headers: &[(&str, &str)]| {
        caller_address(&request(Some("10.0.0.1"), headers)).map(|ip| ip.to_string())
    };
    assert_eq!(at(&[("host", "tasks.corp.example:8275")]).as_deref(), Some("10.0.0.1"));
    assert_eq!(at(&[("x-forwarded-for", "10.0.0.2")]), None);
    assert_eq!(at(&[("host", "tasks.corp.example"), ("origin", "http://elsewhere.example")]), None);
}

#[test]
fn only_loopback_addresses_are_local() {
    for peer in ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"] {
        for host in ["", "127.0.0.1:8275", "[::1]:8275", "localhost:8275", "x", "my.localhost"] {
            assert!(is_local(&request(Some(peer), &[("host", host)])), "{peer} {host}");
        }
    }
    for peer in [None, Some("10.0.0.1"), Some("192.168.1.2"), Some("fe80::1"), Some("::ffff:10.0.0.1")] {
        assert!(!is_local(&request(peer, &[])), "{peer:?}");
    }
}

#[test]
fn a_call_through_a_proxy_or_from_another_origin_is_not_local() {
    for (name, value) in [
        ("x-forwarded-for", "127.0.0.1"),
        ("forwarded", "for=127.0.0.1"),
        ("x-real-ip", "127.0.0.1"),
        ("via", "1.1 proxy"),
        ("origin", "https://elsewhere.example"),
        ("origin", "null"),
        ("host", "elsewhere.example:8275"),
        ("host", "10.0.0.1:8275"),
        ("host", "elsewhere.example."),
    ] {
        assert!(!is_local(&request(Some("127.0.0.1"), &[(name, value)])), "{name}: {value}");
    }
    let own = [("host", "127.0.0.1:8275"), ("origin", "http://127.0.0.1:8275")];
    assert!(is_local(&request(Some("127.0.0.1"), &own)), "a page of this server");
}

#[test]
fn only_a_bearer_token_is_accepted() {
    let read = |value: &str| {
        bearer_token(request(None, &[("authorization", value)]).headers())
            .map(|token| token.map(str::to_owned))
            .ok()
    };
    assert_eq!(read("Bearer tc_a_b"), Some(Some("tc_a_b".to_owned())));
    assert_eq!(read("bearer  tc_a_b"), Some(Some("tc_a_b".to_owned())));
    for invalid in ["", "Bearer", "Bearer ", "Basic YTpi", "tc_a_b"] {
        assert_eq!(read(invalid), None, "{invalid:?}");
    }
    assert!(bearer_token(&HeaderMap::new()).unwrap().is_none());
}
