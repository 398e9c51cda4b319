//! The task center's program: arguments, log, signals; nothing else.

mod cli;
mod logging;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // Kept alive to the end: a test sets failpoints by the environment variable FAILPOINTS.
    #[cfg(debug_assertions)]
    let _failpoints = fail::FailScenario::setup();
    cli::Cli::parse().run()
}
