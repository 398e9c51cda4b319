//! One server process, always at the same address.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::ports;
use crate::process::Program;
use crate::proxy::Proxy;
use crate::time;

/// A server of a stage.
pub struct Node {
    program: Option<Program>,
    binary: PathBuf,
    config: PathBuf,
    log: PathBuf,
    pub addr: String,
    /// More variables for its next start.
    pub env: Vec<(String, String)>,
    /// Between it and its MongoDB and Redis, where the scenario wants that.
    pub wires: Option<Wires>,
}

/// The wires of one node.
pub struct Wires {
    pub mongo: Proxy,
    pub redis: Proxy,
}

impl Node {
    /// A node that is not started.
    pub fn new(binary: &Path, dir: &Path, name: &str, config: &str, wires: Option<Wires>) -> Result<Self> {
        let file = dir.join(format!("{name}.toml"));
        std::fs::write(&file, config)?;
        Ok(Self {
            program: None,
            binary: binary.to_owned(),
            config: file,
            log: dir.join(format!("{name}.log")),
            addr: format!("127.0.0.1:{}", ports::free()?),
            env: Vec::new(),
            wires,
        })
    }

    /// Starts it, without waiting.
    pub fn start(&mut self) -> Result<()> {
        let mut command = Command::new(&self.binary);
        command.arg("serve").arg("--config").arg(&self.config).args(["--listen", &self.addr]);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        self.program = Some(Program::start(&command, &self.log)?);
        Ok(())
    }

    /// Waits until it says that it is `wanted`, or something else that is as good.
    pub async fn until(&mut self, wanted: &[&str], limit_ms: i64) -> Result<()> {
        let what = format!("{} is {wanted:?}; its log is {}", self.addr, self.log.display());
        let url = format!("http://{}/readyz", self.addr);
        let program = &mut self.program;
        time::until(&what, limit_ms, async || {
            let ended = program.as_mut().is_some_and(Program::has_ended);
            ended || status(&url).await.is_some_and(|status| wanted.contains(&status.as_str()))
        })
        .await?;
        self.must_live()
    }

    /// An error where it has ended by itself: nothing here makes a server end but a signal.
    pub fn must_live(&mut self) -> Result<()> {
        if self.program.as_mut().is_some_and(Program::has_ended) {
            bail!("the server at {} has ended by itself; its log is {}", self.addr, self.log.display());
        }
        Ok(())
    }

    pub fn kill(&mut self) -> Result<()> {
        self.must_live()?;
        self.running()?.kill()?;
        self.program = None;
        Ok(())
    }

    pub fn signal(&mut self, name: &str) -> Result<()> {
        self.running()?.signal(name)
    }

    /// Asks it to stop, and waits until it has drained.
    pub async fn stop(&mut self) -> Result<()> {
        self.running()?.terminate(40_000).await?;
        self.program = None;
        Ok(())
    }

    /// Stops it, and starts another program in its place.
    pub async fn replace(&mut self, binary: &Path) -> Result<()> {
        self.stop().await?;
        self.binary = binary.to_owned();
        self.start()?;
        self.until(&["ready"], 60_000).await
    }

    fn running(&mut self) -> Result<&mut Program> {
        self.program.as_mut().context("the server runs")
    }
}

async fn status(url: &str) -> Option<String> {
    let answer = reqwest::get(url).await.ok()?;
    let answer: serde_json::Value = serde_json::from_slice(&answer.bytes().await.ok()?).ok()?;
    answer["status"].as_str().map(str::to_owned)
}
