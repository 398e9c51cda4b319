//! One server process with a fixed address.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::ports;
use crate::process::Program;
use crate::proxy::Proxy;
use crate::time;

/// Server of a stage.
pub struct Node {
    program: Option<Program>,
    binary: PathBuf,
    config: PathBuf,
    log: PathBuf,
    pub addr: String,
    /// Additional environment variables of the next start.
    pub env: Vec<(String, String)>,
    /// Proxies to MongoDB and Redis, if the scenario needs them.
    pub wires: Option<Wires>,
}

/// Proxies of one node.
pub struct Wires {
    pub mongo: Proxy,
    pub redis: Proxy,
}

impl Node {
    /// Creates a node without starting it.
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

    /// Starts the server and returns at once.
    pub fn start(&mut self) -> Result<()> {
        let mut command = Command::new(&self.binary);
        command.arg("serve").arg("--config").arg(&self.config).args(["--listen", &self.addr]);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        self.program = Some(Program::start(&command, &self.log)?);
        Ok(())
    }

    /// Waits until the status of the server is one of `expected`.
    pub async fn until(&mut self, expected: &[&str], limit_ms: i64) -> Result<()> {
        let what = format!("server {} is {expected:?} (log: {})", self.addr, self.log.display());
        let url = format!("http://{}/readyz", self.addr);
        let program = &mut self.program;
        time::wait_until(&what, limit_ms, async || {
            let ended = program.as_mut().is_some_and(Program::has_ended);
            ended || status(&url).await.is_some_and(|status| expected.contains(&status.as_str()))
        })
        .await?;
        self.ensure_running()
    }

    /// Fails if the server has ended without a signal of the harness.
    pub fn ensure_running(&mut self) -> Result<()> {
        if self.program.as_mut().is_some_and(Program::has_ended) {
            bail!("server {} has ended by itself (log: {})", self.addr, self.log.display());
        }
        Ok(())
    }

    pub fn kill(&mut self) -> Result<()> {
        self.ensure_running()?;
        self.running()?.kill()?;
        self.program = None;
        Ok(())
    }

    pub fn signal(&mut self, name: &str) -> Result<()> {
        self.running()?.signal(name)
    }

    /// Stops the server gracefully.
    pub async fn stop(&mut self) -> Result<()> {
        self.running()?.terminate(40_000).await?;
        self.program = None;
        Ok(())
    }

    /// Stops the server and starts another program at its address.
    pub async fn replace(&mut self, binary: &Path) -> Result<()> {
        self.stop().await?;
        self.binary = binary.to_owned();
        self.start()?;
        self.until(&["ready"], 60_000).await
    }

    fn running(&mut self) -> Result<&mut Program> {
        self.program.as_mut().context("the server does not run")
    }
}

async fn status(url: &str) -> Option<String> {
    let answer = reqwest::get(url).await.ok()?;
    let answer: serde_json::Value = serde_json::from_slice(&answer.bytes().await.ok()?).ok()?;
    answer["status"].as_str().map(str::to_owned)
}
