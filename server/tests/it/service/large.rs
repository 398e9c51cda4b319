//! Commands on more bytes than a store reads at a time.

use std::collections::BTreeSet;

use taskcenter_server::core::submission::Submission;

use super::Stage;
use crate::store::lists::{LARGE, large_data};

pub async fn a_name_is_deleted_to_its_last_task_however_large_they_are(on: &Stage) {
    let [count, _] = LARGE;
    let mut ids = BTreeSet::new();
    for n in 0..count {
        ids.insert(on.submit(Submission::named("large", large_data(n))).await);
    }
    let deleted = on.service.delete_by_name("large").await.unwrap();
    assert_eq!(deleted.into_iter().map(|task| task.id).collect::<BTreeSet<_>>(), ids);
    assert_eq!(on.service.delete_by_name("large").await.unwrap(), []);
}
