//! The program `taskcenter`: parses the arguments and runs the command.

mod cli;
mod logging;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // Must live as long as the process. Tests set failpoints by the environment variable FAILPOINTS.
    #[cfg(debug_assertions)]
    let _failpoints = fail::FailScenario::setup();
    cli::Cli::parse().run()
}
