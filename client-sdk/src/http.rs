//! The HTTP client: create, query and delete tasks, and report outcomes.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::handler::with_causes;
use crate::report::{ReportError, Reporter};
use crate::wire::{
    AddTask, AddTaskReply, DeleteReply, DeleteTasks, DeleteTasksByName, ErrorReply, NEXT_CURSOR_HEADER,
    OutcomeReport, ReportReply, StatReply, TaskView,
};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
const DEFAULT_RETRIES: u32 = 4;
const DEFAULT_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(5);

/// A call that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server's address is no URL that requests can be made of.
    #[error("{0:?} is not an http or https URL")]
    Address(String),
    /// The HTTP client cannot be set up, for want of root certificates say.
    #[error("the HTTP client cannot be set up")]
    Setup(#[source] reqwest::Error),
    /// The server answered with an error.
    #[error("the server answered {status}: {message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The server's `msg`.
        message: String,
        /// The parameter at fault, where the server says so.
        field: Option<String>,
        /// More for a person to read, where there is any.
        detail: Option<String>,
    },
    /// No answer: not reachable, or not in time. Whether the server acted is unknown; repeating a call is safe.
    #[error("the server did not answer")]
    Unanswered(#[source] reqwest::Error),
    /// The answer is not what the API promises.
    #[error("the server's answer cannot be read: {0}")]
    Answer(String),
}

impl Error {
    /// The status of an error answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// The parameter the server found fault with.
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::Refused { field, .. } => field.as_deref(),
            _ => None,
        }
    }

    /// Whether the server says that there is no such thing.
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(StatusCode::NOT_FOUND.as_u16())
    }
}

/// One page of tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The tasks, newest first.
    pub tasks: Vec<TaskView>,
    /// What to pass on to get the next page; `None` on the last.
    pub next: Option<String>,
}

/// A client of the server's v1 API. Cheap to clone.
///
/// A request that finds no connection, or is answered 503, is repeated with a growing delay. That is safe for every
/// call: [`add_task`](Self::add_task) says why for its own.
#[derive(Debug, Clone)]
pub struct TaskCenter {
    http: Client,
    base: Url,
    retries: u32,
    backoff: Duration,
}

/// Settings of a [`TaskCenter`].
#[derive(Debug, Clone)]
#[must_use = "call `build`"]
pub struct TaskCenterBuilder {
    address: String,
    timeout: Duration,
    retries: u32,
    backoff: Duration,
}

impl TaskCenterBuilder {
    /// How long one request may take in all; 10 s unless said.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How often a request is repeated (4 unless said) and the delay before the first repetition (100 ms unless said),
    /// which doubles each time up to 5 s.
    pub fn retries(mut self, retries: u32, first_delay: Duration) -> Self {
        (self.retries, self.backoff) = (retries, first_delay);
        self
    }

    /// Makes the client; nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::Address`] for what is no `http` or `https` URL, and [`Error::Setup`].
    pub fn build(self) -> Result<TaskCenter, Error> {
        // The process needs one provider of cryptography, and it may have been chosen before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let base = Url::parse(&self.address).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let base = base.ok_or(Error::Address(self.address))?;
        let http = Client::builder().timeout(self.timeout).build().map_err(Error::Setup)?;
        Ok(TaskCenter { http, base, retries: self.retries, backoff: self.backoff })
    }
}

impl TaskCenter {
    /// A client of the server at `address`, such as `http://127.0.0.1:8275`, with the default settings.
    ///
    /// # Errors
    /// [`Error::Address`] for what is no `http` or `https` URL, and [`Error::Setup`].
    pub fn new(address: impl Into<String>) -> Result<Self, Error> {
        Self::builder(address).build()
    }

    /// A client with settings.
    pub fn builder(address: impl Into<String>) -> TaskCenterBuilder {
        TaskCenterBuilder {
            address: address.into(),
            timeout: DEFAULT_TIMEOUT,
            retries: DEFAULT_RETRIES,
            backoff: DEFAULT_BACKOFF,
        }
    }

    /// Creates a task and returns its id.
    ///
    /// Repeating the call is safe: while such a task is live, the same (name, data), or the same dedup key where one is
    /// given, gets the same id and fires nothing new.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 400 for parameters the server does not take.
    pub async fn add_task(&self, task: impl Into<AddTask>) -> Result<String, Error> {
        let reply: AddTaskReply = self.post(&["v1", "api", "task"], &task.into()).await?;
        Ok(reply.taskid)
    }

    /// Deletes tasks and returns the ids that were deleted; unknown ones are left out.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 400 when there are no ids.
    pub async fn delete_tasks<I: Into<String>>(
        &self,
        ids: impl IntoIterator<Item = I>,
    ) -> Result<Vec<String>, Error> {
        let request = DeleteTasks { ids: ids.into_iter().map(Into::into).collect() };
        let reply: DeleteReply = self.post(&["v1", "api", "delete-task"], &request).await?;
        Ok(reply.suc_ids)
    }

    /// Deletes every task of a name and returns their ids.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 400 for an empty name.
    pub async fn delete_tasks_by_name(&self, name: impl Into<String>) -> Result<Vec<String>, Error> {
        let request = DeleteTasksByName { name: name.into() };
        let reply: DeleteReply = self.post(&["v1", "api", "delete-task-by-name"], &request).await?;
        Ok(reply.suc_ids)
    }

    /// Looks a task up; `None` when the server does not know it.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 400 for an empty or malformed id.
    pub async fn query_task(&self, task_id: &str) -> Result<Option<TaskView>, Error> {
        match self.get(&["v1", "api", "query-task-by-id"], &[("taskid", task_id)]).await {
            Ok(response) => Ok(Some(body(response).await?)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A page of the tasks of a name, newest first. `limit`: at most so many, `None` leaves it to the server. `cursor`:
    /// the [`next`](Page::next) of the page before.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 400 for an empty name or a foreign cursor.
    pub async fn query_tasks_by_name(
        &self,
        name: &str,
        limit: Option<u32>,
        cursor: Option<&str>,
    ) -> Result<Page, Error> {
        let limit = limit.map(|limit| limit.to_string());
        let mut query = vec![("name", name)];
        query.extend(limit.as_deref().map(|limit| ("limit", limit)));
        query.extend(cursor.map(|cursor| ("cursor", cursor)));
        let response = self.get(&["v1", "api", "query-task-by-name"], &query).await?;
        let next = response
            .headers()
            .get(NEXT_CURSOR_HEADER)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        Ok(Page { tasks: body(response).await?, next })
    }

    /// The fires of the current minute by tag, and their `total`.
    ///
    /// # Errors
    /// [`Error::Answer`] when a count is no number.
    pub async fn stat(&self) -> Result<BTreeMap<String, u64>, Error> {
        let reply: StatReply = body(self.get(&["v1", "api", "task", "stat"], &[]).await?).await?;
        let count = |(tag, fires): (String, String)| match fires.parse() {
            Ok(fires) => Ok((tag, fires)),
            Err(_) => Err(Error::Answer(format!("the count of {tag:?} is {fires:?}"))),
        };
        reply.into_iter().map(count).collect()
    }

    /// Reports the outcome of an attempt, and returns the state the run is in now. A consumer does this by itself.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 404 for an unknown run and 409 for an attempt that is stale or has ended.
    pub async fn report(&self, run_id: &str, report: &OutcomeReport) -> Result<ReportReply, Error> {
        self.post(&["v1", "runs", run_id, "report"], report).await
    }

    async fn get(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Response, Error> {
        self.send(&self.request(Method::GET, path).query(query)).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &[&str], request: &impl Serialize) -> Result<T, Error> {
        body(self.send(&self.request(Method::POST, path).json(request)).await?).await
    }

    /// A path piece is escaped, so that no id can reach another route.
    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut pieces) = url.path_segments_mut() {
            pieces.pop_if_empty().extend(path);
        }
        self.http.request(method, url)
    }

    async fn send(&self, request: &RequestBuilder) -> Result<Response, Error> {
        let mut repeated = 0;
        loop {
            // A request of JSON and query parameters can always be copied.
            let Some(copy) = request.try_clone() else { unreachable!("requests have no streaming body") };
            let error = match copy.send().await {
                Ok(response) if response.status().is_success() => return Ok(response),
                Ok(response) => refusal(response).await,
                Err(error) => Error::Unanswered(error),
            };
            if repeated == self.retries || !passes(&error) {
                return Err(error);
            }
            tokio::time::sleep(delay(self.backoff, repeated)).await;
            repeated += 1;
        }
    }
}

/// Whether the error is one that passes by itself: nothing listens there yet, or the server says 503.
fn passes(error: &Error) -> bool {
    match error {
        Error::Unanswered(error) => error.is_connect(),
        _ => error.status() == Some(StatusCode::SERVICE_UNAVAILABLE.as_u16()),
    }
}

fn delay(first: Duration, repeated: u32) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(repeated)).min(MAX_BACKOFF)
}

async fn refusal(response: Response) -> Error {
    let status = response.status();
    let reply = response.json::<ErrorReply>().await.unwrap_or_default();
    let message = match reply.msg {
        // A proxy in between does not speak the API.
        empty if empty.is_empty() => status.canonical_reason().unwrap_or("no reason given").to_owned(),
        message => message,
    };
    Error::Refused { status: status.as_u16(), message, field: reply.field, detail: reply.detail }
}

async fn body<T: DeserializeOwned>(response: Response) -> Result<T, Error> {
    let bytes = response.bytes().await.map_err(Error::Unanswered)?;
    serde_json::from_slice(&bytes).map_err(|error| Error::Answer(error.to_string()))
}

#[async_trait]
impl Reporter for TaskCenter {
    async fn report(&self, run_id: &str, report: OutcomeReport) -> Result<(), ReportError> {
        match TaskCenter::report(self, run_id, &report).await {
            Ok(_) => Ok(()),
            Err(error) if matches!(error.status(), Some(404 | 409)) => {
                Err(ReportError::Refused(error.to_string()))
            }
            Err(error) => Err(ReportError::Undelivered(with_causes(&error))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_doubles_up_to_a_bound() {
        let first = Duration::from_millis(100);
        let delays: Vec<_> = [0, 1, 5, 6, 200].map(|repeated| delay(first, repeated).as_millis()).into();
        assert_eq!(delays, [100, 200, 3_200, 5_000, 5_000]);
    }

    #[test]
    fn an_address_that_is_no_url_is_refused() {
        for address in ["", "localhost:8275", "ftp://host/"] {
            assert!(matches!(TaskCenter::new(address), Err(Error::Address(_))), "{address:?} was accepted");
        }
    }
}
