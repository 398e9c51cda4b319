//! Ports for programs that restart at the same address.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Result, bail};

/// Below the range of outgoing connections, which could take the port of a program while it is
/// down. Above the ports of `cargo xtask services`.
const FIRST: u16 = 24_000;
const COUNT: u16 = 3_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// Returns a free port. Never returns a port twice.
pub fn free() -> Result<u16> {
    next(&[0])
}

/// Returns a free port whose neighbours, which a broker also uses, are free.
pub fn free_for_a_broker() -> Result<u16> {
    next(&[0, 1, 2, 3]).map(|first| first + 2)
}

fn next(offsets: &[u16]) -> Result<u16> {
    // Two harnesses on one machine start at different ports.
    let begin = std::process::id() as u16 % COUNT;
    for _ in 0..COUNT {
        let port = FIRST + (begin + NEXT.fetch_add(offsets.len() as u16, Ordering::Relaxed) % COUNT) % COUNT;
        if offsets.iter().all(|offset| is_free(port + offset)) {
            return Ok(port);
        }
    }
    bail!("no free port from {FIRST} to {}: stop the programs that listen there", FIRST + COUNT)
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}
