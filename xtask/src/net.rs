//! Ports of the loopback interface, and short-lived connections to their services.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};

/// Timeout of reads and writes. A frozen service accepts connections and never answers. The timeout
/// is long: a service that is slow on a busy machine must not be restarted.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Returns a port that no process uses.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Connects to a port on the loopback interface.
pub fn connect(port: u16) -> Result<TcpStream> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))
        .with_context(|| format!("nothing listens on {address}"))?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    stream.set_write_timeout(Some(ANSWER_LIMIT))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Returns whether a process accepts connections on this port of the loopback interface.
pub fn is_taken(port: u16) -> bool {
    connect(port).is_ok()
}
