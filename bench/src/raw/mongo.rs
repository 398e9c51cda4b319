//! MongoDB alone, with the write concern of the server.

use std::time::Instant;

use anyhow::Result;
use futures_util::{StreamExt, TryStreamExt, stream};
use mongodb::bson::{Document, doc};
use mongodb::options::{ClientOptions, Hint, WriteConcern};
use mongodb::{Client, Collection};

use crate::figures::Figures;

/// Rows in one command, as in the server.
pub const BATCH: usize = 1_000;
const CLIENTS: usize = 64;
/// Rows in one request of `create-many`.
pub const MANY: usize = 100;
const MANY_AT_ONCE: usize = 4;

/// Server and amount of work.
#[derive(clap::Args)]
pub struct Target {
    /// Connection string
    #[arg(long)]
    pub uri: String,
    /// Number of documents
    #[arg(long)]
    pub count: usize,
}

/// Inserts one document a call.
pub async fn insert_one(target: &Target) -> Result<Figures> {
    let rows = Rows::open(&target.uri).await?;
    let inserts = (0..target.count).map(|order| rows.collection.insert_one(document(order)).into_future());
    let start = Instant::now();
    stream::iter(inserts).buffer_unordered(CLIENTS).try_for_each(|_| async { Ok(()) }).await?;
    let figures = Figures::rate(target.count, start);
    rows.drop().await?;
    Ok(figures)
}

/// Inserts 100 documents a call.
pub async fn insert_many(target: &Target) -> Result<Figures> {
    let rows = Rows::open(&target.uri).await?;
    let start = Instant::now();
    rows.insert(target.count, MANY).await?;
    let figures = Figures::rate(target.count, start);
    rows.drop().await?;
    Ok(figures)
}

/// Drops a database.
pub async fn drop_database(uri: &str, database: &str) -> Result<Figures> {
    Client::with_uri_str(uri).await?.database(database).drop().await?;
    Ok(Figures::default())
}

/// A collection of this process.
pub struct Rows {
    collection: Collection<Document>,
    client: Client,
    database: String,
}

impl Rows {
    /// Connects, and creates the collection.
    pub async fn open(uri: &str) -> Result<Self> {
        let client = Client::with_options(options(uri).await?)?;
        let database = format!("taskcenter_bench_raw_{}", std::process::id());
        let collection = client.database(&database).collection("tasks");
        collection.insert_one(document(usize::MAX)).await?;
        Ok(Self { collection, client, database })
    }

    /// Inserts `count` documents, `batch` a call.
    pub async fn insert(&self, count: usize, batch: usize) -> Result<()> {
        let inserts = (0..count).step_by(batch).map(|first| {
            let documents = (first..(first + batch).min(count)).map(document);
            self.collection.insert_many(documents.collect::<Vec<_>>()).ordered(false).into_future()
        });
        stream::iter(inserts).buffer_unordered(MANY_AT_ONCE).try_for_each(|_| async { Ok(()) }).await?;
        Ok(())
    }

    /// Updates these documents, `batch` a call.
    pub async fn update(&self, count: usize, batch: usize) -> Result<()> {
        let updates = (0..count).step_by(batch).map(|first| {
            let ids: Vec<String> = (first..(first + batch).min(count)).map(id).collect();
            let set = doc! { "$set": { "state": "fired" } };
            let by_id = Hint::Keys(doc! { "_id": 1 });
            self.collection.update_many(doc! { "_id": { "$in": ids } }, set).hint(by_id).into_future()
        });
        stream::iter(updates).buffer_unordered(MANY_AT_ONCE).try_for_each(|_| async { Ok(()) }).await?;
        Ok(())
    }

    /// Drops the database.
    pub async fn drop(self) -> Result<()> {
        Ok(self.client.database(&self.database).drop().await?)
    }
}

/// Returns options with the write concern of the server.
pub async fn options(uri: &str) -> Result<ClientOptions> {
    let mut options = ClientOptions::parse(uri).await?;
    let mut concern = WriteConcern::majority();
    concern.journal = Some(true);
    options.write_concern = Some(concern);
    options.max_pool_size = Some(CLIENTS as u32 + 16);
    Ok(options)
}

fn id(order: usize) -> String {
    format!("{order:032x}")
}

/// Returns a document of about the size of a task.
fn document(order: usize) -> Document {
    doc! {
        "_id": id(order),
        "shard": (order % 64) as i32,
        "name": "pending",
        "state": "active",
        "next_due_at": 2_000_000_000_000_i64 + (order % 1_000_000) as i64,
        "data": "x".repeat(400),
    }
}
