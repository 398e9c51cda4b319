//! Misfire policy: what happens to a moment that is too late.

mod absence;
mod rule;

use serde::{Deserialize, Serialize};

use super::Moment;
use super::schedule::Rule;
use super::task::Task;
pub use absence::{Absence, AfterAbsence};
pub use rule::{MAX_GRACE_MS, MAX_LATE, MisfireRule};

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
    /// Number of late moments that fire under `fire_all`: the last ones. `None`: all. Only a task can have
    /// the limit ([`MisfireRule::max`]).
    #[serde(skip)]
    pub max: Option<u32>,
}

impl Default for Misfire {
    fn default() -> Self {
        Self { policy: MisfirePolicy::FireLast, grace_ms: 300_000, max: None }
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
    /// Decides on the nominal moment `at` of `task`, due at or before `now`. A one-shot task always fires,
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
        // Nominal moments are compared, so the delay of the task is subtracted. The delay of `at` may be
        // shorter.
        let now = now.plus_ms(-task.jitter_offset_ms()).max(at);
        MisfireScan {
            misfire: *self,
            task,
            now,
            from: at,
            next: at,
            rule: None,
            skipped: None,
            horizon: None,
        }
    }

    fn is_too_late(&self, moment: Moment, now: Moment) -> bool {
        let fires_all = self.policy == MisfirePolicy::FireAll && self.max.is_none();
        !fires_all && now.since(moment) > self.grace_ms
    }

    /// Returns whether a late moment is skipped. `later` is the moment after it or, under `fire_all`, the
    /// `max`-th moment after it.
    fn skips_before(&self, later: Moment, now: Moment) -> bool {
        match self.policy {
            MisfirePolicy::FireAll => self.is_too_late(later, now),
            MisfirePolicy::FireLast => later <= now,
            MisfirePolicy::Skip => true,
        }
    }

    /// Returns how many moments after a late one the moment lies that decides whether it is skipped.
    fn distance(&self) -> u32 {
        self.max.filter(|_| self.policy == MisfirePolicy::FireAll).unwrap_or(1).max(1)
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
    /// The moment at [`Misfire::distance`] after `next`, once it is known.
    horizon: Option<Moment>,
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
        let Some(following) = self.after(self.next) else { return false };
        if !self.find_horizon(following).is_some_and(|later| self.misfire.skips_before(later, self.now)) {
            return false;
        }
        self.skipped = Some((self.next, count + 1));
        self.next = following;
        true
    }

    /// Finds the moment that decides whether the next moment is skipped. `following` is the moment after the
    /// next one.
    fn find_horizon(&mut self, following: Moment) -> Option<Moment> {
        let (mut at, steps) = match self.horizon {
            None => (following, self.misfire.distance() - 1),
            Some(at) => (at, 1),
        };
        for _ in 0..steps {
            at = self.after(at)?;
        }
        self.horizon = Some(at);
        Some(at)
    }

    fn after(&mut self, moment: Moment) -> Option<Moment> {
        let rule = self.rule.get_or_insert_with(|| self.task.rule());
        self.task.due_after_by(rule, moment, self.task.fired_count)
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
            timing: crate::core::timing::Timing::default(),
            created_at: Moment::from_sec(0),
            anchored_at: Moment::from_sec(0),
            rev: 1,
            state: TaskState::Active,
            next_due_at: Some(Moment::from_sec(0)),
            nominal_at: None,
            last_due_at: None,
            fired_count: 0,
            dedup_key: None,
            past: Vec::new(),
            hidden: false,
            stands_for: None,
            write_id: None,
            created_by: None,
            quota_token: None,
            revised: None,
        }
    }

    fn step(policy: MisfirePolicy, task: &Task, now_sec: i64) -> Step {
        Misfire { policy, grace_ms: 10_000, max: None }.step(
            task,
            Moment::from_sec(0),
            Moment::from_sec(now_sec),
        )
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
    fn fire_all_with_a_limit_fires_the_last_late_moments() {
        let all = |max| Misfire { policy: MisfirePolicy::FireAll, grace_ms: 10_000, max: Some(max) };
        let at = |task: &Task, max, now| all(max).step(task, Moment::from_sec(0), Moment::from_sec(now));
        let skip = |to, count| Step::Skip { from: Moment::from_sec(0), to: Moment::from_sec(to), count };
        let fire = Step::Fire { at: Moment::from_sec(0) };
        // At 20 s, the ten moments 0 to 9 are later than the grace period.
        let task = every_second(None);
        for (max, expected) in [(1, skip(8, 9)), (3, skip(6, 7)), (9, skip(0, 1)), (10, fire), (11, fire)] {
            assert_eq!(at(&task, max, 20), expected, "{max}");
        }
        assert_eq!(at(&task, 1, 10), fire, "within the grace period");
        let ended = every_second(Some(5));
        assert_eq!(
            (at(&ended, 2, 100), at(&ended, 6, 100)),
            (skip(3, 4), fire),
            "the last ones before the end"
        );
        assert_eq!(at(&Task { schedule: Schedule::Once, ..task }, 1, 100), fire);
    }

    #[test]
    fn the_rule_of_a_task_replaces_the_setting_of_the_server() {
        let server = Misfire { policy: MisfirePolicy::Skip, grace_ms: 7, max: None };
        assert_eq!(MisfireRule::default().over(server), server);
        let rule = MisfireRule { policy: Some(MisfirePolicy::FireAll), grace_ms: None, max: Some(3) };
        assert_eq!(rule.over(server), Misfire { policy: MisfirePolicy::FireAll, grace_ms: 7, max: Some(3) });
        assert_eq!(MisfireRule { max: Some(0), ..rule }.validate().unwrap_err().field, "misfire.max");
        let long = MisfireRule { grace_ms: Some(MAX_GRACE_MS + 1), ..rule };
        assert_eq!(long.validate().unwrap_err().field, "misfire.grace_ms");
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
                let schedule = Schedule::cron(cron, "Europe/Berlin");
                let task = Task { schedule, ..every_second(None) };
                let misfire = Misfire { policy, grace_ms: 10_000, max: None };
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
        let schedule = Schedule::cron("* * * * * *", "Europe/Berlin");
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
