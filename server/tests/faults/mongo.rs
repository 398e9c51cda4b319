//! MongoDB replica set of three nodes. Scenarios kill, freeze and step down its nodes.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mongodb::Client;
use mongodb::bson::{Document, doc};
use mongodb::options::{Acknowledgment, UpdateOptions, WriteConcern};

use crate::ports;
use crate::process::Program;
use crate::time;

const MEMBERS: usize = 3;
const SET: &str = "faults";

/// One mongod.
struct Member {
    port: u16,
    dir: PathBuf,
    program: Option<Program>,
}

/// The set.
pub struct Mongo {
    mongod: PathBuf,
    members: Vec<Member>,
}

impl Mongo {
    /// Starts three new nodes and waits until a majority acknowledges writes.
    pub async fn start(mongod: &Path, dir: &Path) -> Result<Self> {
        let mut members = Vec::new();
        for number in 0..MEMBERS {
            let dir = dir.join(format!("mongo-{number}"));
            std::fs::create_dir_all(dir.join("data"))?;
            members.push(Member { port: ports::free()?, dir, program: None });
        }
        let mut set = Self { mongod: mongod.to_owned(), members };
        for member in 0..MEMBERS {
            set.restart(member)?;
        }
        set.initiate().await?;
        set.until_writable(60_000).await?;
        Ok(set)
    }

    /// Returns the connection string of the set.
    pub fn uri(&self) -> String {
        let hosts: Vec<String> =
            self.members.iter().map(|member| format!("127.0.0.1:{}", member.port)).collect();
        format!("mongodb://{}/?replicaSet={SET}", hosts.join(","))
    }

    /// Returns the address of one node.
    pub fn host(&self, member: usize) -> String {
        format!("127.0.0.1:{}", self.members[member].port)
    }

    /// Returns a client of the set.
    pub async fn client(&self) -> Result<Client> {
        Ok(Client::with_uri_str(format!("{}&serverSelectionTimeoutMS=2000", self.uri())).await?)
    }

    async fn initiate(&self) -> Result<()> {
        let members: Vec<Document> =
            (0..MEMBERS).map(|n| doc! { "_id": n as i32, "host": self.host(n) }).collect();
        let config = doc! { "replSetInitiate": { "_id": SET, "members": members } };
        let first = self.direct(0).await?;
        time::wait_until("the replica set is initiated", 30_000, async || {
            let done = first.database("admin").run_command(config.clone()).await;
            done.is_ok() || done.is_err_and(|error| error.to_string().contains("already initialized"))
        })
        .await
    }

    async fn direct(&self, member: usize) -> Result<Client> {
        let host = self.host(member);
        Ok(Client::with_uri_str(format!(
            "mongodb://{host}/?directConnection=true&serverSelectionTimeoutMS=1000"
        ))
        .await?)
    }

    /// Returns the node that reports to be the primary.
    pub async fn primary(&self) -> Option<usize> {
        for member in 0..MEMBERS {
            let Ok(client) = self.direct(member).await else { continue };
            let admin = client.database("admin");
            let hello = admin.run_command(doc! { "hello": 1 });
            if let Ok(Ok(hello)) = tokio::time::timeout(Duration::from_millis(1_500), hello).await
                && hello.get_bool("isWritablePrimary").unwrap_or(false)
            {
                return Some(member);
            }
        }
        None
    }

    /// Waits until a majority acknowledges a write of a new client.
    pub async fn until_writable(&self, limit_ms: i64) -> Result<()> {
        let client = self.client().await?;
        time::wait_until("a majority acknowledges writes", limit_ms, async || {
            tokio::time::timeout(Duration::from_secs(3), write(&client)).await.is_ok_and(|done| done.is_ok())
        })
        .await
    }

    /// Starts a stopped node.
    pub fn restart(&mut self, member: usize) -> Result<()> {
        let Member { port, dir, program } = &mut self.members[member];
        let mut command = Command::new(&self.mongod);
        command.args(["--bind_ip", "127.0.0.1", "--port", &port.to_string(), "--replSet", SET]);
        command.args(["--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "256", "--nounixsocket", "--dbpath"]);
        command.arg(dir.join("data"));
        *program = Some(Program::start(&command, &dir.join("log"))?);
        Ok(())
    }

    pub fn kill(&mut self, member: usize) -> Result<()> {
        self.program(member)?.kill()?;
        self.members[member].program = None;
        Ok(())
    }

    pub fn signal(&mut self, member: usize, name: &str) -> Result<()> {
        self.program(member)?.signal(name)
    }

    /// Makes the primary step down.
    pub async fn step_down(&self, member: usize) -> Result<()> {
        let client = self.direct(member).await?;
        let command = doc! { "replSetStepDown": 20, "secondaryCatchUpPeriodSecs": 5 };
        client.database("admin").run_command(command).await?;
        Ok(())
    }

    fn program(&mut self, member: usize) -> Result<&mut Program> {
        self.members[member].program.as_mut().context("the node does not run")
    }

    /// Waits for a primary.
    pub async fn until_primary(&self) -> Result<usize> {
        let mut found = None;
        time::wait_until("there is a primary", 60_000, async || {
            found = self.primary().await;
            found.is_some()
        })
        .await?;
        ensure!(found.is_some());
        found.context("there is a primary")
    }
}

async fn write(client: &Client) -> mongodb::error::Result<()> {
    let concern = WriteConcern::builder().w(Acknowledgment::Majority).build();
    let options = UpdateOptions::builder().upsert(true).write_concern(concern).build();
    let probe = client.database("faults").collection::<Document>("probe");
    probe.update_one(doc! { "_id": 1 }, doc! { "$inc": { "n": 1 } }).with_options(options).await?;
    Ok(())
}
