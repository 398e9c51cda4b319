//! One connection to a broker or name server.
//!
//! One task writes: it joins the waiting frames into one write. One task reads, and hands each
//! response to its request by `opaque`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::monotonic;
use crate::protocol::{codes, frame};
use crate::{Command, Error};

/// Bytes that are joined into one write.
const WRITE_BYTES: usize = 256 * 1024;
/// Frames that wait for the writer.
const QUEUED_FRAMES: usize = 1024;
/// Capacity that a buffer keeps between two writes or reads, in bytes.
const KEPT_BYTES: usize = 1024 * 1024;
/// A connection that is silent for this time after a request timed out is replaced. Its peer may
/// have disappeared without a trace.
const MAX_SILENCE: Duration = Duration::from_secs(5);

/// A TCP or TLS stream.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for T {}

/// Answers a request of the server. The result is sent unless the request is one-way.
pub(crate) type OnRequest = Arc<dyn Fn(Command) -> Command + Send + Sync>;

/// Bounds of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub max_in_flight: usize,
    pub max_frame_bytes: usize,
}

/// An open connection. A drop closes it.
pub(crate) struct Connection {
    shared: Arc<Shared>,
    frames: mpsc::Sender<Outgoing>,
}

struct Shared {
    address: Arc<str>,
    limits: Limits,
    calls: Mutex<Calls>,
    permits: Semaphore,
    next_opaque: AtomicI32,
    closed: CancellationToken,
    /// The server answered at least once.
    answered: AtomicBool,
    /// The server wants the client to use another connection.
    going_away: AtomicBool,
    /// Milliseconds from the start of the connection to the first time-out since the server was
    /// last heard; 0: none.
    suspect_since: AtomicU64,
    started: tokio::time::Instant,
}

#[derive(Default)]
struct Calls {
    waiting: HashMap<i32, Call>,
    /// Reason of the end of the connection.
    closed: Option<String>,
}

/// Response to a request, or the reason why there is none.
type Answer = Result<Command, Error>;

struct Call {
    answer: oneshot::Sender<Answer>,
    /// The writer took the request, so it may arrive.
    taken: bool,
}

struct Outgoing {
    /// Request that is skipped if nobody waits for its response any more.
    call: Option<i32>,
    head: Bytes,
    body: Bytes,
}

impl Outgoing {
    fn new(command: &Command, call: Option<i32>) -> Self {
        let mut head = BytesMut::new();
        frame::encode_head(command, &mut head);
        Self { call, head: head.freeze(), body: command.body.clone() }
    }
}

impl Connection {
    /// Starts the tasks of a connection.
    pub fn start(
        address: Arc<str>,
        stream: impl Stream,
        limits: Limits,
        on_request: OnRequest,
        tasks: &TaskTracker,
    ) -> Self {
        let (frames, queue) = mpsc::channel(QUEUED_FRAMES);
        let shared = Arc::new(Shared {
            address,
            limits,
            calls: Mutex::default(),
            permits: Semaphore::new(limits.max_in_flight),
            next_opaque: AtomicI32::new(0),
            closed: CancellationToken::new(),
            answered: AtomicBool::new(false),
            going_away: AtomicBool::new(false),
            suspect_since: AtomicU64::new(0),
            started: monotonic(),
        });
        let (reader, writer) = tokio::io::split(stream);
        tasks.spawn(write(Arc::clone(&shared), writer, queue));
        tasks.spawn(read(Arc::clone(&shared), reader, on_request, frames.downgrade()));
        Self { shared, frames }
    }

    /// Sends a request and waits for its response, whatever the code of the response is.
    pub async fn call(&self, request: Command, timeout: Duration) -> Result<Command, Error> {
        let opaque = self.shared.next_opaque.fetch_add(1, Ordering::Relaxed);
        // Its drop removes the entry also if this future is dropped.
        let waiting = Waiting { shared: &self.shared, opaque };
        let (answer, mut answered) = oneshot::channel();
        let exchange = self.exchange(request, opaque, answer, &mut answered);
        let exchanged = tokio::time::timeout(timeout, exchange).await;
        exchanged.unwrap_or_else(|_| waiting.expire(timeout, answered))
    }

    async fn exchange(
        &self,
        mut request: Command,
        opaque: i32,
        answer: oneshot::Sender<Answer>,
        answered: &mut oneshot::Receiver<Answer>,
    ) -> Answer {
        let _permit = self.shared.permits.acquire().await.map_err(|_| Error::Closed)?;
        request.opaque = opaque;
        self.shared.register(opaque, answer)?;
        let outgoing = Outgoing::new(&request, Some(opaque));
        // If the writer has ended, `close` answers the call.
        let _ = self.frames.send(outgoing).await;
        answered.await.unwrap_or_else(|_| Err(self.shared.unanswered("the connection ended")))
    }

    /// Returns whether new requests may use the connection.
    pub fn is_usable(&self) -> bool {
        !self.shared.closed.is_cancelled() && !self.shared.going_away.load(Ordering::Relaxed)
    }

    /// Returns whether the server has ever sent a frame.
    pub fn has_answered(&self) -> bool {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// Returns a token that is cancelled when the connection ends.
    pub fn watch_end(&self) -> CancellationToken {
        self.shared.closed.clone()
    }

    /// Closes the connection. Waiting requests fail.
    pub fn close(&self) {
        self.shared.close("the client closed the connection");
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.close();
    }
}

/// A request that waits for its response.
struct Waiting<'a> {
    shared: &'a Shared,
    opaque: i32,
}

impl Waiting<'_> {
    /// Gives up, and returns the error: after the writer took the request, its result is unknown. An
    /// answer that arrives at the last moment counts.
    fn expire(&self, timeout: Duration, mut answered: oneshot::Receiver<Answer>) -> Answer {
        let call = self.shared.calls().waiting.remove(&self.opaque);
        // A writer that is blocked also shows that the server is silent.
        if call.is_some() {
            self.shared.suspect();
        }
        let limit = timeout.as_millis();
        let unanswered = || self.shared.unanswered(format!("no response within {limit} ms"));
        match (call, answered.try_recv()) {
            (Some(call), _) if call.taken => Err(unanswered()),
            (None, Ok(answer)) => answer,
            // The answer is on its way from the reader.
            (None, Err(oneshot::error::TryRecvError::Empty)) => Err(unanswered()),
            _ => Err(self.shared.unreachable(format!("the request could not be sent within {limit} ms"))),
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.shared.calls().waiting.remove(&self.opaque);
    }
}

impl Shared {
    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unreachable(&self, reason: impl Into<String>) -> Error {
        Error::Unreachable { address: self.address.to_string(), reason: reason.into() }
    }

    fn unanswered(&self, reason: impl Into<String>) -> Error {
        Error::Unanswered { address: self.address.to_string(), reason: reason.into() }
    }

    fn register(&self, opaque: i32, answer: oneshot::Sender<Answer>) -> Result<(), Error> {
        let mut calls = self.calls();
        if let Some(reason) = &calls.closed {
            return Err(self.unreachable(reason.as_str()));
        }
        calls.waiting.insert(opaque, Call { answer, taken: false });
        Ok(())
    }

    /// Closes the connection once, and answers all waiting requests.
    fn close(&self, reason: &str) {
        let waiting = {
            let mut calls = self.calls();
            if calls.closed.is_some() {
                return;
            }
            calls.closed = Some(reason.to_owned());
            std::mem::take(&mut calls.waiting)
        };
        self.closed.cancel();
        for call in waiting.into_values() {
            let error = if call.taken { self.unanswered(reason) } else { self.unreachable(reason) };
            let _ = call.answer.send(Err(error));
        }
    }

    /// Notes a time-out. Closes the connection if the server has been silent for too long since the
    /// first of them.
    fn suspect(&self) {
        let now = self.started.elapsed().as_millis() as u64;
        let first = self.suspect_since.compare_exchange(0, now.max(1), Ordering::Relaxed, Ordering::Relaxed);
        if first.is_err_and(|since| now.saturating_sub(since) >= MAX_SILENCE.as_millis() as u64) {
            self.close("the server has been silent for too long");
        }
    }

    fn heard(&self) {
        self.answered.store(true, Ordering::Relaxed);
        self.suspect_since.store(0, Ordering::Relaxed);
    }

    /// Marks a request as sent. Returns false if nobody waits for its response any more.
    fn take_call(&self, opaque: Option<i32>) -> bool {
        let Some(opaque) = opaque else { return true };
        match self.calls().waiting.get_mut(&opaque) {
            Some(call) => {
                call.taken = true;
                true
            }
            None => false,
        }
    }

    fn answer(&self, response: Command) {
        if response.code == codes::GO_AWAY {
            self.going_away.store(true, Ordering::Relaxed);
        }
        let call = self.calls().waiting.remove(&response.opaque);
        if let Some(call) = call {
            let _ = call.answer.send(Ok(response));
        }
    }
}

async fn write(shared: Arc<Shared>, mut stream: WriteHalf<impl Stream>, mut queue: mpsc::Receiver<Outgoing>) {
    let mut buffer = BytesMut::with_capacity(WRITE_BYTES);
    let closed = shared.closed.clone();
    let writing = async {
        while let Some(first) = queue.recv().await {
            // Lets the requests that are ready now join this write.
            tokio::task::yield_now().await;
            append(&shared, &mut buffer, &first);
            while buffer.len() < WRITE_BYTES
                && let Ok(next) = queue.try_recv()
            {
                append(&shared, &mut buffer, &next);
            }
            stream.write_all(&buffer).await?;
            stream.flush().await?;
            buffer.clear();
            if buffer.capacity() > KEPT_BYTES {
                buffer = BytesMut::with_capacity(WRITE_BYTES);
            }
        }
        Ok::<(), std::io::Error>(())
    };
    let ended = tokio::select! {
        ended = writing => ended,
        () = closed.cancelled() => Ok(()),
    };
    match ended {
        Ok(()) => shared.close("the client closed the connection"),
        Err(why) => shared.close(&format!("cannot write: {why}")),
    }
    // Sends the end of the stream, for TLS with its notice.
    let _ = tokio::time::timeout(Duration::from_millis(100), stream.shutdown()).await;
}

fn append(shared: &Shared, buffer: &mut BytesMut, outgoing: &Outgoing) {
    if shared.take_call(outgoing.call) {
        buffer.extend_from_slice(&outgoing.head);
        buffer.extend_from_slice(&outgoing.body);
    }
}

async fn read(
    shared: Arc<Shared>,
    mut stream: ReadHalf<impl Stream>,
    on_request: OnRequest,
    frames: mpsc::WeakSender<Outgoing>,
) {
    let closed = shared.closed.clone();
    let reading = async {
        let mut buffer = BytesMut::new();
        loop {
            match frame::take(&mut buffer, shared.limits.max_frame_bytes) {
                Ok(Some(frame)) => receive(&shared, frame, &on_request, &frames)?,
                Ok(None) => match stream.read_buf(&mut buffer).await {
                    Ok(0) => return Err::<(), _>("the server closed the connection".to_owned()),
                    Ok(_) => shared.heard(),
                    Err(why) => return Err(format!("cannot read: {why}")),
                },
                Err(why) => return Err(format!("the server sent {why}")),
            }
        }
    };
    let ended = tokio::select! {
        ended = reading => ended,
        () = closed.cancelled() => Ok(()),
    };
    if let Err(reason) = ended {
        tracing::debug!(address = &*shared.address, reason, "RocketMQ connection ended");
        shared.close(&reason);
    }
}

/// Handles a response, or a request of the server.
fn receive(
    shared: &Shared,
    frame: Bytes,
    on_request: &OnRequest,
    frames: &mpsc::WeakSender<Outgoing>,
) -> Result<(), String> {
    let command = frame::decode(frame).map_err(|why| format!("the server sent {why}"))?;
    if command.is_response() {
        shared.answer(command);
        return Ok(());
    }
    let (opaque, one_way) = (command.opaque, command.is_one_way());
    let mut response = on_request(command);
    response.opaque = opaque;
    // A server that floods requests and does not read responses loses them.
    if let (false, Some(frames)) = (one_way, frames.upgrade()) {
        let _ = frames.try_send(Outgoing::new(&response, None));
    }
    Ok(())
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
