use super::*;
use crate::core::run::Backfilled;
use crate::core::{Moment, TaskId};

const FIRST: Overlap = Overlap::QueueOne { keep: Keep::First };
const LATEST: Overlap = Overlap::QueueOne { keep: Keep::Latest };
const TWO: Overlap = Overlap::QueueAll { max: 2 };
const TASK: &str = "task:1";

fn words(verdicts: Vec<Verdict>) -> String {
    let word = |verdict: Verdict| match verdict {
        Verdict::Start { slots } if slots == [slot(TASK, 0)] => "start".to_owned(),
        Verdict::Start { slots } => slots.join("+"),
        Verdict::Wait => "wait".to_owned(),
        Verdict::Replace => "replace".to_owned(),
        Verdict::Suppress { by } => format!("by {by}"),
        Verdict::Drop => "drop".to_owned(),
    };
    verdicts.into_iter().map(word).collect::<Vec<_>>().join(", ")
}

/// Returns runs with the names a, b, c and so on. An upper-case letter stands for a redriven run.
fn of_task(overlap: Overlap, names: &str) -> Vec<Contender> {
    let contender = |name: char| Contender {
        id: RunId::from_text(name.to_string()),
        asks: Asks::Task(TASK.to_owned(), overlap),
        is_redriven: name.is_uppercase(),
    };
    names.chars().map(contender).collect()
}

fn usage(slots: &[&str]) -> Usage {
    Usage::of(slots.iter().map(|slot| ((*slot).to_owned(), RunId::from_text("r"))).collect())
}

#[test]
fn every_combination_of_policy_running_run_and_contenders() {
    let (free, used) = (usage(&[]), usage(&["task:1#0"]));
    let table = [
        (&free, Overlap::Skip, "a", "start"),
        (&free, Overlap::Skip, "ab", "start, by a"),
        (&used, Overlap::Skip, "ab", "by r, by r"),
        (&used, Overlap::Skip, "Ab", "wait, by r"),
        (&free, Overlap::Skip, "Ab", "start, by A"),
        (&free, FIRST, "a", "start"),
        (&free, FIRST, "abc", "start, wait, by b"),
        (&used, FIRST, "a", "wait"),
        (&used, FIRST, "abc", "wait, by a, by a"),
        (&used, FIRST, "Abc", "wait, wait, by b"),
        (&free, LATEST, "a", "start"),
        (&free, LATEST, "abc", "start, by c, wait"),
        (&used, LATEST, "a", "wait"),
        (&used, LATEST, "abc", "by b, by c, wait"),
        (&used, LATEST, "Abc", "wait, by c, wait"),
        (&free, Overlap::CancelPrevious, "a", "start"),
        (&free, Overlap::CancelPrevious, "abc", "start, by c, replace"),
        (&used, Overlap::CancelPrevious, "a", "replace"),
        (&used, Overlap::CancelPrevious, "abc", "by b, by c, replace"),
        (&used, Overlap::CancelPrevious, "Abc", "wait, by c, replace"),
        (&used, Overlap::CancelPrevious, "aB", "replace, wait"),
        (&free, TWO, "abcd", "start, wait, wait, by a"),
        (&used, TWO, "abc", "wait, wait, by r"),
        (&used, TWO, "Abcd", "wait, wait, wait, by r"),
        (&used, TWO, "", ""),
        (&free, TWO, "", ""),
    ];
    for (usage, overlap, names, expected) in table {
        let verdicts = words(admit(usage, &of_task(overlap, names)));
        assert_eq!(verdicts, expected, "{usage:?} {overlap:?} {names}");
    }
}

#[test]
fn a_backfilled_run_replaces_no_later_run() {
    let task = TaskId::new(uuid::Uuid::nil());
    let of = |ms| Backfilled { operation: "0a1", at: Moment::from_ms(ms), replaced: 0 };
    let backfilled =
        |ms, overlap| Contender { id: RunId::of_backfill(&task, of(ms)), ..of_task(overlap, "a").remove(0) };
    let used = usage(&["task:1#0"]);
    let table = [
        (&used, Overlap::CancelPrevious, "wait, wait, replace"),
        (&usage(&[]), Overlap::CancelPrevious, "start, wait, replace"),
        (&used, Overlap::Skip, "by r, by r, by r"),
    ];
    for (usage, overlap, expected) in table {
        let contenders =
            [vec![backfilled(1, overlap), backfilled(2, overlap)], of_task(overlap, "c")].concat();
        let verdicts = words(admit(usage, &contenders));
        assert_eq!(verdicts, expected, "{usage:?} {overlap:?}");
    }
}

#[test]
fn a_run_of_the_one_place_stays_when_the_policy_changes_to_skip() {
    let contenders = [of_task(FIRST, "a"), of_task(Overlap::Skip, "b")].concat();
    assert_eq!(words(admit(&usage(&["task:1#0"]), &contenders)), "wait, by r");
}

/// Returns the limits of a text such as `q3+t1`: keys of one letter, each with its maximum.
fn limits(texts: &str) -> Vec<SlotLimit> {
    let limit = |text: &str| SlotLimit { key: text[..1].to_owned(), max: text[1..].parse().unwrap() };
    texts.split('+').map(limit).collect()
}

/// Returns runs of limits, such as `q2`: the key `q` with the maximum 2.
fn of_limits(texts: &str, names: &str) -> Vec<Contender> {
    let contender = |name: char| Contender {
        id: RunId::from_text(name.to_string()),
        asks: Asks::Limits(Limits { slots: limits(texts), rate: None }),
        is_redriven: name.is_uppercase(),
    };
    names.chars().map(contender).collect()
}

#[test]
fn every_combination_of_limits_and_slots_in_use() {
    let table: [(&[&str], &str, &str, &str); 14] = [
        (&[], "q1", "ab", "q#0, wait"),
        (&[], "q2", "abc", "q#0, q#1, wait"),
        (&["q#0"], "q2", "ab", "q#1, wait"),
        (&["q#1"], "q2", "ab", "q#0, wait"),
        (&["q#0", "q#1"], "q2", "aB", "wait, wait"),
        // Slots above a lowered maximum count.
        (&["q#5"], "q1", "a", "wait"),
        (&["q#5"], "q2", "ab", "q#0, wait"),
        (&["q#5", "q#6", "q#7"], "q2", "a", "wait"),
        // All slots or none.
        (&[], "q2+t1", "ab", "q#0+t#0, wait"),
        (&["t#0"], "q2+t1", "a", "wait"),
        (&["q#0", "q#1"], "q2+t1", "a", "wait"),
        (&["q#0"], "q2+t2+u2", "ab", "q#1+t#0+u#0, wait"),
        (&["other#0"], "q1", "a", "q#0"),
        (&[], "q1", "", ""),
    ];
    for (slots, limits, names, expected) in table {
        assert_eq!(
            words(admit(&usage(slots), &of_limits(limits, names))),
            expected,
            "{slots:?} {limits} {names}"
        );
    }
}

#[test]
fn a_run_that_waits_for_one_key_does_not_block_the_runs_of_another() {
    let contenders = [of_limits("q3+t1", "ab"), of_limits("q3+u1", "c"), of_limits("q3", "d")].concat();
    assert_eq!(words(admit(&usage(&[]), &contenders)), "q#0+t#0, wait, q#1+u#0, q#2");
    let both = [of_limits("q1", "a"), of_task(Overlap::Skip, "bc")].concat();
    assert_eq!(words(admit(&usage(&["q#0"]), &both)), "wait, start, by b");
}

#[test]
fn each_group_has_a_turn_before_the_next_run_of_a_group() {
    let groups = ["abc", "", "d", "ef"].map(|names| of_limits("q9", names));
    let order: String = in_turn(groups.into()).iter().map(|run| run.id.to_string()).collect();
    assert_eq!(order, "adebfc");
}

#[test]
fn the_slots_that_are_free_and_in_use_are_counted() {
    let usage = usage(&["q#0", "q#7", "t#0", "broken", "q#x"]);
    let free = |texts: &str| usage.free(&limits(texts));
    assert_eq!((usage.used("q"), usage.used("u")), (2, 0));
    assert_eq!(["q5", "q5+t2", "q1", "u3"].map(free), [3, 1, 0, 3]);
    assert_eq!(usage.holder("q"), Some(&RunId::from_text("r")));
}

/// Returns a rate limit with the key `r`.
fn rate(drops: bool) -> RateLimit {
    RateLimit { key: "rate:r".to_owned(), limit: 9, period_ms: 1_000, burst: 1, drops }
}

/// Returns runs with a rate limit, and the limits of a text. An empty text has none.
fn of_rate(rate: RateLimit, texts: &str, names: &str) -> Vec<Contender> {
    let slots = if texts.is_empty() { Vec::new() } else { limits(texts) };
    let asks = Asks::Limits(Limits { slots, rate: Some(rate) });
    let mut runs = of_limits("q1", names);
    runs.iter_mut().for_each(|run| run.asks = asks.clone());
    runs
}

/// Permits that are left, slots in use, rate limit; and limits, contenders and verdicts as texts.
type Case<'a> = (u32, &'a [&'a str], &'a RateLimit, [&'a str; 3]);

#[test]
fn every_combination_of_permits_slots_and_excess() {
    let (wait, drop) = (rate(false), rate(true));
    let table: [Case; 13] = [
        (0, &[], &wait, ["", "ab", "wait, wait"]),
        (1, &[], &wait, ["", "abc", "start, wait, wait"]),
        (3, &[], &wait, ["", "ab", "start, start"]),
        (0, &[], &drop, ["", "aB", "drop, wait"]),
        (1, &[], &drop, ["", "Abc", "start, drop, drop"]),
        // The rate is decided before the slots.
        (0, &["q#0"], &drop, ["q1", "a", "drop"]),
        (0, &[], &wait, ["q1", "a", "wait"]),
        // A run without a slot uses no permit, and a run without a permit no slot.
        (1, &["q#0"], &wait, ["q1", "a", "wait"]),
        (1, &["q#0"], &drop, ["q1", "ab", "wait, wait"]),
        (1, &[], &wait, ["q1", "ab", "q#0, wait"]),
        (2, &[], &wait, ["q1", "ab", "q#0, wait"]),
        (1, &[], &wait, ["q2+t2", "ab", "q#0+t#0, wait"]),
        (9, &["t#0"], &wait, ["q2+t2", "ab", "q#0+t#1, wait"]),
    ];
    for (permits, slots, rate, [texts, names, expected]) in table {
        let mut usage = usage(slots);
        usage.set_permits(rate.clone(), permits);
        let verdicts = admit(&usage, &of_rate(rate.clone(), texts, names));
        let words = words(verdicts);
        let words: Vec<_> =
            words.split(", ").map(|word| if word.is_empty() { "start" } else { word }).collect();
        assert_eq!(words.join(", "), expected, "{permits} {slots:?} {rate} {texts} {names}");
    }
}

#[test]
fn a_run_without_a_permit_does_not_block_the_runs_of_another_key() {
    let mut usage = usage(&[]);
    usage.set_permits(rate(false), 0);
    let other = RateLimit { key: "rate:other".to_owned(), ..rate(false) };
    usage.set_permits(other.clone(), 2);
    let contenders =
        [of_rate(rate(false), "q2", "a"), of_rate(other, "q2", "b"), of_limits("q2", "c")].concat();
    assert_eq!(words(admit(&usage, &contenders)), "wait, q#0, q#1");
}

#[test]
fn fewer_permits_start_the_first_of_the_runs_that_more_permits_start() {
    let contenders = [of_rate(rate(false), "q3+t1", "ab"), of_rate(rate(false), "q3", "cd")].concat();
    for permits in 0..5 {
        let mut limited = usage(&[]);
        limited.set_permits(rate(false), permits);
        let starts = |usage: &Usage| {
            let verdicts = admit(usage, &contenders);
            verdicts.iter().filter(|verdict| matches!(verdict, Verdict::Start { .. })).count()
        };
        assert_eq!(starts(&limited), starts(&usage(&[])).min(permits as usize));
    }
}
