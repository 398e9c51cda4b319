//! Checks the checker: valid evidence passes, and the checker finds each kind of damage.

use anyhow::{Result, ensure};

use crate::check::check;
use crate::evidence::{
    Action, Answer, Change, ChangeResult, Created, Delivery, Effect, Evidence, ExpectedTask, Message, Rhythm,
    RunRow, Step, TaskRow,
};
use crate::verdict::{Kind, Verdict};

const START: i64 = 1_000_000_000_000;
const MOMENTS: i64 = 90;

/// Damage to the evidence, and the kind of its finding.
type Damage = (&'static str, Kind, fn(&mut Evidence));

const DAMAGES: [Damage; 27] = [
    ("an acknowledged task is missing", Kind::Lost, |e| drop(e.tasks.remove(1))),
    ("the message of a fired run was not delivered", Kind::Lost, |e| drop(e.deliveries.remove(7))),
    ("a success without an effect", Kind::Lost, |e| {
        e.runs[3].state = "succeeded".to_owned();
        e.effects.remove(3);
    }),
    ("an acknowledged outcome is missing", Kind::Lost, |e| {
        e.acknowledged_outcomes.push(e.runs[4].id.clone());
    }),
    ("a second task for one call", Kind::DoubledEffect, |e| {
        let twin = TaskRow { id: "twin".to_owned(), ..e.tasks[0].clone() };
        e.tasks.push(twin);
    }),
    ("a moment has effects of two runs", Kind::DoubledEffect, |e| {
        let twin = Effect { run_id: "twin".to_owned(), ..e.effects[5].clone() };
        e.effects.push(twin);
    }),
    ("a run has two effects", Kind::DoubledEffect, |e| e.effects.push(e.effects[5].clone())),
    ("one millisecond early", Kind::Early, |e| e.deliveries[9].arrived_at = e.deliveries[9].scheduled_at - 1),
    ("a moment has no run", Kind::Missing, |e| {
        let id = e.runs.remove(11).id;
        e.deliveries.retain(|delivery| delivery.run_id != id);
    }),
    ("a moment is skipped without being late", Kind::Missing, |e| {
        let run = &mut e.runs[12];
        (run.state, run.stretch) = ("skipped".to_owned(), Some((run.scheduled_at, 1)));
    }),
    ("a moment has two runs", Kind::Surplus, |e| {
        let twin = RunRow { id: "twin".to_owned(), ..e.runs[5].clone() };
        e.runs.push(twin);
    }),
    ("a run off the grid", Kind::Surplus, |e| e.runs[5].scheduled_at += 1),
    ("six seconds late without a fault", Kind::Late, |e| e.deliveries[20].arrived_at += 6_000),
    ("nothing is delivered for a minute", Kind::Late, |e| {
        for delivery in
            e.deliveries.iter_mut().filter(|d| (30..60).contains(&((d.scheduled_at - START) / 1_000)))
        {
            delivery.arrived_at = START + 90_000;
        }
    }),
    ("a duplicate without a fault", Kind::Uncaused, |e| {
        let copy = Message { place: "copy".to_owned(), ..messages(e)[8].clone() };
        messages(e).push(copy);
    }),
    ("a fired run is not on the broker", Kind::Lost, |e| drop(messages(e).remove(7))),
    ("the broker has a further attempt that was not delivered", Kind::Lost, |e| {
        let further = Message { place: "further".to_owned(), attempt: 2, ..messages(e)[8].clone() };
        messages(e).push(further);
    }),
    ("the broker has a message without a run", Kind::Surplus, |e| {
        messages(e)[7].run_id = "unknown".to_owned();
    }),
    ("a delivered message is not on the broker", Kind::Surplus, |e| {
        e.deliveries[7].message_id = "another".to_owned();
    }),
    ("a message was on the broker one millisecond early", Kind::Early, |e| {
        let message = &mut messages(e)[9];
        message.stored_at = message.scheduled_at - 1;
    }),
    ("a claim was delivered twice", Kind::DoubledEffect, |e| {
        let taken = Delivery { on_bus: false, ..e.deliveries[8].clone() };
        e.deliveries.extend([taken.clone(), taken]);
    }),
    (
        "moments before a delete are missing, and the task row says that they had not passed",
        Kind::Missing,
        |e| {
            let missed_from = e.changes[0].sent_at - 10_000;
            e.tasks[2].last_due_at = Some(missed_from - 500);
            e.runs.retain(|run| run.task_id != "task-2" || run.scheduled_at < missed_from);
            e.deliveries.retain(|come| come.task_id != "task-2" || come.scheduled_at < missed_from);
            messages(e).retain(|sent| sent.task_id != "task-2" || sent.scheduled_at < missed_from);
        },
    ),
    ("a fire after an acknowledged delete", Kind::Stale, |e| {
        let deleted = e.changes[0].answered_at;
        let run = e.runs.iter_mut().rfind(|run| run.task_id == "task-2").expect("the task has runs");
        run.fired_at = Some(deleted + 10);
    }),
    ("the last version is not in the journal", Kind::Unseen, |e| drop(e.steps.pop())),
    ("the first version is not in the journal", Kind::Unseen, |e| drop(e.steps.remove(0))),
    ("a version in between is not in the journal", Kind::Unseen, |e| {
        e.runs[0].version = 3;
        e.steps[1].version = 3;
    }),
    ("a run that never ends", Kind::Unfinished, |e| e.runs[6].open = true),
];

/// Version of a run: state, attempt, claim, version number.
type Version = (&'static str, i64, i64, i64);

/// Versions of one run. The last transition of each is illegal.
const ILLEGAL: [&[Version]; 13] = [
    &[("ready", 1, 1, 1)],
    &[("firing", 1, 2, 1)],
    &[("firing", 1, 1, 1), ("succeeded", 1, 1, 2), ("retrying", 1, 1, 3)],
    &[("firing", 1, 1, 1), ("fired", 1, 1, 2), ("fired", 1, 1, 2)],
    &[("firing", 1, 1, 1), ("leased", 1, 2, 2)],
    &[("firing", 1, 1, 1), ("firing", 1, 1, 2)],
    &[("firing", 1, 1, 1), ("firing", 2, 2, 2)],
    &[("firing", 1, 1, 1), ("ready", 1, 1, 2), ("retrying", 1, 1, 3)],
    &[("firing", 1, 1, 1), ("ready", 1, 1, 2), ("leased", 1, 1, 3)],
    &[("firing", 1, 1, 1), ("ready", 1, 1, 2), ("leased", 1, 2, 3), ("ready", 2, 3, 4)],
    &[("firing", 1, 1, 1), ("retrying", 1, 1, 2), ("firing", 1, 2, 3)],
    &[("firing", 1, 1, 1), ("fired", 1, 1, 2), ("ready", 2, 1, 3)],
    &[("firing", 1, 1, 1), ("ready", 1, 1, 2), ("leased", 1, 2, 3), ("ready", 1, 1, 4)],
];

/// Legal versions: a failed attempt, an overdue one, a released one, a redriven one.
const LEGAL: [&[Version]; 4] = [
    &[
        ("firing", 1, 1, 1),
        ("retrying", 1, 1, 2),
        ("firing", 2, 2, 3),
        ("firing", 2, 3, 4),
        ("succeeded", 2, 3, 5),
    ],
    &[("firing", 1, 1, 1), ("ready", 1, 1, 2), ("leased", 1, 2, 3), ("leased", 1, 2, 4), ("ready", 2, 2, 5)],
    &[("firing", 1, 1, 1), ("ready", 1, 1, 2), ("leased", 1, 2, 3), ("ready", 1, 2, 4), ("leased", 1, 3, 5)],
    &[("firing", 1, 1, 1), ("dead", 1, 1, 2), ("retrying", 1, 1, 3), ("firing", 2, 2, 4)],
];

/// Fails if the checker finds damage in valid evidence, or misses a damage. Returns the number of
/// damages.
pub fn run() -> Result<usize> {
    let sound = check(&sound());
    ensure!(sound.is_sound(), "the checker has findings in valid evidence: {:?}", sound.found);
    ensure!(
        sound.figures.moments > 200 && sound.figures.latest_quiet_ms == 20,
        "the valid evidence is too small"
    );
    for (what, kind, damage) in DAMAGES {
        let mut evidence = self::sound();
        damage(&mut evidence);
        found(what, kind, &check(&evidence))?;
    }
    for versions in ILLEGAL {
        let (_, before) = versions.split_last().expect("the list is not empty");
        ensure!(steps_of(before).count(Kind::Illegal) == 0, "the checker has findings in {before:?}");
        found(&format!("the versions {versions:?}"), Kind::Illegal, &steps_of(versions))?;
    }
    for versions in LEGAL {
        let verdict = steps_of(versions);
        ensure!(verdict.is_sound(), "the checker has findings in {versions:?}: {:?}", verdict.found);
    }
    another_terminal_state_is_found()?;
    a_fault_excuses_thirty_seconds()?;
    Ok(DAMAGES.len() + ILLEGAL.len() + 2)
}

fn found(what: &str, kind: Kind, verdict: &Verdict) -> Result<()> {
    ensure!(verdict.count(kind) > 0, "the checker misses: {what}; findings: {:?}", verdict.found);
    Ok(())
}

fn another_terminal_state_is_found() -> Result<()> {
    let mut evidence = sound();
    let run = &mut evidence.runs[6];
    (run.state, run.reason) = ("dead".to_owned(), Some("attempts exhausted".to_owned()));
    found("a dead run that should have succeeded", Kind::WrongEnd, &check(&evidence))
}

/// A fault excuses lateness up to thirty seconds after its end.
fn a_fault_excuses_thirty_seconds() -> Result<()> {
    let mut evidence = sound();
    let late = evidence.deliveries[20].clone();
    let broken = |to: i64| crate::evidence::Window {
        what: "x".to_owned(),
        from: late.scheduled_at - 100,
        to,
        delays: true,
    };
    evidence.deliveries[20].arrived_at += 40_000;
    evidence.windows.push(broken(late.scheduled_at + 15_000));
    ensure!(check(&evidence).is_sound(), "the checker allows no time after a fault");
    evidence.windows[0] = broken(late.scheduled_at + 9_000);
    found("thirty-one seconds after a fault", Kind::Late, &check(&evidence))
}

fn steps_of(versions: &[Version]) -> Verdict {
    let mut evidence = sound();
    evidence.steps.extend(versions.iter().map(|version| step("beside", *version)));
    check(&evidence)
}

fn messages(evidence: &mut Evidence) -> &mut Vec<Message> {
    evidence.messages.get_or_insert_default()
}

fn step(run_id: &str, (state, attempt, claim, version): Version) -> Step {
    let is_open = matches!(state, "firing" | "ready" | "leased" | "retrying");
    let attention_at = is_open.then_some(START);
    Step { run_id: run_id.to_owned(), state: state.to_owned(), attempt, claim, version, attention_at }
}

/// Returns valid evidence: three repeating tasks. The last one is deleted after a third of its
/// moments.
fn sound() -> Evidence {
    let mut evidence = Evidence::default();
    for number in 0..3 {
        add_loop(&mut evidence, number);
    }
    let deleted_at = START + MOMENTS / 3 * 1_000 + 500;
    let done = ChangeResult { rev: 1, open_runs: Vec::new() };
    evidence.changes.push(Change {
        task_id: "task-2".to_owned(),
        action: Action::Delete,
        sent_at: deleted_at - 5,
        answered_at: deleted_at,
        answer: Answer::Acknowledged(done),
    });
    evidence
}

fn add_loop(evidence: &mut Evidence, number: i64) {
    let deleted = number == 2;
    let moments = if deleted { MOMENTS / 3 } else { MOMENTS };
    let expected = ExpectedTask {
        key: format!("key-{number}"),
        name: "loop".to_owned(),
        rhythm: Rhythm::Every(1_000),
        start_at: START,
        end_at: None,
        max_fires: Some(MOMENTS as u64 + 1),
        ack: false,
        queue: None,
        end_state: None,
    };
    let id = format!("task-{number}");
    let answer = Answer::Acknowledged(id.clone());
    evidence.created.push(Created { expected, sent_at: START - 2_000, answered_at: START - 1_990, answer });
    evidence.tasks.push(TaskRow {
        id: id.clone(),
        data: format!("key-{number}#1"),
        state: if deleted { "cancelled" } else { "finished" }.to_owned(),
        rev: 1,
        anchored_at: START - 1_995,
        last_due_at: Some(START + moments * 1_000),
    });
    for moment in 0..=moments {
        add_run(evidence, &id, START + moment * 1_000);
    }
}

fn add_run(evidence: &mut Evidence, task: &str, at: i64) {
    let id = format!("{task}-1-{at}");
    evidence.runs.push(RunRow {
        id: id.clone(),
        task_id: task.to_owned(),
        rev: 1,
        scheduled_at: at,
        triggered: false,
        queue: None,
        waits_for_outcome: false,
        stretch: None,
        state: "fired".to_owned(),
        reason: None,
        attempt: 1,
        claim: 1,
        fired_at: Some(at + 10),
        version: 2,
        open: false,
    });
    evidence.steps.extend([step(&id, ("firing", 1, 1, 1)), step(&id, ("fired", 1, 1, 2))]);
    let delivery = Delivery {
        run_id: id.clone(),
        task_id: task.to_owned(),
        data: String::new(),
        attempt: 1,
        claim: 1,
        scheduled_at: at,
        arrived_at: at + 20,
        message_id: format!("message-{id}"),
        on_bus: true,
    };
    evidence.deliveries.push(delivery);
    messages(evidence).push(Message {
        place: format!("place-{id}"),
        name: format!("message-{id}"),
        run_id: id.clone(),
        task_id: task.to_owned(),
        attempt: 1,
        scheduled_at: at,
        stored_at: at + 15,
    });
    evidence.effects.push(Effect {
        run_id: id,
        task_id: task.to_owned(),
        scheduled_at: at,
        claim: 1,
        at: at + 20,
    });
}
