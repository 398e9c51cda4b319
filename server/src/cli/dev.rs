//! `dev`: a server on this machine that needs nothing else.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use taskcenter_client::{Consumer, TaskCenter};
use taskcenter_server::config::{Config, ENV_PREFIX, Mode};
use tokio::net::{TcpListener, lookup_host};
use tokio::task::JoinHandle;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use super::exit::{Failure, chain};
use super::{demo, out, serve, signals};
use crate::logging;

const EXAMPLES: &str = "\
Examples:
  taskcenter dev
  taskcenter dev --demo
  taskcenter dev --listen 127.0.0.1:9000 --data-dir /tmp/taskcenter --log info

Every key of the configuration can be set by the environment; the mode is always embedded.
For other machines to reach it, run `taskcenter serve`.";

const ADDRESS: &str = "127.0.0.1:8275";
/// How often the server is asked whether it answers by now.
const ASK: Duration = Duration::from_millis(20);

/// What differs from the defaults.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Dev {
    /// Address and port to listen on, of this machine alone; port 0: a free one. Left out: 127.0.0.1:8275.
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Where the data lies; left out: a folder under the user's data directory.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Create a few tasks, and print each delivery with its lateness.
    #[arg(long)]
    demo: bool,
    /// What is logged: error, warn, info, debug, trace. Left out: warn.
    #[arg(long, value_name = "LEVEL")]
    log: Option<String>,
}

impl Dev {
    /// Runs it until it is told to stop.
    pub fn run(self) -> Result<(), Failure> {
        let config = self.config()?;
        logging::start(&config.log);
        serve::threads()?.block_on(dev(config, self.demo))
    }

    /// Options win over the environment, which wins over what suits a terminal.
    fn config(&self) -> Result<Config, Failure> {
        let variable = |key: &str| format!("{ENV_PREFIX}{key}");
        let mut variables = BTreeMap::from([
            (variable("LOG__FORMAT"), "text".into()),
            (variable("LOG__LEVEL"), "warn".into()),
        ]);
        variables.extend(serve::environment());
        variables.insert(variable("SERVER__MODE"), "embedded".into());
        if let Some(listen) = &self.listen {
            variables.insert(variable("SERVER__LISTEN"), listen.clone());
            variables.insert(variable("TASK_CENTER__PORT"), "0".into());
        }
        variables.extend(self.log.clone().map(|level| (variable("LOG__LEVEL"), level)));
        let config = Config::load(None, variables).map_err(|error| serve::misconfigured(&error))?;
        Ok(self.at_directory(Config { compat: config.compat.clone().all_on(), ..config }))
    }

    fn at_directory(&self, mut config: Config) -> Config {
        if let Some(dir) = &self.data_dir {
            config.embedded.data_dir = dir.display().to_string();
        }
        config
    }
}

async fn dev(config: Config, with_demo: bool) -> Result<(), Failure> {
    debug_assert_eq!(config.server.mode, Mode::Embedded);
    let data = config.embedded.directory();
    let data = data
        .ok_or_else(|| Failure::Misused("this user has no data directory: name one by --data-dir".into()))?;
    let listener = listen(&config.listen()).await?;
    let address = listener.local_addr().map_err(|error| Failure::Failed(chain(&error)))?;
    let asked = CancellationToken::new();
    let watched = signals::watch(asked.clone()).map_err(|error| Failure::Failed(chain(&error)))?;
    tokio::spawn(watched);
    let data = data.display().to_string();
    let shutdown = CancellationToken::new();
    let server = Server {
        running: tokio::spawn(taskcenter_server::run(config, listener, shutdown.clone())),
        shutdown,
        url: format!("http://{address}"),
        data,
    };
    server.attend(&asked, address, with_demo).await
}

/// A server inside this process.
struct Server {
    running: JoinHandle<anyhow::Result<()>>,
    shutdown: CancellationToken,
    url: String,
    data: String,
}

impl Server {
    async fn attend(
        mut self,
        asked: &CancellationToken,
        address: SocketAddr,
        with_demo: bool,
    ) -> Result<(), Failure> {
        let calls = TaskCenter::builder(&self.url).retries(0, ASK).build();
        let calls = calls.map_err(|error| Failure::of_call(&error, &self.url))?;
        tokio::select! {
            ended = &mut self.running => return self.ended_early(ended),
            () = answers(&calls) => {}
            () = asked.cancelled() => return self.stop().await,
        }
        welcome(&self.url, address, &self.data)?;
        let consumer = if with_demo { Some(demonstrate(&calls, &self.url).await?) } else { None };
        tokio::select! {
            ended = &mut self.running => return self.ended_early(ended),
            () = asked.cancelled() => {}
        }
        let _ = out::line("stopping; Ctrl-C again ends it at once");
        if let Some(consumer) = consumer {
            consumer.shutdown().await.map_err(|error| Failure::Failed(chain(&error)))?;
        }
        self.stop().await?;
        out::line("stopped")
    }

    async fn stop(mut self) -> Result<(), Failure> {
        self.shutdown.cancel();
        let ended = (&mut self.running).await;
        self.ended(ended)
    }

    fn ended(&self, ended: Ended) -> Result<(), Failure> {
        match ended {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Failure::Failed(self.sentence(&error))),
            Err(error) => Err(Failure::Failed(format!("the server broke: {error}"))),
        }
    }

    fn ended_early(&self, ended: Ended) -> Result<(), Failure> {
        self.ended(ended)?;
        Err(Failure::Failed("the server ended although nobody asked it to".to_owned()))
    }

    /// A cause that names the data directory says all there is to say. Any other is told in full, and where that was.
    fn sentence(&self, error: &anyhow::Error) -> String {
        let cause = error.root_cause().to_string();
        if cause.contains(&self.data) { cause } else { format!("{error:#} (the data lies in {})", self.data) }
    }
}

type Ended = Result<anyhow::Result<()>, tokio::task::JoinError>;

/// A server for trying out has no guard: only this machine is to reach it.
async fn listen(address: &str) -> Result<TcpListener, Failure> {
    let resolved: Vec<SocketAddr> = match lookup_host(address).await {
        Ok(resolved) => resolved.collect(),
        Err(error) => return Err(Failure::Misused(format!("--listen {address}: {error}"))),
    };
    if !resolved.iter().all(|address| address.ip().is_loopback()) {
        return Err(Failure::Misused(format!(
            "dev listens to this machine alone, and {address} can be reached from others: use `taskcenter serve --listen {address}`, \
             or an address such as {ADDRESS}"
        )));
    }
    TcpListener::bind(&*resolved).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => Failure::Failed(format!(
            "{address} is in use, perhaps by another taskcenter: stop that one, or choose a free port with `--listen 127.0.0.1:0`"
        )),
        _ => Failure::Failed(format!("cannot listen on {address}: {error}")),
    })
}

async fn answers(calls: &TaskCenter) {
    let mut ticks = interval(ASK);
    loop {
        ticks.tick().await;
        if calls.statistics().await.is_ok() {
            return;
        }
    }
}

fn welcome(url: &str, address: SocketAddr, data: &str) -> Result<(), Failure> {
    let server = if address.to_string() == ADDRESS { String::new() } else { format!(" --server {url}") };
    out::line(format_args!(
        "\
taskcenter {version} is ready

  address   {url}
  data      {data}
  API docs  {url}/docs

Create a task that is due in 5 seconds:
  curl -d '{{\"name\":\"hello\",\"data\":\"world\",\"delay_ms\":5000}}' {url}/v1/tasks
Watch it fire, and wait in the queue hello for a worker:
  taskcenter tail{server}

Ctrl-C stops it.
",
        version = env!("CARGO_PKG_VERSION"),
    ))
}

/// The consumer comes first, so that the first delivery finds it there.
async fn demonstrate(calls: &TaskCenter, url: &str) -> Result<Consumer, Failure> {
    let consumer = demo::consume(url)?;
    demo::create(calls, url).await?;
    Ok(consumer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_this_machine_is_listened_to() {
        assert!(listen("127.0.0.1:0").await.is_ok());
        let refused = listen("0.0.0.0:0").await.unwrap_err();
        assert!(matches!(&refused, Failure::Misused(why) if why.contains("taskcenter serve")), "{refused:?}");
        let taken = listen("127.0.0.1:0").await.unwrap();
        let again = listen(&taken.local_addr().unwrap().to_string()).await.unwrap_err();
        assert!(matches!(&again, Failure::Failed(why) if why.contains("is in use")), "{again:?}");
    }
}
