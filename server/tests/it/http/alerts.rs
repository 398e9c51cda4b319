//! Alerts over HTTP: the list, silences, and test messages.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use reqwest::Method;
use serde_json::{Value, json};
use taskcenter_server::core::alert::channel::Channel;
use taskcenter_server::core::alert::message::Language;
use taskcenter_server::core::alert::{AlertEvent, Measure, Reading, Rule, Rules, Severity};
use taskcenter_server::engine::alerting::Alerting;
use taskcenter_server::ports::AlertSink;

use super::{NOW, Server, Setup, invalid_field, parse_problem, refusal, with_server};

const UNTIL: &str = "2033-05-18T04:33:20Z";

/// Channel that answers test messages in turn.
struct Answers(Channel, Mutex<Vec<Result<(), String>>>);

#[async_trait]
impl AlertSink for Answers {
    fn send(&self, _: &[AlertEvent]) {}

    fn channel(&self) -> Option<&Channel> {
        Some(&self.0)
    }

    async fn test(&self) -> Result<(), String> {
        self.1.lock().unwrap().remove(0)
    }
}

fn alerting() -> Arc<Alerting> {
    let channel = Channel {
        name: "ops".into(),
        kind: "slack",
        language: Language::Zh,
        min_severity: Severity::Warning,
        rules: vec![],
        tags: vec!["pay.*".into()],
    };
    let answers = Mutex::new(vec![Ok(()), Err("the receiver answered 404 Not Found".to_owned())]);
    let rules = Rules([(Measure::DeadRuns, Rule::above(10, Severity::Critical))].into());
    Arc::new(Alerting::new(Arc::default(), rules, vec![Arc::new(Answers(channel, answers))]))
}

pub async fn silences_are_created_listed_and_ended(server: &Server) {
    let body = json!({"rule": "dead_runs", "subject": "pay.*", "until": UNTIL, "comment": "deployment"});
    let (status, made) = server.post("/v1/alerts/silences", &body).await;
    let id = made["id"].as_str().unwrap().to_owned();
    let expected = json!({"id": id, "rule": "dead_runs", "subject": "pay.*", "until": UNTIL,
        "comment": "deployment", "created_by": "", "created_at": "2033-05-18T03:33:20Z"});
    assert_eq!((status, &made), (201, &expected));
    assert_eq!(server.get("/v1/alerts").await.1["silences"], json!([made]));
    let path = format!("/v1/alerts/silences/{id}");
    let ended = server.request(Method::DELETE, &path, &[], &Value::Null).await;
    assert_eq!(ended, (200, made));
    let again = server.request(Method::DELETE, &path, &[], &Value::Null).await;
    assert_eq!(parse_problem(again), refusal(404, "not_found"));
    assert_eq!(server.get("/v1/alerts").await.1["silences"], json!([]));
}

#[tokio::test]
async fn an_invalid_silence_is_refused() {
    with_server(async |server| {
        let long = "x".repeat(256);
        for (change, field) in [
            (json!({"rule": "unknown"}), "rule"),
            (json!({"rule": null, "subject": null}), "rule"),
            (json!({"subject": ""}), "subject"),
            (json!({"subject": long}), "subject"),
            (json!({"until": "2033-05-18T03:33:20Z"}), "until"),
            (json!({"until": "2034-05-20T03:33:20Z"}), "until"),
            (json!({"comment": "x".repeat(501)}), "comment"),
        ] {
            let mut body = json!({"rule": "dead_runs", "until": UNTIL});
            body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            let refused = server.post("/v1/alerts/silences", &body).await;
            assert_eq!(parse_problem(refused), invalid_field(field), "{body}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_list_shows_alerts_rules_and_channels_and_a_channel_is_tested() {
    let alerting = alerting();
    let setup = Setup { alerting: Some(Arc::clone(&alerting)), ..Setup::default() };
    let test = async |server: &Server| {
        let rows = vec![("pay.card".to_owned(), 14)];
        alerting.apply(&[Reading { measure: Measure::DeadRuns, rows }], NOW);
        let (status, list) = server.get("/v1/alerts").await;
        let alert = json!({"rule": "dead_runs", "subject": "pay.card", "severity": "critical", "value": 14,
            "threshold": 10, "since": "2033-05-18T03:33:20Z"});
        let rule = json!({"rule": "dead_runs", "severity": "critical", "threshold": 10, "for_sec": 0});
        let channel = json!({"name": "ops", "kind": "slack", "language": "zh", "min_severity": "warning",
            "rules": [], "tags": ["pay.*"]});
        let expected = json!({"alerts": [alert], "total": 1, "resolved": [], "silences": [], "rules": [rule],
            "channels": [channel]});
        assert_eq!((status, list), (200, expected));
        let tested =
            async |name: &str| server.post(&format!("/v1/alerts/channels/{name}/test"), &Value::Null).await;
        assert_eq!(tested("ops").await, (200, json!({"channel": "ops", "delivered": true})));
        let failed =
            json!({"channel": "ops", "delivered": false, "error": "the receiver answered 404 Not Found"});
        assert_eq!(tested("ops").await, (200, failed));
        let (_, audit) = server.get("/v1/audit?action=alert.test&limit=1").await;
        assert_eq!(audit["entries"][0]["outcome"], "not delivered");
        assert_eq!(parse_problem(tested("other").await), refusal(404, "not_found"));
        let end = NOW.plus_ms(60_000);
        alerting.apply(&[Reading { measure: Measure::DeadRuns, rows: vec![] }], end);
        let resolved = json!({"rule": "dead_runs", "subject": "pay.card", "severity": "critical",
            "since": "2033-05-18T03:33:20Z", "resolved_at": "2033-05-18T03:34:20Z"});
        let (_, list) = server.get("/v1/alerts").await;
        assert_eq!((&list["alerts"], &list["resolved"]), (&json!([]), &json!([resolved])));
    };
    setup.with_server(test).await;
}
