//! The fixture on MongoDB: a database a test.

use std::sync::Arc;

use taskcenter_server::adapters::mongo::MongoStore;
use taskcenter_server::ports::{Records, Store};

use super::Fixture;
use super::samples::unique;

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

#[tokio::test]
async fn a_second_node_finds_the_indexes_as_the_first_left_them() {
    let fixture = MongoFixture::open().await;
    fixture.one.now().await.unwrap();
    fixture.two.now().await.unwrap();
    Box::new(fixture).close().await;
}

#[tokio::test]
async fn a_mongodb_that_is_not_there_is_unavailable_and_comes_without_its_password() {
    let uri = "mongodb://user:secret@127.0.0.1:1/?serverSelectionTimeoutMS=200&connectTimeoutMS=100";
    let store = MongoStore::new(uri, "db").await.unwrap();
    let error = store.now().await.unwrap_err();
    assert!(matches!(error, taskcenter_server::ports::PortError::Unavailable(..)), "{error:?}");
    assert!(!format!("{error:?}").contains("secret"), "{error:?}");
}
