//! Subscriptions, bodies and start offsets.

use std::time::{Duration, UNIX_EPOCH};

use taskcenter_rocketmq::ClientConfig;
use taskcenter_rocketmq::consumer::StartFrom;
use taskcenter_rocketmq::producer::Message;

use crate::harness::{Setup, acl, four, plain, tls};
use crate::support::until;

async fn messages_arrive_with_all_their_parts(config: ClientConfig) {
    let setup = Setup::new(config, 2).await;
    let (member, log) = setup.start_recorder(setup.member(), "*");
    let text = "ä任务\u{1F980} = ; \"";
    setup.send_message(setup.message("tag", "k1 k2").property("note", text)).await;
    let all = log.reaches(1).await;
    let message = &all[0];
    assert_eq!((message.topic.as_str(), message.tag.as_deref()), (setup.topic.as_str(), Some("tag")));
    assert_eq!((message.keys.as_deref(), message.reconsume_times), (Some("k1 k2"), 0));
    assert_eq!((&message.body[..], message.properties["note"].as_str()), (&b"k1 k2"[..], text));
    assert_eq!(message.message_id, message.properties["UNIQ_KEY"]);
    assert_eq!(message.queue.topic, setup.config.wire_name(&setup.topic));
    member.leave().await;
}

#[tokio::test]
async fn messages_arrive_from_a_plain_broker() {
    messages_arrive_with_all_their_parts(plain()).await;
}

#[tokio::test]
async fn messages_arrive_from_a_broker_of_version_4() {
    messages_arrive_with_all_their_parts(four()).await;
}

#[tokio::test]
async fn messages_arrive_from_a_broker_with_access_control() {
    messages_arrive_with_all_their_parts(acl()).await;
}

#[tokio::test]
async fn messages_arrive_from_a_broker_with_tls() {
    messages_arrive_with_all_their_parts(tls()).await;
}

#[tokio::test]
async fn messages_arrive_in_a_namespace() {
    messages_arrive_with_all_their_parts(plain().namespace("MQ_INST_1")).await;
}

/// Tags with one hash ("Aa" and "BB") are distinct, and blanks around a tag do not matter.
async fn a_member_receives_the_tags_of_its_subscription(config: ClientConfig) {
    let setup = Setup::new(config, 4).await;
    for tag in ["a", "b", "c", "Aa", "BB"] {
        for number in 0..5 {
            setup.send(tag, &format!("{tag}{number}")).await;
        }
    }
    setup.send_message(Message::new(&setup.topic, "none")).await;
    for (tags, prefixes, count) in
        [("a || b", &["a", "b"][..], 10), ("Aa", &["Aa"], 5), ("*", &["a", "b", "c", "Aa", "BB", "none"], 26)]
    {
        let group = crate::harness::unique("group");
        let config = taskcenter_rocketmq::consumer::ConsumerConfig::new(group);
        let (member, log) = setup.start_recorder(config, tags);
        // Behind the last message, so that all before it have arrived or were filtered.
        log.reaches(count).await;
        let bodies = log.bodies();
        assert_eq!(bodies.len(), count, "{tags}: {bodies:?}");
        let expected = |body: &String| prefixes.contains(&body.trim_end_matches(char::is_numeric));
        assert!(bodies.iter().all(expected), "{tags}: {bodies:?}");
        member.leave().await;
    }
}

async fn the_messages_of_a_batch_arrive_one_by_one(config: ClientConfig) {
    let setup = Setup::new(config, 1).await;
    let (member, log) = setup.start_recorder(setup.member(), "*");
    setup.send_many(0..50).await;
    let all = log.reaches(50).await;
    let mut ids: Vec<_> = all.iter().map(|message| message.message_id.clone()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 50);
    assert!(all.iter().all(|message| message.keys.as_deref() == std::str::from_utf8(&message.body).ok()));
    member.leave().await;
}

async fn compressed_bodies_arrive_decompressed(config: ClientConfig) {
    let setup = Setup::new(config, 1).await;
    let (member, log) = setup.start_recorder(setup.member(), "*");
    let body = "compressible ".repeat(10_000);
    setup.send_message(Message::new(&setup.topic, body.clone())).await;
    assert_eq!(log.reaches(1).await[0].body, body.as_bytes());
    member.leave().await;
}

async fn a_new_group_starts_where_the_settings_say(config: ClientConfig) {
    let is_four = config == four();
    let setup = Setup::new(config, 2).await;
    let config = |start| {
        let group = crate::harness::unique("group");
        taskcenter_rocketmq::consumer::ConsumerConfig::new(group).start_from(start)
    };
    setup.send("a", "1").await;
    let (first, log) = setup.start_recorder(config(StartFrom::First), "*");
    let stored = log.reaches(1).await[0].stored_ms;
    // The next message has a later time.
    until("the clock has advanced", async || UNIX_EPOCH.elapsed().unwrap().as_millis() as i64 > stored + 1)
        .await;
    setup.send("a", "2").await;
    log.reaches(2).await;

    let since = UNIX_EPOCH + Duration::from_millis(stored as u64 + 1);
    let (by_time, time_log) = setup.start_recorder(config(StartFrom::Time(since)), "*");
    let last_config = config(StartFrom::Last);
    let (last, last_log) = setup.start_recorder(last_config.clone(), "*");
    by_time.reads(2).await;
    last.reads(2).await;
    setup.send("a", "3").await;
    last_log.reaches(1).await;
    until("the messages since the time arrive", async || {
        time_log.bodies().ends_with(&["2".to_owned(), "3".to_owned()])
    })
    .await;
    log.reaches(3).await;
    assert_eq!(log.bodies(), ["1", "2", "3"]);
    // Brokers of version 4 return the message before the time if their queue has no later one.
    let earlier = time_log.bodies().len() - 2;
    assert!(earlier <= usize::from(is_four), "{:?}", time_log.bodies());
    assert_eq!(last_log.bodies(), ["3"]);
    for member in [first, by_time, last] {
        member.leave().await;
    }

    // The group has an offset now: what is sent while it is away arrives later.
    setup.send("a", "4").await;
    let (again, again_log) = setup.start_recorder(last_config, "*");
    again_log.reaches(1).await;
    assert_eq!(again_log.bodies(), ["4"]);
    again.leave().await;
}

crate::harness::on_both_versions! {
    a_member_receives_the_tags_of_its_subscription,
    the_messages_of_a_batch_arrive_one_by_one,
    compressed_bodies_arrive_decompressed,
    a_new_group_starts_where_the_settings_say,
}
