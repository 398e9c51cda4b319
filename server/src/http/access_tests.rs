//! The table of required access covers all routes.

use std::collections::BTreeSet;

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
