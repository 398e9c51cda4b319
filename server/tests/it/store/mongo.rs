//! The fixture on MongoDB: one database per test. Tests of this adapter only.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::TryStreamExt as _;
use futures_util::future::join_all;
use mongodb::IndexModel;
use mongodb::bson::{Document, doc};
use mongodb::options::{CollectionOptions, Hint, IndexOptions, ReadConcern};
use taskcenter_server::adapters::mongo::{MongoStore, explained};
use taskcenter_server::core::submission::Submission;
use taskcenter_server::core::task::SHARDS;
use taskcenter_server::core::{Moment, RunState, Task};
use taskcenter_server::engine::service::IdempotencyKey;
use taskcenter_server::ports::{Order, OutcomeCount, PortError, Records, Store};

use super::samples::{PAST, task, unique};
use super::{Fixture, lists};
use crate::service::Stage;

pub struct MongoFixture {
    pub one: Arc<MongoStore>,
    pub two: Arc<MongoStore>,
}

fn uri() -> String {
    std::env::var("TASKCENTER_TEST_MONGODB_URI")
        .unwrap_or_else(|_| "mongodb://127.0.0.1:27117/?replicaSet=rs0".to_owned())
}

impl MongoFixture {
    pub async fn open() -> Self {
        let name = format!("it{:032x}", unique());
        let connect = async || Arc::new(MongoStore::new(&uri(), &name).await.expect("the URI is valid"));
        Self { one: connect().await, two: connect().await }
    }
}

#[async_trait::async_trait]
impl Fixture for MongoFixture {
    fn one(&self) -> Arc<dyn Store> {
        self.one.clone()
    }

    fn two(&self) -> Arc<dyn Store> {
        self.two.clone()
    }

    fn records(&self) -> Arc<dyn Records> {
        self.one.clone()
    }

    async fn close(self: Box<Self>) {
        self.one.database().drop().await.unwrap();
    }
}

fn index_text(index: IndexModel) -> String {
    let json = |document: Document| document.to_string();
    let options = index.options.unwrap_or_default();
    let filter = options.partial_filter_expression.map(json);
    let unique = options.unique.unwrap_or_default().then(|| "unique".to_owned());
    let expires = options.expire_after.map(|_| "expires".to_owned());
    let parts = [Some(json(index.keys)), filter, unique, expires];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn a_second_node_does_not_change_the_indexes() {
    let fixture = MongoFixture::open().await;
    fixture.one.now().await.unwrap();
    let indexes = fixture.indexes().await;
    let of = |collection: &str| indexes.iter().filter(|index| index.starts_with(collection)).count();
    let counts = ["tasks", "runs", "counters", "records", "remembered"].map(of);
    assert_eq!(counts, [7, 17, 2, 3, 2], "including the indexes on _id: {indexes:#?}");
    for wanted in [
        r#"tasks { "shard": 1, "next_due_at": 1, "state": 1, "name": 1 } { "state": "active" }"#,
        r#"tasks { "dedup_key": 1 } { "dedup_key": { "$exists": true } } unique"#,
        r#"runs { "shard": 1, "attention_at": 1, "state": 1, "tag": 1, "scheduled_at": 1 } { "attention_at": { "$exists": true } }"#,
        r#"runs { "by_tag": 1, "queue": 1, "scheduled_at": 1, "_id": 1 } { "state": "ready" }"#,
        r#"runs { "queue": 1, "tag": 1, "scheduled_at": 1, "_id": 1 } { "state": "ready", "by_tag": false }"#,
        r#"runs { "slots": 1 } { "slots": { "$exists": true } } unique"#,
        r#"runs { "lease_slot": 1 } { "lease_slot": { "$exists": true } } unique"#,
        r#"counters { "expire_at": 1 } expires"#,
        r#"records { "kind": 1, "key": 1 } { "key": { "$exists": true } } unique"#,
    ] {
        assert!(indexes.iter().any(|index| index == wanted), "{wanted} is missing from {indexes:#?}");
    }
    fixture.two.now().await.unwrap();
    assert_eq!(fixture.indexes().await, indexes);
    Box::new(fixture).close().await;
}

/// Indexes of an earlier release: collection, keys, and whether the index is partial.
fn old_indexes() -> [(&'static str, Document, Option<Document>); 5] {
    [
        ("tasks", doc! { "shard": 1, "next_due_at": 1 }, Some(doc! { "state": "active" })),
        ("tasks", doc! { "name": 1, "_id": -1 }, None),
        ("runs", doc! { "shard": 1, "attention_at": 1 }, Some(doc! { "attention_at": { "$exists": true } })),
        ("runs", doc! { "tag": 1, "scheduled_at": -1, "_id": -1 }, None),
        ("runs", doc! { "queue": 1, "scheduled_at": 1, "_id": 1 }, Some(doc! { "state": "ready" })),
    ]
}

#[tokio::test]
async fn an_index_of_an_earlier_release_is_dropped_when_no_node_uses_it() {
    let fixture = MongoFixture::open().await;
    fixture.one.now().await.unwrap();
    let new = fixture.indexes().await;
    for (collection, keys, filter) in old_indexes() {
        let options = IndexOptions::builder().partial_filter_expression(filter).build();
        let index = IndexModel::builder().keys(keys).options(options).build();
        fixture.one.database().collection::<Document>(collection).create_index(index).await.unwrap();
    }
    let old = fixture.indexes().await;
    assert_eq!(old.len(), new.len() + 5);
    let prune = async |seconds: i64| {
        let now = PAST.plus_ms(seconds * 1_000);
        let both = tokio::join!(fixture.one.prune(now, now, 9), fixture.two.prune(now, now, 9));
        assert_eq!((both.0.unwrap(), both.1.unwrap()), (0, 0));
        fixture.indexes().await
    };
    assert_eq!(prune(0).await, old);
    assert_eq!(prune(59).await, old, "an old node may still use the indexes");
    let used = fixture.one.database().collection::<Document>("tasks");
    used.find_one(doc! { "name": "n" }).hint(Hint::Keys(doc! { "name": 1, "_id": -1 })).await.unwrap();
    assert_eq!(prune(60).await, old, "an old node has used one of the indexes");
    assert_eq!(prune(119).await, old);
    assert_eq!(prune(120).await, new);
    assert_eq!(prune(180).await, new);
    Box::new(fixture).close().await;
}

/// Returns the number of commands on the tasks and the idempotency records, by kind.
async fn commands(store: &MongoStore) -> BTreeMap<String, usize> {
    let local = CollectionOptions::builder().read_concern(ReadConcern::local()).build();
    let profile = store.database().collection_with_options::<Document>("system.profile", local);
    let mut counts = BTreeMap::new();
    let mut rows = profile.find(doc! { "ns": { "$regex": "\\.(tasks|remembered)$" } }).await.unwrap();
    while let Some(row) = rows.try_next().await.unwrap() {
        *counts.entry(row.get_str("op").unwrap().to_owned()).or_default() += 1;
    }
    counts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_requests_with_idempotency_keys_share_inserts_and_read_nothing() {
    const REQUESTS: usize = 64;
    let fixture = MongoFixture::open().await;
    fixture.one.now().await.unwrap();
    let stage = Stage::on(fixture.one(), fixture.records());
    fixture.one.database().run_command(doc! { "profile": 2 }).await.unwrap();
    let create = async |n: usize| {
        let key = IdempotencyKey { key: n.to_string(), fingerprint: "f".to_owned() };
        let task = Submission::named("n", n.to_string());
        stage.service.submit_idempotent(vec![task], Some(key)).await.unwrap().remove(0).unwrap();
    };
    join_all((0..REQUESTS).map(create)).await;
    fixture.one.database().run_command(doc! { "profile": 0 }).await.unwrap();
    let counts = commands(&fixture.one).await;
    assert_eq!(counts.keys().collect::<Vec<_>>(), ["insert"], "{counts:?}");
    // The number of inserts depends on the machine. Without sharing it would be 128.
    assert!(counts["insert"] <= REQUESTS / 2, "{counts:?}");
    Box::new(fixture).close().await;
}

#[tokio::test]
async fn a_list_that_exceeds_its_time_limit_is_interrupted() {
    let fixture = MongoFixture::open().await;
    fixture.one.insert_tasks(vec![task()]).await;
    let error = explained::slow_list(&fixture.one).await.unwrap_err();
    assert!(matches!(error, PortError::Interrupted(..)), "{error:?}");
    Box::new(fixture).close().await;
}

#[tokio::test]
async fn an_unreadable_counter_is_skipped() {
    let fixture = MongoFixture::open().await;
    // In the future, so that MongoDB keeps the counters.
    let day = Moment::from_sec(46_297 * 86_400);
    let outcome = |tag: &str, state| OutcomeCount { tag: tag.to_owned(), state, runs: 1 };
    let counts = [outcome("a", RunState::Dead), outcome("b", RunState::Dead)];
    fixture.one.count_outcomes(day, &counts).await.unwrap();
    fixture.one.count_fires(day, &[("a".to_owned(), 1), ("b".to_owned(), 1)]).await.unwrap();
    let rows = fixture.one.database().collection::<Document>("counters");
    let damage = doc! { "$set": { "state": "of a newer release", "fires": "many" } };
    let state = rows.update_one(doc! { "tag": "a", "state": "dead" }, damage.clone()).await.unwrap();
    let minute = rows.update_one(doc! { "tag": "a", "state": { "$exists": false } }, damage).await.unwrap();
    assert_eq!((state.modified_count, minute.modified_count), (1, 1));
    assert_eq!(fixture.two.outcomes_on(day).await.unwrap(), counts[1..]);
    assert!(fixture.two.fires_in_minute(day).await.unwrap().contains(&("b".to_owned(), 1)));
    Box::new(fixture).close().await;
}

#[tokio::test]
async fn an_unreachable_mongodb_is_unavailable_and_the_error_has_no_password() {
    let uri = "mongodb://user:secret@127.0.0.1:1/?serverSelectionTimeoutMS=200&connectTimeoutMS=100";
    let store = MongoStore::new(uri, "db").await.unwrap();
    let error = store.now().await.unwrap_err();
    assert!(matches!(error, PortError::Unavailable(..)), "{error:?}");
    assert!(!format!("{error:?}").contains("secret"), "{error:?}");
}

impl MongoFixture {
    /// Returns every index of every collection: keys, partial filter and options.
    async fn indexes(&self) -> Vec<String> {
        let db = self.one.database();
        let mut all = Vec::new();
        for collection in db.list_collection_names().await.unwrap() {
            let indexes = db.collection::<Document>(&collection).list_indexes().await.unwrap();
            let indexes: Vec<IndexModel> = indexes.try_collect().await.unwrap();
            all.extend(indexes.into_iter().map(|index| format!("{collection} {}", index_text(index))));
        }
        all.sort();
        all
    }

    /// Removes a field from a task's row.
    async fn damage(&self, task: &Task, field: &str) {
        let rows = self.one.database().collection::<Document>("tasks");
        let done = rows.update_one(doc! { "_id": task.id.as_str() }, doc! { "$unset": { field: "" } }).await;
        assert_eq!(done.unwrap().modified_count, 1);
    }
}

#[tokio::test]
async fn an_unreadable_row_is_corrupt_and_does_not_affect_others() {
    let fixture = MongoFixture::open().await;
    let (readable, damaged) = (task(), task());
    fixture.one.insert_tasks(vec![readable.clone(), damaged.clone()]).await;
    fixture.damage(&damaged, "created_at").await;
    let error = fixture.one.task(&damaged.id).await.unwrap_err();
    assert!(matches!(error, PortError::Corrupt(..)), "{error:?}");
    let due = fixture
        .one
        .due_tasks(&(0..SHARDS).collect::<Vec<_>>(), PAST, 10, Order::Earliest)
        .await
        .unwrap()
        .rows;
    assert_eq!(due, [readable]);
    Box::new(fixture).close().await;
}

#[tokio::test]
async fn unreadable_rows_are_skipped_in_lists() {
    let fixture = MongoFixture::open().await;
    let (tasks, runs) = lists::insert_three_of_each(&*fixture.one).await;
    for at in [0, 2] {
        fixture.damage(&tasks[at], "created_at").await;
        let rows = fixture.one.database().collection::<Document>("runs");
        let filter = doc! { "_id": runs[at].id.as_str() };
        rows.update_one(filter, doc! { "$unset": { "token": "" } }).await.unwrap();
    }
    lists::unreadable_rows_are_skipped_in_lists(&*fixture.two, (&tasks[1], &runs[1])).await;
    Box::new(fixture).close().await;
}

#[tokio::test]
async fn a_ready_run_of_an_earlier_release_is_found() {
    let fixture = MongoFixture::open().await;
    let (mine, other) = (lists::ready("a", "a", 1), lists::ready("b", "a", 0));
    fixture.one.insert_runs(&[mine.clone(), other]).await.unwrap();
    let rows = fixture.one.database().collection::<Document>("runs");
    let done = rows.update_many(doc! {}, doc! { "$unset": { "by_tag": "" } }).await.unwrap();
    assert_eq!(done.modified_count, 2);
    assert_eq!(fixture.two.ready_runs(&[], 9).await.unwrap().rows, [mine]);
    Box::new(fixture).close().await;
}

#[tokio::test]
async fn a_row_of_the_first_release_is_read() {
    let fixture = MongoFixture::open().await;
    let old = task();
    fixture.one.insert_tasks(vec![old.clone()]).await;
    fixture.damage(&old, "anchored_at").await;
    let read = fixture.one.task(&old.id).await.unwrap().unwrap();
    assert_eq!(read, Task { anchored_at: old.created_at, ..old });
    Box::new(fixture).close().await;
}
