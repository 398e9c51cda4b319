//! Connection strings: what is taken, and what is said of the others.

use taskcenter_client::{ConnectError, Consumer, ConsumerBuilder, Context, HandlerError};

async fn ignore(_: Context, _: String) -> Result<(), HandlerError> {
    Ok(())
}

fn connect(connection: &str) -> Result<ConsumerBuilder, ConnectError> {
    Consumer::builder().on_text("t", ignore).connect(connection)
}

/// Whether outcomes are reported.
#[cfg(feature = "rocketmq")]
async fn reports(builder: ConsumerBuilder) -> bool {
    let harness = builder.harness().unwrap();
    harness.deliver("t").ack("token").await;
    !harness.reports().is_empty()
}

fn complaint(connection: &str) -> String {
    connect(connection).err().unwrap_or_else(|| panic!("{connection:?} was taken")).to_string()
}

#[test]
fn a_server_is_pulled_from() {
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
async fn a_broker_is_consumed_from_and_the_server_reported_to() {
    assert!(!reports(connect("rocketmq://127.0.0.1:9876/topic?group=g").unwrap()).await);
    let full = "rocketmq://ns1:9876,[::1]:9876/%DLQ%g?group=g&access_key=a&secret_key=b+/=%26&tls=true&\
                ca_file=ca.pem&max_in_flight=3&report_to=http://127.0.0.1:8275";
    assert!(reports(connect(full).unwrap()).await);
}

#[tokio::test]
async fn outcomes_that_the_transport_owns_go_to_it() {
    struct Nobody;

    #[async_trait::async_trait]
    impl taskcenter_client::Reporter for Nobody {
        async fn report(
            &self,
            _: &str,
            _: taskcenter_client::wire::OutcomeReport,
        ) -> Result<(), taskcenter_client::ReportError> {
            panic!("asked")
        }
    }
    let builder = connect("http://127.0.0.1:1").unwrap().report_to(Nobody);
    let harness = builder.harness().unwrap();
    harness.deliver("t").ack("token").await;
    assert_eq!(harness.reports().len(), 1);
}

#[test]
fn the_part_that_is_wrong_is_named_and_a_right_one_shown() {
    for (connection, part) in [
        ("", "should begin with http://"),
        ("127.0.0.1:8275", "should begin with http://"),
        ("kafka://host", "should begin with http://"),
        ("http://", "address is not"),
        ("http://host:port", "address is not"),
        ("http://host?lease_ms=soon", "parameter lease_ms is not a whole number"),
        ("http://host?max_in_flight=0", "parameter max_in_flight is not a whole number"),
        ("http://host?queues=a,,b", "parameter queues name an empty"),
        ("http://host?worker=", "parameter worker is empty"),
        ("http://host?token=", "parameter token is empty"),
        ("http://host?worker=a&worker=b", "parameter worker is given twice"),
        ("http://host?worker=a&wroker=b", "parameter no. 2 is not known"),
        ("http://host?worker=a#b", "parameters hold a #"),
    ] {
        let complaint = complaint(connection);
        assert!(complaint.contains(part) && complaint.contains("http://127.0.0.1:8275"), "{complaint}");
    }
}

#[cfg(feature = "rocketmq")]
#[test]
fn the_part_of_a_brokers_that_is_wrong_is_named_and_a_right_one_shown() {
    for (connection, part) in [
        ("rocketmq://", "name servers are not"),
        ("rocketmq://host/topic?group=g", "name servers are not"),
        ("rocketmq://host:0/topic?group=g", "name servers are not"),
        ("rocketmq://a:1,,b:2/topic?group=g", "name servers are not"),
        ("rocketmq://a:b@host:1/topic?group=g", "name servers have keys"),
        ("rocketmq://host:1", "topic is missing"),
        ("rocketmq://host:1/?group=g", "topic is missing"),
        ("rocketmq://host:1/a/b?group=g", "topic is missing or is not one word"),
        ("rocketmq://host:1/topic", "parameter group is missing"),
        ("rocketmq://host:1/topic?group=", "parameter group is empty"),
        ("rocketmq://host:1/topic?group=g&access_key=a", "parameter secret_key is missing"),
        ("rocketmq://host:1/topic?group=g&secret_key=a", "parameter access_key is missing"),
        ("rocketmq://host:1/topic?group=g&tls=yes", "parameter tls is neither"),
        ("rocketmq://host:1/topic?group=g&ca_file=ca.pem", "parameter ca_file needs tls=true"),
        ("rocketmq://host:1/topic?group=g&report_to=host:1", "parameter report_to is not"),
        ("rocketmq://host:1/topic?group=g&report_token=t", "parameter report_to is missing"),
        ("rocketmq://host:1/topic?group=g&worker=w", "parameter no. 2 is not known"),
    ] {
        let complaint = complaint(connection);
        let example = "rocketmq://";
        assert!(complaint.contains(part) && complaint.contains(example), "{connection}: {complaint}");
    }
}

#[cfg(not(feature = "rocketmq"))]
#[test]
fn a_broker_needs_its_feature() {
    assert!(complaint("rocketmq://host:1/topic?group=g").contains("without the feature `rocketmq`"));
}

#[test]
fn no_secret_is_shown() {
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
        let error = connect(connection).err().unwrap_or_else(|| panic!("{connection:?} was taken"));
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("canary"), "{connection}: {shown}");
    }
}
