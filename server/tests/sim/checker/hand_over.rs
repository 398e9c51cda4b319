//! Checks of hand-overs: messages on the bus, and runs that enter their queues.

use std::sync::Arc;

use taskcenter_server::core::{Run, RunId, RunState};
use taskcenter_server::engine::publish::property;
use taskcenter_server::ports::BusMessage;

use super::{Book, Checker, RunStory};
use crate::life::Life;

impl Checker {
    /// Checks a message that a node sends.
    pub fn published(&self, message: &BusMessage, life: &Arc<Life>) {
        let mut book = self.book();
        let read = |name: &str| {
            message.properties.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
        };
        let (id, token) =
            (RunId::from_text(read(property::RUN_ID).unwrap_or_default()), read(property::TOKEN));
        let attempt = read(property::ATTEMPT).and_then(|text| text.parse().ok()).unwrap_or(0);
        self.log(|| format!("{} sends {id} attempt {attempt}", life.name));
        let Some(story) = book.runs.get(&id) else {
            return self.violation(&mut book, "a message without a run", &id);
        };
        let run = story.run.clone();
        let matches = message.body == run.data.as_bytes()
            && message.tag == run.tag
            && message.key == run.task_id.as_str();
        let known = token
            .is_some_and(|token| story.tokens.get(&attempt).is_some_and(|tokens| tokens.contains(&token)));
        let is_duplicate = is_duplicate_without_cause(story, attempt, life);
        if !matches || !known {
            self.violation(&mut book, "a message does not match its run", format!("{message:?} for {run:?}"));
        }
        if is_duplicate {
            self.violation(
                &mut book,
                "a duplicate message without a cause",
                format!("{id} attempt {attempt} by {}", life.name),
            );
        }
        if attempt == 1 {
            self.handed_over(&mut book, &run);
        }
        if let Some(story) = book.runs.get_mut(&id) {
            story.sent.push((attempt, Arc::clone(life), self.now()));
        }
    }

    /// Checks the runs that a fire may have put into their queues.
    pub fn fired(&self, ids: &[RunId]) {
        let mut book = self.book();
        for id in ids {
            let new = book.runs.get(id).filter(|story| !story.handed_over).map(|story| story.run.clone());
            if let Some(run) = new.filter(|run| run.state == RunState::Ready) {
                self.handed_over(&mut book, &run);
            }
        }
    }

    /// Checks the hand-over of a first attempt.
    pub(super) fn handed_over(&self, book: &mut Book, run: &Run) {
        if run.scheduled_at > self.now().plus_ms(1 + if run.triggered { self.skew_ms } else { 0 }) {
            self.violation(book, "a run was handed over before its moment", format!("{run:?}"));
        }
        let Some(story) = book.runs.get_mut(&run.id) else { return };
        let (again, undecided) = (story.handed_over, !story.decided && !run.triggered);
        story.handed_over = true;
        if undecided && run.attempt == 1 {
            self.violation(book, "a run was handed over before its decision", format!("{run:?}"));
        }
        let promises = book.tasks.get(&run.task_id).map(|task| &task.promises).into_iter().flatten();
        let broken = promises.filter(|promise| {
            let last = if run.triggered { promise.triggered_rev } else { promise.rev };
            run.rev <= last && !promise.listed.contains(&run.id)
        });
        let broken: Vec<_> = broken.map(|promise| promise.kind).collect();
        if let Some(kind) = broken.first().filter(|_| !again) {
            self.violation(book, "a fire after an acknowledged change", format!("{kind:?}, but {run:?}"));
        }
    }

    /// Checks a run that becomes `fired`.
    pub(super) fn marked_fired(&self, book: &mut Book, run: &Run) {
        let was_sent = |story: &RunStory| story.sent.iter().any(|(attempt, ..)| *attempt == run.attempt);
        if !book.runs.get(&run.id).is_some_and(was_sent) {
            self.violation(book, "a run became fired without a message", format!("{run:?}"));
        }
    }
}

/// Returns whether the attempt was sent before, although neither sender crashed, froze, lost an
/// answer or had its clock set.
fn is_duplicate_without_cause(story: &RunStory, attempt: u32, by: &Arc<Life>) -> bool {
    let same_attempt = |(earlier, ..): &&(u32, Arc<Life>, _)| *earlier == attempt;
    let Some((_, first, at)) = story.sent.iter().rfind(same_attempt) else { return false };
    let since = at.plus_ms(-1_000);
    !first.had_trouble_since(since) && !by.had_trouble_since(since)
}
