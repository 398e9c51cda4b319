//! Accepts connections and ends them in order. axum's own `serve` has no time limit for a request's head, and this needs one.

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

use super::extensions::Peer;
use super::patience::Patient;
use super::peers::{Place, Places};
use super::{HttpLimits, HttpState, Mount, descriptors, router};
use crate::engine::service::Metrics;

/// After an error that concerns the whole process (no file descriptors left) accepting again at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `shutdown`; then accepts nothing more, and lets requests under way end within the grace.
///
/// # Errors
/// When the listener's address cannot be read, which is what a listener that never listened does.
pub async fn serve(
    listener: TcpListener,
    state: HttpState,
    limits: HttpLimits,
    mount: Mount,
    shutdown: CancellationToken,
) -> io::Result<()> {
    serve_over(listener, None, state, limits, mount, shutdown).await
}

/// The same; over TLS where it is given.
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
    let places = Places::new(descriptors::room_for(limits.max_connections), limits.max_connections_per_peer);
    while let Some((stream, peer, place)) = next_connection(&listener, &places, metrics, &shutdown).await {
        let served = connection(stream, tls.clone(), peer, router.clone(), limits, shutdown.clone());
        let cut_off = cut_off.clone();
        connections.spawn(async move {
            cut_off.run_until_cancelled(served).await;
            drop(place);
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

/// The next connection with its place; `None` when the server stops. Without a free place it waits, and callers queue; a caller
/// that has its share already is hung up on.
async fn next_connection(
    listener: &TcpListener,
    places: &Places,
    metrics: &Metrics,
    shutdown: &CancellationToken,
) -> Option<(TcpStream, Peer, Place)> {
    let accept = async {
        loop {
            let of_all = places.free().await?;
            match listener.accept().await {
                Ok((stream, address)) => {
                    if let Some(place) = places.take(address.ip().into(), of_all) {
                        return Some((stream, Peer(address.ip()), place));
                    }
                    metrics.connection_refused();
                    tracing::debug!(%address, "a caller has its share of the connections");
                }
                Err(error) if is_the_callers(&error) => {}
                Err(error) => {
                    tracing::error!(%error, "cannot accept connections");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    shutdown.run_until_cancelled(accept).await.flatten()
}

fn is_the_callers(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(error.kind(), K::ConnectionRefused | K::ConnectionAborted | K::ConnectionReset)
}

async fn connection(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    peer: Peer,
    router: Router,
    limits: HttpLimits,
    shutdown: CancellationToken,
) {
    let service = router.map_request(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(peer);
        request
    });
    let service = TowerToHyperService::new(service);
    // Answers are small and awaited: waiting to fill a packet only delays them.
    let _ = stream.set_nodelay(true);
    let stream = Patient::new(stream, limits.write_timeout);
    match tls {
        None => converse(stream, service, limits, shutdown).await,
        Some(tls) => match tokio::time::timeout(limits.header_timeout, tls.accept(stream)).await {
            Ok(Ok(stream)) => converse(stream, service, limits, shutdown).await,
            Ok(Err(error)) => tracing::debug!(%error, "no TLS connection came about"),
            Err(_) => tracing::debug!("no TLS connection came about in time"),
        },
    }
}

async fn converse<S>(
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
        tracing::debug!(%error, "a connection ended early");
    }
}
