//! Query plans of turns on MongoDB: the number of documents depends on the keys, whatever the backlog is.

use taskcenter_server::adapters::mongo::explained;
use taskcenter_server::core::Run;
use taskcenter_server::core::run::FairnessKey;
use taskcenter_server::ports::Store as _;

use super::Fixture as _;
use super::lists::ready;
use super::mongo::MongoFixture;
use super::plans::{assert_efficient, assert_lean};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn turns_do_not_read_the_backlog() {
    let fixture = MongoFixture::open().await;
    let store = &fixture.one;
    let crowd = (0..3_000).flat_map(|n| [ready("crowd", "crowd", n), ready("q", "report", n)]);
    let few = [ready("other", "other", 9_000), ready("q", "q", 9_000), ready("q", "small", 9_000)];
    store.insert_runs(&crowd.chain(few).collect::<Vec<Run>>()).await.unwrap();
    let list = ["crowd".to_owned(), "q".to_owned()];
    for (queues, last, rows) in [
        (&[][..], "", 1),
        (&[], "crowd", 1),
        (&[], "other", 1),
        (&[], "q", 0),
        (&list, "", 1),
        (&list, "crowd", 1),
    ] {
        assert_lean(store, explained::next_ready_queue(queues, last), rows).await;
    }
    assert_lean(store, explained::next_ready_queue_of_other_tags(&list, ""), 1).await;
    for (tag, rows) in [("q", 1), ("report", 1), ("small", 0)] {
        assert_lean(store, explained::next_ready_tag(&FairnessKey::new("q", tag)), rows).await;
    }
    for (queue, tag, rows) in
        [("crowd", "crowd", 5), ("q", "report", 5), ("q", "q", 1), ("q", "small", 1), ("q", "none", 0)]
    {
        assert_lean(store, explained::ready_runs_of(&FairnessKey::new(queue, tag), 5), rows).await;
    }
    assert_efficient(store, explained::ready_runs(Some(&list[1]), 500), 500.0, "SORT_MERGE").await;
    Box::new(fixture).close().await;
}
