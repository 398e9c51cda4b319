//! Write timeout of a connection.
//!
//! A caller that never reads its answers would occupy a connection and memory without limit,
//! because no other time limit covers writes.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// Number of bytes that a peer must read within the timeout, if as many are waiting. So a peer that
/// reads one byte at a time is closed like a peer that reads nothing.
const MIN_BYTES: usize = 16 * 1024;

/// Stream with a write timeout.
pub struct WriteTimeout<S> {
    stream: S,
    timeout: Duration,
    waiting: Option<Waiting>,
}

/// A write that waits for the peer.
struct Waiting {
    deadline: Pin<Box<Sleep>>,
    written: usize,
}

impl<S> WriteTimeout<S> {
    /// Wraps a stream. A write fails if the peer reads less than [`MIN_BYTES`] within `timeout`.
    pub fn new(stream: S, timeout: Duration) -> Self {
        Self { stream, timeout, waiting: None }
    }

    fn wrote(&mut self, outcome: Poll<io::Result<usize>>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match outcome {
            Poll::Ready(Ok(bytes)) => {
                if let Some(waiting) = &mut self.waiting {
                    waiting.written = waiting.written.saturating_add(bytes);
                }
                Poll::Ready(Ok(bytes))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                ready!(self.poll_timeout(cx));
                Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the peer does not read its answers",
                )))
            }
        }
    }

    /// Is ready after the timeout.
    fn poll_timeout(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let fresh = || Waiting { deadline: Box::pin(tokio::time::sleep(self.timeout)), written: 0 };
        loop {
            let waiting = self.waiting.get_or_insert_with(fresh);
            ready!(waiting.deadline.as_mut().poll(cx));
            if waiting.written < MIN_BYTES {
                return Poll::Ready(());
            }
            self.waiting = None;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteTimeout<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteTimeout<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(outcome, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.wrote(outcome, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// A flush follows a complete answer, so the timeout ends.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.waiting = None;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(30);

    fn pair() -> (WriteTimeout<DuplexStream>, DuplexStream) {
        let (ours, theirs) = duplex(1_024);
        (WriteTimeout::new(ours, TIMEOUT), theirs)
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_reads_nothing_is_an_error() {
        let (mut stream, _peer) = pair();
        let error = stream.write_all(&vec![0; 64 * 1024]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_reads_single_bytes_is_an_error() {
        let (mut stream, mut peer) = pair();
        let trickle = async {
            loop {
                tokio::time::advance(Duration::from_secs(10)).await;
                if peer.read_u8().await.is_err() {
                    return;
                }
            }
        };
        let data = vec![0; 64 * 1024];
        let write = stream.write_all(&data);
        let error = tokio::select! { error = write => error.unwrap_err(), () = trickle => panic!("the peer ended first") };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_peer_gets_the_whole_answer() {
        let (mut stream, mut peer) = pair();
        let data = vec![7; 256 * 1024];
        let read = async {
            let mut got = Vec::new();
            while got.len() < data.len() {
                tokio::time::advance(Duration::from_millis(900)).await;
                peer.read_buf(&mut got).await.unwrap();
            }
            got
        };
        let (written, got) = tokio::join!(stream.write_all(&data), read);
        written.unwrap();
        assert_eq!(got, data);
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_has_no_write_timeout() {
        let (mut stream, mut peer) = pair();
        let mut got = vec![0; 2_000];
        for _ in 0..3 {
            let write = async {
                stream.write_all(&[1; 2_000]).await?;
                stream.flush().await
            };
            let (written, read) = tokio::join!(write, peer.read_exact(&mut got));
            written.unwrap();
            read.unwrap();
            tokio::time::advance(10 * TIMEOUT).await;
        }
    }
}
