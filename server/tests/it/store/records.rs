//! Records: small documents beside the ledger.

use taskcenter_server::ports::Record;

use super::Fixture;
use super::samples::unique;

fn record(key: &str, index: Option<&str>) -> Record {
    Record {
        kind: "kind".to_owned(),
        key: key.to_owned(),
        index: index.map(str::to_owned),
        doc: "{\"$set\":\"\u{1F980} a.b\"}".to_owned(),
        version: 0,
    }
}

pub async fn a_document_is_read_back_as_it_was_stored(on: &dyn Fixture) {
    let records = on.records();
    for record in [record("$a.b \u{1F980}", Some("$i")), record("plain", None)] {
        assert_eq!(records.record(&record.kind, &record.key).await.unwrap(), None);
        assert!(records.put_record(&record).await.unwrap());
        let stored = records.record(&record.kind, &record.key).await.unwrap();
        assert_eq!(stored, Some(Record { version: 1, ..record.clone() }));
        assert_eq!(records.record("another", &record.key).await.unwrap(), None);
    }
}

pub async fn a_document_is_replaced_at_its_version(on: &dyn Fixture) {
    let records = on.records();
    let first = record("k", Some("old"));
    assert!(records.put_record(&first).await.unwrap());
    assert!(!records.put_record(&first).await.unwrap(), "the document exists");
    let second = Record { doc: "{}".to_owned(), index: None, version: 1, ..first.clone() };
    assert!(records.put_record(&second).await.unwrap());
    assert!(!records.put_record(&second).await.unwrap(), "the document has another version");
    let stored = records.record("kind", "k").await.unwrap().unwrap();
    assert_eq!(stored, Record { version: 2, ..second.clone() });
    assert!(!records.put_record(&Record { key: "absent".to_owned(), ..second }).await.unwrap());
}

pub async fn one_of_two_concurrent_writes_wins(on: &dyn Fixture) {
    let records = on.records();
    for round in 0..20 {
        let key = format!("k{round}-{}", unique());
        let change = |doc: &str| Record { doc: doc.to_owned(), ..record(&key, None) };
        let (a, b) = (change("\"a\""), change("\"b\""));
        let (one, two) = tokio::join!(records.put_record(&a), records.put_record(&b));
        let (one, two) = (one.unwrap(), two.unwrap());
        assert!(one != two, "exactly one write succeeds");
        let stored = records.record("kind", &key).await.unwrap().unwrap();
        assert_eq!(stored.doc, if one { a.doc } else { b.doc });
    }
}

pub async fn a_document_is_removed_at_its_version(on: &dyn Fixture) {
    let records = on.records();
    let first = record("k", None);
    records.put_record(&first).await.unwrap();
    assert!(!records.remove_record(&Record { version: 7, ..first.clone() }).await.unwrap());
    let stored = Record { version: 1, ..first };
    assert!(records.remove_record(&stored).await.unwrap());
    assert!(records.remove_record(&stored).await.unwrap(), "the document no longer exists");
    assert_eq!(records.record("kind", "k").await.unwrap(), None);
}

pub async fn documents_are_listed_by_key_and_by_index(on: &dyn Fixture) {
    let records = on.records();
    for (key, index) in [("b", Some("x")), ("a", None), ("d", Some("x")), ("c", Some("y"))] {
        assert!(records.put_record(&record(key, index)).await.unwrap());
    }
    assert!(
        records.put_record(&Record { kind: "other".to_owned(), ..record("e", Some("x")) }).await.unwrap()
    );
    let keys = async |index: Option<&str>, after: Option<&str>, limit| {
        let rows = records.records("kind", index, after, limit).await.unwrap();
        rows.into_iter().map(|record| record.key).collect::<Vec<_>>()
    };
    assert_eq!(keys(None, None, 9).await, ["a", "b", "c", "d"]);
    assert_eq!(keys(None, Some("b"), 1).await, ["c"]);
    assert_eq!(keys(Some("x"), None, 9).await, ["b", "d"]);
    assert_eq!(keys(Some("x"), Some("b"), 9).await, ["d"]);
    assert_eq!(keys(None, None, 0).await, [""; 0]);
}
