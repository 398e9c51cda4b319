//! Checks of run writes: each needs a transition of the table, and a cause.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use taskcenter_server::core::run::FORCED;
use taskcenter_server::core::{Moment, Run, RunId, RunState};

use super::{Book, Checker, RunStory, admission, rates};
use crate::steps::{self, RunFields};

/// Reason that a rescue writes into a run whose moment was never decided.
const UNDECIDED: &str = "its task was deleted or changed before the moment fired";

/// Longest time from the decision of a write until the store has it, in milliseconds.
const LONGEST_WRITE_MS: i64 = 20_000;

impl Checker {
    /// Checks a write that changed the rows `before` to `after`.
    pub fn runs_changed(&self, ids: &[RunId], before: &[Run], after: &[Run]) {
        let mut book = self.book();
        let of = |rows: &[Run], id: &RunId| rows.iter().find(|run| run.id == *id).cloned();
        let ids: BTreeSet<&RunId> = ids.iter().collect();
        for id in ids {
            match (of(before, id), of(after, id)) {
                (None, Some(run)) => self.run_inserted(&mut book, run),
                (Some(before), Some(after)) if before != after => self.run_updated(&mut book, &before, after),
                (Some(before), None) => self.violation(&mut book, "a run is lost", before.id),
                _ => {}
            }
        }
    }

    fn run_inserted(&self, book: &mut Book, run: Run) {
        self.log(|| format!("run {} {:?} {:?} by {}", run.id, run.state, run.stretch, run.holder));
        if book.runs.contains_key(&run.id) {
            return self.violation(book, "a run was inserted twice", &run.id);
        }
        let is_derived = run.triggered || run.id == RunId::derive(&run.task_id, run.rev, run.scheduled_at);
        let is_skipped = run.state == RunState::Skipped;
        let may_be_ready = self.fires_in_one_write && run.queue.is_some() && !run.triggered;
        let is_new_row = steps::check_insert(&run_fields(&run), may_be_ready).is_none()
            && is_skipped == run.stretch.is_some()
            && is_skipped == run.reason.is_some();
        if !is_derived || !is_new_row || !book.tasks.contains_key(&run.task_id) {
            self.violation(book, "a new run is wrong", format!("{run:?}"));
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

    fn run_updated(&self, book: &mut Book, before: &Run, after: Run) {
        self.log(|| {
            let Run { id, state, attempt, claim, holder, attention_at, .. } = &after;
            format!(
                "run {id} {:?} to {state:?} attempt {attempt} claim {claim} {holder} until {attention_at:?}",
                before.state
            )
        });
        let Some(story) = book.runs.get(&after.id) else {
            return self.violation(book, "an update of an unknown run", &after.id);
        };
        let step = steps::check_update(&run_fields(before), &run_fields(&after));
        for (rule, broken) in [
            (step.unwrap_or_default(), step.is_some()),
            ("a run's definition changed", !is_same(before, &after)),
            ("a token or ended_at does not match the attempt", !tokens_match(before, &after)),
            ("an ended run without its reason", !has_reason(&after)),
            ("a run was rescued too early", self.is_early(before, &after)),
            (
                "an outcome without a report",
                !is_reported(story, before, &after)
                    && !self.expires(before, &after)
                    && !admission::is_suppressed(before, &after)
                    && !rates::is_dropped(before, &after),
            ),
            ("a request to cancel has no effect", ignores_cancel_request(before, &after)),
            ("an expired run was leased", self.is_leased_late(before, &after)),
            ("a run was leased during a hold", self.is_leased_during_a_hold(book, before, &after)),
            ("a claim was held twice", is_claimed_twice(story, &after)),
            ("more attempts than allowed", exceeds_attempts(story, &after)),
            (
                "a decided run was cancelled as undecided",
                story.decided
                    && after.reason.as_deref() == Some(UNDECIDED)
                    && after.state == RunState::Cancelled,
            ),
        ] {
            if broken {
                self.violation(book, rule, format!("{before:?} to {after:?}"));
            }
        }
        self.admission_changed(book, before, &after);
        self.permit_changed(book, before, &after);
        if (before.state, after.state) == (RunState::Firing, RunState::Ready) {
            self.handed_over(book, &after);
        }
        if (before.state, after.state) == (RunState::Firing, RunState::Fired) {
            self.marked_fired(book, &after);
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

    /// Returns whether the run ends because its first attempt has not started in time.
    fn expires(&self, before: &Run, after: &Run) -> bool {
        let waits =
            matches!(before.state, RunState::Firing | RunState::Held | RunState::Ready | RunState::Retrying);
        let limit = before.expires_at.filter(|_| before.attempt == 1);
        let is_over = limit.is_some_and(|limit| limit <= self.now().plus_ms(self.skew_ms));
        waits && is_over && after.state == RunState::Skipped
    }

    /// Returns whether a worker gets a run after its limit, by more than clocks and a write can take.
    fn is_leased_late(&self, before: &Run, after: &Run) -> bool {
        let limit = before.expires_at.filter(|_| before.attempt == 1);
        let limit = limit.map(|limit| limit.plus_ms(self.skew_ms + LONGEST_WRITE_MS));
        let is_leased = (before.state, after.state) == (RunState::Ready, RunState::Leased);
        is_leased && limit.is_some_and(|limit| limit < self.now())
    }

    /// Returns whether a rescue ended a lease, a pause or a deadline early, by more than the clocks
    /// can deviate.
    fn is_early(&self, before: &Run, after: &Run) -> bool {
        let is_admitted = before.needs_admission() && !after.needs_admission();
        let by_rescue = match (before.state, after.state) {
            (RunState::Firing, RunState::Firing) if is_admitted => false,
            (RunState::Firing | RunState::Retrying | RunState::Fired, RunState::Firing)
            | (RunState::Retrying, RunState::Held | RunState::Ready)
            | (RunState::Leased | RunState::Fired, RunState::Held) => true,
            (RunState::Leased, RunState::Ready) => after.attempt > before.attempt,
            (RunState::Leased, RunState::Cancelled) => is_forced(after),
            _ => false,
        };
        by_rescue && before.attention_at.is_some_and(|at| at > self.now().plus_ms(self.skew_ms))
    }
}

fn run_fields(run: &Run) -> RunFields {
    RunFields {
        state: run.state,
        attempt: run.attempt.into(),
        claim: run.claim.into(),
        version: run.version as i64,
        attention_at: run.attention_at.map(Moment::ms),
        cancel_requested: run.cancel_request.is_some(),
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
            expires_at,
            stretch,
            ..
        } = run;
        let limits = (retry.clone(), *outcome_within_ms, *expires_at);
        let definition = (tag.clone(), data.clone(), queue.clone(), limits);
        (id.clone(), task_id.clone(), *rev, *scheduled_at, *triggered, definition, *stretch)
    };
    fixed(before) == fixed(after)
}

/// Each attempt has its own token; in a queue, each lease has its own token.
fn tokens_match(before: &Run, after: &Run) -> bool {
    let is_leased = (before.state, after.state) == (RunState::Ready, RunState::Leased);
    let is_new = is_leased || after.attempt > before.attempt;
    is_new == (after.token != before.token) && after.has_ended() == after.ended_at.is_some()
}

fn has_reason(run: &Run) -> bool {
    let needs_reason =
        matches!(run.state, RunState::Dead | RunState::Skipped | RunState::Cancelled | RunState::Retrying);
    !needs_reason || run.reason.as_ref().is_some_and(|reason| !reason.is_empty())
}

/// An outcome needs a report with the token of the attempt, or a confirmation.
fn is_reported(story: &RunStory, before: &Run, after: &Run) -> bool {
    if story.confirmed.contains(&after.state) {
        return true;
    }
    let outcome = match (before.state, after.state) {
        (_, RunState::Succeeded) => "succeeded",
        // Only a confirmation can fail a run that no worker holds.
        (RunState::Held | RunState::Ready | RunState::Retrying | RunState::Dead, RunState::Dead) => {
            return false;
        }
        (_, RunState::Skipped) => "skipped",
        (RunState::Leased, RunState::Ready) if after.attempt == before.attempt => "released",
        _ => return true,
    };
    story.reports.contains(&(before.attempt, before.token.clone(), outcome))
}

/// After a request to cancel, the worker still has the run, or the run has succeeded, or it is cancelled.
fn ignores_cancel_request(before: &Run, after: &Run) -> bool {
    let Some(request) = before.cancel_request else { return false };
    let is_kept = after.cancel_request.is_some_and(|kept| kept.requested_at == request.requested_at);
    !is_kept || !matches!(after.state, RunState::Leased | RunState::Succeeded | RunState::Cancelled)
}

fn is_forced(run: &Run) -> bool {
    run.reason.as_deref().is_some_and(|reason| reason.starts_with(FORCED))
}

fn is_claimed_twice(story: &RunStory, after: &Run) -> bool {
    story.holders.get(&after.claim).is_some_and(|holder| *holder != after.holder)
}

fn exceeds_attempts(story: &RunStory, after: &Run) -> bool {
    let max = after.retry.as_ref().map_or(3, taskcenter_server::core::retry::RetryPolicy::attempts);
    after.attempt > max + story.redriven
}
