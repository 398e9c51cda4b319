//! Access of the whole program: audit log, TLS, and secrets.

mod audit;
mod canary;
mod certificates;
pub mod node;
mod self_calls;
mod tls;
#[cfg(feature = "cluster")]
mod tls_to_back_ends;
