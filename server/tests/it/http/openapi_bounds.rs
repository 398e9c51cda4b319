//! Requests generated from the OpenAPI document: the server enforces every documented bound, pattern and
//! type of bodies and query strings, has no bound that the document lacks, and answers with documented
//! statuses only.

use reqwest::Method;
use serde_json::{Value, json};
use taskcenter_server::http::HttpLimits;

use super::{LIMITS, Server, Setup};

/// Statuses that the response `default` of every operation documents.
const GENERAL: [u16; 5] = [400, 401, 403, 413, 503];
/// Size and number beyond every undocumented bound of a test request.
const LARGE: usize = 5_000;

/// Properties that a list of retry pauses excludes.
const GROWING: &[&str] = &["max_attempts", "backoff_ms", "max_backoff_ms", "factor_percent"];

/// A request with a valid body, and the place of the generated object in the body.
struct Target {
    method: Method,
    path: &'static str,
    /// Path of the operation in the document.
    route: &'static str,
    /// Name of the schema of the object.
    schema: &'static str,
    body: Value,
    /// JSON pointer to the object.
    at: &'static str,
    /// Path of the object in the `field` of a problem.
    prefix: &'static str,
    /// Properties that another property of the body excludes.
    excluded: &'static [&'static str],
}

fn targets() -> Vec<Target> {
    let post = |path, schema, body, at, prefix| Target {
        method: Method::POST,
        path,
        route: path,
        schema,
        body,
        at,
        prefix,
        excluded: &[],
    };
    let attempt = json!({"run_id": "r", "attempt": 1, "token": "t"});
    let outcome = json!({"run_id": "r", "attempt": 1, "token": "t", "outcome": "succeeded"});
    let report = json!({"attempt": 1, "token": "t", "outcome": "succeeded"});
    let service = json!({"name": "s", "nodes": [{"url": "http://a.example"}], "health": {"path": "/"}});
    let silence = json!({"rule": "dead_runs", "until": "2033-05-19T00:00:00Z"});
    let retry = json!({"name": "n", "retry": {"max_attempts": 1, "backoff_ms": 1, "max_backoff_ms": 1}});
    let redrive = json!({"action": "redrive", "select": {"ids": ["0".repeat(32)]}});
    let intervals = json!({"name": "n", "retry": {"intervals_ms": [1]}});
    let limited =
        json!({"name": "n", "queue": "q", "concurrency": [{"max": 1, "scope": "queue", "key": "k"}]});
    let rate = json!({"limit": 1, "period_ms": 1, "burst": 1, "key": "k"});
    let rate = json!({"name": "n", "rate": rate});
    let user = json!({"name": "u", "password": "correct horse"});
    let of_console = json!({"name": "u", "password": "correct horse", "role": "viewer"});
    let pause = json!({"action": "pause", "select": {"ids": ["0".repeat(32)]}});
    let pause_named = json!({"action": "pause", "select": {"filter": {"name": "n"}}});
    vec![
        Target { excluded: &["concurrency"], ..post("/v1/tasks", "TaskSpec", json!({"name": "n"}), "", "") },
        post("/v1/tasks", "Concurrency", limited, "/concurrency/0", "concurrency[0]."),
        post("/v1/tasks", "Rate", rate, "/rate", "rate."),
        Target { excluded: &["intervals_ms"], ..post("/v1/tasks", "Retry", retry, "/retry", "retry.") },
        Target { excluded: GROWING, ..post("/v1/tasks", "Retry", intervals, "/retry", "retry.") },
        post("/v1/runs/lease", "LeaseRequest", json!({"worker": "w", "queues": ["q"]}), "", ""),
        post("/v1/runs/renew", "RenewRequest", json!({"runs": [attempt]}), "", ""),
        post("/v1/runs/settle", "SettleRequest", json!({"outcomes": [outcome]}), "", ""),
        Target {
            route: "/v1/runs/{run_id}/report",
            ..post("/v1/runs/r/report", "OutcomeReport", report, "", "")
        },
        Target {
            route: "/v1/runs/{run_id}/confirm",
            ..post("/v1/runs/r/confirm", "RunConfirmation", json!({"succeeded": true}), "", "")
        },
        post("/v1/operations", "NewOperation", redrive, "", ""),
        post("/v1/operations", "OperationSelection", pause, "/select", "select."),
        post("/v1/operations", "OperationFilter", pause_named, "/select/filter", "select.filter."),
        post("/v1/services", "ServiceSpec", service.clone(), "", ""),
        post("/v1/services", "ServiceNode", service.clone(), "/nodes/0", "nodes[0]."),
        post("/v1/services", "ServiceHealth", service, "/health", "health."),
        post("/v1/tokens", "NewToken", json!({"name": "n", "scopes": ["task:read"]}), "", ""),
        post("/v1/holds", "NewHold", json!({"scope": "queue", "name": "q"}), "", ""),
        post("/v1/alerts/silences", "NewSilence", silence, "", ""),
        Target { excluded: &["tags"], ..post("/v1/users", "UserSpec", user, "", "") },
        Target { excluded: &["password"], ..post("/v1/users", "UserSpec", of_console, "", "") },
    ]
}

/// Returns the type of a property without `null`.
fn kind(schema: &Value) -> &str {
    let of_list = schema["type"].as_array().and_then(|kinds| kinds.iter().find(|kind| **kind != "null"));
    of_list.unwrap_or(&schema["type"]).as_str().unwrap_or_default()
}

/// Values of a property with whether the document allows them.
fn values(schema: &Value, valid: &Value) -> Vec<(Value, bool)> {
    let number = |name: &str| schema[name].as_i64();
    let text = |length: i64| json!("x".repeat(length as usize));
    let item = valid.get(0).cloned().unwrap_or_else(|| json!("x"));
    let list = |length: i64| json!(vec![item.clone(); length as usize]);
    let is_free = ["pattern", "format", "enum"].iter().all(|rule| schema.get(*rule).is_none());
    let mut values = Vec::new();
    let mut bounds = |least: Option<i64>, most: Option<i64>, make: &dyn Fn(i64) -> Value, beyond: i64| {
        values.extend(least.map(|least| (make(least), true)));
        values.extend(least.filter(|least| *least > 0).map(|least| (make(least - 1), false)));
        values.extend(most.map(|most| (make(most), true)));
        values.extend(most.and_then(|most| most.checked_add(1)).map(|over| (make(over), false)));
        if most.is_none() {
            values.push((make(beyond), true));
        }
    };
    match kind(schema) {
        "integer" => bounds(number("minimum"), number("maximum"), &|n| json!(n), i64::from(i32::MAX)),
        "string" => bounds(number("minLength"), number("maxLength"), &text, LARGE as i64),
        "array" => bounds(number("minItems"), number("maxItems"), &list, LARGE as i64),
        _ => {}
    }
    // A text of a valid length can break another rule.
    values.retain(|(value, allowed)| is_free || !(value.is_string() && *allowed));
    values
}

/// Values of other types than the documented one.
fn wrong_types(schema: &Value) -> Vec<Value> {
    let all = [("integer", json!(7)), ("string", json!("x")), ("boolean", json!(true)), ("array", json!([]))];
    let kind = kind(schema);
    let is_typed = all.iter().any(|(name, _)| *name == kind);
    all.into_iter().filter(|(name, _)| is_typed && *name != kind).map(|(_, value)| value).collect()
}

/// Sends the body of a target with one property changed. Returns what is wrong with the answer.
async fn fault(
    server: &Server,
    document: &Value,
    target: &Target,
    name: &str,
    value: &Value,
    allowed: bool,
) -> Option<String> {
    let mut body = target.body.clone();
    body.pointer_mut(target.at).expect("the body has the object")[name] = value.clone();
    let (status, answer) = server.request(target.method.clone(), target.path, &[], &body).await;
    let responses = &document["paths"][target.route][target.method.as_str().to_lowercase()]["responses"];
    let is_documented = GENERAL.contains(&status) || responses.get(status.to_string()).is_some();
    let field = answer["field"].as_str().unwrap_or_default();
    // Some rules belong to the object as a whole.
    let is_object = !target.prefix.is_empty() && field == target.prefix.trim_end_matches('.');
    let is_refused = status == 400 && (is_object || field.starts_with(&format!("{}{name}", target.prefix)));
    let shown: String = value.to_string().chars().take(40).collect();
    (!is_documented || is_refused == allowed).then(|| {
        format!(
            "{} {} {}{name} = {shown}: allowed {allowed}, {status} {answer:.300}",
            target.method, target.path, target.prefix
        )
    })
}

#[tokio::test]
async fn the_server_enforces_exactly_the_documented_bounds() {
    let limits = HttpLimits { body_limit_bytes: 8 * 1024 * 1024, ..LIMITS };
    Setup { limits, ..Setup::default() }
        .with_server(async |server| {
            let (_, document) = server.get("/v1/openapi.json").await;
            let (mut faults, mut requests) = (Vec::new(), 0);
            for target in targets() {
                let schema = &document["components"]["schemas"][target.schema];
                let properties = schema["properties"].as_object().expect("the schema has properties");
                let possible =
                    properties.iter().filter(|(name, _)| !target.excluded.contains(&name.as_str()));
                for (name, property) in possible {
                    let valid = target.body.pointer(target.at).unwrap()[name].clone();
                    let mut values = values(property, &valid);
                    values.extend(wrong_types(property).into_iter().map(|value| (value, false)));
                    for (value, allowed) in values {
                        requests += 1;
                        faults.extend(fault(server, &document, &target, name, &value, allowed).await);
                    }
                }
                let unknown = fault(server, &document, &target, "unknown_member", &json!(1), false).await;
                faults.extend(unknown);
            }
            println!("{requests} requests");
            assert!(requests > 150, "only {requests} requests");
            assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
        })
        .await;
}

/// Texts of a query parameter with whether the document allows them.
fn texts(schema: &Value) -> Vec<(String, bool)> {
    let plain = |value: Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let bounds = values(schema, &Value::Null).into_iter();
    let mut texts: Vec<_> = bounds.map(|(value, allowed)| (plain(value), allowed)).collect();
    if kind(schema) == "integer" {
        texts.extend(["x", "1.5", "true", " 1"].map(|text| (text.to_owned(), false)));
    }
    if let Some(pattern) = schema["pattern"].as_str() {
        texts.extend(samples(pattern).into_iter().map(|text| (text, true)));
        texts.push((" ".to_owned(), false));
    }
    if schema["format"] == "date-time" {
        texts.push(("2030-01-31T08:00:00Z".to_owned(), true));
        texts.extend(["x", "2030-01-31"].map(|text| (text.to_owned(), false)));
    }
    texts
}

/// Texts that match a pattern of a query parameter.
fn samples(pattern: &str) -> Vec<String> {
    let words = pattern.strip_prefix("^(").and_then(|rest| rest.strip_suffix(")?$"));
    match words {
        Some("[0-9]{1,10}") => ["", "1", "4294967295"].map(str::to_owned).into(),
        Some("[0-9a-f]{32}") => vec![String::new(), "0".repeat(32), "f".repeat(32)],
        Some("-?[0-9]+~[0-9A-Za-z-]{1,256}") => {
            [String::new(), "-5~a".to_owned(), format!("1763705000000~{}", "z".repeat(256))].into()
        }
        Some("(task|run|log|queue|operation)(,(task|run|log|queue|operation))*") => {
            ["", "task", "operation,run"].map(str::to_owned).into()
        }
        Some(words) => words.split('|').chain([""]).map(str::to_owned).collect(),
        None if pattern == "^[A-Za-z0-9_+/-]*$" => ["", "UTC", "Etc/GMT+1"].map(str::to_owned).into(),
        None if pattern == "\\S" => ["@daily", "*/5 0 9 * * MON-FRI"].map(str::to_owned).into(),
        None => panic!("no sample for the pattern {pattern}: add one"),
    }
}

/// Sends a query string. Returns what is wrong with the answer. `allowed`: whether the document allows the
/// parameter `name`.
async fn query_fault(
    server: &Server,
    route: &str,
    operation: &Value,
    query: &[(&str, &str)],
    name: &str,
    allowed: bool,
) -> Option<String> {
    let mut text = form_urlencoded::Serializer::new(String::new());
    let path = format!("{route}?{}", text.extend_pairs(query).finish());
    let (status, answer) = server.get(&path).await;
    let is_documented = GENERAL.contains(&status) || operation["responses"].get(status.to_string()).is_some();
    let is_refused = status == 400 && answer["field"].as_str() == Some(name);
    (!is_documented || is_refused == allowed)
        .then(|| format!("GET {path:.80}: {name} allowed {allowed}, {status} {answer:.300}"))
}

#[tokio::test]
async fn the_server_enforces_exactly_the_documented_query_parameters() {
    Setup::default()
        .with_server(async |server| {
            let (_, document) = server.get("/v1/openapi.json").await;
            let (mut faults, mut requests) = (Vec::new(), 0);
            for (route, operations) in document["paths"].as_object().unwrap() {
                let operation = &operations["get"];
                let all = operation["parameters"].as_array().into_iter().flatten();
                let of_query: Vec<&Value> = all.filter(|parameter| parameter["in"] == "query").collect();
                if of_query.is_empty() {
                    continue;
                }
                let required: Vec<(&str, &str)> = of_query
                    .iter()
                    .filter(|parameter| parameter["required"] == true)
                    .map(|parameter| (parameter["name"].as_str().unwrap(), "@daily"))
                    .collect();
                let mut check = async |query: &[(&str, &str)], name: &str, allowed: bool| {
                    requests += 1;
                    faults.extend(query_fault(server, route, operation, query, name, allowed).await);
                };
                for parameter in of_query {
                    let name = parameter["name"].as_str().unwrap();
                    let others: Vec<_> =
                        required.iter().copied().filter(|(other, _)| *other != name).collect();
                    let with = |values: &[&'static str]| -> Vec<(&str, &str)> {
                        others.iter().copied().chain(values.iter().map(|value| (name, *value))).collect()
                    };
                    check(&with(&[]), name, parameter["required"] != true).await;
                    check(&with(&["", ""]), name, false).await;
                    for (text, allowed) in texts(&parameter["schema"]) {
                        let query: Vec<_> = others.iter().copied().chain([(name, text.as_str())]).collect();
                        check(&query, name, allowed).await;
                    }
                }
                let unknown: Vec<_> = required.iter().copied().chain([("unknown", "1")]).collect();
                check(&unknown, "unknown", false).await;
            }
            assert!(requests > 70, "only {requests} requests");
            assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
        })
        .await;
}
