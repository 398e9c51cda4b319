//! The fixture on MongoDB: a database a test.

use std::sync::Arc;

use futures_util::TryStreamExt as _;
use mongodb::IndexModel;
use mongodb::bson::{Document, doc};
use taskcenter_server::adapters::mongo::MongoStore;
use taskcenter_server::core::Task;
use taskcenter_server::core::task::SHARDS;
use taskcenter_server::ports::{PortError, Records, Store};

use super::Fixture;
use super::samples::{PAST, task, unique};

pub struct MongoFixture {
    pub one: Arc<MongoStore>,
    two: Arc<MongoStore>,
}

fn uri() -> String {
    std::env::var("TASKCENTER_TEST_MONGODB_URI")
        .unwrap_or_else(|_| "mongodb://127.0.0.1:27117/?replicaSet=rs0".to_owned())
}

impl MongoFixture {
    pub async fn open() -> Self {
        let name = format!("it{:032x}", unique());
        let connect = async || Arc::new(MongoStore::new(&uri(), &name).await.expect("the address is sound"));
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

fn told(index: IndexModel) -> String {
    let json = |document: Document| document.to_string();
    let options = index.options.unwrap_or_default();
    let filter = options.partial_filter_expression.map(json);
    let unique = options.unique.unwrap_or_default().then(|| "unique".to_owned());
    let expires = options.expire_after.map(|_| "expires".to_owned());
    let parts = [Some(json(index.keys)), filter, unique, expires];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn a_second_node_finds_the_indexes_as_the_first_left_them() {
    let fixture = MongoFixture::open().await;
    fixture.one.now().await.unwrap();
    let left = fixture.indexes().await;
    let of = |collection: &str| left.iter().filter(|index| index.starts_with(collection)).count();
    let counts = ["tasks", "runs", "counters", "records", "remembered"].map(of);
    assert_eq!(counts, [6, 11, 2, 3, 2], "with that of the ids: {left:#?}");
    for wanted in [
        r#"tasks { "shard": 1, "next_due_at": 1 } { "state": "active" }"#,
        r#"tasks { "dedup_key": 1 } { "dedup_key": { "$exists": true } } unique"#,
        r#"runs { "shard": 1, "attention_at": 1 } { "attention_at": { "$exists": true } }"#,
        r#"runs { "queue": 1, "scheduled_at": 1, "_id": 1 } { "state": "ready" }"#,
        r#"counters { "expire_at": 1 } expires"#,
        r#"records { "kind": 1, "key": 1 } { "key": { "$exists": true } } unique"#,
    ] {
        assert!(left.iter().any(|index| index == wanted), "{wanted} is missing from {left:#?}");
    }
    fixture.two.now().await.unwrap();
    assert_eq!(fixture.indexes().await, left);
    Box::new(fixture).close().await;
}

#[tokio::test]
async fn a_mongodb_that_is_not_there_is_unavailable_and_comes_without_its_password() {
    let uri = "mongodb://user:secret@127.0.0.1:1/?serverSelectionTimeoutMS=200&connectTimeoutMS=100";
    let store = MongoStore::new(uri, "db").await.unwrap();
    let error = store.now().await.unwrap_err();
    assert!(matches!(error, PortError::Unavailable(..)), "{error:?}");
    assert!(!format!("{error:?}").contains("secret"), "{error:?}");
}

impl MongoFixture {
    /// Every index of every collection: its keys, what it is limited to, and what it demands.
    async fn indexes(&self) -> Vec<String> {
        let db = self.one.database();
        let mut all = Vec::new();
        for collection in db.list_collection_names().await.unwrap() {
            let indexes = db.collection::<Document>(&collection).list_indexes().await.unwrap();
            let indexes: Vec<IndexModel> = indexes.try_collect().await.unwrap();
            all.extend(indexes.into_iter().map(|index| format!("{collection} {}", told(index))));
        }
        all.sort();
        all
    }

    /// Takes a field away from a task's row, behind the store's back.
    async fn damage(&self, task: &Task, field: &str) {
        let rows = self.one.database().collection::<Document>("tasks");
        let done = rows.update_one(doc! { "_id": task.id.as_str() }, doc! { "$unset": { field: "" } }).await;
        assert_eq!(done.unwrap().modified_count, 1);
    }
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_corrupt_and_harms_no_other() {
    let fixture = MongoFixture::open().await;
    let (good, bad) = (task(), task());
    fixture.one.insert_tasks(vec![good.clone(), bad.clone()]).await;
    fixture.damage(&bad, "created_at").await;
    let error = fixture.one.task(&bad.id).await.unwrap_err();
    assert!(matches!(error, PortError::Corrupt(..)), "{error:?}");
    let due = fixture.one.due_tasks(&(0..SHARDS).collect::<Vec<_>>(), PAST, 10).await.unwrap();
    assert_eq!(due, [good]);
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
