//! Redis server. Scenarios flush and kill it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::ports;
use crate::process::Program;
use crate::time;

/// The server.
pub struct Redis {
    port: u16,
    dir: PathBuf,
    program: Option<Program>,
}

impl Redis {
    pub async fn start(dir: &Path) -> Result<Self> {
        let dir = dir.join("redis");
        std::fs::create_dir_all(&dir)?;
        let mut redis = Self { port: ports::free()?, dir, program: None };
        redis.restart().await?;
        Ok(redis)
    }

    pub fn addr(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub async fn restart(&mut self) -> Result<()> {
        let mut command = Command::new("redis-server");
        command.args([
            "--bind",
            "127.0.0.1",
            "--port",
            &self.port.to_string(),
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        command.arg("--dir").arg(&self.dir);
        self.program = Some(Program::start(&command, &self.dir.join("log"))?);
        time::wait_until("Redis answers", 20_000, async || self.send("PING").await.is_ok()).await
    }

    pub fn kill(&mut self) -> Result<()> {
        self.program.as_mut().context("Redis does not run")?.kill()
    }

    /// Sends one command and waits for the answer.
    pub async fn send(&self, command: &str) -> Result<()> {
        let mut stream = TcpStream::connect(self.addr()).await?;
        stream.write_all(format!("{command}\r\n").as_bytes()).await?;
        stream.read_u8().await?;
        Ok(())
    }
}
