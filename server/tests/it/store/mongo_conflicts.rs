//! Conflicts of transactions of MongoDB.

use mongodb::bson::{Document, doc};
use taskcenter_server::core::run::Stretch;
use taskcenter_server::core::{Run, Task};
use taskcenter_server::ports::{Attached, ReplacedTask, Store};

use super::Fixture;
use super::mongo::MongoFixture;
use super::samples::{PAST, task};
use super::tasks::insert;

/// The server aborts the transaction at once, so the answer is known: nothing was written.
#[tokio::test]
async fn a_change_that_conflicts_with_another_write_has_moved() {
    let fixture = MongoFixture::open().await;
    let old = task();
    insert(&*fixture.one, &old).await;
    let row = Run::skipped(&old, PAST, Stretch { to: PAST, count: 1 }, "paused".to_owned(), "", PAST);
    let next = Task { write_id: Some("resume".to_owned()), ..old.next_revision(&[]) };

    let database = fixture.one.database();
    let mut other = database.client().start_session().await.unwrap();
    other.start_transaction().await.unwrap();
    let change = doc! { "$set": { "name": "other" } };
    let tasks = database.collection::<Document>("tasks");
    tasks.update_one(doc! { "_id": old.id.as_str() }, change).session(&mut other).await.unwrap();
    let replaced = fixture.two.replace_task(&old, &next, Attached::skipping(&row)).await.unwrap();
    assert_eq!(replaced, ReplacedTask::Moved);
    other.abort_transaction().await.unwrap();

    assert_eq!(
        fixture.two.replace_task(&old, &next, Attached::skipping(&row)).await.unwrap(),
        ReplacedTask::Done
    );
    assert_eq!(fixture.one.task(&old.id).await.unwrap(), Some(next));
    assert_eq!(fixture.one.run(&row.id).await.unwrap(), Some(row));
    Box::new(fixture).close().await;
}
