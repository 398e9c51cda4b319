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
