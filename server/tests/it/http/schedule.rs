//! The next moments of a schedule expression.

use serde_json::{Value, json};

use super::{Server, invalid_field, parse_problem, with_server};

async fn moments(server: &Server, query: &str) -> Value {
    let (status, mut reply) = server.get(&format!("/v1/schedule/next?{query}")).await;
    assert_eq!(status, 200, "{reply}");
    reply["moments"].take()
}

#[tokio::test]
async fn the_next_moments_are_returned() {
    with_server(async |server| {
        let next = moments(server, "cron=0%209%20*%20*%20*&zone=Asia/Shanghai&count=2").await;
        assert_eq!(next, json!(["2033-05-19T01:00:00Z", "2033-05-20T01:00:00Z"]));
        let next =
            moments(server, "cron=TZ%3DAsia/Shanghai%200%209%20*%20*%20*&after=2030-01-01T01:00:00Z&count=1")
                .await;
        assert_eq!(next, json!(["2030-01-02T01:00:00Z"]), "`after` itself is excluded");
        assert_eq!(moments(server, "cron=@daily").await.as_array().unwrap().len(), 5);
        assert_eq!(moments(server, "cron=@every%201h&count=1").await, json!(["2033-05-18T04:33:20Z"]));
        assert_eq!(moments(server, "cron=@daily&after=9999-12-30T00:00:00Z").await, json!([]));
    })
    .await;
}

#[tokio::test]
async fn notes_explain_the_expression() {
    with_server(async |server| {
        let (_, reply) = server.get("/v1/schedule/next?cron=0%20*/24%20*%20*%20*").await;
        let note = "hour: the step 24 of \"*/24\" is larger than the field, so only 0 is selected";
        assert_eq!(reply["notes"], json!([note]));
        let (_, reply) = server.get("/v1/schedule/next?cron=@daily").await;
        assert!(reply.get("notes").is_none(), "{reply}");
    })
    .await;
}

#[tokio::test]
async fn an_invalid_parameter_is_named() {
    with_server(async |server| {
        for (query, name) in [
            ("", "cron"),
            ("cron=nonsense", "cron"),
            ("cron=@daily&zone=Moon/Tycho", "zone"),
            ("cron=@daily&count=0", "count"),
            ("cron=@daily&count=101", "count"),
            ("cron=@daily&after=tomorrow", "after"),
            ("cron=@daily&after=99999-01-01T00:00:00Z", "after"),
            ("cron=@daily&until=2030-01-01T00:00:00Z", "until"),
        ] {
            assert_eq!(
                parse_problem(server.get(&format!("/v1/schedule/next?{query}")).await),
                invalid_field(name),
                "{query}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn an_absence_has_the_decisions_of_the_dispatcher() {
    with_server(async |server| {
        let preview = async |query: &str| {
            let path = format!("/v1/schedule/absence?cron=0%20*%20*%20*%20*&zone=UTC&{query}");
            let (status, reply) = server.get(&path).await;
            assert_eq!(status, 200, "{reply}");
            reply
        };
        let away = "from=2034-01-01T00:30:00Z&to=2034-01-01T03:30:00Z";
        let after = preview(away).await;
        let merged = json!({"decision": "skipped", "at": "2034-01-01T01:00:00Z", "until": "2034-01-01T02:00:00Z",
            "count": 2, "late_ms": 9_000_000});
        let last = json!({"decision": "fires", "at": "2034-01-01T03:00:00Z", "until": "2034-01-01T03:00:00Z", "count": 1,
            "late_ms": 1_800_000});
        let expected =
            json!({"policy": "fire_last", "grace_ms": 300_000, "decisions": [merged, last], "more": false});
        assert_eq!(after, expected);
        assert_eq!(preview(&format!("{away}&policy=fire_all")).await["decisions"].as_array().unwrap().len(), 3);
        assert_eq!(preview(&format!("{away}&policy=skip")).await["decisions"][0]["count"], 3);
        assert_eq!(preview("from=2034-01-01T00:30:00Z&to=2033-01-01T00:00:00Z").await["decisions"], json!([]));
        let years = preview("from=2034-01-01T00:30:00Z&to=9999-01-01T00:00:00Z&policy=fire_all").await;
        assert_eq!((years["decisions"].as_array().unwrap().len(), &years["more"]), (100, &json!(true)));
        for (query, field) in [("", "cron"), ("cron=x", "cron"), ("cron=@daily&zone=Mars", "zone"), ("cron=@daily&to=x", "to")] {
            let refused = server.get(&format!("/v1/schedule/absence?{query}")).await;
            assert_eq!(parse_problem(refused), invalid_field(field), "{query}");
        }
    })
    .await;
}
