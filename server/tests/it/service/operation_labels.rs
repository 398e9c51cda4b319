//! Operations whose filter has labels.

use taskcenter_server::core::access::{Grant, Scope};
use taskcenter_server::core::labels::Labels;
use taskcenter_server::core::operation::{Action, Count, NewOperation, Selection};
use taskcenter_server::core::submission::Submission;
use taskcenter_server::core::{TaskId, TaskState};
use taskcenter_server::engine::service::Caller;
use taskcenter_server::ports::Clock as _;

use super::Stage;
use super::operations::{counts, finish, run_to_end, state};
use crate::store::samples;

use TaskState::{Active, Paused};

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

async fn labelled(on: &Stage, name: &str, pairs: &[(&str, &str)]) -> TaskId {
    let start_at = Some(on.clock.now().plus_ms(3_600_000));
    let named = Submission::named(name, samples::unique().to_string());
    let id =
        on.submit(Submission { start_at, labels: labels(pairs), queue: Some("q".into()), ..named }).await;
    on.clock.advance_ms(1);
    id
}

pub async fn a_filter_with_labels_selects_the_rows_that_have_all_of_them(on: &Stage) {
    let pay = labelled(on, "mail", &[("team", "pay"), ("tier", "1")]).await;
    let low = labelled(on, "mail", &[("team", "pay"), ("tier", "2")]).await;
    let other = labelled(on, "other", &[("team", "pay"), ("tier", "1")]).await;
    let none = labelled(on, "mail", &[]).await;
    let select = |name: Option<&str>, pairs| {
        let (name, labels) = (name.map(str::to_owned), labels(pairs));
        NewOperation::new(Action::Pause, Selection::Tasks { name, state: None, labels })
    };
    for (name, pairs, rows) in [
        (None, &[("team", "pay")][..], 3),
        (None, &[("team", "pay"), ("tier", "1")], 2),
        (Some("mail"), &[("team", "pay"), ("tier", "1")], 1),
        (Some("mail"), &[("team", "x")], 0),
    ] {
        let count = on.service.preview_operation(select(name, pairs)).await.unwrap();
        assert_eq!(count, Count { rows, more: false }, "{name:?} {pairs:?}");
    }
    let ended = run_to_end(on, select(Some("mail"), &[("team", "pay"), ("tier", "1")])).await;
    assert_eq!(counts(&ended), (1, 1, 0, 0));
    let mut states = Vec::new();
    for id in [&pay, &low, &other, &none] {
        states.push(state(on, id).await);
    }
    assert_eq!(states, [Paused, Active, Active, Active]);
    let slow = NewOperation { rate_per_sec: Some(1), ..select(None, &[("team", "pay")]) };
    assert_eq!(counts(&run_to_end(on, slow).await), (2, 2, 0, 0), "with a rate, one item at a time");
}

pub async fn a_filter_with_labels_finds_few_rows_among_many(on: &Stage) {
    for n in 0..410 {
        labelled(on, "mail", &[("team", "pay"), ("n", &n.to_string())]).await;
    }
    let wanted = labels(&[("team", "pay"), ("n", "7")]);
    let selection = Selection::Tasks { name: Some("mail".to_owned()), state: None, labels: wanted };
    let grant = Grant { scopes: vec![Scope::TaskWrite], tags: vec!["mail".to_owned()], expires_at: None };
    let limited = on.service.for_caller(Caller { grant, ..Caller::anonymous() });
    let operation =
        limited.create_operation(NewOperation::new(Action::Pause, selection), None).await.unwrap();
    assert_eq!(operation.expected, Count { rows: 1, more: false });
    assert_eq!(counts(&finish(on, &operation).await), (1, 1, 0, 0));
}
