//! Records beside the ledger: a stored document is read completely, or reported as corrupt.

use serde::{Deserialize, Serialize};
use taskcenter_server::engine::service::{PortError, RecordKind, ServiceError};
use taskcenter_server::ports::Record;
use tokio_util::sync::CancellationToken;

use super::mutate::each;
use crate::hostile::state;
use crate::store::Fixture;
use crate::store::memory::MemoryFixture;
use crate::store::samples::unique;
use crate::store::sqlite::SqliteFixture;

/// A document such as legacy APIs store.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    name: String,
    count: u64,
    #[serde(default)]
    nodes: Vec<String>,
    until: Option<i64>,
}

async fn documents(fixture: Box<dyn Fixture>, rounds: usize) {
    let shutdown = CancellationToken::new();
    let (state, _) = state(&*fixture, shutdown);
    let records = fixture.records();
    let mut readable = 0;
    each("records", rounds, async |input| {
        let (key, doc) = (format!("{:032x}", unique()), String::from_utf8_lossy(&input).into_owned());
        let record =
            Record { kind: "fuzz".into(), key: key.clone(), index: Some(doc.clone()), doc, version: 0 };
        assert!(records.put_record(&record).await.unwrap());
        let stored = records.record("fuzz", &key).await.unwrap();
        assert_eq!(stored, Some(Record { version: 1, ..record.clone() }));
        match state.service.read_record::<Document>(RecordKind::internal("fuzz"), &key).await {
            Ok(document) => {
                readable += 1;
                assert_eq!(document, serde_json::from_str(&record.doc).ok());
            }
            Err(ServiceError::Port(PortError::Corrupt(..))) => {
                assert!(serde_json::from_str::<Document>(&record.doc).is_err());
            }
            Err(error) => panic!("{error}"),
        }
    })
    .await;
    assert!(readable > 5, "only {readable} documents were readable");
    drop((records, state));
    fixture.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_on_sqlite() {
    documents(Box::new(SqliteFixture::open().await), 200).await;
}

#[tokio::test]
async fn documents_in_memory() {
    documents(Box::new(MemoryFixture::open().await), 600).await;
}
