//! Formats, signatures and error replies of webhooks and chat robots. The expected signatures come from another
//! implementation of HMAC (Python's).

use super::*;

/// Sends to a double that answers in turn: the first answers are rate limits, the last one is a success.
async fn first_request(
    receiver: impl Fn(Robot) -> Receiver,
    secret: &str,
    ok: &'static str,
) -> double::Request {
    let mut double = Double::answering(&[(200, ok)]).await;
    let channel = start("robot", receiver(robot(&double, secret)));
    assert_eq!(channel.test().await, Ok(()));
    double.next().await;
    channel.send(&raised("order.close"));
    double.next().await
}

/// Asserts that each answer inside a 200 is an error, with this text.
async fn assert_refused(receiver: impl Fn(Robot) -> Receiver, answers: &[(&'static str, &str)]) {
    for (answer, expected) in answers {
        let double = Double::answering(&[(200, answer)]).await;
        let error = start("robot", receiver(robot(&double, ""))).test().await.unwrap_err();
        assert_eq!(error, *expected, "{answer}");
    }
}

/// Asserts that a message is sent again after a rate limit inside a 200.
async fn assert_limited(receiver: impl Fn(Robot) -> Receiver, limited: &'static str, ok: &'static str) {
    let mut double = Double::answering(&[(200, limited), (200, ok)]).await;
    let channel = start("robot", receiver(robot(&double, "")));
    channel.send(&raised("order.close"));
    let first = double.next().await;
    assert_eq!(double.next().await.body, first.body, "{limited}");
}

fn text<'a>(request: &'a double::Request, path: &str) -> &'a str {
    request.body.pointer(path).and_then(serde_json::Value::as_str).unwrap_or_default()
}

#[test]
fn the_signature_is_that_of_the_standard() {
    // The example of the Standard Webhooks libraries.
    let key = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    let signed = b"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{\"test\": 2432232314}";
    let signature = super::super::signature::sign(&key.unwrap(), signed);
    assert_eq!(signature, "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}

#[tokio::test]
async fn a_webhook_is_signed_by_standard_webhooks() {
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let request = first_request(Receiver::Webhook, secret, "").await;
    let (id, timestamp) = (request.header("webhook-id"), request.header("webhook-timestamp"));
    assert!(id.starts_with("msg_") && timestamp == "1700000000", "{id} {timestamp}");
    let key = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, &secret[6..]).unwrap();
    let signed = format!("{id}.{timestamp}.{}", request.text);
    let expected = format!("v1,{}", super::super::signature::sign(&key, signed.as_bytes()));
    assert_eq!(request.header("webhook-signature"), expected);
    assert_eq!(text(&request, "/type"), "alert.changed");
    assert_eq!(text(&request, "/timestamp"), "2023-11-14T22:13:20.123Z");
    let alert = &request.body["data"]["alerts"][0];
    assert_eq!((&alert["rule"], &alert["subject"]), (&"dead_runs".into(), &"order.close".into()));
    assert_eq!((&alert["change"], &alert["severity"]), (&"raised".into(), &"warning".into()));
    assert!(text(&request, "/data/text").ends_with("https://tasks.example"));
}

#[tokio::test]
async fn dingtalk_is_signed_in_the_query_and_errors_are_inside_a_200() {
    const OK: &str = r#"{"errcode":0,"errmsg":"ok"}"#;
    let request = first_request(Receiver::Dingtalk, "SECtest-secret-42", OK).await;
    assert_eq!(request.query("access_token").as_deref(), Some(CANARY));
    assert_eq!(request.query("timestamp").as_deref(), Some("1700000000123"));
    assert_eq!(request.query("sign").as_deref(), Some("YHCmSgzdTGoUJakVk1ruQZKMkUJCromu4+yX3Ij4Ba8="));
    assert_eq!(text(&request, "/msgtype"), "text");
    assert!(text(&request, "/text/content").contains("- order.close: 14"), "{}", request.text);
    let refused = [
        (
            r#"{"errcode":310000,"errmsg":"sign not match, more: [https://ding-doc.dingtalk.com]"}"#,
            "the receiver answered errcode 310000: sign not match, more: [https://ding-doc.dingtalk.com]",
        ),
        ("<html>", "the receiver's answer has no errcode: check the address"),
    ];
    assert_refused(Receiver::Dingtalk, &refused).await;
    let limited = r#"{"errcode":130101,"errmsg":"send too fast, exceed 20 times per minute"}"#;
    assert_limited(Receiver::Dingtalk, limited, OK).await;
}

#[tokio::test]
async fn feishu_is_signed_in_the_body_and_errors_are_inside_a_200() {
    const OK: &str = r#"{"StatusCode":0,"StatusMessage":"success","code":0,"data":{},"msg":"success"}"#;
    let request = first_request(Receiver::Feishu, "feishu-secret-42", OK).await;
    assert_eq!(text(&request, "/timestamp"), "1700000000");
    assert_eq!(text(&request, "/sign"), "INMLa6ItJbhwdRZRoTvT3OZMtlY5WjmWq4F2Jscs314=");
    assert_eq!(text(&request, "/msg_type"), "text");
    assert!(text(&request, "/content/text").contains("- order.close: 14"), "{}", request.text);
    let refused = [
        (
            r#"{"code":19021,"msg":"sign match fail or timestamp is not within one hour from current time"}"#,
            "the receiver answered code 19021: sign match fail or timestamp is not within one hour from current time",
        ),
        (r#"{"code":9499,"msg":"Bad Request","data":{}}"#, "the receiver answered code 9499: Bad Request"),
    ];
    assert_refused(Receiver::Feishu, &refused).await;
    for limited in
        [r#"{"code":9499,"msg":"too many request","data":{}}"#, r#"{"code":11232,"msg":"frequency limited"}"#]
    {
        assert_limited(Receiver::Feishu, limited, OK).await;
    }
    let mut double = Double::answering(&[(200, OK)]).await;
    let channel = start("feishu", Receiver::Feishu(robot(&double, "")));
    channel.send(&raised("<at user_id=\"all\">"));
    assert!(!double.next().await.text.contains('<'), "a name cannot notify everybody");
}

#[tokio::test]
async fn wecom_has_its_key_in_the_address_and_errors_are_inside_a_200() {
    const OK: &str = r#"{"errcode":0,"errmsg":"ok"}"#;
    let request = first_request(Receiver::Wecom, "", OK).await;
    assert_eq!(text(&request, "/msgtype"), "text");
    assert!(text(&request, "/text/content").contains("- order.close: 14"), "{}", request.text);
    let refused = [(
        r#"{"errcode":93000,"errmsg":"invalid webhook url, hint: [1]"}"#,
        "the receiver answered errcode 93000: invalid webhook url, hint: [1]",
    )];
    assert_refused(Receiver::Wecom, &refused).await;
    assert_limited(Receiver::Wecom, r#"{"errcode":45009,"errmsg":"api freq out of limit"}"#, OK).await;
    let mut double = Double::answering(&[(200, OK)]).await;
    let channel = start("wecom", Receiver::Wecom(robot(&double, "")));
    let many: Vec<_> = (0..10).map(|n| event(&"长".repeat(100 + n), AlertTransition::Raised)).collect();
    channel.send(&many);
    assert!(text(&double.next().await, "/text/content").len() <= 2_048);
}

#[tokio::test]
async fn slack_answers_ok_and_its_markup_is_escaped() {
    let request = first_request(Receiver::Slack, "", "ok").await;
    assert!(text(&request, "/text").contains("- order.close: 14"), "{}", request.text);
    assert_refused(Receiver::Slack, &[("invalid_payload", "the receiver answered 200 OK: invalid_payload")])
        .await;
    let mut double = Double::answering(&[(200, "ok")]).await;
    let channel = start("slack", Receiver::Slack(robot(&double, "")));
    channel.send(&raised("<!channel>&"));
    assert!(double.next().await.text.contains("&lt;!channel&gt;&amp;"));
}
