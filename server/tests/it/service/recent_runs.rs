//! The latest runs of tasks, for the strips of the console.

use taskcenter_server::core::access::{Grant, Scope};
use taskcenter_server::core::submission::Submission;
use taskcenter_server::core::{Run, Schedule};
use taskcenter_server::engine::service::{Caller, definition};

use super::Stage;

pub async fn a_limited_caller_sees_the_latest_runs_of_its_tags_only(on: &Stage) {
    let schedule = Schedule::Every { period_ms: 60_000 };
    let id = on.submit(Submission { schedule, ..Submission::named("secret", "1") }).await;
    let secret = on.fire(&id).await;
    let task = on.service.task(&id).await.unwrap();
    let renamed = Submission { name: "mail".to_owned(), ..definition(&task) };
    on.service.edit(&id, task.rev, renamed).await.unwrap();
    let mail = on.fire(&id).await;
    assert_eq!((secret.tag.as_str(), mail.tag.as_str()), ("secret", "mail"));
    let tasks = [on.service.task(&id).await.unwrap()];
    let recent = async |tags: &[&str]| {
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        let grant = Grant { scopes: vec![Scope::TaskRead], tags, expires_at: None };
        let service = on.service.for_caller(Caller { grant, ..Caller::anonymous() });
        service.recent_runs(&tasks, 9).await.unwrap()
    };
    let marks = |runs: &[&Run]| vec![runs.iter().map(|run| run.as_mark()).collect::<Vec<_>>()];
    assert_eq!(recent(&[]).await, marks(&[&mail, &secret]));
    assert_eq!(recent(&["mail"]).await, marks(&[&mail]), "an edit gave the task another name");
    assert_eq!(recent(&["other"]).await, marks(&[]));
}
