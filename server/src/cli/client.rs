//! Connection of the commands to a server.

use std::convert::Infallible;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ColorChoice};
use futures_util::FutureExt as _;
use taskcenter_client::{Error, TaskCenter};
use taskcenter_server::config::Secret;

use super::exit::{Failure, Thing};
use super::screen::Screen;

const HEADING: &str = "Server options";
/// A user waits at the terminal, so the commands give up sooner than the SDK does by default.
const RETRIES: u32 = 2;
const FIRST_RETRY: Duration = Duration::from_millis(100);

/// Address of the server, credentials and output format.
#[derive(Debug, Args)]
pub struct ServerOptions {
    /// URL of the server.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "TASKCENTER_SERVER",
        hide_env_values = true,
        help_heading = HEADING,
        default_value = "http://127.0.0.1:8275"
    )]
    server: String,
    /// Access token, required for a server on another machine. Prefer TASKCENTER_TOKEN: other
    /// users of this machine can read program arguments.
    #[arg(
        long,
        global = true,
        value_name = "TOKEN",
        env = "TASKCENTER_TOKEN",
        hide_env_values = true,
        help_heading = HEADING,
        value_parser = parse_secret
    )]
    token: Option<Secret>,
    /// PEM file with CA certificates to trust for https, in addition to those of the system.
    #[arg(
        long = "ca-file",
        alias = "ca",
        global = true,
        value_name = "FILE",
        env = "TASKCENTER_CA",
        hide_env_values = true,
        help_heading = HEADING
    )]
    ca: Option<PathBuf>,
    /// Print the JSON of the API, one document per line.
    #[arg(long, global = true, help_heading = HEADING)]
    json: bool,
    /// Show full ids, times and texts on a terminal, too, even if lines become long.
    #[arg(long, global = true, help_heading = HEADING)]
    wide: bool,
    /// Color the states: auto, always or never. `auto` colors on a terminal, unless NO_COLOR is set.
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_possible_values = true,
        help_heading = HEADING
    )]
    color: ColorChoice,
}

/// `Secret` keeps the value out of debug output and error messages.
#[allow(clippy::unnecessary_wraps, reason = "clap requires a parser to return a result")]
fn parse_secret(text: &str) -> Result<Secret, Infallible> {
    Ok(Secret::new(text))
}

impl ServerOptions {
    /// Runs a command that calls the server.
    pub fn run(self, command: impl AsyncFnOnce(Client) -> Result<(), Failure>) -> Result<(), Failure> {
        let client = Client::new(&self)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime =
            runtime.map_err(|error| Failure::Failed(format!("cannot start the async runtime: {error}")))?;
        // Boxed, so that the runtime is compiled once and not once per command.
        runtime.block_on(command(client).boxed_local())
    }
}

/// Client of one server, with the output format that the user selected.
#[derive(Debug)]
pub struct Client {
    pub api: TaskCenter,
    /// Address of the server without credentials, for messages.
    pub address: String,
    /// Whether to print JSON instead of tables and sentences.
    pub json: bool,
    /// Format of tables.
    pub screen: Screen,
}

impl Client {
    fn new(options: &ServerOptions) -> Result<Self, Failure> {
        let address = &options.server;
        let mut api = TaskCenter::builder(address).retries(RETRIES, FIRST_RETRY);
        if let Some(token) = options.token.as_ref().filter(|token| !token.is_empty()) {
            api = api.token(token.expose());
        }
        if let Some(file) = &options.ca {
            api = api.ca_file(file);
        }
        let address = strip_credentials(address);
        let api = api.build().map_err(|error| Failure::from_call(&error, &address))?;
        let screen = Screen::detect(options.wide, options.color);
        Ok(Self { api, address, json: options.json, screen })
    }

    /// Waits for a call, and converts its error.
    pub async fn call<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Failure> {
        call.await.map_err(|error| Failure::from_call(&error, &self.address))
    }
}

/// Removes a user name and password from a URL.
pub fn strip_credentials(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

/// Applies `act` to each id of a `thing`. When the server rejects one id, the others still follow.
///
/// # Errors
/// Each rejection is printed immediately; the exit code is that of the first one.
pub async fn for_each_id(
    thing: Thing,
    ids: &[String],
    act: impl AsyncFn(&str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut first = None;
    for id in ids {
        match act(id).await {
            Ok(()) => {}
            // These failures do not depend on the id.
            Err(failure @ (Failure::Failed(_) | Failure::OutputClosed)) => return Err(failure),
            Err(failure) => {
                let failure = failure.about(thing, id);
                failure.print();
                first.get_or_insert(failure.code());
            }
        }
    }
    first.map_or(Ok(()), |code| Err(Failure::Printed(code)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_removed_from_an_address() {
        for (address, shown) in [
            ("http://me:canary@h:1/a@b", "http://h:1/a@b"),
            ("http://me:canary@h", "http://h"),
            ("http://h:1", "http://h:1"),
        ] {
            assert_eq!(strip_credentials(address), shown);
        }
    }
}
