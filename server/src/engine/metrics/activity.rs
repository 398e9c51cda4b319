//! What this node did in the last hour, by minute, for the charts of the console. Nothing is read from the store.

use std::sync::{Mutex, PoisonError};

use crate::core::{Moment, Run, RunState};

/// Minutes that are kept.
pub const MINUTES: usize = 60;
const MINUTE_MS: i64 = 60_000;
/// Upper bounds of the classes of lateness, in milliseconds. A last class has the rest.
pub const LATENESS_MS: [i64; 12] = [1, 5, 10, 25, 50, 100, 250, 1_000, 5_000, 60_000, 600_000, 3_600_000];
/// Number of classes of lateness.
pub const CLASSES: usize = LATENESS_MS.len() + 1;

/// A stage of a run whose lateness is measured from the nominal moment, in first attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The run is in its queue, or the broker has confirmed its message.
    Fired,
    /// A worker has the run.
    Leased,
    /// The run has succeeded, or is dead.
    Ended,
}

impl Stage {
    pub const ALL: [Self; 3] = [Self::Fired, Self::Leased, Self::Ended];
}

/// Number of runs in each class of lateness.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lateness(pub [u64; CLASSES]);

impl Lateness {
    fn observe(&mut self, late_ms: i64) {
        let class = LATENESS_MS.iter().position(|bound| late_ms <= *bound);
        self.0[class.unwrap_or(LATENESS_MS.len())] += 1;
    }

    fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, runs)| *sum += runs);
    }

    /// Returns the number of runs.
    pub fn runs(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Returns the class of a quantile, in percent. `None`: there is no run.
    pub fn class_of(&self, percent: u64) -> Option<usize> {
        let rank = (self.runs() * percent).div_ceil(100).max(1);
        let mut below = 0;
        self.0.iter().position(|runs| {
            below += runs;
            below >= rank
        })
    }
}

/// What happened in one minute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Minute {
    /// Fires.
    pub fired: u64,
    /// Runs that succeeded.
    pub succeeded: u64,
    /// Runs that ended dead.
    pub dead: u64,
    lateness: [Lateness; 3],
}

/// The last hour of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastHour {
    /// The minutes, oldest first. The last one is the current minute.
    pub minutes: Vec<Minute>,
}

impl LastHour {
    /// Returns the lateness of a stage over the hour.
    pub fn lateness(&self, stage: Stage) -> Lateness {
        self.lateness_within(stage, self.minutes.len())
    }

    /// Returns the lateness of a stage over the last minutes.
    pub fn lateness_within(&self, stage: Stage, minutes: usize) -> Lateness {
        let mut sum = Lateness::default();
        self.minutes.iter().rev().take(minutes).for_each(|minute| sum.add(&minute.lateness[stage as usize]));
        sum
    }
}

/// A ring of minutes.
pub struct Activity(Mutex<Vec<(i64, Minute)>>);

impl Default for Activity {
    fn default() -> Self {
        Self(Mutex::new(vec![(i64::MIN, Minute::default()); MINUTES]))
    }
}

impl Activity {
    /// Counts a run that was handed over at `now`.
    pub fn fired(&self, moment: Moment, now: Moment) {
        self.update(now, |minute| {
            minute.fired += 1;
            minute.lateness[Stage::Fired as usize].observe(now.since(moment));
        });
    }

    /// Counts a run that a worker has leased.
    pub fn leased(&self, run: &Run) {
        if let (Some(leased_at), true) = (run.leased_at, run.attempt == 1) {
            self.update(leased_at, |minute| {
                minute.lateness[Stage::Leased as usize].observe(leased_at.since(run.effective_at()));
            });
        }
    }

    /// Counts a run that has ended.
    pub fn ended(&self, run: &Run) {
        let has_worked = matches!(run.state, RunState::Succeeded | RunState::Dead);
        let Some(ended_at) = run.ended_at.filter(|_| has_worked) else { return };
        self.update(ended_at, |minute| {
            minute.succeeded += u64::from(run.state == RunState::Succeeded);
            minute.dead += u64::from(run.state == RunState::Dead);
            if run.attempt == 1 {
                minute.lateness[Stage::Ended as usize].observe(ended_at.since(run.effective_at()));
            }
        });
    }

    /// Updates the minute of `at`, unless a later hour has taken its place.
    fn update(&self, at: Moment, update: impl FnOnce(&mut Minute)) {
        let number = at.ms().div_euclid(MINUTE_MS);
        let mut minutes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (stored, minute) = &mut minutes[number.rem_euclid(MINUTES as i64) as usize];
        if *stored < number {
            (*stored, *minute) = (number, Minute::default());
        }
        if *stored == number {
            update(minute);
        }
    }

    /// Returns the hour that ends with the minute of `now`.
    pub fn last_hour(&self, now: Moment) -> LastHour {
        let last = now.ms().div_euclid(MINUTE_MS);
        let minutes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let minute = |number: i64| {
            let (stored, minute) = minutes[number.rem_euclid(MINUTES as i64) as usize];
            if stored == number { minute } else { Minute::default() }
        };
        LastHour { minutes: (last - MINUTES as i64 + 1..=last).map(minute).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Moment = Moment::from_sec(1_000_000_000);

    #[test]
    fn an_hour_has_the_lateness_and_the_fires_of_its_minutes() {
        let activity = Activity::default();
        for late in [0, 1, 7, 7_200_000] {
            activity.fired(NOW.plus_ms(-late), NOW);
        }
        activity.fired(NOW, NOW.plus_ms(-30 * MINUTE_MS));
        let hour = activity.last_hour(NOW);
        let fired: Vec<u64> = hour.minutes.iter().map(|minute| minute.fired).collect();
        assert_eq!((fired.len(), fired[59], fired[29], fired.iter().sum::<u64>()), (60, 4, 1, 5));
        let lateness = hour.lateness(Stage::Fired);
        assert_eq!(
            (lateness.0[0], lateness.0[2], lateness.0[CLASSES - 1]),
            (3, 1, 1),
            "early counts as punctual"
        );
        assert_eq!((lateness.class_of(50), lateness.class_of(99)), (Some(0), Some(CLASSES - 1)));
        assert_eq!(hour.lateness(Stage::Leased).class_of(50), None);
    }

    #[test]
    fn a_minute_is_forgotten_after_an_hour_and_does_not_come_back() {
        let activity = Activity::default();
        activity.fired(NOW, NOW);
        let later = NOW.plus_ms(MINUTES as i64 * MINUTE_MS);
        assert_eq!(activity.last_hour(later.plus_ms(-MINUTE_MS)).minutes[0].fired, 1);
        assert!(activity.last_hour(later).minutes.iter().all(|minute| minute.fired == 0));
        activity.fired(later, later);
        activity.fired(NOW, NOW);
        assert_eq!(
            activity.last_hour(later).minutes[59].fired,
            1,
            "a late report of the old minute is dropped"
        );
    }

    #[test]
    fn a_first_attempt_counts_when_it_is_leased_and_when_it_ends() {
        let activity = Activity::default();
        let run = serde_json::json!({
            "id": "r", "task_id": "00000000000000000000000000000000", "rev": 1, "scheduled_at": NOW.ms(),
            "triggered": false, "tag": "a", "data": "", "queue": "q", "state": "succeeded", "attempt": 1,
            "token": "", "holder": "w", "claim": 1, "leased_at": NOW.ms() + 20, "ended_at": NOW.ms() + 80,
            "version": 1,
        });
        let run: Run = serde_json::from_value(run).unwrap();
        let retried = Run { attempt: 2, state: RunState::Dead, ..run.clone() };
        for run in [run, retried] {
            activity.leased(&run);
            activity.ended(&run);
        }
        let hour = activity.last_hour(NOW);
        assert_eq!((hour.minutes[59].succeeded, hour.minutes[59].dead), (1, 1));
        let classes = |stage| hour.lateness(stage).0.iter().position(|runs| *runs == 1);
        assert_eq!((classes(Stage::Leased), classes(Stage::Ended)), (Some(3), Some(5)));
        assert_eq!((hour.lateness(Stage::Leased).runs(), hour.lateness(Stage::Ended).runs()), (1, 1));
    }
}
