//! Asked to stop, and told to.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::exit::Failure;

/// Both signals are caught from here on; the first cancels `asked`, the second does not ask.
pub fn watch(asked: CancellationToken) -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        let mut next =
            async || tokio::select! { _ = terminate.recv() => "SIGTERM", _ = interrupt.recv() => "SIGINT" };
        let signal = next().await;
        tracing::info!(signal, "stopping; the same again ends the process at once");
        asked.cancel();
        let signal = next().await;
        tracing::warn!(signal, "ended at once");
        Failure::Failed("ended at once".to_owned()).end();
    })
}
