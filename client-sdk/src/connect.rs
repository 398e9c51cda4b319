//! Connection strings: the source of deliveries as one text.

use std::time::Duration;

use reqwest::Url;

use crate::error_text::debug_as_text;
use crate::http::{Error, TaskCenter};
#[cfg(feature = "rocketmq")]
use crate::rocketmq::{RocketMqConfig, StartFrom, Tls};
use crate::transport::pull::PullConfig;

const HTTP: &str = "http://127.0.0.1:8275";
const ROCKETMQ: &str = "rocketmq://127.0.0.1:9876/taskcenter?group=order-service";
#[cfg(feature = "rocketmq")]
const ROCKETMQ_IN_FULL: &str = "rocketmq://ns1:9876,ns2:9876/taskcenter?group=order-service&access_key=me&\
     secret_key=mine&tls=true&ca_file=ca.pem&start_from=last&report_to=http://127.0.0.1:8275&report_token=tc_...";
/// Bound of the RocketMQ client.
#[cfg(feature = "rocketmq")]
const MAX_IN_FLIGHT: usize = 10_000;
const HTTP_IN_FULL: &str =
    "http://127.0.0.1:8275?token=tc_...&worker=shop-1&queues=order.close,mail&max_in_flight=8&lease_ms=30000";

/// Why a connection string is invalid. The error never contains a value of the string, because the
/// value may be a secret.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The string does not begin with a known scheme.
    #[error(
        "the connection string should begin with http://, https:// or rocketmq://, such as {HTTP} or {ROCKETMQ}"
    )]
    Scheme,
    /// One part of the string is invalid.
    #[error("invalid connection string: {part} {problem}; a valid example is {example}")]
    Part {
        /// Name of the part.
        part: String,
        /// What is wrong.
        problem: &'static str,
        /// A valid connection string.
        example: &'static str,
    },
    /// The string selects RocketMQ, but the program was built without the feature `rocketmq`.
    #[error(
        "the connection string selects RocketMQ, but this program was built without it: enable the feature \
         `rocketmq` of taskcenter-client"
    )]
    NoRocketMq,
    /// The HTTP client cannot be created.
    #[error(transparent)]
    Client(Error),
}

debug_as_text!(ConnectError);

impl From<ConnectError> for Error {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Client(error) => error,
            error => Self::Consumer(error.into()),
        }
    }
}

/// A parsed connection string.
#[derive(Debug)]
pub(crate) enum Connection {
    /// The queues of a server, over HTTP.
    Pull(TaskCenter, PullConfig),
    /// A topic, and the server that gets the outcome reports.
    #[cfg(feature = "rocketmq")]
    RocketMq(RocketMqConfig, Option<TaskCenter>),
}

impl Connection {
    pub(crate) fn parse(connection: &str) -> Result<Self, ConnectError> {
        let connection = connection.trim();
        let (place, parameters) = connection.split_once('?').unwrap_or((connection, ""));
        match place.split_once("://") {
            Some(("http" | "https", _)) => parse_pull(place, parameters),
            #[cfg(feature = "rocketmq")]
            Some(("rocketmq", place)) => parse_rocketmq(place, parameters),
            #[cfg(not(feature = "rocketmq"))]
            Some(("rocketmq", _)) => Err(ConnectError::NoRocketMq),
            _ => Err(ConnectError::Scheme),
        }
    }
}

fn parse_pull(place: &str, parameters: &str) -> Result<Connection, ConnectError> {
    let mut parameters = Parameters::parse(parameters, HTTP_IN_FULL)?;
    let access = (parameters.take("token")?, parameters.take("ca_file")?);
    let center = build_client(place, access, "address", HTTP)?;
    let mut config =
        PullConfig { max_in_flight: parameters.number("max_in_flight")?, ..PullConfig::default() };
    if let Some(worker) = parameters.take("worker")? {
        config.worker = worker;
    }
    if let Some(lease_ms) = parameters.number("lease_ms")? {
        config.lease = Duration::from_millis(lease_ms as u64);
    }
    if let Some(queues) = parameters.take("queues")? {
        config.queues = queues.split(',').map(|queue| queue.trim().to_owned()).collect();
    }
    if config.queues.iter().any(String::is_empty) {
        return Err(parameters.invalid("queues", "contains an empty name"));
    }
    parameters.refuse_remaining()?;
    Ok(Connection::Pull(center, config))
}

/// Builds the HTTP client, with the token and the CA file, if given.
fn build_client(
    address: &str,
    (token, ca_file): (Option<String>, Option<String>),
    part: &str,
    example: &'static str,
) -> Result<TaskCenter, ConnectError> {
    let mut center = TaskCenter::builder(address);
    if let Some(token) = token {
        center = center.token(token);
    }
    if let Some(file) = ca_file {
        center = center.ca_file(file);
    }
    center.build().map_err(|error| match error {
        // `Error::Address` contains the address, which may contain a password.
        Error::Address(_) => {
            ConnectError::Part { part: part.to_owned(), problem: "is not an http or https URL", example }
        }
        error => ConnectError::Client(error),
    })
}

#[cfg(feature = "rocketmq")]
fn parse_rocketmq(place: &str, parameters: &str) -> Result<Connection, ConnectError> {
    let (servers, topic) = place.split_once('/').unwrap_or((place, ""));
    let namesrv = name_servers(servers)?;
    if topic.is_empty() || topic.contains(['/', '#']) || topic.chars().any(char::is_whitespace) {
        return Err(invalid("topic", "is missing or is not one word: write it after the name servers"));
    }
    let mut parameters = Parameters::parse(parameters, ROCKETMQ_IN_FULL)?;
    let group = parameters.take("group")?.ok_or_else(|| parameters.invalid("group", "is missing"))?;
    let mut config = RocketMqConfig::new(namesrv, topic, group);
    (config.access_key, config.secret_key) = keys(&mut parameters)?;
    config.tls = tls(&mut parameters)?;
    config.start_from = start_from(&mut parameters)?;
    if let Some(messages) = parameters.number("max_in_flight")? {
        if messages > MAX_IN_FLIGHT {
            return Err(parameters.invalid("max_in_flight", "is greater than 10000"));
        }
        config.max_in_flight = Some(messages);
    }
    let (report_to, token) = (parameters.take("report_to")?, parameters.take("report_token")?);
    if report_to.is_none() && token.is_some() {
        return Err(parameters.invalid("report_to", "is missing: report_token requires it"));
    }
    let report_to = report_to
        .map(|address| build_client(&address, (token, None), "parameter report_to", ROCKETMQ_IN_FULL));
    parameters.refuse_remaining()?;
    Ok(Connection::RocketMq(config, report_to.transpose()?))
}

#[cfg(feature = "rocketmq")]
fn name_servers(servers: &str) -> Result<String, ConnectError> {
    if servers.contains('@') {
        return Err(invalid(
            "name servers",
            "contain credentials: use the parameters access_key and secret_key",
        ));
    }
    let servers: Vec<_> = servers.split([',', ';']).map(str::trim).collect();
    let good = |server: &&str| {
        let (host, port) = server.rsplit_once(':').unwrap_or_default();
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    if !servers.iter().all(good) {
        return Err(invalid("name servers", "are not host:port, joined by commas"));
    }
    Ok(servers.join(";"))
}

#[cfg(feature = "rocketmq")]
fn keys(parameters: &mut Parameters) -> Result<(Option<String>, Option<String>), ConnectError> {
    match (parameters.take("access_key")?, parameters.take("secret_key")?) {
        (Some(_), None) => Err(parameters.invalid("secret_key", "is missing: access_key requires it")),
        (None, Some(_)) => Err(parameters.invalid("access_key", "is missing: secret_key requires it")),
        keys => Ok(keys),
    }
}

#[cfg(feature = "rocketmq")]
fn start_from(parameters: &mut Parameters) -> Result<StartFrom, ConnectError> {
    match parameters.take("start_from")?.as_deref() {
        None | Some("first") => Ok(StartFrom::First),
        Some("last") => Ok(StartFrom::Last),
        Some(time) => match time.parse::<jiff::Timestamp>() {
            Ok(time) => Ok(StartFrom::Time(time.into())),
            Err(_) => Err(parameters.invalid("start_from", "is not first, last or a time of RFC 3339")),
        },
    }
}

#[cfg(feature = "rocketmq")]
fn tls(parameters: &mut Parameters) -> Result<Option<Tls>, ConnectError> {
    let ca_file = parameters.take("ca_file")?.map(Into::into);
    match parameters.take("tls")?.as_deref() {
        Some("true") => Ok(Some(Tls { ca_file, ..Tls::default() })),
        None | Some("false") if ca_file.is_some() => Err(parameters.invalid("ca_file", "requires tls=true")),
        None | Some("false") => Ok(None),
        Some(_) => Err(parameters.invalid("tls", "is neither true nor false")),
    }
}

#[cfg(feature = "rocketmq")]
fn invalid(part: &str, problem: &'static str) -> ConnectError {
    ConnectError::Part { part: part.to_owned(), problem, example: ROCKETMQ }
}

/// Parameters of a connection string that have not been used yet.
struct Parameters {
    /// 1-based position, name and value of each.
    remaining: Vec<(usize, String, String)>,
    example: &'static str,
}

impl Parameters {
    fn parse(text: &str, example: &'static str) -> Result<Self, ConnectError> {
        let invalid = |problem| ConnectError::Part { part: "parameters".to_owned(), problem, example };
        if text.contains('#') {
            return Err(invalid("contain a #: write it as %23"));
        }
        // A plus stands for itself and not for a blank, because keys often contain it.
        let url = Url::parse(&format!("parameters:?{}", text.replace('+', "%2B")));
        let url = url.map_err(|_| invalid("cannot be parsed"))?;
        let numbered =
            |(index, (name, value)): (usize, (_, _))| (index + 1, String::from(name), String::from(value));
        Ok(Self { remaining: url.query_pairs().enumerate().map(numbered).collect(), example })
    }

    fn take(&mut self, name: &str) -> Result<Option<String>, ConnectError> {
        let named = |(_, given, _): &mut (usize, String, String)| given == name;
        let mut found: Vec<_> = self.remaining.extract_if(.., named).map(|(_, _, value)| value).collect();
        match (found.pop(), found.is_empty()) {
            (Some(value), true) if value.trim().is_empty() => Err(self.invalid(name, "is empty")),
            (value, true) => Ok(value),
            (_, false) => Err(self.invalid(name, "is given twice")),
        }
    }

    fn number(&mut self, name: &str) -> Result<Option<usize>, ConnectError> {
        let number = self.take(name)?.map(|value| value.parse().ok().filter(|number| *number > 0));
        number
            .map(|number| number.ok_or_else(|| self.invalid(name, "is not a whole number of at least 1")))
            .transpose()
    }

    /// Refuses the remaining parameters as unknown. The error does not contain the name, which may
    /// be the rest of a secret with an unescaped `&`.
    fn refuse_remaining(&self) -> Result<(), ConnectError> {
        match self.remaining.first() {
            Some((place, ..)) => Err(ConnectError::Part {
                part: format!("parameter no. {place}"),
                problem: "is unknown, or follows an & inside a value: write that as %26",
                example: self.example,
            }),
            None => Ok(()),
        }
    }

    fn invalid(&self, name: &str, problem: &'static str) -> ConnectError {
        ConnectError::Part { part: format!("parameter {name}"), problem, example: self.example }
    }
}
