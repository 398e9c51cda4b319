//! Damaged rows in a store: the store reads a row or reports it as corrupt, and other rows stay
//! readable.

use async_trait::async_trait;
#[cfg(feature = "cluster")]
use mongodb::bson::{DateTime, Document, doc, serialize_to_bson};
use rusqlite::Connection;
use rusqlite::types::Value as Cell;
use serde_json::Value;
use taskcenter_server::core::run::FairnessKey;
use taskcenter_server::core::task::SHARDS;
use taskcenter_server::core::{Moment, Run, RunState, Task};
use taskcenter_server::ports::{Order, Page, PortError, RunFilter, RunPage, Store, TaskFilter};

use super::mutate::each;
use crate::store::Fixture;
#[cfg(feature = "cluster")]
use crate::store::mongo::MongoFixture;
use crate::store::samples::{PAST, full_run, full_task, run, task};
use crate::store::sqlite::SqliteFixture;

/// Writes to a store without the checks of its adapter.
#[async_trait]
pub trait Damage: Fixture {
    /// Sets a field of the row with this id, unless a constraint of the store refuses the value.
    async fn damage(&self, table: &str, id: &str, field: &str, value: &Value);
}

/// Returns the name that equals `input`, or one that depends on `input` only.
fn choose<'a>(input: &str, names: &'a [String]) -> &'a str {
    let known = names.iter().position(|name| name == input);
    let sum = input.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
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
        // Damages the document or one of the other columns.
        let (column, cell) = if members.iter().any(|member| member == field) || field.len().is_multiple_of(2)
        {
            document[choose(field, &members)] = value.clone();
            ("doc", Cell::Text(document.to_string()))
        } else {
            let cell = match value {
                Value::Null => Cell::Null,
                Value::Number(number) => number.as_i64().map_or(Cell::Real(0.5), Cell::Integer),
                Value::String(text) => Cell::Text(text.clone()),
                other => Cell::Blob(other.to_string().into_bytes()),
            };
            (choose(field, &columns), cell)
        };
        // The table refuses a value of the wrong type.
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
            Value::Null => doc! { "$unset": { choose(field, &fields): "" } },
            // MongoDB stores moments as dates.
            Value::Number(number) if number.is_i64() && field.ends_with("_at") => {
                let date = DateTime::from_millis(number.as_i64().unwrap());
                doc! { "$set": { choose(field, &fields): date } }
            }
            other => {
                // BSON has no such number.
                let Ok(other) = serialize_to_bson(other) else { return };
                doc! { "$set": { choose(field, &fields): other } }
            }
        };
        // A unique index may refuse the value.
        let _ = rows.update_one(doc! { "_id": id }, change).await;
    }
}

/// Returns whether a row was readable. Fails on any error other than a corrupt row.
fn is_readable<T>(answer: Result<T, PortError>) -> bool {
    match answer {
        Ok(_) => true,
        Err(PortError::Corrupt(..)) => false,
        Err(error) => panic!("{error:?}"),
    }
}

/// Calls every method that reads many rows.
async fn read_all(store: &dyn Store) {
    let shards: Vec<u16> = (0..SHARDS).collect();
    let far = Moment::from_ms(i64::MAX);
    is_readable(store.due_tasks(&shards, far, 1_000, Order::Earliest).await);
    is_readable(store.runs_needing_attention(&shards, far, 1_000, false).await);
    is_readable(store.list_tasks(&TaskFilter::default(), &Page { limit: 1_000, before: None }).await);
    is_readable(store.list_runs(&RunFilter::default(), &RunPage { limit: 1_000, before: None }).await);
    is_readable(store.ready_runs(&[], 1_000).await);
    is_readable(store.ready_keys(&[], None, 1_000).await);
    is_readable(store.ready_runs_of(&[FairnessKey::new("q", "q"), FairnessKey::new("q", "t")], 1_000).await);
    is_readable(store.queues().await);
    is_readable(store.backlog(far).await);
}

async fn rows(fixture: &dyn Damage, rounds: usize) {
    let store = fixture.one();
    let (other_task, other_run) = (task(), run());
    assert!(store.insert_tasks(vec![other_task.clone()]).await.into_iter().all(|answer| answer.is_ok()));
    store.insert_runs(std::slice::from_ref(&other_run)).await.unwrap();
    let (mut readable, mut corrupt) = (0, 0);
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
        for row in [is_readable(store.task(&task.id).await), is_readable(store.run(&run.id).await)] {
            *(if row { &mut readable } else { &mut corrupt }) += 1;
        }
        read_all(&*store).await;
        assert_eq!(store.task(&other_task.id).await.unwrap(), Some(other_task.clone()));
        assert_eq!(store.run(&other_run.id).await.unwrap(), Some(other_run.clone()));
    })
    .await;
    println!("{readable} rows were readable, {corrupt} were corrupt");
    assert!(readable > 10 && corrupt > 10, "only {readable} readable and {corrupt} corrupt rows");
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
