//! The product as its users meet it: through the SDK.

mod consume;
mod create;
mod crowd;
mod list;
mod pages;
mod stages;
mod tabs;

use std::time::Duration;

use anyhow::Result;
use taskcenter_client::TaskCenter;

use crate::figures::Figures;

/// Requests that create one task each, at the same time.
const CLIENTS: usize = 64;
/// Requests that create many tasks each, at the same time.
const BATCHES_AT_ONCE: usize = 4;

/// Work on a running server.
#[derive(clap::Subcommand)]
pub enum Product {
    /// Create one task a request, 64 requests at once
    CreateOne(Target),
    /// Create 100 tasks a request, 4 requests at once
    CreateMany(Target),
    /// Create pending tasks that are due in 10 to 20 days
    Fill(Target),
    /// Create tasks that are due at once, and handle their runs
    Run(Consume),
    /// The same, with a concurrency limit that leaves room
    RunOneLimit(Consume),
    /// The same, with two concurrency limits that leave room
    RunTwoLimits(Consume),
    /// Handle tasks that are all due in one millisecond
    Burst(Consume),
    /// The same, while 20 pages of the console are open
    BurstWatched(Consume),
    /// Handle tasks that are due at a steady rate
    Steady {
        #[command(flatten)]
        consume: Consume,
        /// Due tasks a second
        #[arg(long, default_value_t = 500)]
        rate: usize,
    },
    /// Handle one-shot tasks beside tasks that are due every second
    Crowd(Consume),
    /// Read pages of 100 tasks and runs
    List(Target),
    /// Read each page of the console and of the lists of the API, in a store that `fill-history` has filled
    Pages(Target),
}

/// Server and amount of work.
#[derive(clap::Args)]
pub struct Target {
    /// Address of the server
    #[arg(long)]
    url: String,
    /// Number of tasks or pages
    #[arg(long)]
    count: usize,
}

/// Server, amount of work, and source of the deliveries.
#[derive(clap::Args)]
pub struct Consume {
    #[command(flatten)]
    target: Target,
    /// Connection string of a consumer on the bus. Default: the tasks have a queue of the server
    #[arg(long)]
    connect: Option<String>,
}

/// Runs one work.
pub async fn run(work: Product) -> Result<Figures> {
    match work {
        Product::CreateOne(target) => create::one_a_request(&client(&target)?, target.count).await,
        Product::CreateMany(target) => create::many_a_request(&client(&target)?, target.count).await,
        Product::Fill(target) => create::fill(&client(&target)?, target.count).await,
        Product::Run(work) => consume::run(&client(&work.target)?, &work, 0).await,
        Product::RunOneLimit(work) => consume::run(&client(&work.target)?, &work, 1).await,
        Product::RunTwoLimits(work) => consume::run(&client(&work.target)?, &work, 2).await,
        Product::Burst(work) => consume::burst(&client(&work.target)?, &work).await,
        Product::BurstWatched(work) => consume::burst_watched(&client(&work.target)?, &work).await,
        Product::Steady { consume, rate } => consume::steady(&client(&consume.target)?, &consume, rate).await,
        Product::Crowd(work) => crowd::beside(&client(&work.target)?, &work).await,
        Product::List(target) => list::pages(&client(&target)?, target.count).await,
        Product::Pages(target) => pages::read(&client(&target)?, &target.url, target.count).await,
    }
}

fn client(target: &Target) -> Result<TaskCenter> {
    Ok(TaskCenter::builder(&target.url).timeout(Duration::from_mins(1)).build()?)
}
