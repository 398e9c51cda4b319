//! A bare axum server that returns the JSON it gets, and its clients.

use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result};
use axum::routing::post;
use axum::{Json, Router};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

use crate::figures::Figures;

const CLIENTS: usize = 64;

/// Starts the server in another process, and sends `count` requests.
pub async fn send(count: usize) -> Result<Figures> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (_server, address) = start().await?;
    let client = &reqwest::Client::builder().no_proxy().build()?;
    let url = &format!("http://{address}/v1/tasks");
    let requests = (0..count).map(|order| async move {
        let body = json!({"name": "pending", "data": format!("{{\"order\":{order}}}"), "start_at": "2038-01-01T00:00:00Z"});
        client.post(url).json(&body).send().await?.error_for_status()?.json::<Value>().await.map(drop)
    });
    let start = Instant::now();
    let () = stream::iter(requests).buffer_unordered(CLIENTS).try_collect().await?;
    Ok(Figures::rate(count, start))
}

async fn start() -> Result<(Child, String)> {
    let mut server = Command::new(std::env::current_exe()?)
        .arg("echo-server")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let output = server.stdout.take().context("the server has no standard output")?;
    let address = BufReader::new(output).lines().next_line().await?;
    Ok((server, address.context("the server ended during its start")?))
}

/// Serves until the standard input ends, which also happens when the parent is killed.
pub async fn serve() -> Result<Figures> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let router = Router::new().route("/v1/tasks", post(|Json(body): Json<Value>| async { Json(body) }));
    tokio::select! {
        served = axum::serve(listener, router) => served?,
        read = tokio::task::spawn_blocking(read_to_end) => read?,
    }
    Ok(Figures::default())
}

fn read_to_end() {
    let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
}
