//! The server that the chores talk to.

use std::convert::Infallible;
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use taskcenter_client::{Error, TaskCenter};
use taskcenter_server::config::Secret;

use super::exit::Failure;

const HEADING: &str = "Server";
/// A person waits: a server that is away is given up sooner than the SDK would.
const RETRIES: u32 = 2;
const FIRST_RETRY: Duration = Duration::from_millis(100);

/// Where the server is, and how its answers are shown.
#[derive(Debug, Args)]
pub struct Remote {
    /// The server to talk to.
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
    /// The token to bring; a server on another machine asks for one. Better by the variable: others see a program's arguments.
    #[arg(
        long,
        global = true,
        value_name = "TOKEN",
        env = "TASKCENTER_TOKEN",
        hide_env_values = true,
        help_heading = HEADING,
        value_parser = hidden
    )]
    token: Option<Secret>,
    /// PEM file of the authority to know an https server by, beside those that the system trusts.
    #[arg(long, global = true, value_name = "FILE", env = "TASKCENTER_CA", hide_env_values = true, help_heading = HEADING)]
    ca: Option<PathBuf>,
    /// Print the API's own JSON, one document a line.
    #[arg(long, global = true, help_heading = HEADING)]
    json: bool,
}

/// Not shown, wherever the arguments are.
#[allow(clippy::unnecessary_wraps, reason = "what a parser of arguments looks like")]
fn hidden(text: &str) -> Result<Secret, Infallible> {
    Ok(Secret::new(text))
}

impl Remote {
    /// Runs a verb that talks to the server.
    pub fn run(self, verb: impl AsyncFnOnce(Center) -> Result<(), Failure>) -> Result<(), Failure> {
        let center = Center::new(&self)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::Failed(format!("no threads to run on: {error}")))?;
        runtime.block_on(verb(center))
    }
}

/// The server, and how its answers are shown.
#[derive(Debug)]
pub struct Center {
    /// The calls.
    pub calls: TaskCenter,
    /// Where they go, as it can be shown.
    pub address: String,
    /// Whether answers are shown as they are.
    pub json: bool,
}

impl Center {
    fn new(remote: &Remote) -> Result<Self, Failure> {
        let address = &remote.server;
        let mut calls = TaskCenter::builder(address).retries(RETRIES, FIRST_RETRY);
        if let Some(token) = remote.token.as_ref().filter(|token| !token.is_empty()) {
            calls = calls.token(token.expose());
        }
        if let Some(file) = &remote.ca {
            calls = calls.ca_file(file);
        }
        let calls = calls.build().map_err(|error| Failure::of_call(&error, address))?;
        Ok(Self { calls, address: without_login(address), json: remote.json })
    }

    /// Waits for a call, and says what its failure means.
    pub async fn ask<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Failure> {
        call.await.map_err(|error| Failure::of_call(&error, &self.address))
    }
}

/// An address that can be shown: a name and a password that stand in it are left out.
fn without_login(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

/// Does the same to each; one that cannot be done does not keep the others from it.
pub async fn each(ids: &[String], act: impl AsyncFn(&str) -> Result<(), Failure>) -> Result<(), Failure> {
    let mut first = None;
    for id in ids {
        match act(id).await {
            Ok(()) => {}
            // It would fail for the others as well.
            Err(failure @ (Failure::Failed(_) | Failure::Unread)) => return Err(failure),
            Err(failure) => {
                let failure = failure.of(id);
                failure.tell();
                first.get_or_insert(failure.code());
            }
        }
    }
    first.map_or(Ok(()), |code| Err(Failure::Told(code)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_not_shown() {
        for (address, shown) in [
            ("http://me:canary@h:1/a@b", "http://h:1/a@b"),
            ("http://me:canary@h", "http://h"),
            ("http://h:1", "http://h:1"),
        ] {
            assert_eq!(without_login(address), shown);
        }
    }
}
