//! The rows of the store, read without the product.

use futures_util::TryStreamExt;
use mongodb::bson::{Document, doc};
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

use crate::cluster::{Cluster, Mode, mongodb_uri};

/// A run as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub run_id: String,
    pub task_id: String,
    pub scheduled_at: i64,
    pub state: String,
    pub attempt: i64,
    pub claim: i64,
    pub token: String,
}

impl Row {
    /// Whether the run has reached a consumer, as far as the store shows: a message is not reported, a leased
    /// run always is.
    pub fn is_handed_over(&self) -> bool {
        matches!(self.state.as_str(), "fired" | "succeeded")
    }
}

async fn documents(cluster: &Cluster, collection: &str) -> Vec<Document> {
    let client = mongodb::Client::with_uri_str(mongodb_uri()).await.expect("the URI is valid");
    let cursor = client.database(&cluster.id).collection::<Document>(collection).find(doc! {}).await;
    cursor.expect("MongoDB answers").try_collect().await.expect("MongoDB answers")
}

/// Returns the rows of a table in the data directory, or none if the file does not exist.
fn rows(cluster: &Cluster, table: &str) -> Vec<Value> {
    let file = format!("{}/taskcenter.db", cluster.data_dir);
    let Ok(ledger) = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_WRITE) else {
        return Vec::new();
    };
    let mut select = ledger.prepare(&format!("SELECT doc FROM {table}")).expect("the table exists");
    let documents = select.query_map([], |row| row.get::<_, String>(0)).expect("the table is readable");
    documents
        .map(|text| serde_json::from_str(&text.expect("the value is a string")).expect("the text is JSON"))
        .collect()
}

/// Returns every run.
pub async fn runs(cluster: &Cluster) -> Vec<Row> {
    match cluster.mode {
        Mode::Cluster => documents(cluster, "runs").await.iter().map(of_document).collect(),
        Mode::Embedded => rows(cluster, "runs").iter().map(of_json).collect(),
    }
}

/// Returns the runs of a task.
pub async fn runs_of(cluster: &Cluster, task_id: &str) -> Vec<Row> {
    runs(cluster).await.into_iter().filter(|run| run.task_id == task_id).collect()
}

/// Returns the state of a task, if stored.
pub async fn task_state(cluster: &Cluster, task_id: &str) -> Option<String> {
    match cluster.mode {
        Mode::Cluster => {
            let tasks = documents(cluster, "tasks").await;
            let task = tasks.iter().find(|task| task.get_str("_id").is_ok_and(|id| id == task_id))?;
            task.get_str("state").ok().map(str::to_owned)
        }
        Mode::Embedded => {
            let tasks = rows(cluster, "tasks");
            let task = tasks.iter().find(|task| task["id"] == task_id)?;
            task["state"].as_str().map(str::to_owned)
        }
    }
}

fn of_json(run: &Value) -> Row {
    let text = |key: &str| run[key].as_str().expect("the value is a string").to_owned();
    let number = |key: &str| run[key].as_i64().expect("the value is a number");
    Row {
        run_id: text("id"),
        task_id: text("task_id"),
        scheduled_at: number("scheduled_at"),
        state: text("state"),
        attempt: number("attempt"),
        claim: number("claim"),
        token: text("token"),
    }
}

fn of_document(run: &Document) -> Row {
    let text = |key: &str| run.get_str(key).unwrap_or_default().to_owned();
    let number = |key: &str| {
        let value = run.get(key).expect("the field exists");
        value.as_i64().or_else(|| value.as_i32().map(i64::from)).expect("the value is a number")
    };
    Row {
        run_id: text("_id"),
        task_id: text("task_id"),
        scheduled_at: run.get_datetime("scheduled_at").expect("every run has a moment").timestamp_millis(),
        state: text("state"),
        attempt: number("attempt"),
        claim: number("claim"),
        token: text("token"),
    }
}
