//! Reads the store without the product: documents and change stream of MongoDB, or the file of an
//! embedded node.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use futures_util::{StreamExt, TryStreamExt};
use mongodb::bson::{Document, doc};
use mongodb::change_stream::ChangeStream;
use mongodb::change_stream::event::ChangeStreamEvent;
use mongodb::{Client, Collection, Database};
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::evidence::{Recorder, RunRow, Step, TaskRow};
use crate::time;

/// Location of the rows.
#[derive(Clone)]
pub enum Source {
    Mongo(Database),
    Sqlite(PathBuf),
}

impl Source {
    pub fn mongo(client: &Client, name: &str) -> Self {
        Self::Mongo(client.database(name))
    }

    pub async fn tasks(&self) -> Result<Vec<TaskRow>> {
        match self {
            Self::Mongo(db) => {
                Ok(documents(db, "tasks").await?.iter().map(|row| task_of(&Mongo(row))).collect())
            }
            Self::Sqlite(file) => Ok(rows(file, "tasks")?.iter().map(|row| task_of(&Json(row))).collect()),
        }
    }

    pub async fn runs(&self) -> Result<Vec<RunRow>> {
        match self {
            Self::Mongo(db) => {
                Ok(documents(db, "runs").await?.iter().map(|row| run_of(&Mongo(row))).collect())
            }
            Self::Sqlite(file) => Ok(rows(file, "runs")?.iter().map(|row| run_of(&Json(row))).collect()),
        }
    }

    /// Returns the numbers of tasks and runs that are not in a terminal state.
    pub async fn open(&self) -> Result<(u64, u64)> {
        match self {
            Self::Mongo(db) => {
                let tasks = db.collection::<Document>("tasks");
                let active = tasks.count_documents(doc! { "state": { "$in": ["active", "paused"] } }).await?;
                let runs = db.collection::<Document>("runs");
                Ok((active, runs.count_documents(doc! { "attention_at": { "$exists": true } }).await?))
            }
            Self::Sqlite(file) => {
                let db = open(file)?;
                let count = |of: &str| {
                    db.query_row(&format!("SELECT count(*) FROM {of}"), [], |row| row.get::<_, i64>(0))
                };
                let active = count("tasks WHERE state IN ('active', 'paused')")?;
                Ok((active as u64, count("runs WHERE attention_at IS NOT NULL")? as u64))
            }
        }
    }

    /// Follows each version of each run, until the handle is aborted. Before the first server
    /// starts.
    pub async fn watch(&self, recorder: Arc<Recorder>) -> Result<Option<JoinHandle<()>>> {
        let Self::Mongo(db) = self else { return Ok(None) };
        let runs = db.collection::<Document>("runs");
        let stream = runs.watch().await?;
        Ok(Some(tokio::spawn(follow(runs, stream, recorder))))
    }

    /// Starts a journal for a store without a change stream. Call it after a server has created the
    /// file and before it has work.
    pub fn begin_journal(&self) -> Result<()> {
        let Self::Sqlite(file) = self else { return Ok(()) };
        Ok(open(file)?.execute_batch(JOURNAL)?)
    }

    /// Returns the journal.
    pub fn journal(&self) -> Result<Vec<Step>> {
        match self {
            Self::Mongo(_) => Ok(Vec::new()),
            Self::Sqlite(file) => journal(file),
        }
    }
}

type Changes = ChangeStream<ChangeStreamEvent<Document>>;

/// Reads a change stream. The driver resumes a stream once. After a longer outage of the primary,
/// opens the stream again where it ended.
async fn follow(runs: Collection<Document>, mut stream: Changes, recorder: Arc<Recorder>) {
    let mut last = HashMap::new();
    let mut turn = time::ticks(200);
    loop {
        while let Some(Ok(event)) = stream.next().await {
            if let Some(step) = step_of(&event, &mut last) {
                recorder.get().steps.push(step);
            }
        }
        let seen = stream.resume_token();
        loop {
            turn.tick().await;
            // Without a token, changes in between are missed. The checker reports missing versions.
            if let Ok(again) = runs.watch().resume_after(seen.clone()).await {
                stream = again;
                break;
            }
        }
    }
}

async fn documents(db: &Database, collection: &str) -> Result<Vec<Document>> {
    Ok(db.collection::<Document>(collection).find(doc! {}).await?.try_collect().await?)
}

fn open(file: &PathBuf) -> Result<Connection> {
    let db = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    db.busy_timeout(std::time::Duration::from_secs(5))?;
    Ok(db)
}

fn rows(file: &PathBuf, table: &str) -> Result<Vec<Value>> {
    let db = open(file)?;
    let mut select = db.prepare(&format!("SELECT doc FROM {table}"))?;
    let texts = select.query_map([], |row| row.get::<_, String>(0))?;
    texts.map(|text| Ok(serde_json::from_str(&text?)?)).collect()
}

/// Row of one of the stores.
trait Row {
    fn text(&self, field: &str) -> Option<String>;
    fn number(&self, field: &str) -> Option<i64>;
    fn truth(&self, field: &str) -> bool;
    fn id(&self) -> String;
    fn stretch(&self) -> Option<(i64, i64)>;
}

struct Mongo<'a>(&'a Document);
struct Json<'a>(&'a Value);

impl Row for Mongo<'_> {
    fn text(&self, field: &str) -> Option<String> {
        self.0.get_str(field).ok().map(str::to_owned)
    }

    fn number(&self, field: &str) -> Option<i64> {
        let value = self.0.get(field)?;
        let date = value.as_datetime().map(|date| date.timestamp_millis());
        date.or_else(|| value.as_i64()).or_else(|| value.as_i32().map(i64::from))
    }

    fn truth(&self, field: &str) -> bool {
        self.0.get_bool(field).unwrap_or(false)
    }

    fn id(&self) -> String {
        self.text("_id").unwrap_or_default()
    }

    fn stretch(&self) -> Option<(i64, i64)> {
        self.number("stretch_to").zip(self.number("stretch_count"))
    }
}

impl Row for Json<'_> {
    fn text(&self, field: &str) -> Option<String> {
        self.0[field].as_str().map(str::to_owned)
    }

    fn number(&self, field: &str) -> Option<i64> {
        self.0[field].as_i64()
    }

    fn truth(&self, field: &str) -> bool {
        self.0[field].as_bool().unwrap_or(false)
    }

    fn id(&self) -> String {
        self.text("id").unwrap_or_default()
    }

    fn stretch(&self) -> Option<(i64, i64)> {
        let stretch = &self.0["stretch"];
        stretch["to"].as_i64().zip(stretch["count"].as_i64())
    }
}

fn task_of(row: &impl Row) -> TaskRow {
    TaskRow {
        id: row.id(),
        data: row.text("data").unwrap_or_default(),
        state: row.text("state").unwrap_or_default(),
        rev: row.number("rev").unwrap_or_default(),
        anchored_at: row.number("anchored_at").unwrap_or_default(),
        last_due_at: row.number("last_due_at"),
    }
}

fn run_of(row: &impl Row) -> RunRow {
    RunRow {
        id: row.id(),
        task_id: row.text("task_id").unwrap_or_default(),
        rev: row.number("rev").unwrap_or_default(),
        scheduled_at: row.number("scheduled_at").unwrap_or_default(),
        triggered: row.truth("triggered"),
        queue: row.text("queue"),
        waits_for_outcome: row.number("outcome_within_ms").is_some(),
        stretch: row.stretch(),
        state: row.text("state").unwrap_or_default(),
        reason: row.text("reason"),
        attempt: row.number("attempt").unwrap_or_default(),
        claim: row.number("claim").unwrap_or_default(),
        fired_at: row.number("fired_at"),
        version: row.number("version").unwrap_or_default(),
        open: row.number("attention_at").is_some(),
    }
}

/// Builds a version from a change event. An update has only the changed fields; `last` has the
/// others.
fn step_of(event: &ChangeStreamEvent<Document>, last: &mut HashMap<String, Step>) -> Option<Step> {
    let run_id = event.document_key.as_ref()?.get_str("_id").ok()?.to_owned();
    let changed = event
        .full_document
        .as_ref()
        .or(event.update_description.as_ref().map(|update| &update.updated_fields))?;
    let row = Mongo(changed);
    let before = last.get(&run_id);
    let number = |field: &str, of: fn(&Step) -> i64| row.number(field).or_else(|| before.map(of));
    let step = Step {
        state: row.text("state").or_else(|| before.map(|step| step.state.clone()))?,
        attempt: number("attempt", |step| step.attempt)?,
        claim: number("claim", |step| step.claim)?,
        version: number("version", |step| step.version)?,
        attention_at: attention_at(event, &row, before),
        run_id: run_id.clone(),
    };
    last.insert(run_id, step.clone());
    Some(step)
}

fn attention_at(event: &ChangeStreamEvent<Document>, row: &Mongo<'_>, before: Option<&Step>) -> Option<i64> {
    const FIELD: &str = "attention_at";
    let Some(update) = &event.update_description else { return row.number(FIELD) };
    let is_removed = update.removed_fields.iter().any(|field| field == FIELD);
    let unchanged = before.and_then(|step| step.attention_at).filter(|_| !is_removed);
    row.number(FIELD).or(unchanged)
}

/// SQLite has no change stream. Triggers write a journal in the transaction of the row: a killed
/// server loses both or neither, and no version is missing. The tables of the product do not
/// change.
const JOURNAL: &str = "
CREATE TABLE IF NOT EXISTS harness_journal (
    run_id TEXT NOT NULL, state TEXT NOT NULL, attempt INTEGER, claim INTEGER, version INTEGER NOT NULL, attention_at INTEGER
);
CREATE TRIGGER IF NOT EXISTS harness_inserted AFTER INSERT ON runs BEGIN
    INSERT INTO harness_journal VALUES (new.id, new.state, json_extract(new.doc, '$.attempt'),
        json_extract(new.doc, '$.claim'), new.version, new.attention_at);
END;
CREATE TRIGGER IF NOT EXISTS harness_updated AFTER UPDATE ON runs BEGIN
    INSERT INTO harness_journal VALUES (new.id, new.state, json_extract(new.doc, '$.attempt'),
        json_extract(new.doc, '$.claim'), new.version, new.attention_at);
END;
";

const STEPS: &str =
    "SELECT run_id, state, attempt, claim, version, attention_at FROM harness_journal ORDER BY rowid";

fn journal(file: &PathBuf) -> Result<Vec<Step>> {
    let db = open(file)?;
    let mut select = db.prepare(STEPS)?;
    let steps = select.query_map([], |row| {
        Ok(Step {
            run_id: row.get(0)?,
            state: row.get(1)?,
            attempt: row.get(2)?,
            claim: row.get(3)?,
            version: row.get(4)?,
            attention_at: row.get(5)?,
        })
    })?;
    Ok(steps.collect::<rusqlite::Result<_>>()?)
}
