//! Updates of tasks by workers, and the callbacks at the end of tasks.

use axum::body::Body;
use serde_json::json;

use super::requests::Update;
use super::responses::ApiError;
use super::rows::Row;
use super::{Api, Result, read_body};
use crate::core::retry::RetryPolicy;
use crate::core::run::Outcome;
use crate::core::submission::{Dedup, Submission};
use crate::core::{Run, RunState};
use crate::engine::service::{Held, IdempotencyKey, Report, ServiceError};

/// Queue of the worker that makes HTTP calls.
const CALLS: &str = "rpc";
const CALLBACK: &str = "easytask_pull.callback";
const TIMEOUT_MS: u64 = 10_000;
const PAUSES_MS: [u64; 4] = [10_000, 60_000, 600_000, 3_600_000];

impl Api {
    /// Applies an update. The callback is stored before the response: a worker without a response repeats the
    /// update.
    pub(super) async fn update(&self, body: Body) -> Result<()> {
        let mut update = Update::read(&read_body(body).await?)?;
        update.stat = self.settings.dialect.read(update.stat).ok_or(ApiError::Arguments)?;
        let row = self.row(update.id).await?.ok_or(ApiError::NoTask(update.id))?;
        let run = self.run_of(&row).await?.ok_or(ApiError::NotHeld(update.id))?;
        if update.name.as_ref().is_some_and(|name| *name != run.holder) {
            return Err(ApiError::NotHeld(update.id));
        }
        match update.stat {
            1 => self.settle(&update, &run, Outcome::Released { after_ms: None }).await,
            2 => self.extend(&update, &run).await,
            3 => self.end(&update, &row, &run, Outcome::Succeeded { result: None }).await,
            -1 => self.end(&update, &row, &run, Outcome::Dead).await,
            _ => Err(ApiError::Arguments),
        }
    }

    /// Stores the callback, then the outcome. A crash in between may repeat a callback but never loses one.
    async fn end(&self, update: &Update, row: &Row, run: &Run, outcome: Outcome) -> Result<()> {
        let ended = if update.stat == 3 { RunState::Succeeded } else { RunState::Dead };
        if run.state != RunState::Leased && run.state != ended {
            return Err(ApiError::NotHeld(update.id));
        }
        self.create_callback(update, row, run).await?;
        self.settle(update, run, outcome).await
    }

    /// Reports the attempt as read. If another worker holds the run by now, nothing changes.
    async fn settle(&self, update: &Update, run: &Run, outcome: Outcome) -> Result<()> {
        let message = Some(update.remark.clone());
        let report =
            Report { attempt: run.attempt, token: run.token.clone(), outcome, message, started_at: None };
        match self.service.report(&run.id, &report).await {
            Ok(_) => Ok(()),
            Err(ServiceError::Stale(_)) => Err(ApiError::NotHeld(update.id)),
            Err(error) => Err(error.into()),
        }
    }

    /// Renews the lease and stores the remark.
    async fn extend(&self, update: &Update, run: &Run) -> Result<()> {
        let held =
            Held { run_id: run.id.clone(), attempt: run.attempt, token: run.token.clone(), progress: None };
        match self.service.renew(&[held], self.lease_ms()).await?.pop() {
            Some(Ok(_)) => self.set_remark(update.id, &update.remark).await,
            _ => Err(ApiError::NotHeld(update.id)),
        }
    }

    /// Creates the callback. A repeated end of an attempt creates no second one.
    async fn create_callback(&self, update: &Update, row: &Row, run: &Run) -> Result<()> {
        let Some(url) = &row.callback else { return Ok(()) };
        let url = callback_url(url, update, row)?;
        let key = format!("{CALLBACK}:{}:{}", run.id, run.attempt);
        let key = IdempotencyKey { key, fingerprint: update.stat.to_string() };
        let stored = self.service.submit_once(vec![call(&url)], key).await?;
        stored.into_iter().try_for_each(|stored| stored.map(drop))?;
        Ok(())
    }
}

/// Returns the URL `{callback}?type&tid&rid&msg[&nfid&img]`. The message is empty on success.
fn callback_url(callback: &str, update: &Update, row: &Row) -> Result<String> {
    let mut url = reqwest::Url::parse(callback).map_err(|_| ApiError::Arguments)?;
    let tid = if row.tid.is_empty() { update.id.to_string() } else { row.tid.clone() };
    let failed = || if update.remark.is_empty() { "error" } else { &*update.remark };
    let msg = if update.stat == -1 { failed() } else { "" };
    {
        let mut query = url.query_pairs_mut();
        query.append_pair("type", &row.kind).append_pair("tid", &tid).append_pair("rid", &row.rid);
        query.append_pair("msg", msg);
        for (name, file) in ["nfid", "img"].into_iter().zip(&update.files) {
            if let Some(file) = file {
                query.append_pair(name, file);
            }
        }
    }
    Ok(url.into())
}

fn call(url: &str) -> Submission {
    let job = json!({
        "method": "GET", "url": url, "body": "", "content_type": "", "headers": {},
        "timeout_ms": TIMEOUT_MS, "retry_after_ms": PAUSES_MS,
    });
    let max_attempts = PAUSES_MS.len() as u32 + 1;
    Submission {
        queue: Some(CALLS.to_owned()),
        retry: Some(RetryPolicy::doubling(max_attempts, 0, 0)),
        dedup: Dedup::Nothing,
        ..Submission::named(CALLBACK, job.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{Moment, TaskId};

    #[test]
    fn the_callback_url_is_that_of_the_document() {
        let row = Row {
            task: TaskId::new(uuid::Uuid::nil()),
            tid: String::new(),
            rid: "10".to_owned(),
            kind: "download".to_owned(),
            callback: None,
            added_at: Moment::from_sec(0),
            remark: String::new(),
        };
        let done = Update { id: 6, stat: 3, remark: "fine".into(), name: None, files: [None, None] };
        let to = |update: &Update, callback: &str| callback_url(callback, update, &row).unwrap();
        let plain = "http://callback.com/callback";
        assert_eq!(to(&done, plain), format!("{plain}?type=download&tid=6&rid=10&msg="));
        let failed = Update { stat: -1, remark: "no & room".into(), ..done.clone() };
        assert_eq!(to(&failed, plain), format!("{plain}?type=download&tid=6&rid=10&msg=no+%26+room"));
        let video = Update { files: [Some("n1".into()), Some("i1".into())], ..done };
        assert_eq!(
            to(&video, "http://callback.com/callback?a=b"),
            format!("{plain}?a=b&type=download&tid=6&rid=10&msg=&nfid=n1&img=i1")
        );
    }
}
