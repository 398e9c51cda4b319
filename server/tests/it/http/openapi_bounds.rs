//! Requests generated from the OpenAPI document: the server enforces every documented bound and type,
//! has no bound that the document lacks, and answers with documented statuses only.

use reqwest::Method;
use serde_json::{Value, json};
use taskcenter_server::http::HttpLimits;

use super::{LIMITS, Server, Setup};

/// Statuses that the response `default` of every operation documents.
const GENERAL: [u16; 5] = [400, 401, 403, 413, 503];
/// Size and number beyond every undocumented bound of a test request.
const LARGE: usize = 5_000;

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
    };
    let attempt = json!({"run_id": "r", "attempt": 1, "token": "t"});
    let outcome = json!({"run_id": "r", "attempt": 1, "token": "t", "outcome": "succeeded"});
    let report = json!({"attempt": 1, "token": "t", "outcome": "succeeded"});
    let service = json!({"name": "s", "nodes": [{"url": "http://a.example"}], "health": {"path": "/"}});
    let retry = json!({"name": "n", "retry": {"max_attempts": 1, "backoff_ms": 1, "max_backoff_ms": 1}});
    vec![
        post("/v1/tasks", "TaskSpec", json!({"name": "n"}), "", ""),
        post("/v1/tasks", "Retry", retry, "/retry", "retry."),
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
        post("/v1/services", "ServiceSpec", service.clone(), "", ""),
        post("/v1/services", "ServiceNode", service.clone(), "/nodes/0", "nodes[0]."),
        post("/v1/services", "ServiceHealth", service, "/health", "health."),
        post("/v1/tokens", "NewToken", json!({"name": "n", "scopes": ["task:read"]}), "", ""),
        post("/v1/users", "UserSpec", json!({"name": "u", "password": "correct horse"}), "", ""),
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
        "string" if is_free => bounds(number("minLength"), number("maxLength"), &text, LARGE as i64),
        "array" => bounds(number("minItems"), number("maxItems"), &list, LARGE as i64),
        _ => {}
    }
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
                for (name, property) in properties {
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
