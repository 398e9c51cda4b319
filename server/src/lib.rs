//! The task center: hands each due moment of each task over exactly once in its ledger, and can prove it.

pub mod core;
pub mod ports;
