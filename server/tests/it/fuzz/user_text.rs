//! Text that users write: cron expressions, durations, moments, tag expressions, connection
//! strings.

use jiff::Timestamp;
use taskcenter_client::tag::Subscription;
use taskcenter_client::{Consumer, Context, HandlerError};
use taskcenter_server::core::cron::CronRule;
use taskcenter_server::core::submission::Submission;
use taskcenter_server::core::{Moment, Schedule, TaskId, tag};

use super::mutate::each;
use super::time;

/// Ordinary days, both ends of the calendar, a clock change, and a day that Apia skipped.
const ANCHORS: [i64; 7] = [
    0,
    2_000_000_000_000,
    1_774_746_000_001,
    1_325_152_800_000,
    253_402_207_199_999,
    67_767_976_233_532_000,
    -1,
];

fn assert_strictly_later(expression: &str, anchor: Moment) {
    let schedule = Schedule::cron(expression, "Pacific/Apia");
    let Some(mut moment) = schedule.first(None, anchor) else { return };
    assert!(moment >= anchor, "{expression:?} fires at {moment}, before {anchor}");
    for _ in 0..3 {
        let Some(next) = schedule.after(moment) else { return };
        assert!(
            next > moment && next <= Moment::NEVER,
            "{expression:?} fires at {moment}, and then at {next}"
        );
        moment = next;
    }
}

#[tokio::test]
async fn cron() {
    let mut valid = 0_usize;
    each("cron", 400, async |input| {
        let expression = String::from_utf8_lossy(&input).into_owned();
        if let Err(error) = CronRule::parse(&expression, "Pacific/Apia") {
            let why = error.to_string();
            assert!(!why.is_empty() && why.len() < 500, "{why}");
            return;
        }
        valid += 1;
        for anchor in ANCHORS {
            assert_strictly_later(&expression, Moment::from_ms(anchor));
        }
        let schedule = Schedule::cron(expression.clone(), "UTC");
        let now = Moment::from_sec(2_000_000_000);
        let task = Submission { schedule, ..Submission::named("n", "d") }
            .accept(TaskId::new(uuid::Uuid::nil()), now);
        assert!(task.is_err() || task.unwrap().next_due_at >= Some(now), "{expression:?}");
    })
    .await;
    println!("{valid} expressions were valid");
    assert!(valid > 12, "only {valid} expressions were valid");
}

#[tokio::test]
async fn durations_and_moments() {
    let now: Timestamp = "2030-01-31T08:00:00Z".parse().unwrap();
    each("when", 3_000, async |input| {
        let text = String::from_utf8_lossy(&input).into_owned();
        match time::parse_duration_ms(&text) {
            Ok(ms) => {
                let ms = i64::try_from(ms).expect("a duration is no longer than the calendar");
                let again = time::format_exact_duration(ms);
                assert_eq!(time::parse_duration_ms(&again), Ok(ms as u64), "{text:?} is written {again:?}");
                assert!(!time::format_duration(ms).is_empty());
            }
            Err(why) => assert!(!why.is_empty()),
        }
        if let Ok(seconds) = time::parse_duration_sec(&text) {
            assert_eq!(time::parse_duration_ms(&text), Ok(seconds * 1_000));
        }
        match time::parse_instant(&text) {
            Ok(at) => {
                assert_eq!(time::parse_instant(&at.to_string()), Ok(at), "{text:?}");
                assert!(
                    !time::format_with_distance(at, now).is_empty()
                        && !time::format_time_of_day(at).is_empty()
                );
            }
            Err(why) => assert!(!why.is_empty()),
        }
    })
    .await;
}

#[tokio::test]
async fn tags() {
    each("tags", 3_000, async |input| {
        let text = String::from_utf8_lossy(&input).into_owned();
        // Server and SDK have the same rule; the SDK does not limit the length.
        let (server, sdk) = (tag::check(&text), taskcenter_client::tag::validate(&text));
        assert!(server.is_ok() == sdk.is_ok() || text.len() > tag::MAX_TAG_BYTES, "{text:?}");
        let Ok(subscription) = text.parse::<Subscription>() else { return };
        let written = subscription.to_string();
        assert_eq!(written.parse(), Ok(subscription.clone()), "{text:?} is written {written:?}");
        assert!(server.is_err() || subscription.matches(&text), "{text:?} does not match itself");
    })
    .await;
}

async fn do_nothing(_: Context, _: serde_json::Value) -> Result<(), HandlerError> {
    Ok(())
}

#[tokio::test]
async fn connection_strings() {
    each("connections", 100, async |input| {
        let text = String::from_utf8_lossy(&input).into_owned();
        if let Err(error) = Consumer::builder().on("a", do_nothing).connect(&text) {
            let why = error.to_string();
            assert!(
                !why.is_empty() && !why.contains("canary"),
                "the message is empty or contains the secret: {why}"
            );
        }
    })
    .await;
}
