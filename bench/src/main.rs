//! Load generator of `cargo xtask bench`: runs one work and prints its figures as one line of JSON.
//!
//! `cargo run --release -p taskcenter-bench -- burst --url http://127.0.0.1:8275`
#![allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
#![recursion_limit = "256"]

mod figures;
mod product;
mod raw;

use anyhow::Result;
use clap::Parser;

/// Runs one work and prints its figures as one line of JSON
#[derive(Parser)]
#[command(name = "taskcenter-bench")]
enum Work {
    #[command(flatten)]
    Product(product::Product),
    #[command(flatten)]
    Raw(raw::Raw),
}

#[tokio::main]
async fn main() -> Result<()> {
    let figures = match Work::parse() {
        Work::Product(work) => product::run(work).await?,
        Work::Raw(work) => raw::run(work).await?,
    };
    println!("{}", figures.to_json());
    Ok(())
}
