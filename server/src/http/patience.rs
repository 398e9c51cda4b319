//! A connection whose peer must take what it is sent.
//!
//! A caller that asks and never reads its answers would keep a place, and the answer's memory, for as long as it likes: no other
//! time limit looks at a write.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// What a peer has to take within the time, where so much waits for it: who takes a byte now and then stays no longer than who takes
/// none.
const LEAST_BYTES: usize = 16 * 1024;

/// A stream that fails when its peer takes too little of what is written to it.
pub struct Patient<S> {
    stream: S,
    timeout: Duration,
    waiting: Option<Waiting>,
}

/// What has gone since the peer first let us wait.
struct Waiting {
    ends: Pin<Box<Sleep>>,
    written: usize,
}

impl<S> Patient<S> {
    /// Waits so long for [`LEAST_BYTES`] to go, or for all that there is.
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
                ready!(self.give_up(cx));
                Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the peer does not read its answers",
                )))
            }
        }
    }

    /// Ready when the peer has had its time.
    fn give_up(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let fresh = || Waiting { ends: Box::pin(tokio::time::sleep(self.timeout)), written: 0 };
        loop {
            let waiting = self.waiting.get_or_insert_with(fresh);
            ready!(waiting.ends.as_mut().poll(cx));
            if waiting.written < LEAST_BYTES {
                return Poll::Ready(());
            }
            self.waiting = None;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
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

    /// Comes when everything has been written: the peer owes nothing any more.
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

    fn pair() -> (Patient<DuplexStream>, DuplexStream) {
        let (ours, theirs) = duplex(1_024);
        (Patient::new(ours, TIMEOUT), theirs)
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_is_given_up() {
        let (mut stream, _peer) = pair();
        let error = stream.write_all(&vec![0; 64 * 1024]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_a_byte_now_and_then_is_given_up() {
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
        let error = tokio::select! { error = write => error.unwrap_err(), () = trickle => panic!("it ends only when the other end does") };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_is_slow_and_reads_gets_everything() {
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
    async fn silence_between_answers_counts_for_nothing() {
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
