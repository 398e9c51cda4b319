//! Commands on more bytes than a store reads at once.

use std::collections::BTreeSet;

use taskcenter_server::core::submission::Submission;

use super::Stage;
use crate::store::lists::{LARGE, large_data};

pub async fn delete_by_name_deletes_every_task_even_if_all_are_large(on: &Stage) {
    let [count, _] = LARGE;
    let mut ids = BTreeSet::new();
    for n in 0..count {
        ids.insert(on.submit(Submission::named("large", large_data(n))).await);
    }
    let (deleted, more) = on.service.delete_by_name("large").await.unwrap();
    assert!(!more);
    assert_eq!(deleted.into_iter().map(|task| task.id).collect::<BTreeSet<_>>(), ids);
    assert_eq!(on.service.delete_by_name("large").await.unwrap(), (Vec::new(), false));
}
