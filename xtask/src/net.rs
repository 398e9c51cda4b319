//! Short-lived connections to services on the loopback interface.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};

/// A frozen service accepts connections and never answers, so reads have a limit; a busy machine is slow, so the limit is
/// generous: a service that others use must not be restarted for being slow.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Connects to a port of this machine.
pub fn connect(port: u16) -> Result<TcpStream> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))
        .with_context(|| format!("nothing listens on {address}"))?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    stream.set_write_timeout(Some(ANSWER_LIMIT))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Whether anything accepts connections on a port of this machine.
pub fn is_taken(port: u16) -> bool {
    connect(port).is_ok()
}
