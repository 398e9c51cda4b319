//! Messages to the writing thread, and the choice of the jobs that share a transaction.

use std::sync::mpsc::Receiver;

use super::job::Job;

/// Maximum number of jobs per transaction.
pub const BATCH: usize = 256;

/// A message to the writing thread.
pub enum Message {
    /// A job that waits.
    Job(Box<dyn Job>),
    /// This many groups no longer wait for their flush.
    Flushed(usize),
    /// The store was dropped. No job follows.
    End,
}

/// Messages that wait, in order.
pub struct Inbox {
    messages: Receiver<Message>,
    /// Number of groups that wait for their flush.
    pub flushing: usize,
    is_ended: bool,
}

impl Inbox {
    /// Creates an inbox.
    pub fn new(messages: Receiver<Message>) -> Self {
        Self { messages, flushing: 0, is_ended: false }
    }

    /// Waits for a job. Returns the jobs that wait; `None` after the end.
    pub fn next_batch(&mut self) -> Option<Vec<Box<dyn Job>>> {
        let mut batch = vec![self.wait(|_| false)?];
        while batch.len() < BATCH
            && let Ok(message) = self.messages.try_recv()
        {
            batch.extend(self.take(message));
        }
        Some(batch)
    }

    /// Waits for a job while groups wait for their flush: a transaction that is committed now would only
    /// wait, too. `None` after the flush.
    pub fn during_flush(&mut self) -> Option<Box<dyn Job>> {
        self.wait(|inbox| inbox.flushing == 0)
    }

    /// Waits for a job until `is_over`.
    fn wait(&mut self, is_over: impl Fn(&Self) -> bool) -> Option<Box<dyn Job>> {
        while !self.is_ended && !is_over(self) {
            let message = self.messages.recv().ok()?;
            if let Some(job) = self.take(message) {
                return Some(job);
            }
        }
        None
    }

    fn take(&mut self, message: Message) -> Option<Box<dyn Job>> {
        match message {
            Message::Job(job) => return Some(job),
            Message::Flushed(groups) => self.flushing = self.flushing.saturating_sub(groups),
            Message::End => self.is_ended = true,
        }
        None
    }
}
