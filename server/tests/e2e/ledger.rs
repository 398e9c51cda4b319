//! The store's own word on what happened, read past the product.

use futures_util::TryStreamExt;
use mongodb::bson::{Document, doc};

use crate::cluster::{Cluster, mongodb_uri};

/// One row of the ledger.
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

async fn find(cluster: &Cluster, collection: &str, filter: Document) -> Vec<Document> {
    let client = mongodb::Client::with_uri_str(mongodb_uri()).await.expect("MongoDB's address is sound");
    let cursor = client.database(&cluster.id).collection::<Document>(collection).find(filter).await;
    cursor.expect("MongoDB answers").try_collect().await.expect("MongoDB answers")
}

/// Every run of the cluster's database.
pub async fn runs(cluster: &Cluster) -> Vec<Row> {
    find(cluster, "runs", doc! {}).await.iter().map(row).collect()
}

/// The runs of one task.
pub async fn runs_of(cluster: &Cluster, task_id: &str) -> Vec<Row> {
    find(cluster, "runs", doc! { "task_id": task_id }).await.iter().map(row).collect()
}

/// One task as it is stored.
pub async fn task(cluster: &Cluster, task_id: &str) -> Option<Document> {
    find(cluster, "tasks", doc! { "_id": task_id }).await.pop()
}

fn row(run: &Document) -> Row {
    let text = |key: &str| run.get_str(key).unwrap_or_default().to_owned();
    let number = |key: &str| {
        let value = run.get(key).expect("the field is there");
        value.as_i64().or_else(|| value.as_i32().map(i64::from)).expect("it is a number")
    };
    Row {
        run_id: text("_id"),
        task_id: text("task_id"),
        scheduled_at: run.get_datetime("scheduled_at").expect("every run has its moment").timestamp_millis(),
        state: text("state"),
        attempt: number("attempt"),
        claim: number("claim"),
        token: text("token"),
    }
}
