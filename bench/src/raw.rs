//! What the parts below the product can do without the product.

mod disk;
mod echo;
#[cfg(feature = "cluster")]
mod fire;
mod history;
#[cfg(feature = "cluster")]
mod mongo;
#[cfg(feature = "cluster")]
mod mongo_runs;
#[cfg(feature = "cluster")]
mod rocketmq;
mod sqlite;

use std::path::PathBuf;

use anyhow::Result;

use crate::figures::Figures;

/// Work on a part below the product.
#[derive(clap::Subcommand)]
pub enum Raw {
    /// Insert rows of the size of a task into SQLite, in durable transactions of 100
    Sqlite {
        /// Directory for the database
        #[arg(long)]
        dir: PathBuf,
        /// Number of rows
        #[arg(long)]
        count: usize,
    },
    /// Insert rows into the server's table of tasks, with its indexes, in durable transactions of 100
    SqliteLikeTheServer {
        /// Directory for the database
        #[arg(long)]
        dir: PathBuf,
        /// Number of rows
        #[arg(long)]
        count: usize,
    },
    /// Fill the data directory of a server with tasks and with runs of the last day
    FillHistory {
        /// Data directory
        #[arg(long)]
        dir: PathBuf,
        /// Number of tasks
        #[arg(long)]
        tasks: usize,
        /// Number of runs
        #[arg(long)]
        runs: usize,
    },
    /// Send JSON to a bare axum server in another process, 64 requests at once
    Echo(echo::Target),
    /// Serve `echo`. Prints the address, and ends with its standard input
    #[command(hide = true)]
    EchoServer {
        /// Directory for a database
        #[arg(long)]
        dir: Option<PathBuf>,
    },
    /// Write 4 KiB and call fdatasync, one after the other
    Disk {
        /// Directory for the file
        #[arg(long)]
        dir: PathBuf,
        /// Number of writes
        #[arg(long)]
        count: usize,
    },
    /// Insert one document a call into MongoDB, 64 calls at once, majority and journal
    #[cfg(feature = "cluster")]
    MongoOne(mongo::Target),
    /// Insert 100 documents a call into MongoDB, 4 calls at once, majority and journal
    #[cfg(feature = "cluster")]
    MongoMany(mongo::Target),
    /// Insert 100 rows of tasks a call into MongoDB with the indexes of the server
    #[cfg(feature = "cluster")]
    MongoLikeTheServer(mongo::Target),
    /// Drop a database of MongoDB
    #[cfg(feature = "cluster")]
    MongoDrop {
        /// Connection string
        #[arg(long)]
        uri: String,
        /// Name of the database
        #[arg(long)]
        database: String,
    },
    /// Send messages to RocketMQ with the producer of the SDK
    #[cfg(feature = "cluster")]
    Rocketmq(rocketmq::Target),
    /// Insert and update documents, then send messages
    #[cfg(feature = "cluster")]
    Fire(fire::Target),
    /// Write the rows of runs with the indexes of the server, and send messages
    #[cfg(feature = "cluster")]
    FireLikeTheServer(fire::Target),
    /// Write the rows of runs from a queue, with the indexes of the server
    #[cfg(feature = "cluster")]
    PullLikeTheServer(mongo::Target),
    /// Write each run until a worker has it, with the indexes of the server, at a steady rate
    #[cfg(feature = "cluster")]
    SteadyLikeTheServer {
        #[command(flatten)]
        target: mongo::Target,
        /// Due runs a second
        #[arg(long, default_value_t = 500)]
        rate: usize,
    },
}

/// Runs one work.
pub async fn run(work: Raw) -> Result<Figures> {
    match work {
        Raw::Sqlite { dir, count } => sqlite::insert(&dir, count),
        Raw::SqliteLikeTheServer { dir, count } => sqlite::insert_like_the_server(&dir, count),
        Raw::FillHistory { dir, tasks, runs } => history::fill(&dir, tasks, runs),
        Raw::Echo(target) => echo::send(&target).await,
        Raw::EchoServer { dir } => echo::serve(dir.as_deref()).await,
        Raw::Disk { dir, count } => disk::sync(&dir, count),
        #[cfg(feature = "cluster")]
        Raw::MongoOne(target) => mongo::insert_one(&target).await,
        #[cfg(feature = "cluster")]
        Raw::MongoMany(target) => mongo::insert_many(&target).await,
        #[cfg(feature = "cluster")]
        Raw::MongoLikeTheServer(target) => mongo_runs::insert_tasks(&target).await,
        #[cfg(feature = "cluster")]
        Raw::MongoDrop { uri, database } => mongo::drop_database(&uri, &database).await,
        #[cfg(feature = "cluster")]
        Raw::Rocketmq(target) => rocketmq::send(&target).await,
        #[cfg(feature = "cluster")]
        Raw::Fire(target) => fire::fire(&target).await,
        #[cfg(feature = "cluster")]
        Raw::FireLikeTheServer(target) => fire::fire_like_the_server(&target).await,
        #[cfg(feature = "cluster")]
        Raw::PullLikeTheServer(target) => fire::pull_like_the_server(&target).await,
        #[cfg(feature = "cluster")]
        Raw::SteadyLikeTheServer { target, rate } => fire::steady_like_the_server(&target, rate).await,
    }
}
