//! A bare axum server that returns the JSON it gets, with or without a row in SQLite, and its clients.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result};
use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

use super::sqlite::{RowWriter, Stored};
use crate::figures::Figures;

const CLIENTS: usize = 64;
const MANY: usize = 100;
const MANY_AT_ONCE: usize = 4;

/// What the requests do.
#[derive(clap::Args)]
pub struct Target {
    /// Number of objects
    #[arg(long)]
    pub count: usize,
    /// Directory for a database: the answer waits until each object is a durable row of the server's table
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// 100 objects a request, 4 requests at once
    #[arg(long)]
    pub many: bool,
}

/// Starts the server in another process, and sends requests.
pub async fn send(target: &Target) -> Result<Figures> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (_server, address) = start(target.dir.as_deref()).await?;
    let (size, at_once) = if target.many { (MANY, MANY_AT_ONCE) } else { (1, CLIENTS) };
    let client = &reqwest::Client::builder().no_proxy().build()?;
    let url = &format!("http://{address}/v1/tasks");
    let requests = (0..target.count).step_by(size).map(|first| async move {
        let body: Vec<Value> = (first..(first + size).min(target.count)).map(task).collect();
        client.post(url).json(&body).send().await?.error_for_status()?.json::<Value>().await.map(drop)
    });
    let start = Instant::now();
    let () = stream::iter(requests).buffer_unordered(at_once).try_collect().await?;
    Ok(Figures::rate(target.count, start))
}

fn task(order: usize) -> Value {
    json!({"name": "pending", "data": format!("{{\"order\":{order}}}"), "start_at": "2038-01-01T00:00:00Z"})
}

async fn start(dir: Option<&Path>) -> Result<(Child, String)> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("echo-server");
    if let Some(dir) = dir {
        command.arg("--dir").arg(dir);
    }
    let mut server = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let output = server.stdout.take().context("the server has no standard output")?;
    let address = BufReader::new(output).lines().next_line().await?;
    Ok((server, address.context("the server ended during its start")?))
}

/// Serves until the standard input ends, which also happens when the parent is killed.
pub async fn serve(dir: Option<&Path>) -> Result<Figures> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let writer = dir.map(RowWriter::start).transpose()?;
    println!("{}", listener.local_addr()?);
    let router = Router::new().route("/v1/tasks", post(answer)).with_state(writer);
    tokio::select! {
        served = axum::serve(listener, router) => served?,
        read = tokio::task::spawn_blocking(read_to_end) => read?,
    }
    Ok(Figures::default())
}

async fn answer(State(writer): State<Option<RowWriter>>, Json(body): Json<Vec<Value>>) -> Json<Vec<Value>> {
    if let Some(writer) = writer {
        let rows = body.iter().map(Value::to_string).collect();
        let Stored = writer.store(rows).await;
    }
    Json(body)
}

fn read_to_end() {
    let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
}
