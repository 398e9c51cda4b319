//! People who sign in.

use futures_util::future::join_all;
use serde_json::Value;
use taskcenter_server::engine::service::{ServiceError, User};

use super::Stage;

/// More than one read of the store brings.
const SESSIONS: usize = 1_050;

async fn sessions(on: &Stage) -> Vec<(String, Value)> {
    on.service.list_records("session", Some("smq"), None, 1).await.unwrap()
}

pub async fn another_password_ends_every_session_however_many_there_are(on: &Stage) {
    let person = User { name: "smq".to_owned(), senior: false };
    on.service.set_user(&person, "correct horse").await.unwrap();
    let token = on.service.open_session("smq", 3_600_000).await.unwrap();
    let (_, session) = sessions(on).await.pop().expect("it is kept");
    let copies = (0..SESSIONS).map(|n| {
        let copy = (session.clone(), Some("smq".to_owned()));
        let put = move |_: Option<Value>| Ok::<_, ServiceError>((Some(copy.clone()), ()));
        async move { on.service.change_record("session", &format!("{n:064x}"), put).await.unwrap() }
    });
    join_all(copies).await;
    on.service.set_user(&person, "other horse").await.unwrap();
    assert_eq!(on.service.session(&token).await.unwrap(), None);
    assert_eq!(sessions(on).await, [], "one of many is still open");
}
