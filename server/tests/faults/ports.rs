//! Ports for programs that die and come back at the same address.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Result, bail};

/// Below the range from which the system takes ports of outgoing connections, one of which could sit on a port whose owner is dead at
/// the moment; above those of `cargo xtask services`.
const FIRST: u16 = 24_000;
const COUNT: u16 = 3_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port that nobody listens on now, and that is handed out once.
pub fn free() -> Result<u16> {
    next(&[0])
}

/// A port whose neighbours a broker takes as well are free, too.
pub fn free_for_a_broker() -> Result<u16> {
    next(&[0, 1, 2, 3]).map(|first| first + 2)
}

fn next(offsets: &[u16]) -> Result<u16> {
    // Two harnesses on one machine begin at different places.
    let begin = std::process::id() as u16 % COUNT;
    for _ in 0..COUNT {
        let port = FIRST + (begin + NEXT.fetch_add(offsets.len() as u16, Ordering::Relaxed) % COUNT) % COUNT;
        if offsets.iter().all(|offset| is_free(port + offset)) {
            return Ok(port);
        }
    }
    bail!("no port is free from {FIRST} to {}: what listens there?", FIRST + COUNT)
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}
