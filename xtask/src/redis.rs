//! Redis: its command, and a probe that reads and writes.

use std::io::{Read, Write};
use std::process::Command;

use anyhow::{Result, bail};

use crate::catalog::Service;
use crate::download;
use crate::net;

/// Returns the command of a Redis without persistence: the product must not depend on data in
/// Redis.
pub fn command(service: &Service) -> Result<Command> {
    let program = download::program("redis-server", "redis-server")?;
    let dir = service.home().dir().to_path_buf();
    let mut command = Command::new(program);
    command.args(["--bind", "127.0.0.1", "--port", &service.port.to_string()]);
    command.args(["--save", "", "--appendonly", "no", "--daemonize", "no"]);
    // By default Redis overwrites its command line, and `Home::running` would not recognise the
    // process.
    command.args(["--set-proc-title", "no", "--dir"]).arg(dir);
    Ok(command)
}

/// Fails unless Redis answers PING and SET.
pub fn probe(service: &Service) -> Result<()> {
    let mut stream = net::connect(service.port)?;
    stream.write_all(b"PING\r\nSET taskcenter:probe 1 EX 10\r\n")?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer)?;
    check(&answer)
}

fn check(answer: &[u8]) -> Result<()> {
    if answer != b"+PONG\r\n+OK\r\n" {
        bail!("Redis answered {:?}", String::from_utf8_lossy(answer));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn any_other_answer_is_an_error() {
        assert!(check(b"+PONG\r\n+OK\r\n").is_ok());
        assert!(check(b"-LOADING Red").is_err());
    }
}
