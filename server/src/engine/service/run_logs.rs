//! Logs of runs: workers append lines, and readers page through them or follow them.

use std::time::Duration;

use super::worker_commands::check_attempt;
use super::{Result, Service, ServiceError, Stale};
use crate::core::access::Scope;
use crate::core::run_log::{LogBatch, LogChunk, LogLine, accepts_lines};
use crate::core::{RunId, RunState};
use crate::engine::log_feed::{Followed, LogEvent};
use crate::ports::AppendedLog;

/// How often a follower reads the store while no line of the run came from this node.
const POLL: Duration = Duration::from_secs(1);
/// How often a follower reads the store after a line of the run came from this node.
const SLOW_POLL: Duration = Duration::from_secs(10);

/// A line with its place in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NumberedLine {
    /// Number of the line, from 0.
    pub number: u64,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    pub line: LogLine,
}

/// A page of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPage {
    pub lines: Vec<NumberedLine>,
    /// Number of the line after the page.
    pub next: u64,
    /// Whether lines after the page are stored already.
    pub has_more: bool,
    /// State of the run, if the run has ended and no line follows the page.
    pub end: Option<RunState>,
}

/// The last lines of a log, or the last ones before a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogTail {
    /// Lines from [`first`](Self::first) to [`end`](Self::end). Lines that a long log does not keep are missing.
    pub lines: Vec<NumberedLine>,
    /// Number of the first line.
    pub first: u64,
    /// Number of the line after the last one.
    pub end: u64,
    /// Number of lines that the run has written so far.
    pub written: u64,
}

impl Service {
    /// Appends lines to the log of a run. The attempt must be in progress. A batch whose id was stored before
    /// changes nothing. Returns whether the batch is new.
    ///
    /// The check of the token precedes the write. If the attempt ends in between, its lines stay under its
    /// number.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`]; [`ServiceError::NotFound`]; [`ServiceError::Stale`] if the attempt or the
    /// token is not the current one, or the attempt is not in progress; or a port's error.
    pub async fn append_log(&self, batch: &LogBatch, token: &str) -> Result<bool> {
        self.require(Scope::RunPull)?;
        let run = self.shared.ports.store.run(&batch.run_id).await?;
        let run = run.filter(|run| self.allows_work_on(run)).ok_or(ServiceError::NotFound)?;
        check_attempt(&run, batch.attempt, token)?;
        if !accepts_lines(&run, self.now()) {
            return Err(Stale::Run(run.state).into());
        }
        crate::failpoint!("log::before_append");
        let appended = self.shared.ports.store.append_log(batch).await?;
        crate::failpoint!("log::appended");
        match appended {
            AppendedLog::Stored(chunk) => {
                self.shared.hints.logs.stored(*chunk);
                self.shared.hints.changes.log(&run);
            }
            AppendedLog::Repeated => return Ok(false),
            AppendedLog::NoRun => return Err(ServiceError::NotFound),
        }
        Ok(true)
    }

    /// Returns the page of a log that begins with the line `from`.
    ///
    /// # Errors
    /// As [`Service::run`].
    pub async fn log(&self, id: &RunId, from: u64) -> Result<LogPage> {
        // The run first: a run that has ended before the read of its log has no further lines.
        let run = self.run(id).await?;
        let part = self.shared.ports.store.log(id, from).await?;
        let lines: Vec<_> =
            part.chunks.iter().flat_map(numbered).filter(|line| line.number >= from).collect();
        let next = lines.last().map_or(from, |line| line.number + 1);
        let has_more = next < part.written;
        let end = (run.has_ended() && !has_more).then_some(run.state);
        Ok(LogPage { lines, next, has_more, end })
    }

    /// Returns the last `most` lines of a log, or the last ones before the line `before`.
    ///
    /// # Errors
    /// As [`Service::run`].
    pub async fn log_tail(&self, id: &RunId, before: Option<u64>, most: u64) -> Result<LogTail> {
        self.run(id).await?;
        let store = &self.shared.ports.store;
        let written = store.log(id, u64::MAX).await?.written;
        let end = before.map_or(written, |before| before.min(written));
        let first = end.saturating_sub(most);
        let (mut lines, mut next) = (Vec::new(), first);
        while next < end {
            let part = store.log(id, next).await?;
            let Some(last) = part.chunks.last() else { break };
            next = last.end().line;
            let numbered = part.chunks.iter().flat_map(numbered);
            lines.extend(numbered.filter(|line| (first..end).contains(&line.number)));
        }
        Ok(LogTail { lines, first, end, written })
    }

    /// Returns a follower of a log, from the line `from`.
    ///
    /// # Errors
    /// As [`Service::run`].
    pub async fn follow_log(&self, id: &RunId, from: u64) -> Result<LogFollower> {
        self.run(id).await?;
        Ok(LogFollower {
            service: self.clone(),
            followed: self.shared.hints.logs.follow(id),
            id: id.clone(),
            next: from,
            must_read: true,
            poll: POLL,
        })
    }
}

fn numbered(chunk: &LogChunk) -> impl Iterator<Item = NumberedLine> + '_ {
    let lines = (chunk.start.line..).zip(&chunk.batch.lines);
    lines.map(|(number, line)| NumberedLine { number, attempt: chunk.batch.attempt, line: line.clone() })
}

/// Follows a log. Lines that this node stores come from memory; the store is read at the start, after a
/// missed event, and from time to time, for lines of other nodes.
pub struct LogFollower {
    service: Service,
    followed: Followed,
    id: RunId,
    next: u64,
    must_read: bool,
    poll: Duration,
}

impl LogFollower {
    /// Returns the next lines, or the end of the log. Waits at most `wait`, and until the node stops. `None`:
    /// nothing has happened.
    ///
    /// # Errors
    /// As [`Service::run`].
    pub async fn next(&mut self, wait: Duration) -> Result<Option<LogPage>> {
        let timeout = tokio::time::sleep(wait);
        tokio::pin!(timeout);
        let shutdown = self.service.shared.shutdown.clone();
        loop {
            if std::mem::take(&mut self.must_read) {
                let page = self.service.log(&self.id, self.next).await?;
                if !page.lines.is_empty() || page.end.is_some() {
                    self.must_read = page.has_more;
                    self.next = page.next;
                    return Ok(Some(page));
                }
            }
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(None),
                () = &mut timeout => return Ok(None),
                event = self.followed.next() => if let Some(page) = self.page_of(event) {
                    return Ok(Some(page));
                },
                () = tokio::time::sleep(self.poll) => self.must_read = true,
            }
        }
    }

    /// Returns whether the node is about to stop, so that no line follows.
    pub fn is_stopping(&self) -> bool {
        self.service.is_stopping()
    }

    /// Returns the lines of an event, if they are the next ones.
    fn page_of(&mut self, event: LogEvent) -> Option<LogPage> {
        let LogEvent::Stored(chunk) = event else {
            self.must_read = true;
            return None;
        };
        self.poll = SLOW_POLL;
        if chunk.start.line != self.next {
            // The start of the chunk was read before, or lines before the chunk were missed.
            self.must_read = chunk.end().line > self.next;
            return None;
        }
        self.next = chunk.end().line;
        let lines = numbered(&chunk).collect();
        Some(LogPage { lines, next: self.next, has_more: false, end: None })
    }
}
