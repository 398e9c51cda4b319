//! Users and their sessions.

use futures_util::future::join_all;
use serde_json::Value;
use taskcenter_server::core::access::{ConsoleAccess, Role};
use taskcenter_server::engine::service::{Denied, RecordKind, ServiceError, User};

use super::Stage;

const SESSION: RecordKind = RecordKind::internal("session");
/// More sessions than the store returns at once.
const SESSIONS: usize = 1_050;

async fn sessions(on: &Stage) -> Vec<(String, Value)> {
    on.service.list_records(SESSION, Some("smq"), None, 1).await.unwrap()
}

pub async fn a_new_password_ends_any_number_of_sessions(on: &Stage) {
    let user = User { name: "smq".to_owned(), senior: false, console: None, expires_at: None };
    on.service.set_user(&user.change("correct horse")).await.unwrap();
    let token = on.service.open_session("smq", "taskdash", 3_600_000).await.unwrap();
    let (_, session) = sessions(on).await.pop().expect("the session is stored");
    let copies = (0..SESSIONS).map(|n| {
        let copy = (session.clone(), Some("smq".to_owned()));
        let put = move |_: Option<Value>| Ok::<_, ServiceError>((Some(copy.clone()), ()));
        async move { on.service.change_record(SESSION, &format!("{n:064x}"), put).await.unwrap() }
    });
    join_all(copies).await;
    on.service.set_user(&user.change("other horse")).await.unwrap();
    assert_eq!(on.service.session(&token, "taskdash").await.unwrap(), None);
    assert_eq!(sessions(on).await, [], "a session is still open");
}

pub async fn a_replaced_or_removed_user_leaves_no_session_of_the_console(on: &Stage) {
    const CONSOLE: RecordKind = RecordKind::internal("browser_session");
    let sessions =
        async || on.service.list_records::<Value>(CONSOLE, Some("user:ann"), None, 9).await.unwrap().len();
    let console = ConsoleAccess { role: Role::Viewer, tags: Vec::new() };
    let user = User { name: "ann".to_owned(), senior: false, console: Some(console), expires_at: None };
    on.service.set_user(&user.change("correct horse")).await.unwrap();
    on.service.open_user_session("ann", "correct horse", 3_600_000).await.unwrap();
    assert_eq!(sessions().await, 1);
    on.service.set_user(&user.change("other horse")).await.unwrap();
    assert_eq!(sessions().await, 0, "another password");
    on.service.open_user_session("ann", "other horse", 3_600_000).await.unwrap();
    on.service.remove_user("ann").await.unwrap();
    assert_eq!(sessions().await, 0, "no user");
}

pub async fn a_user_of_an_earlier_release_uses_the_legacy_apis_only(on: &Stage) {
    const USER: RecordKind = RecordKind::internal("user");
    let console = ConsoleAccess { role: Role::Viewer, tags: Vec::new() };
    let ann = User { name: "ann".to_owned(), senior: true, console: Some(console), expires_at: None };
    on.service.set_user(&ann.change("correct horse")).await.unwrap();
    let mut row = on.service.read_record::<Value>(USER, "ann").await.unwrap().unwrap();
    row.as_object_mut().unwrap().remove("console").expect("the row has the rights");
    let mut fields: Vec<&String> = row.as_object().unwrap().keys().collect();
    fields.sort();
    assert_eq!(fields, ["hash", "lanes", "memory_kib", "passes", "salt", "senior"]);
    let put = |_: Option<Value>| Ok::<_, ServiceError>((Some((row.clone(), None)), ()));
    on.service.change_record(USER, "ann", put).await.unwrap();
    let old = User { console: None, ..ann };
    assert_eq!(on.service.users().await.unwrap(), std::slice::from_ref(&old));
    assert_eq!(on.service.check_password("ann", "correct horse").await.unwrap(), Some(old));
    let denied = on.unbound.open_user_session("ann", "correct horse", 3_600_000).await;
    assert!(matches!(denied, Err(Denied::Unknown)), "{denied:?}");
}
