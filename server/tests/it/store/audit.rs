//! The audit log.

use taskcenter_server::core::Moment;
use taskcenter_server::core::audit::{AUDIT_KEPT_MS, AuditEntry, AuditPage, AuditSelection, first_id};

use super::Fixture;

/// Returns an entry of a moment in the life of the test, with a number that orders entries of one moment.
fn entry(at: Moment, number: u32, actor: &str, action: &str, object: &str) -> AuditEntry {
    let id = first_id(at);
    AuditEntry {
        id: format!("{}{number:08x}", &id[..24]),
        at,
        actor: actor.to_owned(),
        actor_id: format!("id of {actor}"),
        front: "api".to_owned(),
        action: action.to_owned(),
        object: object.to_owned(),
        detail: "revision 2".to_owned(),
        outcome: "done".to_owned(),
        request_id: "$r.1".to_owned(),
    }
}

async fn page(
    on: &dyn Fixture,
    selection: &AuditSelection,
    limit: u32,
    before: Option<&AuditEntry>,
) -> Vec<AuditEntry> {
    let page = AuditPage { limit, before: before.map(|entry| entry.id.clone()), since: None };
    on.two().audit(selection, &page).await.unwrap()
}

pub async fn entries_are_listed_newest_first(on: &dyn Fixture) {
    let now = on.one().now().await.unwrap();
    let entries: Vec<AuditEntry> = (0..5).map(|number| entry(now, number, "ann", "task.edit", "t")).collect();
    on.one().append_audit(&entries[..3]).await.unwrap();
    on.two().append_audit(&entries[2..]).await.unwrap();
    let newest: Vec<AuditEntry> = entries.iter().rev().cloned().collect();
    assert_eq!(page(on, &AuditSelection::All, 10, None).await, newest, "an entry is stored once");
    assert_eq!(page(on, &AuditSelection::All, 2, None).await, newest[..2]);
    assert_eq!(page(on, &AuditSelection::All, 2, Some(&newest[1])).await, newest[2..4]);
    assert_eq!(page(on, &AuditSelection::All, 2, Some(&newest[4])).await, []);
}

pub async fn entries_are_selected_by_actor_action_object_and_time(on: &dyn Fixture) {
    let now = on.one().now().await.unwrap();
    let earlier = entry(now.plus_ms(-60_000), 0, "ann", "task.edit", "$a.b");
    let edit = entry(now, 1, "ann", "task.edit", "t");
    let pause = entry(now, 2, "bob", "task.pause", "t");
    on.one().append_audit(&[earlier.clone(), edit.clone(), pause.clone()]).await.unwrap();
    let of = async |selection| page(on, &selection, 10, None).await;
    assert_eq!(of(AuditSelection::Actor("ann".to_owned())).await, [edit.clone(), earlier.clone()]);
    assert_eq!(of(AuditSelection::Action("task.pause".to_owned())).await, std::slice::from_ref(&pause));
    assert_eq!(of(AuditSelection::Object("t".to_owned())).await, [pause.clone(), edit.clone()]);
    assert_eq!(of(AuditSelection::Object("$a.b".to_owned())).await, std::slice::from_ref(&earlier));
    assert_eq!(of(AuditSelection::Actor("t".to_owned())).await, []);
    let since = AuditPage { limit: 10, before: None, since: Some(now) };
    assert_eq!(on.one().audit(&AuditSelection::All, &since).await.unwrap(), [pause.clone(), edit.clone()]);
    let of_ann = on.one().audit(&AuditSelection::Actor("ann".to_owned()), &since).await.unwrap();
    assert_eq!(of_ann, [edit]);
}

pub async fn a_prune_removes_old_entries(on: &dyn Fixture) {
    let now = Moment::from_sec(1_000_000_000);
    let old = entry(now.plus_ms(-AUDIT_KEPT_MS - 1), 0, "ann", "task.edit", "t");
    let young = entry(now.plus_ms(-AUDIT_KEPT_MS), 1, "ann", "task.edit", "t");
    on.one().append_audit(&[old.clone(), young.clone()]).await.unwrap();
    on.one().prune(Moment::from_ms(0), Moment::from_ms(0), 100).await.unwrap();
    assert_eq!(page(on, &AuditSelection::All, 10, None).await, [young.clone(), old]);
    on.one().prune(Moment::from_ms(0), now, 100).await.unwrap();
    assert_eq!(page(on, &AuditSelection::All, 10, None).await, [young]);
}
