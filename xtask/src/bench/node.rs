//! One node of the product: its configuration and its process.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::bench::process::Running;
use crate::bench::subject::Session;
use crate::net;
use crate::net::free_port;

/// A running node.
pub struct Node {
    /// The process.
    pub process: Running,
    /// Address of the API.
    pub url: String,
}

impl Node {
    /// Starts a node in `dir` with the default configuration and the tables of `store`, and waits until
    /// the node is ready.
    pub fn start(session: &Session, dir: &Path, mode: &str, store: &str) -> Result<Self> {
        let port = free_port()?;
        let config = format!(
            "[server]\nmode = \"{mode}\"\nlisten = \"127.0.0.1:{port}\"\n[log]\nlevel = \"warn\"\n{store}"
        );
        fs::create_dir_all(dir)?;
        let file = dir.join("config.toml");
        fs::write(&file, config)?;
        let mut command = Command::new(&session.programs.server);
        command.args(["serve", "--config"]).arg(file);
        let process = Running::start(dir, &mut command, &session.interrupt, || is_ready(port))?;
        Ok(Self { process, url: format!("http://127.0.0.1:{port}") })
    }
}

fn is_ready(port: u16) -> bool {
    let ask = || -> Result<bool> {
        let mut stream = net::connect(port)?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer)?;
        Ok(&answer == b"HTTP/1.1 200")
    };
    ask().unwrap_or(false)
}
