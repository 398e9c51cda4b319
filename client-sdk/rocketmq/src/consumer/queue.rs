//! State of one queue: which of its messages are waiting, running and finished.

use std::collections::BTreeMap;

use super::in_flight::MessageKey;

/// State of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Pulled, not started.
    Waiting,
    /// Its handler runs, or its verdict is being sent to the broker.
    Running,
    /// Handled and settled.
    Finished,
}

#[derive(Debug)]
struct Entry {
    key: MessageKey,
    state: State,
}

/// The messages of one queue from the lowest unfinished one on.
///
/// The span survives the loss of the queue. If this member gets the queue back, messages that still
/// run or that finished meanwhile do not start again.
#[derive(Debug)]
pub(crate) struct Span {
    /// Offset of the next pull.
    next: i64,
    /// Messages by offset. The first one is unfinished, unless the queue is lost.
    entries: BTreeMap<i64, Entry>,
    /// Number of the current ownership or reset. A waiting message of an older one never starts.
    epoch: u64,
}

impl Span {
    /// Creates the state of a queue that this member does not own yet.
    pub(crate) fn new() -> Self {
        Self { next: 0, entries: BTreeMap::new(), epoch: 0 }
    }

    /// Starts an ownership, or continues it at another offset. Forgets the waiting messages, and all
    /// messages before `offset`.
    pub(crate) fn restart(&mut self, offset: i64) {
        self.drop_waiting();
        self.entries = self.entries.split_off(&offset);
        self.next = offset;
        self.remove_finished();
    }

    /// Continues at an offset that the broker or an operator chose. Finished messages from the offset
    /// on are delivered again. Running messages do not start again.
    pub(crate) fn reset(&mut self, offset: i64) {
        self.entries.retain(|_, entry| entry.state == State::Running);
        self.restart(offset);
    }

    /// Ends an ownership: forgets the waiting messages, so that the next pull gets them again.
    /// Finished messages stay, because another member may not have seen them when this member gets
    /// the queue back.
    pub(crate) fn drop_waiting(&mut self) {
        self.epoch += 1;
        let waiting = self.entries.iter().find(|(_, entry)| entry.state == State::Waiting);
        self.next = waiting.map_or(self.next, |(offset, _)| self.next.min(*offset));
        self.entries.retain(|_, entry| entry.state != State::Waiting);
    }

    /// Returns the number of the current ownership or reset.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Returns the offset of the next pull.
    pub(crate) fn next(&self) -> i64 {
        self.next
    }

    /// Sets the offset of the next pull.
    pub(crate) fn advance(&mut self, next: i64) {
        self.next = next;
        self.remove_finished();
    }

    /// Returns the offset to commit: of the lowest unfinished message, otherwise of the next pull.
    pub(crate) fn commit_offset(&self) -> i64 {
        let unfinished = self.entries.iter().find(|(_, entry)| entry.state != State::Finished);
        unfinished.map_or(self.next, |(offset, _)| self.next.min(*offset))
    }

    /// Returns the number of messages from the lowest unfinished one up to the offset of the next pull.
    /// A crash of the process delivers at most so many messages again.
    pub(crate) fn len(&self) -> usize {
        self.entries.range(..self.next).count()
    }

    /// Returns whether no message is waiting or running.
    pub(crate) fn is_idle(&self) -> bool {
        self.entries.values().all(|entry| entry.state == State::Finished)
    }

    /// Adds a pulled message. Returns false if the message is known and must not start again.
    pub(crate) fn add(&mut self, offset: i64, key: MessageKey) -> bool {
        let known = self.entries.get(&offset).is_some_and(|entry| entry.key == key);
        if !known {
            // Another message at a known offset: the topic was deleted and created again.
            self.entries.insert(offset, Entry { key, state: State::Waiting });
        }
        !known
    }

    /// Marks a waiting message as running. Returns false if it must not start: the queue is lost or
    /// was reset since the message was pulled.
    pub(crate) fn start(&mut self, offset: i64, epoch: u64) -> bool {
        if self.epoch != epoch {
            return false;
        }
        let entry = self.entries.get_mut(&offset).filter(|entry| entry.state == State::Waiting);
        entry.map(|entry| entry.state = State::Running).is_some()
    }

    /// Marks a message as finished, in this ownership or a later one.
    pub(crate) fn finish(&mut self, offset: i64, key: &MessageKey) {
        if let Some(entry) = self.entries.get_mut(&offset).filter(|entry| entry.key == *key) {
            entry.state = State::Finished;
            self.remove_finished();
        }
    }

    /// Forgets a running message whose verdict does not count, because the queue is lost: the next
    /// delivery starts it again.
    pub(crate) fn forget(&mut self, offset: i64, key: &MessageKey) {
        if self.entries.get(&offset).is_some_and(|entry| entry.key == *key) {
            self.entries.remove(&offset);
        }
    }

    /// Removes the finished messages before the lowest unfinished one, up to the offset of the next
    /// pull. Those behind it were finished in an earlier ownership and will be pulled again.
    fn remove_finished(&mut self) {
        while let Some(first) = self.entries.first_entry() {
            if first.get().state != State::Finished || *first.key() >= self.next {
                break;
            }
            first.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn key(offset: i64) -> MessageKey {
        MessageKey::new(format!("id{offset}"), 0)
    }

    fn add(span: &mut Span, offsets: std::ops::Range<i64>) -> Vec<i64> {
        let next = offsets.end;
        let new = offsets.filter(|offset| span.add(*offset, key(*offset))).collect();
        span.advance(next);
        new
    }

    #[test]
    fn the_lowest_unfinished_offset_is_committed() {
        let mut span = Span::new();
        span.restart(10);
        assert_eq!(span.commit_offset(), 10);
        add(&mut span, 10..13);
        let epoch = span.epoch();
        for offset in 10..13 {
            assert!(span.start(offset, epoch));
        }
        span.finish(11, &key(11));
        assert_eq!((span.commit_offset(), span.len()), (10, 3));
        span.finish(10, &key(10));
        assert_eq!((span.commit_offset(), span.len()), (12, 1));
        span.finish(12, &key(12));
        assert_eq!((span.commit_offset(), span.len()), (13, 0));
        // The broker skipped messages with other tags.
        span.advance(20);
        assert_eq!(span.commit_offset(), 20);
    }

    #[test]
    fn a_lost_and_regained_queue_starts_nothing_twice() {
        let mut span = Span::new();
        span.restart(0);
        add(&mut span, 0..5);
        let epoch = span.epoch();
        for offset in 0..4 {
            assert!(span.start(offset, epoch));
        }
        span.finish(1, &key(1));
        span.finish(3, &key(3));
        span.drop_waiting();
        assert_eq!((span.commit_offset(), span.next()), (0, 4));
        assert!(!span.start(4, epoch), "the queue is lost");
        // A verdict while the queue is lost.
        span.finish(2, &key(2));

        span.restart(0);
        let epoch = span.epoch();
        assert_eq!(add(&mut span, 0..6), [4, 5]);
        assert!(span.start(4, epoch) && span.start(5, epoch));
        span.finish(4, &key(4));
        assert_eq!(span.commit_offset(), 0, "offset 0 still runs");
        span.finish(0, &key(0));
        assert_eq!(span.commit_offset(), 5);
        span.finish(5, &key(5));
        assert_eq!((span.commit_offset(), span.len()), (6, 0));
    }

    #[test]
    fn messages_that_never_started_are_not_committed() {
        let mut span = Span::new();
        span.restart(0);
        add(&mut span, 0..4);
        let epoch = span.epoch();
        assert!(span.start(0, epoch) && span.start(1, epoch));
        span.drop_waiting();
        span.finish(1, &key(1));
        span.finish(0, &key(0));
        assert!(span.is_idle());
        assert_eq!(span.commit_offset(), 2);
    }

    #[test]
    fn what_another_member_finished_is_forgotten() {
        let mut span = Span::new();
        span.restart(0);
        add(&mut span, 0..3);
        let epoch = span.epoch();
        for offset in 0..3 {
            span.start(offset, epoch);
        }
        span.drop_waiting();
        span.restart(100);
        assert_eq!((span.commit_offset(), span.len()), (100, 0));
        span.finish(0, &key(0));
        assert_eq!(span.commit_offset(), 100);
    }

    #[test]
    fn a_reset_delivers_the_finished_again_and_not_the_running() {
        let mut span = Span::new();
        span.restart(5);
        add(&mut span, 5..9);
        let epoch = span.epoch();
        for offset in 5..8 {
            span.start(offset, epoch);
        }
        span.finish(6, &key(6));
        span.reset(2);
        assert!(!span.start(8, epoch));
        assert_eq!(span.commit_offset(), 2);
        assert_eq!(add(&mut span, 2..9), [2, 3, 4, 6, 8]);
        span.reset(7);
        span.finish(5, &key(5));
        span.finish(7, &key(7));
        assert_eq!(span.commit_offset(), 7, "offset 7 was never pulled after the reset");
        assert_eq!(add(&mut span, 7..9), [8]);
    }

    #[test]
    fn what_finished_behind_the_next_pull_does_not_fill_the_span() {
        let mut span = Span::new();
        span.restart(5);
        add(&mut span, 5..9);
        let epoch = span.epoch();
        for offset in 5..9 {
            span.start(offset, epoch);
            span.finish(offset.max(6), &key(offset.max(6)));
        }
        assert_eq!(span.len(), 4, "offset 5 runs");
        // The broker lost the committed offset.
        span.restart(0);
        assert_eq!(span.len(), 0, "the next pull is before all of them");
        add(&mut span, 0..6);
        assert_eq!(span.len(), 6);
    }

    #[test]
    fn another_message_at_a_known_offset_starts() {
        let mut span = Span::new();
        span.restart(0);
        add(&mut span, 0..1);
        let epoch = span.epoch();
        span.start(0, epoch);
        span.restart(0);
        let other = MessageKey::new("other".to_owned(), 0);
        assert!(span.add(0, other.clone()));
        span.advance(1);
        span.finish(0, &key(0));
        assert_eq!(span.commit_offset(), 0, "the verdict belongs to the old message");
        span.finish(0, &other);
        assert_eq!(span.commit_offset(), 1);
    }

    /// Random histories: the committed offset is the lowest unfinished one, and no message starts
    /// while it runs or after it finished, whatever losses and resets happen.
    #[test]
    fn random_histories_keep_the_invariants() {
        for seed in 0..2_000 {
            history(&mut fastrand::Rng::with_seed(seed));
        }
    }

    fn history(random: &mut fastrand::Rng) {
        let mut span = Span::new();
        span.restart(0);
        let (mut waiting, mut running, mut finished) = (Vec::new(), BTreeSet::new(), BTreeSet::<i64>::new());
        for _ in 0..200 {
            match random.u8(0..10) {
                0..3 => {
                    let (from, epoch) = (span.next(), span.epoch());
                    let new = add(&mut span, from..from + random.i64(0..5));
                    assert!(new.iter().all(|new| !running.contains(new) && !finished.contains(new)));
                    waiting.extend(new.into_iter().map(|offset| (offset, epoch)));
                }
                3..6 if !waiting.is_empty() => {
                    let (offset, epoch) = waiting.remove(0);
                    if span.start(offset, epoch) {
                        assert!(running.insert(offset) && !finished.contains(&offset));
                    }
                }
                6..9 if !running.is_empty() => {
                    let offset = *running.iter().nth(random.usize(0..running.len())).unwrap();
                    running.remove(&offset);
                    finished.insert(offset);
                    span.finish(offset, &key(offset));
                }
                9 if random.u8(0..4) == 0 => {
                    let committed = span.commit_offset();
                    span.drop_waiting();
                    span.restart(committed);
                }
                _ => {}
            }
            let committed = span.commit_offset();
            assert!(running.iter().all(|offset| *offset >= committed));
            assert!((0..committed).all(|offset| finished.contains(&offset)));
        }
    }
}
