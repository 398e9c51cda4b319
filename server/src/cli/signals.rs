//! Shutdown signals.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::exit::Failure;

/// Catches SIGTERM and SIGINT from this call on. In the returned future, the first signal cancels
/// `shutdown`, and the second one ends the process.
pub fn watch(shutdown: CancellationToken) -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        let mut next =
            async || tokio::select! { _ = terminate.recv() => "SIGTERM", _ = interrupt.recv() => "SIGINT" };
        let signal = next().await;
        tracing::info!(signal, "shutting down; a second signal ends the process immediately");
        shutdown.cancel();
        let signal = next().await;
        tracing::warn!(signal, "shutdown interrupted");
        Failure::Failed("a second signal interrupted the shutdown".to_owned()).exit();
    })
}
