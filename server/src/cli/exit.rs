//! How a verb can fail, and what the shell is told.

use taskcenter_client::Error;

/// Why a verb did not do what was asked, in words that say what to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Not the caller's fault.
    Failed(String),
    /// Wrong arguments or configuration.
    Misused(String),
    /// There is no such thing.
    NotFound(String),
    /// The server said no.
    Refused(String),
    /// It has been said already, item by item; the code is the first one's.
    Told(u8),
    /// Nobody reads on, as when `head` has seen enough.
    Unread,
}

impl Failure {
    /// What a shell can tell it by.
    pub fn code(&self) -> u8 {
        match self {
            Self::Unread => 0,
            Self::Failed(_) => 1,
            Self::Misused(_) => 2,
            Self::NotFound(_) => 3,
            Self::Refused(_) => 4,
            Self::Told(code) => *code,
        }
    }

    /// The same, of one of several things.
    pub fn of(self, what: &str) -> Self {
        match self {
            Self::NotFound(why) => Self::NotFound(format!("{what}: {why}")),
            Self::Refused(why) => Self::Refused(format!("{what}: {why}")),
            other => other,
        }
    }

    /// Says it on standard error.
    pub fn tell(&self) {
        match self {
            Self::Failed(why) | Self::Misused(why) | Self::NotFound(why) | Self::Refused(why) => {
                eprintln!("error: {why}");
            }
            Self::Told(_) | Self::Unread => {}
        }
    }

    /// Ends the process at once.
    pub fn end(&self) -> ! {
        self.tell();
        std::process::exit(i32::from(self.code()))
    }

    /// What a call to the server at `address` that failed means here.
    pub fn of_call(error: &Error, address: &str) -> Self {
        match error {
            Error::Address(_) => Self::Misused(format!("{error}: give --server as http://127.0.0.1:8275")),
            Error::Token => Self::Misused(format!("{error}: look at --token and TASKCENTER_TOKEN")),
            Error::Authority(..) => Self::Misused(format!("--ca: {error}")),
            Error::Unanswered(cause) if cause.is_connect() => Self::Failed(format!(
                "cannot reach {address}: is the server running? start one with `taskcenter dev`, or name another by --server"
            )),
            Error::Unanswered(cause) if cause.is_timeout() => Self::Failed(format!(
                "{address} did not answer in time: it may or may not have been done; look before you repeat it, or give a task that you \
                 add a --dedup-key, with which it is added once"
            )),
            Error::Refused { code: Some(code), .. } if code == "no_such_route" => Self::Failed(format!(
                "{address} does not know this call: is it a task center of this version?"
            )),
            Error::Refused { status: 404, message, .. } => Self::NotFound(message.clone()),
            Error::Refused { status: 400..=499, .. } => Self::Refused(refusal(error)),
            Error::Refused { status, message, .. } => {
                Self::Failed(format!("{address} answered {status}: {message}"))
            }
            Error::Answer(_) => Self::Failed(format!("{error}: is {address} a task center?")),
            error => Self::Failed(chain(error)),
        }
    }
}

/// An error with its causes, in one line.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// What the server says, the field, and the option that the field was given by.
fn refusal(error: &Error) -> String {
    let Error::Refused { status, message, detail, field, .. } = error else { return error.to_string() };
    let mut text = message.clone();
    if let Some(detail) = detail {
        text = format!("{text}: {detail}");
    }
    match field.as_deref().map(|field| (field, option(field))) {
        Some((field, Some(option))) => text = format!("{text} (field {field}, given by {option})"),
        Some((field, None)) => text = format!("{text} (field {field})"),
        None => {}
    }
    if *status == 401 {
        text.push_str("; give one by --token or TASKCENTER_TOKEN");
    }
    if *status == 412 {
        text.push_str("; somebody else changed it meanwhile: look at it, and try again");
    }
    text
}

fn option(field: &str) -> Option<&'static str> {
    Some(match field {
        "name" => "NAME",
        "data" => "--data",
        "start_at" => "--at",
        "delay_ms" => "--in",
        "end_at" => "--until",
        "max_fires" => "--times",
        "schedule.period_ms" => "--every",
        "schedule.cron" => "--cron",
        "cron" => "EXPR",
        "schedule.zone" | "zone" => "--zone",
        "max_runtime_sec" => "--max-runtime",
        "queue" => "--queue",
        "dedup_key" => "--dedup-key",
        "retry" => "--max-attempts, --backoff or --max-backoff",
        "retry.max_attempts" => "--max-attempts",
        "retry.backoff_ms" => "--backoff",
        "retry.max_backoff_ms" => "--max-backoff",
        "count" => "--count",
        "task_id" => "--task",
        "tag" | "tags" => "--tag",
        "expires_at" => "--until or --expires-in",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, code: &str, field: Option<&str>) -> Failure {
        let (message, code) = ("no".to_owned(), Some(code.to_owned()));
        let error = Error::Refused { status, message, field: field.map(Into::into), detail: None, code };
        Failure::of_call(&error, "http://h")
    }

    #[test]
    fn each_refusal_has_its_code() {
        assert_eq!(refused(404, "not_found", None).code(), 3);
        assert_eq!(refused(404, "no_such_route", None).code(), 1);
        assert_eq!(refused(400, "invalid_field", None).code(), 4);
        assert_eq!(refused(412, "revision_moved", None).code(), 4);
        assert_eq!(refused(503, "timeout", None).code(), 1);
    }

    #[test]
    fn a_field_is_told_by_the_option_that_gave_it() {
        let told = refused(400, "invalid_field", Some("delay_ms"));
        assert_eq!(told, Failure::Refused("no (field delay_ms, given by --in)".into()));
        assert_eq!(refused(400, "x", Some("state")), Failure::Refused("no (field state)".into()));
    }
}
