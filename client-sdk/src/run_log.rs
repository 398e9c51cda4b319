//! Lines that a handler writes to the log of its run. They are sent in batches while the handler runs.
//!
//! A log never delays or fails a handler: a line goes into a bounded buffer, and a failed request is repeated
//! in the background. A batch keeps its id, so that the server stores a repeated batch once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::clock::Clock;
use crate::random;
use crate::report::{ReportError, Reporter};
use crate::resources::{LogBatch, LogEntry, LogLevel};

/// Maximum length of a line, in bytes; the server has the same limit. A longer line is cut.
const MAX_LINE_BYTES: usize = 4_096;
/// Maximum size of a batch. The server has the same limits, and counts the same costs.
const MAX_BATCH: Size = Size { lines: 500, bytes: 64 * 1_024 };
const LINE_COST: usize = 32;
const BATCH_COST: usize = 256;
/// Size of the buffer in bytes. When it is full, the oldest lines are dropped.
const BUFFER_BYTES: usize = 256 * 1_024;
/// How long a line waits for others, to share a request with them.
const LINGER: Duration = Duration::from_millis(200);
/// Number of lines that do not wait for others.
const FULL_ENOUGH: usize = 64;
/// First and longest pause after a failed request.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Longest delay of an outcome by the last lines.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Size of lines.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    lines: usize,
    bytes: usize,
}

/// Lines of an attempt that have not been sent.
pub(crate) struct LogBuffer {
    state: Mutex<State>,
    changed: Notify,
    clock: Arc<dyn Clock>,
}

#[derive(Default)]
struct State {
    lines: VecDeque<LogEntry>,
    bytes: usize,
    /// Lines that were dropped before the first of `lines`.
    dropped: u64,
    /// Number of lines in the request under way.
    under_way: usize,
    /// Whether the handler has ended.
    closed: bool,
    /// Whether the server refuses further lines.
    refused: bool,
}

impl std::fmt::Debug for LogBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogBuffer").finish_non_exhaustive()
    }
}

/// Where the lines of an attempt go.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) reporter: &'a dyn Reporter,
    pub(crate) run_id: &'a str,
    pub(crate) attempt: u32,
    pub(crate) token: &'a str,
}

impl LogBuffer {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { state: Mutex::default(), changed: Notify::new(), clock }
    }

    /// Adds the lines of a text.
    pub(crate) fn write(&self, level: LogLevel, text: &str) {
        let at = Timestamp::from_millisecond(self.clock.now_ms()).unwrap_or_default();
        let mut state = self.state();
        if state.closed || state.refused {
            return;
        }
        let was_empty = state.lines.is_empty();
        // An empty text is an empty line.
        let empty = text.is_empty().then_some("");
        for text in text.lines().chain(empty) {
            let text = text[..text.floor_char_boundary(MAX_LINE_BYTES)].to_owned();
            state.push(LogEntry { at, level, text });
        }
        let wakes = was_empty || state.lines.len() >= FULL_ENOUGH;
        drop(state);
        if wakes {
            self.changed.notify_one();
        }
    }

    /// Runs a handler and sends its lines meanwhile. The last lines delay the return by at most
    /// [`FLUSH_TIMEOUT`].
    pub(crate) async fn send_during<T>(
        &self,
        target: Option<Target<'_>>,
        handler: impl Future<Output = T>,
        interrupted: &CancellationToken,
    ) -> T {
        let Some(target) = target else {
            self.state().closed = true;
            return handler.await;
        };
        let sending = self.send_all(target);
        tokio::pin!(sending);
        let outcome = tokio::select! {
            biased;
            outcome = handler => outcome,
            () = &mut sending => unreachable!("the buffer is closed after the handler"),
        };
        self.state().closed = true;
        self.changed.notify_one();
        let _ = interrupted.run_until_cancelled(timeout(FLUSH_TIMEOUT, sending)).await;
        let lines = self.state().unsent();
        if lines > 0 {
            let Target { run_id, attempt, .. } = target;
            warn!(run_id, attempt, lines, "the last log lines were not sent in time");
        }
        outcome
    }

    /// Sends batches until the buffer is closed and empty.
    async fn send_all(&self, target: Target<'_>) {
        while let Some(lines) = self.next_batch().await {
            self.send(target, lines).await;
        }
    }

    async fn next_batch(&self) -> Option<Vec<LogEntry>> {
        loop {
            let (lines, closed) = {
                let state = self.state();
                (state.lines.len(), state.closed)
            };
            if lines > 0 && (closed || lines >= FULL_ENOUGH || self.has_lingered().await) {
                return Some(self.state().take_batch(self.now()));
            }
            if lines == 0 && closed {
                return None;
            }
            if lines == 0 {
                self.changed.notified().await;
            }
        }
    }

    /// Returns whether the wait for further lines is over. `false`: look again.
    async fn has_lingered(&self) -> bool {
        tokio::select! {
            () = sleep(LINGER) => true,
            () = self.changed.notified() => false,
        }
    }

    /// Sends a batch until the server stores or refuses it.
    async fn send(&self, target: Target<'_>, lines: Vec<LogEntry>) {
        let Target { reporter, run_id, attempt, token } = target;
        let batch = LogBatch { attempt, token: token.to_owned(), batch_id: random::key(), lines };
        let mut pause = PAUSES.0;
        loop {
            match reporter.append_log(run_id, batch.clone()).await {
                Ok(()) => {
                    self.state().under_way = 0;
                    return;
                }
                Err(ReportError::Refused(reason)) => {
                    debug!(run_id, attempt, reason, "log lines refused; the rest of the log is dropped");
                    self.state().refuse();
                    return;
                }
                Err(ReportError::Undelivered(reason)) => {
                    debug!(run_id, attempt, reason, "log lines not delivered; retrying");
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSES.1);
                }
            }
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.clock.now_ms()).unwrap_or_default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No change panics halfway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn push(&mut self, line: LogEntry) {
        self.bytes += cost(&line);
        self.lines.push_back(line);
        while self.bytes > BUFFER_BYTES {
            let Some(oldest) = self.lines.pop_front() else { return };
            self.bytes -= cost(&oldest);
            self.dropped += 1;
        }
    }

    /// Takes the first lines, with a note of those that were dropped before them.
    fn take_batch(&mut self, now: Timestamp) -> Vec<LogEntry> {
        let mut size = Size { lines: 0, bytes: BATCH_COST };
        let mut batch = Vec::new();
        if let dropped @ 1.. = std::mem::take(&mut self.dropped) {
            let at = self.lines.front().map_or(now, |line| line.at);
            let text = format!("{dropped} lines dropped: the handler writes faster than the server stores");
            let note = LogEntry { at, level: LogLevel::Warn, text };
            size.bytes += cost(&note);
            batch.push(note);
        }
        while let Some(line) = self.lines.pop_front() {
            size.bytes += cost(&line);
            if batch.len() == MAX_BATCH.lines || size.bytes > MAX_BATCH.bytes {
                self.lines.push_front(line);
                break;
            }
            self.bytes -= cost(&line);
            batch.push(line);
        }
        self.under_way = batch.len();
        batch
    }

    /// Returns the number of lines that the server may not have.
    fn unsent(&self) -> usize {
        self.lines.len() + self.under_way
    }

    fn refuse(&mut self) {
        (self.refused, self.bytes, self.under_way) = (true, 0, 0);
        self.lines.clear();
    }
}

fn cost(line: &LogEntry) -> usize {
    LINE_COST + line.text.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    fn buffer() -> LogBuffer {
        LogBuffer::new(Arc::new(ManualClock::new(5)))
    }

    fn texts(batch: &[LogEntry]) -> Vec<&str> {
        batch.iter().map(|line| line.text.as_str()).collect()
    }

    fn take(buffer: &LogBuffer) -> Vec<LogEntry> {
        buffer.state().take_batch(Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_text_is_split_into_lines_and_a_long_line_is_cut() {
        let buffer = buffer();
        buffer.write(LogLevel::Info, "a\nb\r\n");
        buffer.write(LogLevel::Info, &"x".repeat(MAX_LINE_BYTES + 1));
        let batch = take(&buffer);
        assert_eq!((texts(&batch)[..2].to_vec(), buffer.state().unsent()), (vec!["a", "b"], 3));
        assert_eq!((batch[2].text.len(), batch[0].at.as_millisecond()), (MAX_LINE_BYTES, 5));
    }

    #[test]
    fn a_full_buffer_drops_the_oldest_lines_and_counts_them() {
        let buffer = buffer();
        for n in 0..100 {
            buffer.write(LogLevel::Info, &format!("{n:04096}"));
        }
        let batch = take(&buffer);
        let kept = BUFFER_BYTES / (MAX_LINE_BYTES + LINE_COST);
        let dropped = 100 - kept;
        assert!(batch[0].text.starts_with(&format!("{dropped} lines dropped")), "{}", batch[0].text);
        assert_eq!(batch[1].text, format!("{dropped:04096}"));
        assert!(buffer.state().bytes <= BUFFER_BYTES);
    }

    #[test]
    fn a_batch_is_bounded() {
        let buffer = buffer();
        (0..501).for_each(|_| buffer.write(LogLevel::Info, "x"));
        assert_eq!((take(&buffer).len(), take(&buffer).len()), (500, 1));
        (0..17).for_each(|_| buffer.write(LogLevel::Info, &"x".repeat(MAX_LINE_BYTES)));
        let batch = take(&buffer);
        let bytes = BATCH_COST + batch.iter().map(cost).sum::<usize>();
        assert!(bytes <= MAX_BATCH.bytes && batch.len() == 15, "{bytes} bytes, {} lines", batch.len());
    }

    #[test]
    fn nothing_is_kept_after_a_refusal_or_the_end() {
        let buffer = buffer();
        buffer.write(LogLevel::Info, "x");
        buffer.state().refuse();
        buffer.write(LogLevel::Info, "x");
        assert!(take(&buffer).is_empty() && buffer.state().bytes == 0 && buffer.state().unsent() == 0);
    }
}
