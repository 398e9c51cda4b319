//! Connection strings: the accepted ones, and the errors of the others.

use taskcenter_client::{ConnectError, Consumer, ConsumerBuilder, Context, HandlerError};

async fn ignore(_: Context, _: String) -> Result<(), HandlerError> {
    Ok(())
}

fn connect(connection: &str) -> Result<ConsumerBuilder, ConnectError> {
    Consumer::builder().on_text("t", ignore).connect(connection)
}

/// Returns whether the consumer reports outcomes.
#[cfg(feature = "rocketmq")]
async fn reports(builder: ConsumerBuilder) -> bool {
    let harness = builder.harness().unwrap();
    harness.deliver("t").ack("token").await;
    !harness.reports().is_empty()
}

fn error_text(connection: &str) -> String {
    connect(connection).err().unwrap_or_else(|| panic!("{connection:?} was accepted")).to_string()
}

#[test]
fn http_urls_are_accepted() {
    for connection in [
        "http://127.0.0.1:8275",
        "https://center.example/base/",
        " http://[::1]:8275/ ",
        "https://host:1?token=tc_0_0",
        "http://host:1?worker=w&queues=a,b%20c&max_in_flight=8&lease_ms=5000",
    ] {
        assert!(connect(connection).is_ok(), "{connection:?}: {:?}", connect(connection).err());
    }
}

#[cfg(feature = "rocketmq")]
#[tokio::test]
async fn a_rocketmq_consumer_reports_only_with_report_to() {
    assert!(!reports(connect("rocketmq://127.0.0.1:9876/topic?group=g").unwrap()).await);
    let full = "rocketmq://ns1:9876,[::1]:9876/%DLQ%g?group=g&access_key=a&secret_key=b+/=%26&tls=true&\
                ca_file=ca.pem&max_in_flight=10000&start_from=2026-07-01T00:00:00Z&report_to=http://127.0.0.1:8275";
    assert!(reports(connect(full).unwrap()).await);
}

#[tokio::test]
async fn the_reporter_of_the_transport_replaces_the_one_of_the_builder() {
    struct UnusedReporter;

    #[async_trait::async_trait]
    impl taskcenter_client::Reporter for UnusedReporter {
        async fn report(
            &self,
            _: &str,
            _: taskcenter_client::wire::OutcomeReport,
        ) -> Result<(), taskcenter_client::ReportError> {
            panic!("this reporter must not be used")
        }
    }
    let builder = connect("http://127.0.0.1:1").unwrap().report_to(UnusedReporter);
    let harness = builder.harness().unwrap();
    harness.deliver("t").ack("token").await;
    assert_eq!(harness.reports().len(), 1);
}

#[test]
fn an_error_names_the_invalid_part_and_shows_a_valid_string() {
    for (connection, part) in [
        ("", "should begin with http://"),
        ("127.0.0.1:8275", "should begin with http://"),
        ("kafka://host", "should begin with http://"),
        ("http://", "address is not"),
        ("http://host:port", "address is not"),
        ("http://host?lease_ms=soon", "parameter lease_ms is not a whole number"),
        ("http://host?max_in_flight=0", "parameter max_in_flight is not a whole number"),
        ("http://host?queues=a,,b", "parameter queues contains an empty name"),
        ("http://host?worker=", "parameter worker is empty"),
        ("http://host?token=", "parameter token is empty"),
        ("http://host?worker=a&worker=b", "parameter worker is given twice"),
        ("http://host?worker=a&wroker=b", "parameter no. 2 is unknown"),
        ("http://host?worker=a#b", "parameters contain a #"),
    ] {
        let text = error_text(connection);
        assert!(text.contains(part) && text.contains("http://127.0.0.1:8275"), "{text}");
    }
}

#[cfg(feature = "rocketmq")]
#[test]
fn an_error_of_a_rocketmq_string_names_the_invalid_part_and_shows_a_valid_string() {
    for (connection, part) in [
        ("rocketmq://", "name servers are not"),
        ("rocketmq://host/topic?group=g", "name servers are not"),
        ("rocketmq://host:0/topic?group=g", "name servers are not"),
        ("rocketmq://a:1,,b:2/topic?group=g", "name servers are not"),
        ("rocketmq://a:b@host:1/topic?group=g", "name servers contain credentials"),
        ("rocketmq://host:1", "topic is missing"),
        ("rocketmq://host:1/?group=g", "topic is missing"),
        ("rocketmq://host:1/a/b?group=g", "topic is missing or is not one word"),
        ("rocketmq://host:1/topic", "parameter group is missing"),
        ("rocketmq://host:1/topic?group=", "parameter group is empty"),
        ("rocketmq://host:1/topic?group=g&access_key=a", "parameter secret_key is missing"),
        ("rocketmq://host:1/topic?group=g&secret_key=a", "parameter access_key is missing"),
        ("rocketmq://host:1/topic?group=g&max_in_flight=10001", "parameter max_in_flight is greater"),
        ("rocketmq://host:1/topic?group=g&start_from=now", "parameter start_from is not first, last"),
        ("rocketmq://host:1/topic?group=g&tls=yes", "parameter tls is neither"),
        ("rocketmq://host:1/topic?group=g&ca_file=ca.pem", "parameter ca_file requires tls=true"),
        ("rocketmq://host:1/topic?group=g&report_to=host:1", "parameter report_to is not"),
        ("rocketmq://host:1/topic?group=g&report_token=t", "parameter report_to is missing"),
        ("rocketmq://host:1/topic?group=g&worker=w", "parameter no. 2 is unknown"),
    ] {
        let text = error_text(connection);
        let example = "rocketmq://";
        assert!(text.contains(part) && text.contains(example), "{connection}: {text}");
    }
}

#[cfg(not(feature = "rocketmq"))]
#[test]
fn a_rocketmq_string_requires_the_feature() {
    assert!(error_text("rocketmq://host:1/topic?group=g").contains("enable the feature `rocketmq`"));
}

#[test]
fn errors_contain_no_value_of_the_string() {
    for connection in [
        "canary",
        "canary://host",
        "http://me:canary@",
        "http://me:canary@host:port",
        "http://host?canary=canary",
        "http://host?lease_ms=canary",
        "http://host?token=canary&canary",
        "http://host?token=canary%0A",
        "http://host?token=canary&token=canary",
        "rocketmq://me:canary@host:1/topic?group=g",
        "rocketmq://canary/topic?group=g",
        "rocketmq://host:1/canary/canary?group=g",
        "rocketmq://host:1/topic?group=g&access_key=canary",
        "rocketmq://host:1/topic?group=g&access_key=canary&secret_key=canary&canary",
        "rocketmq://host:1/topic?group=g&access_key=canary&secret_key=canary#canary",
        "rocketmq://host:1/topic?group=g&secret_key=canary&secret_key=canary",
        "rocketmq://host:1/topic?group=g&tls=canary",
        "rocketmq://host:1/topic?group=g&report_to=canary",
    ] {
        let error = connect(connection).err().unwrap_or_else(|| panic!("{connection:?} was accepted"));
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("canary"), "{connection}: {shown}");
    }
}
