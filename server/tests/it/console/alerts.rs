//! Alerts: the page, silences, and test messages to channels.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use taskcenter_server::core::Moment;
use taskcenter_server::core::access::Scope;
use taskcenter_server::core::alert::channel::Channel;
use taskcenter_server::core::alert::message::Language;
use taskcenter_server::core::alert::{AlertEvent, Measure, Reading, Rule, Rules, Severity};
use taskcenter_server::engine::alerting::Alerting;
use taskcenter_server::engine::service::{AccessSettings, Required};
use taskcenter_server::ports::{AlertSink, Clock as _};

use super::{Browser, token};
use crate::http::{NOW, Server, Setup};

const ALERTS: &str = "/console/alerts";
const SILENCE: &str = "/console/alerts/silences/new";

/// Channel that answers test messages in turn.
struct Answers(Channel, Mutex<Vec<Result<(), String>>>, Mutex<Option<String>>);

#[async_trait]
impl AlertSink for Answers {
    fn send(&self, _: &[AlertEvent]) {}

    fn channel(&self) -> Option<&Channel> {
        Some(&self.0)
    }

    fn last_error(&self) -> Option<String> {
        self.2.lock().unwrap().clone()
    }

    fn last_delivered_at(&self) -> Option<Moment> {
        self.last_error().is_none().then_some(NOW)
    }

    async fn test(&self) -> Result<(), String> {
        let answer = self.1.lock().unwrap().remove(0);
        *self.2.lock().unwrap() = answer.as_ref().err().cloned();
        answer
    }
}

fn alerting() -> Arc<Alerting> {
    let channel = Channel {
        name: "ops".into(),
        kind: "slack",
        language: Language::En,
        min_severity: Severity::Warning,
        rules: vec![],
        tags: vec!["pay.*".into()],
    };
    let answers = Mutex::new(vec![Ok(()), Err("the receiver answered <404>".to_owned())]);
    let rule = Rule { for_ms: 0, ..Rule::above(10, Severity::Critical) };
    let rules =
        Rules([(Measure::DeadRuns, rule), (Measure::Clock, Rule::above(2_000, Severity::Info))].into());
    let sink = Answers(channel, answers, Mutex::default());
    Arc::new(Alerting::new(Arc::default(), rules, vec![Arc::new(sink)]))
}

fn dead_runs(alerting: &Alerting, tag: &str, value: u64, now: Moment) {
    alerting.apply(&[Reading { measure: Measure::DeadRuns, rows: vec![(tag.to_owned(), value)] }], now);
}

async fn with_alerts(access: AccessSettings, test: impl AsyncFnOnce(&Server, &Alerting)) {
    let alerting = alerting();
    let setup = Setup { console: true, access, alerting: Some(Arc::clone(&alerting)), ..Setup::default() };
    setup.with_server(async |server| test(server, &alerting).await).await;
}

#[tokio::test]
async fn alerts_are_shown_with_rules_and_channels_and_on_the_overview() {
    with_alerts(AccessSettings::default(), async |server, alerting| {
        let browser = Browser::new(server);
        let page = browser.get(ALERTS).await;
        page.has("No alert is raised.").has("above 10").has("Quiet").has(">ops<").has("No silence.");
        browser.get("/").await.lacks("dead runs</span>");
        dead_runs(alerting, "pay.<b>", 14, NOW);
        let page = browser.get(ALERTS).await;
        page.has("14 (threshold 10)").has("pay.&#60;b&#62;").has("1 raised").has("Read the errors");
        page.has("rule=dead_runs&#38;subject=pay.%3Cb%3E");
        browser.get("/").await.has("pay.&#60;b&#62;: 14 (threshold 10)").has(&format!("href=\"{ALERTS}\""));
        server.clock.advance_ms(90_000);
        dead_runs(alerting, "pay.<b>", 0, server.clock.now());
        let page = browser.get(ALERTS).await;
        page.has("No alert is raised.").has("1 min 30 s").lacks("No alert has ended");
        browser.get("/").await.lacks("14 (threshold 10)");
    })
    .await;
}

#[tokio::test]
async fn the_overview_shows_a_few_alerts_and_the_number_of_the_others() {
    with_alerts(AccessSettings::default(), async |server, alerting| {
        let rows = (0..9).map(|n| (format!("tag-{n}"), 20)).collect();
        alerting.apply(&[Reading { measure: Measure::DeadRuns, rows }], NOW);
        let shown = Browser::new(server).get("/").await;
        assert_eq!(shown.html.matches("20 (threshold 10)").count(), 5, "{}", shown.html);
        shown.has("Alerts that are not shown: 4");
    })
    .await;
}

#[tokio::test]
async fn an_alert_is_silenced_and_the_silence_ended_after_a_question() {
    with_alerts(AccessSettings::default(), async |server, alerting| {
        let browser = Browser::new(server);
        dead_runs(alerting, "pay.card", 14, NOW);
        let form = browser.get(&format!("{SILENCE}?rule=dead_runs&subject=pay.card")).await;
        form.has("<option value=\"dead_runs\" selected>").has("value=\"pay.card\"");
        let fields = [("rule", "dead_runs"), ("subject", "pay.*"), ("length", "1.5"), ("unit", "h")];
        let fields = [&fields[..], &[("comment", "deployment")]].concat();
        let answer = browser.post(SILENCE, SILENCE, &fields).await;
        assert_eq!((answer.status, answer.location()), (303, "/console/alerts?done=silenced"));
        let silences = server.get("/v1/alerts").await.1["silences"].clone();
        assert_eq!(silences[0]["until"], "2033-05-18T05:03:20Z");
        browser
            .get(answer.location())
            .await
            .has("The silence is created.")
            .has("deployment")
            .has(">silenced<");
        browser.get("/").await.lacks("14 (threshold 10)");
        let end = format!("/console/alerts/silences/{}/end", silences[0]["id"].as_str().unwrap());
        browser.get(&end).await.has("deployment").has("pay.*").has("The silence ends now.");
        assert_eq!(server.get("/v1/alerts").await.1["silences"], silences, "the question changes nothing");
        let ended = browser.post(&end, &end, &[]).await;
        assert_eq!(ended.location(), "/console/alerts?done=unsilenced");
        browser.get("/").await.has("14 (threshold 10)");
        assert_eq!(browser.get(&end).await.status, 404);
        assert_eq!(browser.post("/", &end, &[]).await.status, 404);
    })
    .await;
}

#[tokio::test]
async fn a_silence_shows_what_it_hides_before_it_is_made_and_in_the_list() {
    with_alerts(AccessSettings::default(), async |server, alerting| {
        let browser = Browser::new(server);
        dead_runs(alerting, "pay.card", 14, NOW);
        let hidden = "<li>dead runs <span class=\"dim\">pay.card";
        browser.get(SILENCE).await.has(" · clock is wrong or was set · ").has(hidden);
        browser.get(&format!("{SILENCE}?rule=clock")).await.has("No raised alert.").lacks(hidden);
        browser.get(&format!("{SILENCE}?subject=mail.*")).await.lacks(hidden);
        let fields = [("subject", "pay.*"), ("length", "1"), ("unit", "h"), ("comment", "why")];
        let preview = browser.post(SILENCE, SILENCE, &[&fields[..], &[("preview", "1")]].concat()).await;
        assert_eq!(preview.status, 200);
        preview.has(hidden).has("value=\"pay.*\"").has("value=\"why\"");
        assert_eq!(server.get("/v1/alerts").await.1["silences"], serde_json::json!([]));
        let answer = browser.post(SILENCE, SILENCE, &fields).await;
        browser.get(answer.location()).await.has(hidden).lacks("No raised alert.");
        dead_runs(alerting, "pay.card", 0, server.clock.now());
        browser.get("/console/alerts").await.has("No raised alert.").lacks(hidden);
    })
    .await;
}

#[tokio::test]
async fn an_invalid_silence_keeps_what_was_typed() {
    with_alerts(AccessSettings::default(), async |server, _| {
        let browser = Browser::new(server);
        for (fields, why) in [
            (&[("length", "2"), ("unit", "h")][..], "name a rule or a subject"),
            (&[("subject", "a"), ("length", "soon")], "&#34;soon&#34; is no number"),
            (&[("subject", "a"), ("length", "NaN")], "is no number"),
            (&[("subject", "a"), ("length", "-1")], "until should be later than now"),
            (&[("subject", "a"), ("length", "1e300"), ("unit", "d")], "at most 366 days"),
            (&[("rule", "wrong"), ("length", "2")], "Unknown rule"),
            (&[("subject", "a"), ("length", "2"), ("comment", &"x".repeat(501))], "at most 500 bytes"),
        ] {
            let refused = browser.post(SILENCE, SILENCE, fields).await;
            assert_eq!(refused.status, 422, "{fields:?}");
            refused.has(why);
            let (name, value) = fields[fields.len() - 1];
            refused.has(&if name == "unit" {
                format!("<option value=\"{value}\" selected>")
            } else {
                format!("value=\"{value}\"")
            });
        }
        assert_eq!(browser.post_raw(SILENCE, &[("subject", "a"), ("length", "2")]).await.status, 403);
        assert_eq!(server.get("/v1/alerts").await.1["silences"], serde_json::json!([]));
    })
    .await;
}

#[tokio::test]
async fn a_channel_is_tested_and_its_error_is_shown() {
    with_alerts(AccessSettings::default(), async |server, _| {
        let browser = Browser::new(server);
        let test = "/console/alerts/test";
        let sent = browser.post(ALERTS, test, &[("channel", "ops")]).await;
        assert_eq!((sent.status, sent.location()), (303, "/console/alerts?done=alert_tested"));
        browser
            .get(sent.location())
            .await
            .has("The receiver has accepted the test message.")
            .has("No error.");
        let failed = browser.post(ALERTS, test, &[("channel", "ops")]).await;
        failed.has("The test message to ops was not delivered: the receiver answered &#60;404&#62;");
        browser.get(ALERTS).await.has("class=\"errline\">the receiver answered &#60;404&#62;");
        assert_eq!(browser.post(ALERTS, test, &[("channel", "other")]).await.status, 404);
        assert_eq!(browser.post_raw(test, &[("channel", "ops")]).await.status, 403);
    })
    .await;
}

#[tokio::test]
async fn a_silence_that_is_filled_in_stays_in_another_language() {
    with_alerts(AccessSettings::default(), async |server, _| {
        let browser = Browser::new(server);
        let comment = "deployment & \"tests\"";
        let fields = [("rule", "dead_runs"), ("subject", "pay.*"), ("length", "3"), ("unit", "d")];
        for last in [("preview", "1"), ("length", "x")] {
            let fields = [&[last, ("comment", comment)], &fields[..]].concat();
            let answer = browser.post(SILENCE, SILENCE, &fields).await;
            let back = answer.hidden_fields().into_iter().find(|(name, _)| name == "back").unwrap().1;
            let chosen = browser.post("/", "/console/preferences", &[("back", &back), ("lang", "zh")]).await;
            let shown = browser.get(chosen.location()).await;
            shown.has("value=\"dead_runs\" selected").has("value=\"pay.*\"").has("value=\"d\" selected");
            shown.has(&format!("value=\"{}\"", if last.0 == "length" { "x" } else { "3" }));
            shown.has("value=\"deployment &#38; &#34;tests&#34;\"");
            browser.set_cookie("taskcenter_lang", "en");
        }
    })
    .await;
}

#[tokio::test]
async fn viewers_and_limited_operators_read_alerts_and_silence_nothing() {
    let access = AccessSettings { required: Required::Always, ..AccessSettings::default() };
    with_alerts(access, async |server, alerting| {
        dead_runs(alerting, "pay", 14, NOW);
        for (scope, tags, sees) in [
            (Scope::TaskRead, &[][..], true),
            (Scope::TaskWrite, &["pay"], true),
            (Scope::TaskWrite, &["mail"], false),
        ] {
            let (_, text) = token(server, &[scope], tags).await;
            let browser = Browser::new(server);
            browser.sign_in(&text).await;
            let page = browser.get(ALERTS).await;
            page.lacks(SILENCE).lacks("name=\"channel\"");
            assert_eq!(page.html.contains("14 (threshold 10)"), sees, "{tags:?}");
            assert_eq!(page.html.contains(">ops<"), tags.is_empty());
            assert_eq!(browser.get(SILENCE).await.status, 403);
            let fields = [("subject", "*"), ("length", "2")];
            assert_eq!(browser.post("/", SILENCE, &fields).await.status, 403);
            assert_eq!(browser.post("/", "/console/alerts/test", &[("channel", "ops")]).await.status, 403);
        }
    })
    .await;
}
