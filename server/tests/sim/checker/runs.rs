//! Changes of runs: each by the table of transitions, and none without a cause.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use taskcenter_server::core::{Moment, Run, RunId, RunState};

use super::{Book, Checker, RunStory};
use crate::steps::{self, RunFields};

/// What a rescue says of a run whose moment never came to be decided.
const UNDECIDED: &str = "its task was deleted or changed before the moment fired";

impl Checker {
    /// A write has turned the rows `before` into `after`.
    pub fn runs_changed(&self, ids: &[RunId], before: &[Run], after: &[Run]) {
        let mut book = self.book();
        let of = |rows: &[Run], id: &RunId| rows.iter().find(|run| run.id == *id).cloned();
        let ids: BTreeSet<&RunId> = ids.iter().collect();
        for id in ids {
            match (of(before, id), of(after, id)) {
                (None, Some(run)) => self.run_came(&mut book, run),
                (Some(before), Some(after)) if before != after => self.run_moved(&mut book, &before, after),
                (Some(before), None) => self.wrong(&mut book, "a run is lost", before.id),
                _ => {}
            }
        }
    }

    fn run_came(&self, book: &mut Book, run: Run) {
        self.log(|| format!("run {} {:?} {:?} by {}", run.id, run.state, run.stretch, run.holder));
        if book.runs.contains_key(&run.id) {
            return self.wrong(book, "a run came twice", &run.id);
        }
        let is_derived = run.triggered || run.id == RunId::derive(&run.task_id, run.rev, run.scheduled_at);
        let is_skipped = run.state == RunState::Skipped;
        let begins = steps::wrong_begin(&fields_of(&run)).is_none()
            && is_skipped == run.stretch.is_some()
            && is_skipped == run.reason.is_some();
        if !is_derived || !begins || !book.tasks.contains_key(&run.task_id) {
            self.wrong(book, "a run begins wrongly", format!("{run:?}"));
        }
        let tokens = BTreeMap::from([(run.attempt, BTreeSet::from([run.token.clone()]))]);
        let story = RunStory {
            decided: false,
            handed_over: false,
            sent: Vec::new(),
            holders: BTreeMap::from([(run.claim, run.holder.clone())]),
            reports: BTreeSet::new(),
            confirmed: HashSet::new(),
            tokens,
            redriven: 0,
            begun: self.now(),
            run: run.clone(),
        };
        book.runs.insert(run.id, story);
    }

    fn run_moved(&self, book: &mut Book, before: &Run, after: Run) {
        self.log(|| {
            let Run { id, state, attempt, claim, holder, attention_at, .. } = &after;
            format!(
                "run {id} {:?} to {state:?} attempt {attempt} claim {claim} {holder} until {attention_at:?}",
                before.state
            )
        });
        let Some(story) = book.runs.get(&after.id) else {
            return self.wrong(book, "a run came from nowhere", &after.id);
        };
        let step = steps::wrong_step(&fields_of(before), &fields_of(&after));
        for (rule, broken) in [
            (step.unwrap_or_default(), step.is_some()),
            ("a run's definition changed", !is_same(before, &after)),
            ("a token or an end does not fit its attempt", !tokens_fit(before, &after)),
            ("an end without its reason", !has_its_reason(&after)),
            ("a run was looked after too early", self.is_early(before, &after)),
            ("an outcome that nobody reported", !is_reported(story, before, &after)),
            ("a claim was held twice", is_claimed_twice(story, &after)),
            ("more attempts than allowed", exceeds_attempts(story, &after)),
            (
                "a decided run was called off as undecided",
                story.decided
                    && after.reason.as_deref() == Some(UNDECIDED)
                    && after.state == RunState::Cancelled,
            ),
        ] {
            if broken {
                self.wrong(book, rule, format!("{before:?} to {after:?}"));
            }
        }
        if (before.state, after.state) == (RunState::Firing, RunState::Ready) {
            self.handed_over(book, &after);
        }
        if (before.state, after.state) == (RunState::Firing, RunState::Fired) {
            self.confirmed(book, &after);
        }
        if let Some(story) = book.runs.get_mut(&after.id) {
            if (before.state, after.state) == (RunState::Dead, RunState::Retrying) {
                story.redriven += 1;
                story.begun = self.now();
            }
            story.holders.insert(after.claim, after.holder.clone());
            story.tokens.entry(after.attempt).or_default().insert(after.token.clone());
            story.run = after;
        }
    }

    /// A lease, a pause or a deadline ended before its time, by more than clocks are apart.
    fn is_early(&self, before: &Run, after: &Run) -> bool {
        let by_rescue = match (before.state, after.state) {
            (RunState::Firing | RunState::Retrying | RunState::Fired, RunState::Firing)
            | (RunState::Retrying, RunState::Ready) => true,
            (RunState::Leased, RunState::Ready) => after.attempt > before.attempt,
            _ => false,
        };
        by_rescue && before.attention_at.is_some_and(|at| at > self.now().plus_ms(self.skew_ms))
    }
}

fn fields_of(run: &Run) -> RunFields {
    RunFields {
        state: run.state,
        attempt: run.attempt.into(),
        claim: run.claim.into(),
        version: run.version as i64,
        attention_at: run.attention_at.map(Moment::ms),
    }
}

fn is_same(before: &Run, after: &Run) -> bool {
    let fixed = |run: &Run| {
        let Run {
            id,
            task_id,
            rev,
            scheduled_at,
            triggered,
            tag,
            data,
            queue,
            retry,
            outcome_within_ms,
            stretch,
            ..
        } = run;
        let definition = (tag.clone(), data.clone(), queue.clone(), *retry, *outcome_within_ms);
        (id.clone(), task_id.clone(), *rev, *scheduled_at, *triggered, definition, *stretch)
    };
    fixed(before) == fixed(after)
}

/// A token is one attempt's, and on a queue one lease's.
fn tokens_fit(before: &Run, after: &Run) -> bool {
    let is_taken = (before.state, after.state) == (RunState::Ready, RunState::Leased);
    let is_new = is_taken || after.attempt > before.attempt;
    is_new == (after.token != before.token) && after.has_ended() == after.ended_at.is_some()
}

fn has_its_reason(run: &Run) -> bool {
    let asks =
        matches!(run.state, RunState::Dead | RunState::Skipped | RunState::Cancelled | RunState::Retrying);
    !asks || run.reason.as_ref().is_some_and(|reason| !reason.is_empty())
}

/// A handler's word is behind whatever only a handler can say, with the token of that attempt; or the word of one who needs none.
fn is_reported(story: &RunStory, before: &Run, after: &Run) -> bool {
    if story.confirmed.contains(&after.state) {
        return true;
    }
    let word = match (before.state, after.state) {
        (_, RunState::Succeeded) => "succeeded",
        // Of a run that nobody has in hand only that word says that it failed.
        (RunState::Ready | RunState::Retrying | RunState::Dead, RunState::Dead) => return false,
        (_, RunState::Skipped) => "skipped",
        (RunState::Leased, RunState::Ready) if after.attempt == before.attempt => "released",
        _ => return true,
    };
    story.reports.contains(&(before.attempt, before.token.clone(), word))
}

fn is_claimed_twice(story: &RunStory, after: &Run) -> bool {
    story.holders.get(&after.claim).is_some_and(|holder| *holder != after.holder)
}

fn exceeds_attempts(story: &RunStory, after: &Run) -> bool {
    let most = after.retry.map_or(3, |retry| retry.max_attempts);
    after.attempt > most + story.redriven
}
