//! Access, as a whole program has it: the audit log, TLS on every side, and secrets that nobody sees.

mod audit;
mod canary;
mod certificates;
mod node;
mod tls;
#[cfg(feature = "cluster")]
mod tls_to_back_ends;
