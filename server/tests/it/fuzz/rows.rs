//! Stored rows: whatever stands in one, it is read or said to be corrupt, nobody stumbles, and the rows beside it are read as ever.

use async_trait::async_trait;
#[cfg(feature = "cluster")]
use mongodb::bson::{DateTime, Document, doc, serialize_to_bson};
use rusqlite::Connection;
use rusqlite::types::Value as Cell;
use serde_json::Value;
use taskcenter_server::core::task::SHARDS;
use taskcenter_server::core::{Moment, Run, RunState, Task};
use taskcenter_server::ports::{Page, PortError, RunFilter, RunPage, Store, TaskFilter};

use super::mutate::each;
use crate::store::Fixture;
#[cfg(feature = "cluster")]
use crate::store::mongo::MongoFixture;
use crate::store::samples::{PAST, full_run, full_task, run, task};
use crate::store::sqlite::SqliteFixture;

/// Whoever can write into a store behind its back.
#[async_trait]
trait Damage: Fixture {
    /// Sets a field of the row with this id to a value, as far as the store lets it stand there.
    async fn damage(&self, table: &str, id: &str, field: &str, value: &Value);
}

/// One of these, whatever was written.
fn chosen<'a>(written: &str, names: &'a [String]) -> &'a str {
    let known = names.iter().position(|name| name == written);
    let sum = written.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    &names[known.unwrap_or(sum % names.len())]
}

#[async_trait]
impl Damage for SqliteFixture {
    async fn damage(&self, table: &str, id: &str, field: &str, value: &Value) {
        let db = Connection::open(self.path()).unwrap();
        let mut columns = db.prepare(&format!("SELECT name FROM pragma_table_info('{table}')")).unwrap();
        let columns: Vec<String> =
            columns.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        let document: String =
            db.query_row(&format!("SELECT doc FROM {table} WHERE id = ?1"), [id], |row| row.get(0)).unwrap();
        let mut document: Value = serde_json::from_str(&document).unwrap();
        let members: Vec<String> = document.as_object().unwrap().keys().cloned().collect();
        // Half of the damage is to the document, half to what stands beside it.
        let (column, cell) = if members.iter().any(|member| member == field) || field.len().is_multiple_of(2)
        {
            document[chosen(field, &members)] = value.clone();
            ("doc", Cell::Text(document.to_string()))
        } else {
            let cell = match value {
                Value::Null => Cell::Null,
                Value::Number(number) => number.as_i64().map_or(Cell::Real(0.5), Cell::Integer),
                Value::String(text) => Cell::Text(text.clone()),
                other => Cell::Blob(other.to_string().into_bytes()),
            };
            (chosen(field, &columns), cell)
        };
        // The table refuses what is not of a column's type.
        let set = format!("UPDATE {table} SET {column} = ?2 WHERE id = ?1");
        let _ = db.execute(&set, rusqlite::params![id, cell]);
    }
}

#[cfg(feature = "cluster")]
#[async_trait]
impl Damage for MongoFixture {
    async fn damage(&self, table: &str, id: &str, field: &str, value: &Value) {
        let rows = self.one.database().collection::<Document>(table);
        let row = rows.find_one(doc! { "_id": id }).await.unwrap().unwrap();
        let fields: Vec<String> = row.keys().filter(|name| *name != "_id").cloned().collect();
        let change = match value {
            Value::Null => doc! { "$unset": { chosen(field, &fields): "" } },
            // Moments are dates here.
            Value::Number(number) if number.is_i64() && field.ends_with("_at") => {
                let date = DateTime::from_millis(number.as_i64().unwrap());
                doc! { "$set": { chosen(field, &fields): date } }
            }
            other => {
                // A number that BSON does not have.
                let Ok(other) = serialize_to_bson(other) else { return };
                doc! { "$set": { chosen(field, &fields): other } }
            }
        };
        // An index refuses some of it.
        let _ = rows.update_one(doc! { "_id": id }, change).await;
    }
}

/// Read as something, or corrupt; whether it was read.
fn read<T>(answer: Result<T, PortError>) -> bool {
    match answer {
        Ok(_) => true,
        Err(PortError::Corrupt(..)) => false,
        Err(error) => panic!("{error:?}"),
    }
}

/// Every walk comes to its end.
async fn walk(store: &dyn Store) {
    let shards: Vec<u16> = (0..SHARDS).collect();
    let far = Moment::from_ms(i64::MAX);
    read(store.due_tasks(&shards, far, 1_000).await);
    read(store.runs_needing_attention(&shards, far, 1_000, false).await);
    read(store.list_tasks(&TaskFilter::default(), &Page { limit: 1_000, before: None }).await);
    read(store.list_runs(&RunFilter::default(), &RunPage { limit: 1_000, before: None }).await);
    read(store.ready_runs(&[], 1_000).await);
    read(store.queues().await);
    read(store.backlog(far).await);
}

async fn rows(fixture: &dyn Damage, rounds: usize) {
    let store = fixture.one();
    let (beside_task, beside_run) = (task(), run());
    assert!(store.insert_tasks(vec![beside_task.clone()]).await.into_iter().all(|answer| answer.is_ok()));
    store.insert_runs(std::slice::from_ref(&beside_run)).await.unwrap();
    let (mut whole, mut corrupt) = (0, 0);
    each("rows", rounds, async |input| {
        let text = String::from_utf8_lossy(&input).into_owned();
        let (field, value) = text.split_once(' ').unwrap_or((&text, "null"));
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
        let (task, run) = (full_task(), Run { state: RunState::Ready, ..full_run() });
        let task = Task { next_due_at: Some(PAST), ..task };
        assert!(store.insert_tasks(vec![task.clone()]).await.into_iter().all(|answer| answer.is_ok()));
        store.insert_runs(std::slice::from_ref(&run)).await.unwrap();
        fixture.damage("tasks", task.id.as_str(), field, &value).await;
        fixture.damage("runs", run.id.as_str(), field, &value).await;
        for read in [read(store.task(&task.id).await), read(store.run(&run.id).await)] {
            *(if read { &mut whole } else { &mut corrupt }) += 1;
        }
        walk(&*store).await;
        assert_eq!(store.task(&beside_task.id).await.unwrap(), Some(beside_task.clone()));
        assert_eq!(store.run(&beside_run.id).await.unwrap(), Some(beside_run.clone()));
    })
    .await;
    println!("{whole} rows were read, {corrupt} were corrupt");
    assert!(whole > 10 && corrupt > 10, "{whole} read and {corrupt} corrupt prove little");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_on_sqlite() {
    let fixture = SqliteFixture::open().await;
    rows(&fixture, 100).await;
    Box::new(fixture).close().await;
}

#[cfg(feature = "cluster")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_on_mongodb() {
    let fixture = MongoFixture::open().await;
    rows(&fixture, 100).await;
    Box::new(fixture).close().await;
}
