//! Misfire policy: what happens to a moment that is too late.

mod absence;

use serde::{Deserialize, Serialize};

use super::Moment;
use super::schedule::Rule;
use super::task::Task;
pub use absence::{Absence, AfterAbsence};

/// What happens to moments of a repeating task that are later than the grace period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MisfirePolicy {
    /// Every moment fires, late.
    FireAll,
    /// Only the last moment fires, late. The others are skipped.
    FireLast,
    /// Every moment is skipped.
    Skip,
}

impl MisfirePolicy {
    pub const ALL: [Self; 3] = [Self::FireAll, Self::FireLast, Self::Skip];

    /// Returns the policy as the configuration and the API spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FireAll => "fire_all",
            Self::FireLast => "fire_last",
            Self::Skip => "skip",
        }
    }
}

impl std::fmt::Display for MisfirePolicy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Misfire policy and grace period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Misfire {
    /// Policy for moments later than the grace period.
    pub policy: MisfirePolicy,
    /// Grace period, in milliseconds. A moment within the grace period fires under every policy.
    pub grace_ms: i64,
}

impl Default for Misfire {
    fn default() -> Self {
        Self { policy: MisfirePolicy::FireLast, grace_ms: 300_000 }
    }
}

/// Largest number of moments that one step skips; it bounds the time of a decision. A longer
/// stretch takes several steps.
const MAX_STRETCH: u64 = 10_000;

/// Next step of a due task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The moment `at` fires.
    Fire { at: Moment },
    /// A stretch of moments is skipped.
    Skip {
        /// First moment.
        from: Moment,
        /// Last moment.
        to: Moment,
        /// Number of moments.
        count: u64,
    },
}

impl Misfire {
    /// Decides on the moment `at` of `task`, due at or before `now`. A one-shot task always fires,
    /// because it has no later moment.
    pub fn step(&self, task: &Task, at: Moment, now: Moment) -> Step {
        let mut scan = self.scan(task, at, now);
        loop {
            if let Some(step) = scan.proceed(MAX_STRETCH) {
                return step;
            }
        }
    }

    /// Same decision as [`step`](Self::step), in parts: a long stretch takes milliseconds.
    pub fn scan<'a>(&self, task: &'a Task, at: Moment, now: Moment) -> MisfireScan<'a> {
        MisfireScan { misfire: *self, task, now, from: at, next: at, rule: None, skipped: None }
    }

    fn is_too_late(&self, moment: Moment, now: Moment) -> bool {
        self.policy != MisfirePolicy::FireAll && now.since(moment) > self.grace_ms
    }

    /// Returns whether a late moment is skipped, when `following` is the moment after it.
    fn skips_before(&self, following: Moment, now: Moment) -> bool {
        self.policy == MisfirePolicy::Skip || following <= now
    }
}

/// A decision in progress.
#[derive(Debug)]
pub struct MisfireScan<'a> {
    misfire: Misfire,
    task: &'a Task,
    now: Moment,
    from: Moment,
    next: Moment,
    /// Parsed when the first moment is too late, which is rare.
    rule: Option<Rule>,
    skipped: Option<(Moment, u64)>,
}

impl MisfireScan<'_> {
    /// Examines at most `moments` further moments. Returns the decision once it is complete.
    pub fn proceed(&mut self, moments: u64) -> Option<Step> {
        for _ in 0..moments {
            if !self.skip_one() {
                return Some(match self.skipped {
                    Some((to, count)) => Step::Skip { from: self.from, to, count },
                    None => Step::Fire { at: self.from },
                });
            }
        }
        None
    }

    /// Skips one more moment, and returns whether it did.
    fn skip_one(&mut self) -> bool {
        let count = self.skipped.map_or(0, |(_, count)| count);
        if !self.misfire.is_too_late(self.next, self.now) || count >= MAX_STRETCH {
            return false;
        }
        let rule = self.rule.get_or_insert_with(|| self.task.schedule.rule());
        let following = self.task.due_after_by(rule, self.next, self.task.fired_count);
        let Some(following) = following.filter(|following| self.misfire.skips_before(*following, self.now))
        else {
            return false;
        };
        self.skipped = Some((self.next, count + 1));
        self.next = following;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::Schedule;
    use crate::core::task::{TaskId, TaskState};

    fn every_second(end_sec: Option<i64>) -> Task {
        Task {
            id: TaskId::new(uuid::Uuid::nil()),
            name: "t".into(),
            data: String::new(),
            schedule: Schedule::Every { period_ms: 1000 },
            start_at: None,
            end_at: end_sec.map(Moment::from_sec),
            max_fires: None,
            ack: false,
            headers: crate::core::headers::Headers::new(),
            labels: crate::core::labels::Labels::new(),
            max_runtime_sec: None,
            start_within_ms: None,
            queue: None,
            retry: None,
            created_at: Moment::from_sec(0),
            anchored_at: Moment::from_sec(0),
            rev: 1,
            state: TaskState::Active,
            next_due_at: Some(Moment::from_sec(0)),
            last_due_at: None,
            fired_count: 0,
            dedup_key: None,
            past: Vec::new(),
            hidden: false,
            stands_for: None,
            write_id: None,
            revised: None,
        }
    }

    fn step(policy: MisfirePolicy, task: &Task, now_sec: i64) -> Step {
        Misfire { policy, grace_ms: 10_000 }.step(task, Moment::from_sec(0), Moment::from_sec(now_sec))
    }

    #[test]
    fn a_moment_within_the_grace_period_fires_under_every_policy() {
        for policy in [MisfirePolicy::FireAll, MisfirePolicy::FireLast, MisfirePolicy::Skip] {
            assert_eq!(step(policy, &every_second(None), 10), Step::Fire { at: Moment::from_sec(0) });
        }
    }

    #[test]
    fn fire_all_fires_at_any_lateness() {
        let step = step(MisfirePolicy::FireAll, &every_second(None), 100_000);
        assert_eq!(step, Step::Fire { at: Moment::from_sec(0) });
    }

    #[test]
    fn fire_last_skips_the_moments_later_than_the_grace_period() {
        // At 20 s, the moments 0 to 9 are later than the grace period, and each has a later moment
        // that is due.
        let step = step(MisfirePolicy::FireLast, &every_second(None), 20);
        assert_eq!(step, Step::Skip { from: Moment::from_sec(0), to: Moment::from_sec(9), count: 10 });
    }

    #[test]
    fn fire_last_keeps_the_last_moment_before_the_end() {
        let step = step(MisfirePolicy::FireLast, &every_second(Some(5)), 100);
        assert_eq!(step, Step::Skip { from: Moment::from_sec(0), to: Moment::from_sec(4), count: 5 });
    }

    #[test]
    fn a_one_shot_fires_at_any_lateness() {
        let once = Task { schedule: Schedule::Once, ..every_second(None) };
        for policy in [MisfirePolicy::FireLast, MisfirePolicy::Skip] {
            assert_eq!(step(policy, &once, 1_000_000), Step::Fire { at: Moment::from_sec(0) });
        }
    }

    #[test]
    fn a_decision_in_parts_equals_the_whole_decision() {
        let second = Moment::from_sec;
        for policy in [MisfirePolicy::FireAll, MisfirePolicy::FireLast, MisfirePolicy::Skip] {
            for (cron, now_sec) in [("* * * * * *", 5), ("* * * * * *", 500), ("*/7 * * * * *", 90_000)] {
                let schedule =
                    Schedule::Cron { expression: cron.to_owned(), zone: "Europe/Berlin".to_owned() };
                let task = Task { schedule, ..every_second(None) };
                let misfire = Misfire { policy, grace_ms: 10_000 };
                let (whole, mut parts) = (misfire.step(&task, second(0), second(now_sec)), 1);
                let mut scan = misfire.scan(&task, second(0), second(now_sec));
                let decided = loop {
                    match scan.proceed(100) {
                        Some(step) => break step,
                        None => parts += 1,
                    }
                };
                assert_eq!(decided, whole, "{policy:?} {cron}");
                let skipped = if let Step::Skip { count, .. } = whole { count } else { 0 };
                assert_eq!(parts, skipped / 100 + 1, "{policy:?} {cron}");
            }
        }
    }

    /// Prints the time of a long stretch, and the time if each moment parsed the expression.
    #[test]
    #[allow(clippy::disallowed_methods, reason = "the test prints a duration and does not depend on it")]
    fn a_long_stretch_parses_its_expression_once() {
        let schedule =
            Schedule::Cron { expression: "* * * * * *".to_owned(), zone: "Europe/Berlin".to_owned() };
        let task = Task { schedule, ..every_second(None) };
        let began = std::time::Instant::now();
        let step = step(MisfirePolicy::Skip, &task, 1_000_000);
        let once = began.elapsed();
        let began = std::time::Instant::now();
        let mut moment = Moment::from_sec(0);
        for _ in 1..MAX_STRETCH {
            moment = task.due_after(moment, 0).unwrap();
        }
        let each = began.elapsed();
        println!("10,000 moments: {once:?} parsed once, {each:?} parsed each time");
        assert_eq!(step, Step::Skip { from: Moment::from_sec(0), to: moment, count: MAX_STRETCH });
    }

    #[test]
    fn a_long_stretch_is_skipped_in_bounded_steps() {
        let Step::Skip { count, to, .. } = step(MisfirePolicy::Skip, &every_second(None), 1_000_000) else {
            panic!("expected a skipped stretch");
        };
        assert_eq!((count, to), (10_000, Moment::from_sec(9_999)));
    }
}
