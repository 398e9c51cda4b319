//! Accepts connections, and closes them at shutdown after their requests have finished.
//! `axum::serve` has no time limit for the head of a request, so this module replaces
//! `axum::serve`.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::HttpService;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::answers::CutOff;
use super::peers::{ConnectionLimit, ConnectionPermit};
use super::request_info::Peer;
use super::write_timeout::WriteTimeout;
use super::{HttpLimits, HttpState, Mount, descriptors, router};
use crate::engine::service::Metrics;

/// Pause after an error of the whole process, such as no free file descriptors. Without it the loop
/// would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `shutdown`. Then accepts no connections, and waits up to the grace period for the
/// running requests.
///
/// # Errors
/// An error if the address of the listener cannot be read.
pub async fn serve(
    listener: TcpListener,
    state: HttpState,
    limits: HttpLimits,
    mount: Mount,
    shutdown: CancellationToken,
) -> io::Result<()> {
    serve_over(listener, None, state, limits, mount, shutdown).await
}

/// Like [`serve`], with optional TLS.
///
/// # Errors
/// As [`serve`].
pub async fn serve_over(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    state: HttpState,
    limits: HttpLimits,
    mount: Mount,
    shutdown: CancellationToken,
) -> io::Result<()> {
    tracing::info!(address = %listener.local_addr()?, tls = tls.is_some(), "listening");
    let metrics = Arc::clone(&state.metrics);
    serve_router(listener, tls, router(state, limits, mount), limits, &metrics, shutdown).await;
    Ok(())
}

async fn serve_router(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    limits: HttpLimits,
    metrics: &Metrics,
    shutdown: CancellationToken,
) {
    let cut_off = CancellationToken::new();
    let connections = TaskTracker::new();
    let connection_limit = ConnectionLimit::new(
        descriptors::max_connections(limits.max_connections),
        limits.max_connections_per_peer,
    );
    while let Some((stream, peer, permit)) =
        next_connection(&listener, &connection_limit, metrics, &shutdown).await
    {
        let cut_off = cut_off.child_token();
        let marks = (peer, CutOff(cut_off.clone()));
        let served = connection(stream, tls.clone(), marks, router.clone(), limits, shutdown.clone());
        connections.spawn(async move {
            cut_off.run_until_cancelled(served).await;
            drop(permit);
        });
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(limits.shutdown_grace, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "requests under way are cut off");
        cut_off.cancel();
        connections.wait().await;
    }
}

/// Returns the next connection with its permit. At the total limit, callers wait; a caller above
/// the limit of its peer is closed. `None`: the server stops.
async fn next_connection(
    listener: &TcpListener,
    connection_limit: &ConnectionLimit,
    metrics: &Metrics,
    shutdown: &CancellationToken,
) -> Option<(TcpStream, Peer, ConnectionPermit)> {
    let accept = async {
        loop {
            let total = connection_limit.acquire().await?;
            match listener.accept().await {
                Ok((stream, address)) => {
                    if let Some(permit) = connection_limit.assign(address.ip().into(), total) {
                        return Some((stream, Peer(address.ip()), permit));
                    }
                    metrics.connection_refused();
                    tracing::debug!(%address, "connection refused: the peer has reached its limit");
                }
                Err(error) if is_error_of_the_caller(&error) => {}
                Err(error) => {
                    tracing::error!(%error, "accept failed; retrying");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    shutdown.run_until_cancelled(accept).await.flatten()
}

fn is_error_of_the_caller(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(error.kind(), K::ConnectionRefused | K::ConnectionAborted | K::ConnectionReset)
}

async fn connection(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    (peer, cut_off): (Peer, CutOff),
    router: Router,
    limits: HttpLimits,
    shutdown: CancellationToken,
) {
    let service = router.map_request(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(cut_off.clone());
        request
    });
    let service = TowerToHyperService::new(service);
    // Answers are small, and Nagle's algorithm would delay them.
    let _ = stream.set_nodelay(true);
    let stream = WriteTimeout::new(stream, limits.write_timeout);
    match tls {
        None => serve_connection(stream, service, limits, shutdown).await,
        Some(tls) => match tokio::time::timeout(limits.header_timeout, tls.accept(stream)).await {
            Ok(Ok(stream)) => serve_connection(stream, service, limits, shutdown).await,
            Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
            Err(_) => tracing::debug!("TLS handshake timed out"),
        },
    }
}

async fn serve_connection<S>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    service: S,
    limits: HttpLimits,
    shutdown: CancellationToken,
) where
    S: HttpService<Incoming, ResBody = Body, Error: Into<Box<dyn Error + Send + Sync>>>,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(limits.max_head_bytes)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended early");
    }
}
