//! The writes of tasks and runs to MongoDB: the rows, indexes and statements of the server, without the server.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use futures_util::{StreamExt, TryStreamExt, stream};
use mongodb::bson::{DateTime, Document, doc};
use mongodb::{Client, Database};
use taskcenter_server::adapters::mongo::MongoStore;
use taskcenter_server::ports::Store;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::mongo::{self, BATCH, MANY, Target};
use crate::figures::Figures;

const AT_ONCE: usize = 4;
/// Leases in one command: each run gets a token and a slot of its own, so each one is a statement.
const LEASES: usize = 64;
/// Far in the future: the run waits without a time limit.
const NEVER: i64 = 253_402_207_200_000;

/// A database with the collections and indexes of the server, and due tasks.
pub struct Rows {
    db: Database,
    count: usize,
    is_queued: bool,
    now: DateTime,
}

impl Rows {
    /// Connects, creates the indexes, and inserts one due task for each run.
    pub async fn open(uri: &str, count: usize, is_queued: bool) -> Result<Self> {
        let rows = Self::empty(uri, count, is_queued).await?;
        rows.insert_tasks(BATCH).await?;
        Ok(rows)
    }

    /// Connects, and creates the indexes.
    pub async fn empty(uri: &str, count: usize, is_queued: bool) -> Result<Self> {
        let client = Client::with_options(mongo::options(uri).await?)?;
        let db = client.database(&format!("taskcenter_bench_runs_{}", std::process::id()));
        // The first call creates the indexes.
        let store = MongoStore::new(uri, db.name()).await?;
        store.now().await?;
        Ok(Self { db, count, is_queued, now: DateTime::now() })
    }

    /// Inserts the tasks, `batch` a call.
    pub async fn insert_tasks(&self, batch: usize) -> Result<()> {
        self.insert("tasks", batch, |order| self.task(order)).await
    }

    /// Inserts the runs in `firing`, and finishes their tasks.
    pub async fn fire(&self) -> Result<()> {
        self.insert("runs", BATCH, |order| self.run(order)).await?;
        let due = doc! { "state": "active", "next_due_at": self.now };
        self.update("tasks", due, &finish(self.now)).await
    }

    /// Marks the runs as sent.
    pub async fn mark_fired(&self) -> Result<()> {
        let set = doc! { "state": "fired", "version": 1_i64, "fired_at": self.now, "ended_at": self.now };
        self.update("runs", version(0), &doc! { "$set": set, "$unset": { "attention_at": "" } }).await
    }

    /// Puts the runs into their queue.
    pub async fn mark_ready(&self) -> Result<()> {
        self.update("runs", version(0), &doc! { "$set": ready(self.now) }).await
    }

    /// Leases the runs.
    pub async fn lease(&self) -> Result<()> {
        let commands = self.parts(LEASES).map(|part| {
            let statements: Vec<Document> = part.map(|order| self.lease_one(order)).collect();
            self.run_update("runs", statements)
        });
        stream::iter(commands).buffer_unordered(AT_ONCE).try_for_each(|()| async { Ok(()) }).await
    }

    /// Ends the runs.
    pub async fn succeed(&self) -> Result<()> {
        let set = doc! { "state": "succeeded", "version": 3_i64, "ended_at": self.now };
        let unset = doc! { "attention_at": "", "lease_slot": "" };
        self.update("runs", version(2), &doc! { "$set": set, "$unset": unset }).await
    }

    /// Writes the run of one moment until a worker has it, one write after the other.
    async fn hand_over(&self, order: usize) -> Result<()> {
        let (run, task) = (self.id("runs", order), self.id("tasks", order));
        self.db.collection("runs").insert_one(self.run(order)).await?;
        self.run_update("tasks", vec![one(&task, finish(self.now))]).await?;
        self.run_update("runs", vec![one(&run, doc! { "$set": ready(self.now) })]).await?;
        self.run_update("runs", vec![self.lease_one(order)]).await
    }

    /// Drops the database.
    pub async fn drop(self) -> Result<()> {
        Ok(self.db.drop().await?)
    }

    async fn insert(&self, collection: &str, batch: usize, row: impl Fn(usize) -> Document) -> Result<()> {
        let rows = self.db.collection::<Document>(collection);
        let inserts = self.parts(batch).map(|part| {
            let batch: Vec<Document> = part.map(&row).collect();
            rows.insert_many(batch).ordered(false).into_future()
        });
        stream::iter(inserts).buffer_unordered(AT_ONCE).try_for_each(|_| async { Ok(()) }).await?;
        Ok(())
    }

    async fn update(&self, collection: &str, expected: Document, change: &Document) -> Result<()> {
        let commands = self.parts(BATCH).map(|part| {
            let ids: Vec<String> = part.map(|order| self.id(collection, order)).collect();
            let mut filter = doc! { "_id": { "$in": ids } };
            filter.extend(expected.clone());
            let statement = doc! { "q": filter, "u": change.clone(), "hint": { "_id": 1 }, "multi": true };
            self.run_update(collection, vec![statement])
        });
        stream::iter(commands).buffer_unordered(AT_ONCE).try_for_each(|()| async { Ok(()) }).await
    }

    async fn run_update(&self, collection: &str, statements: Vec<Document>) -> Result<()> {
        let concern = doc! { "w": "majority", "j": true };
        let command =
            doc! { "update": collection, "updates": statements, "ordered": false, "writeConcern": concern };
        self.db.run_command(command).await?;
        Ok(())
    }

    fn parts(&self, size: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
        let count = self.count;
        (0..count).step_by(size).map(move |first| first..(first + size).min(count))
    }

    fn lease_one(&self, order: usize) -> Document {
        let until = DateTime::from_millis(self.now.timestamp_millis() + 30_000);
        let set = doc! {
            "state": "leased",
            "version": 2_i64,
            "attention_at": until,
            "leased_at": self.now,
            "token": format!("{order:032x}"),
            "holder": "worker-1",
            "claim": 2_i64,
            "lease_slot": format!("{:032x}.{:04}", order / LEASES, order % LEASES),
        };
        one(&self.id("runs", order), doc! { "$set": set })
    }

    fn id(&self, collection: &str, order: usize) -> String {
        let task = format!("01940000-0000-7000-8000-{order:012x}");
        if collection == "tasks" { task } else { format!("{task}.1.{}", self.now.timestamp_millis()) }
    }

    fn task(&self, order: usize) -> Document {
        doc! {
            "_id": self.id("tasks", order),
            "shard": (order % 64) as i32,
            "name": "bench",
            "data": DATA,
            "kind": "once",
            "ack": self.is_queued,
            "created_at": self.now,
            "anchored_at": self.now,
            "rev": 1_i64,
            "state": "active",
            "next_due_at": self.now,
            "fired_count": 0_i64,
        }
    }

    fn run(&self, order: usize) -> Document {
        let mut run = doc! {
            "_id": self.id("runs", order),
            "shard": (order % 64) as i32,
            "task_id": self.id("tasks", order),
            "rev": 1_i64,
            "scheduled_at": self.now,
            "number": 1_i64,
            "tag": "bench",
            "data": DATA,
            "state": "firing",
            "attempt": 1_i64,
            "token": format!("{order:032x}"),
            "holder": "node-1",
            "claim": 1_i64,
            "attention_at": self.now,
            "version": 0_i64,
        };
        if self.is_queued {
            run.insert("queue", "bench");
            run.insert("by_tag", true);
        }
        run
    }
}

const DATA: &str = "{\"order\":\"01940000\",\"amount\":42,\"n\":1}";

/// Inserts 100 rows of tasks a call, with the indexes of the server.
pub async fn insert_tasks(target: &Target) -> Result<Figures> {
    let rows = Rows::empty(&target.uri, target.count, true).await?;
    let start = std::time::Instant::now();
    rows.insert_tasks(MANY).await?;
    let figures = Figures::rate(target.count, start);
    rows.drop().await?;
    Ok(figures)
}

/// Hands over one run after another at a steady rate. Returns how late each one is, in milliseconds.
pub async fn hand_over_at_a_rate(uri: &str, count: usize, rate: usize) -> Result<Vec<f64>> {
    let rows = Arc::new(Rows::open(uri, count, true).await?);
    let start = Instant::now() + Duration::from_millis(100);
    let late = |order: usize| {
        let (rows, due) = (Arc::clone(&rows), start + Duration::from_secs_f64(order as f64 / rate as f64));
        tokio::spawn(async move {
            tokio::time::sleep_until(due).await;
            rows.hand_over(order).await?;
            Ok(due.elapsed().as_secs_f64() * 1e3)
        })
    };
    let runs: Vec<JoinHandle<Result<f64>>> = (0..count).map(late).collect();
    let mut times = Vec::with_capacity(count);
    for run in runs {
        times.push(run.await??);
    }
    rows.db.drop().await?;
    Ok(times)
}

fn one(id: &str, change: Document) -> Document {
    doc! { "q": { "_id": id }, "u": change, "hint": { "_id": 1 } }
}

fn finish(now: DateTime) -> Document {
    doc! {
        "$set": { "last_due_at": now, "state": "finished" },
        "$currentDate": { "ended_at": true },
        "$unset": { "next_due_at": "", "dedup_key": "" },
        "$inc": { "fired_count": 1_i64 },
    }
}

fn ready(now: DateTime) -> Document {
    let never = DateTime::from_millis(NEVER);
    doc! { "state": "ready", "version": 1_i64, "fired_at": now, "attention_at": never }
}

fn version(version: i64) -> Document {
    doc! { "version": version }
}
