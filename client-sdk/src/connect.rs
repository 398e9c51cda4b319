//! The connection string: where deliveries come from, in one line.

use std::time::Duration;

use reqwest::Url;

use crate::http::{Error, TaskCenter};
#[cfg(feature = "rocketmq")]
use crate::rocketmq::{RocketMqConfig, Tls};
use crate::transport::pull::PullConfig;

const HTTP: &str = "http://127.0.0.1:8275";
const ROCKETMQ: &str = "rocketmq://127.0.0.1:9876/taskcenter?group=order-service";
#[cfg(feature = "rocketmq")]
const ROCKETMQ_IN_FULL: &str = "rocketmq://ns1:9876,ns2:9876/taskcenter?group=order-service&access_key=me&\
     secret_key=mine&tls=true&ca_file=ca.pem&report_to=http://127.0.0.1:8275&report_token=tc_...";
const HTTP_IN_FULL: &str =
    "http://127.0.0.1:8275?token=tc_...&worker=shop-1&queues=order.close,mail&max_in_flight=8&lease_ms=30000";

/// A connection string that says nothing, or says it wrongly. What the string holds is never shown: it may be a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// It begins with none of the words that tell the transport.
    #[error(
        "the connection string should begin with http://, https:// or rocketmq://; correct are {HTTP} and {ROCKETMQ}"
    )]
    Scheme,
    /// One part of it is wrong.
    #[error("the connection string's {part} {problem}; correct is {example}")]
    Part {
        /// Which one.
        part: String,
        /// What is wrong with it.
        problem: &'static str,
        /// A string that is right.
        example: &'static str,
    },
    /// RocketMQ is asked for in a program that was built without it.
    #[error(
        "the connection string asks for RocketMQ, and this program was built without the feature `rocketmq`"
    )]
    NoRocketMq,
    /// The HTTP client cannot be set up.
    #[error(transparent)]
    Client(Error),
}

/// What a connection string stands for.
#[derive(Debug)]
pub(crate) enum Connection {
    /// Queues, over HTTP.
    Pull(TaskCenter, PullConfig),
    /// A topic, and the server to report to.
    #[cfg(feature = "rocketmq")]
    RocketMq(RocketMqConfig, Option<TaskCenter>),
}

impl Connection {
    pub(crate) fn read(connection: &str) -> Result<Self, ConnectError> {
        let connection = connection.trim();
        let (place, parameters) = connection.split_once('?').unwrap_or((connection, ""));
        match place.split_once("://") {
            Some(("http" | "https", _)) => pull(place, parameters),
            #[cfg(feature = "rocketmq")]
            Some(("rocketmq", place)) => rocketmq(place, parameters),
            #[cfg(not(feature = "rocketmq"))]
            Some(("rocketmq", _)) => Err(ConnectError::NoRocketMq),
            _ => Err(ConnectError::Scheme),
        }
    }
}

fn pull(place: &str, parameters: &str) -> Result<Connection, ConnectError> {
    let mut parameters = Parameters::read(parameters, HTTP_IN_FULL)?;
    let access = (parameters.take("token")?, parameters.take("ca_file")?);
    let center = center(place, access, "address", HTTP)?;
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
        return Err(parameters.wrong("queues", "name an empty queue"));
    }
    parameters.end()?;
    Ok(Connection::Pull(center, config))
}

/// With the token and the authority's file, where there are any.
fn center(
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
        // It would show the address.
        Error::Address(_) => {
            ConnectError::Part { part: part.to_owned(), problem: "is not an http or https URL", example }
        }
        error => ConnectError::Client(error),
    })
}

#[cfg(feature = "rocketmq")]
fn rocketmq(place: &str, parameters: &str) -> Result<Connection, ConnectError> {
    let (servers, topic) = place.split_once('/').unwrap_or((place, ""));
    let namesrv = name_servers(servers)?;
    if topic.is_empty() || topic.contains(['/', '#']) || topic.chars().any(char::is_whitespace) {
        return Err(wrong("topic", "is missing or is not one word, behind the name servers"));
    }
    let mut parameters = Parameters::read(parameters, ROCKETMQ_IN_FULL)?;
    let group = parameters.take("group")?.ok_or_else(|| parameters.wrong("group", "is missing"))?;
    let mut config = RocketMqConfig::new(namesrv, topic, group);
    (config.access_key, config.secret_key) = keys(&mut parameters)?;
    config.tls = tls(&mut parameters)?;
    if let Some(messages) = parameters.number("max_in_flight")? {
        config.max_in_flight = messages;
    }
    let (report_to, token) = (parameters.take("report_to")?, parameters.take("report_token")?);
    if report_to.is_none() && token.is_some() {
        return Err(parameters.wrong("report_to", "is missing, which report_token needs"));
    }
    let report_to =
        report_to.map(|address| center(&address, (token, None), "parameter report_to", ROCKETMQ_IN_FULL));
    parameters.end()?;
    Ok(Connection::RocketMq(config, report_to.transpose()?))
}

#[cfg(feature = "rocketmq")]
fn name_servers(servers: &str) -> Result<String, ConnectError> {
    if servers.contains('@') {
        return Err(wrong(
            "name servers",
            "have keys before them, which belong into access_key and secret_key",
        ));
    }
    let servers: Vec<_> = servers.split([',', ';']).map(str::trim).collect();
    let good = |server: &&str| {
        let (host, port) = server.rsplit_once(':').unwrap_or_default();
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    if !servers.iter().all(good) {
        return Err(wrong("name servers", "are not host:port with commas between"));
    }
    Ok(servers.join(";"))
}

#[cfg(feature = "rocketmq")]
fn keys(parameters: &mut Parameters) -> Result<(Option<String>, Option<String>), ConnectError> {
    match (parameters.take("access_key")?, parameters.take("secret_key")?) {
        (Some(_), None) => Err(parameters.wrong("secret_key", "is missing, which access_key needs")),
        (None, Some(_)) => Err(parameters.wrong("access_key", "is missing, which secret_key needs")),
        keys => Ok(keys),
    }
}

#[cfg(feature = "rocketmq")]
fn tls(parameters: &mut Parameters) -> Result<Option<Tls>, ConnectError> {
    let ca_file = parameters.take("ca_file")?.map(Into::into);
    match parameters.take("tls")?.as_deref() {
        Some("true") => Ok(Some(Tls { ca_file })),
        None | Some("false") if ca_file.is_some() => Err(parameters.wrong("ca_file", "needs tls=true")),
        None | Some("false") => Ok(None),
        Some(_) => Err(parameters.wrong("tls", "is neither true nor false")),
    }
}

#[cfg(feature = "rocketmq")]
fn wrong(part: &str, problem: &'static str) -> ConnectError {
    ConnectError::Part { part: part.to_owned(), problem, example: ROCKETMQ }
}

/// What stands behind the question mark and has not been used yet.
struct Parameters {
    /// With the place of each, counted from 1.
    left: Vec<(usize, String, String)>,
    example: &'static str,
}

impl Parameters {
    fn read(text: &str, example: &'static str) -> Result<Self, ConnectError> {
        let wrong = |problem| ConnectError::Part { part: "parameters".to_owned(), problem, example };
        if text.contains('#') {
            return Err(wrong("hold a #, which should be written %23"));
        }
        // A plus stands for itself: keys hold it, and blanks are rare.
        let url = Url::parse(&format!("parameters:?{}", text.replace('+', "%2B")));
        let url = url.map_err(|_| wrong("cannot be read"))?;
        let numbered =
            |(index, (name, value)): (usize, (_, _))| (index + 1, String::from(name), String::from(value));
        Ok(Self { left: url.query_pairs().enumerate().map(numbered).collect(), example })
    }

    fn take(&mut self, name: &str) -> Result<Option<String>, ConnectError> {
        let named = |(_, given, _): &mut (usize, String, String)| given == name;
        let mut found: Vec<_> = self.left.extract_if(.., named).map(|(_, _, value)| value).collect();
        match (found.pop(), found.is_empty()) {
            (Some(value), true) if value.trim().is_empty() => Err(self.wrong(name, "is empty")),
            (value, true) => Ok(value),
            (_, false) => Err(self.wrong(name, "is given twice")),
        }
    }

    fn number(&mut self, name: &str) -> Result<Option<usize>, ConnectError> {
        let number = self.take(name)?.map(|value| value.parse().ok().filter(|number| *number > 0));
        number
            .map(|number| number.ok_or_else(|| self.wrong(name, "is not a whole number from 1")))
            .transpose()
    }

    /// What is left is unknown. Its name is not shown: it may be the end of a secret that holds an `&`.
    fn end(&self) -> Result<(), ConnectError> {
        match self.left.first() {
            Some((place, ..)) => Err(ConnectError::Part {
                part: format!("parameter no. {place}"),
                problem: "is not known, or stands behind an & that should be written %26",
                example: self.example,
            }),
            None => Ok(()),
        }
    }

    fn wrong(&self, name: &str, problem: &'static str) -> ConnectError {
        ConnectError::Part { part: format!("parameter {name}"), problem, example: self.example }
    }
}
