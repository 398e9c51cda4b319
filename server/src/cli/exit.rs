//! Failures of a command, their messages and exit codes.

use taskcenter_client::Error;

/// Reason why a command failed. The message says what is wrong and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The arguments are valid, but the command failed.
    Failed(String),
    /// Wrong arguments or configuration.
    Misused(String),
    NotFound(String),
    /// The server refused the request.
    Refused(String),
    /// The server refused the request because of the state of the task or run.
    WrongState(String),
    /// The messages have been printed already; holds the exit code.
    Printed(u8),
    /// The reader of standard output is gone, as after `| head`.
    OutputClosed,
}

impl Failure {
    /// Returns the exit code of the process.
    pub fn code(&self) -> u8 {
        match self {
            Self::OutputClosed => 0,
            Self::Failed(_) => 1,
            Self::Misused(_) => 2,
            Self::NotFound(_) => 3,
            Self::Refused(_) | Self::WrongState(_) => 4,
            Self::Printed(code) => *code,
        }
    }

    /// Names the thing at fault.
    pub fn about(self, thing: Thing, id: &str) -> Self {
        match self {
            Self::NotFound(_) => thing.missing(id),
            Self::Refused(message) => Self::Refused(format!("{id}: {message}")),
            Self::WrongState(message) => Self::WrongState(format!("{id}: {message}")),
            other => other,
        }
    }

    /// Names the place of the field at fault.
    pub fn at(self, place: &str) -> Self {
        match self {
            Self::Refused(message) => Self::Refused(format!("{place}: {message}")),
            other => other,
        }
    }

    /// Adds which states allow the command.
    pub fn with_allowed(self, allowed: &str) -> Self {
        match self {
            Self::WrongState(message) => Self::WrongState(format!("{message}; {allowed}")),
            other => other,
        }
    }

    /// Prints the message on standard error.
    pub fn print(&self) {
        match self {
            Self::Failed(message)
            | Self::Misused(message)
            | Self::NotFound(message)
            | Self::Refused(message)
            | Self::WrongState(message) => {
                eprintln!("error: {message}");
            }
            Self::Printed(_) | Self::OutputClosed => {}
        }
    }

    /// Prints the message and ends the process.
    pub fn exit(&self) -> ! {
        self.print();
        std::process::exit(i32::from(self.code()))
    }

    /// Converts the error of a call to the server at `address`.
    pub fn from_call(error: &Error, address: &str) -> Self {
        match error {
            Error::Address(_) => Self::Misused(format!(
                "invalid server address {address:?}: use a URL such as http://127.0.0.1:8275"
            )),
            Error::Token => Self::Misused(
                "invalid token: it contains characters that no token has; check --token or TASKCENTER_TOKEN"
                    .to_owned(),
            ),
            Error::Authority(..) => Self::Misused(format!("--ca-file: {error}")),
            Error::Unanswered(cause) if is_unresolved(cause) => Self::Failed(format!(
                "cannot resolve the host name in {address}: check the name in --server or TASKCENTER_SERVER"
            )),
            Error::Unanswered(cause) if cause.is_connect() => Self::Failed(format!(
                "cannot reach {address}: start a server with `taskcenter dev`, or select another one with --server"
            )),
            Error::Unanswered(cause) if cause.is_timeout() => Self::Failed(format!(
                "no answer from {address} in time; the request may have succeeded: check the result before \
                 you repeat it, and use `task add --dedup-key` so that a repeat creates no second task"
            )),
            Error::Refused { code: Some(code), .. } if code == "no_such_route" => Self::Failed(format!(
                "{address} does not know this request: check that it is a taskcenter server of version {}",
                env!("CARGO_PKG_VERSION")
            )),
            Error::Refused { status: 404, message, .. } => Self::NotFound(message.clone()),
            Error::Refused { code: Some(code), .. } if code == "run_state" || code == "task_over" => {
                Self::WrongState(refusal_message(error))
            }
            Error::Refused { status: 400..=499, .. } => Self::Refused(refusal_message(error)),
            Error::Refused { status, message, .. } => {
                Self::Failed(format!("{address} answered {status}: {message}"))
            }
            Error::Answer(_) => Self::Failed(format!("{error}: check that {address} is a taskcenter server")),
            error => Self::Failed(error_chain(error)),
        }
    }
}

/// Kind of thing that a command names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thing {
    Task,
    Run,
    Token,
    Service,
    User,
    Operation,
    Channel,
    Silence,
    Hold,
    Calendar,
}

impl Thing {
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Task => ("task", "id"),
            Self::Run => ("run", "id"),
            Self::Token => ("token", "id"),
            Self::Service => ("service", "name"),
            Self::User => ("user", "name"),
            Self::Operation => ("operation", "id"),
            Self::Channel => ("channel", "name"),
            Self::Silence => ("silence", "id"),
            Self::Hold => ("hold", "name"),
            Self::Calendar => ("calendar", "name"),
        }
    }

    pub fn plural(self) -> String {
        format!("{}s", self.words().0)
    }

    /// Failure of a command for an unknown id or name.
    pub fn missing(self, id: &str) -> Failure {
        let (thing, key) = self.words();
        let command = match self {
            Self::Channel | Self::Silence => "alert",
            _ => thing,
        };
        Failure::NotFound(format!(
            "no {thing} has the {key} {id:?}: `taskcenter {command} list` shows the {thing}s"
        ))
    }
}

/// Returns whether the host name of the server has no address. The HTTP client has no type for the
/// error of its resolver.
fn is_unresolved(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(error.source(), |&cause| cause.source())
        .any(|cause| cause.to_string().starts_with("dns error"))
}

/// Joins an error and its causes into one line.
pub fn error_chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Combines the server's message, the field at fault and the option that sets the field.
fn refusal_message(error: &Error) -> String {
    let Error::Refused { status, message, detail, field, .. } = error else { return error.to_string() };
    let mut text = message.clone();
    if let Some(detail) = detail {
        text = format!("{text}: {detail}");
    }
    match field.as_deref().map(|field| (field, option_of(field))) {
        Some((field, Some(option))) => text = format!("{text} (field {field}, set by {option})"),
        Some((field, None)) => text = format!("{text} (field {field})"),
        None => {}
    }
    if *status == 401 {
        text.push_str("; set TASKCENTER_TOKEN or --token");
    }
    if *status == 412 {
        text.push_str("; another client changed the task: get it again, then repeat the command");
    }
    text
}

/// Returns the argument that sets a field of the API.
fn option_of(field: &str) -> Option<&'static str> {
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
        "start_within_ms" => "--start-within",
        "calendars" => "--only-within and --except",
        "calendars.only" => "--only-within",
        "calendars.exclude" => "--except",
        "queue" => "--queue",
        "headers" => "--header",
        "labels" => "--label",
        label if label.starts_with("label.") => "--label",
        "dedup_key" => "--dedup-key",
        "retry.max_attempts" => "--max-attempts",
        "retry.backoff_ms" => "--backoff",
        "retry.max_backoff_ms" => "--max-backoff",
        "retry.factor_percent" => "--backoff-factor",
        "retry.jitter_percent" => "--backoff-jitter",
        "retry.intervals_ms" => "--retry-intervals",
        "count" => "--count",
        "rate_per_sec" => "--rate",
        "reason" => "--reason",
        "select.filter.state" => "--state",
        "select.filter.name" => "--name",
        "task_id" | "select.filter.task_id" => "--task",
        "tag" | "tags" | "select.filter.tag" => "--tag",
        "expires_at" => "--until or --expires-in",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, code: &str, field: Option<&str>) -> Failure {
        let (message, code) = ("no".to_owned(), Some(code.to_owned()));
        let field = field.map(Into::into);
        let error = Error::Refused { status, message, field, detail: None, code, task_id: None };
        Failure::from_call(&error, "http://h")
    }

    #[test]
    fn each_status_has_its_exit_code() {
        assert_eq!(refused(404, "not_found", None).code(), 3);
        assert_eq!(refused(404, "no_such_route", None).code(), 1);
        assert_eq!(refused(400, "invalid_field", None).code(), 4);
        assert_eq!(refused(412, "revision_moved", None).code(), 4);
        assert_eq!(refused(503, "timeout", None).code(), 1);
    }

    #[test]
    fn a_refused_state_is_shown_with_the_allowed_ones() {
        let failure = refused(409, "run_state", None);
        assert_eq!(failure.code(), 4);
        let failure = failure.with_allowed("only this").about(Thing::Run, "r");
        assert_eq!(failure, Failure::WrongState("r: no; only this".into()));
        let unchanged = refused(409, "duplicate", None).with_allowed("only this");
        assert_eq!(unchanged, Failure::Refused("no".into()));
    }

    #[test]
    fn a_refused_field_is_shown_with_its_option() {
        let failure = refused(400, "invalid_field", Some("delay_ms"));
        assert_eq!(failure, Failure::Refused("no (field delay_ms, set by --in)".into()));
        assert_eq!(refused(400, "x", Some("state")), Failure::Refused("no (field state)".into()));
    }
}
