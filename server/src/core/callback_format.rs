//! Formats of callbacks: what a callback service gets, and what its response means.

/// One delivery of a callback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery<'a> {
    pub task_id: &'a str,
    /// 1-based number of the run within its task. `None` for a triggered run.
    pub number: Option<u64>,
    /// Moment of the run in milliseconds since the epoch.
    pub scheduled_at_ms: Option<u64>,
}

/// Meaning of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The run succeeded, with this message.
    Succeeded(String),
    /// The service accepted the callback and confirms the outcome later.
    Accepted,
    /// The attempt failed, with this reason. `None`: status and body are the reason.
    Failed(Option<String>),
}

/// A format that replaces the default one, in which the status of the response is the outcome. A job
/// selects a format by its name in `reply`.
pub trait CallbackFormat: Send + Sync {
    /// Value of `reply` in a job.
    fn name(&self) -> &'static str;

    /// Returns the body to send for a job's `body`.
    fn request_body(&self, body: &str, delivery: Delivery<'_>) -> String;

    /// Returns the meaning of a response.
    fn verdict(&self, status: u16, body: &str) -> Verdict;

    /// Whether the timeout of the call is the default time for a confirmation.
    fn confirms_within_timeout(&self) -> bool;
}
