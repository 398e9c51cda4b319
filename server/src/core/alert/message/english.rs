//! English words.

use super::Words;
use crate::core::alert::{AlertTransition, Measure, Severity};

pub const WORDS: Words = Words {
    severity: Severity::as_str,
    change,
    title,
    value,
    advice,
    all: "all",
    since: "since",
    more: |count| format!("and {count} more"),
    alerts: |count| format!("{count} alerts"),
    test: ("test message", "This channel works:"),
};

fn change(change: AlertTransition) -> &'static str {
    match change {
        AlertTransition::Raised => "raised",
        AlertTransition::Reminder => "still raised",
        AlertTransition::Cleared => "resolved",
    }
}

fn title(measure: Measure) -> &'static str {
    match measure {
        Measure::Fires => "many fires per minute",
        Measure::Due => "due moments wait",
        Measure::Unreported => "runs without an outcome",
        Measure::Lag => "consumers are behind",
        Measure::DeadRuns => "dead runs",
        Measure::FirstDead => "first dead run after a quiet time",
        Measure::NoWorker => "no worker for a queue",
        Measure::ExpiredLeases => "expired leases",
        Measure::Undecided => "moments are overdue",
        Measure::BackEndDown => "back end down",
        Measure::Clock => "clock is wrong or was set",
        Measure::NodesMissing => "nodes are missing",
        Measure::LimitSaturated => "concurrency limit is full",
        Measure::Lateness => "runs are late",
    }
}

fn value(measure: Measure, value: u64, threshold: i64) -> String {
    match measure {
        Measure::FirstDead if value == 1 => "1 dead run".to_owned(),
        Measure::FirstDead => format!("{value} dead runs"),
        Measure::NoWorker | Measure::LimitSaturated if value == 1 => "1 run waits".to_owned(),
        Measure::NoWorker | Measure::LimitSaturated => format!("{value} runs wait"),
        Measure::Undecided => format!("{value} s late (threshold {threshold} s)"),
        Measure::BackEndDown if value == 0 => "up".to_owned(),
        Measure::BackEndDown => "down".to_owned(),
        Measure::Clock => format!("{value} ms (threshold {threshold} ms)"),
        Measure::NodesMissing => format!("{value} missing"),
        Measure::Lateness => format!("1 % of the runs are up to {value} ms late (threshold {threshold} ms)"),
        _ => format!("{value} (threshold {threshold})"),
    }
}

fn advice(measure: Measure) -> &'static str {
    match measure {
        Measure::Fires => "Find the task that fires too often: taskcenter stat.",
        Measure::Due => "The node fires too slowly or cannot deliver: check /readyz and its log.",
        Measure::Unreported => "Consumers do not report: check that they run and reach the server.",
        Measure::Lag => "Start more consumers or workers, or find out why they are slow.",
        Measure::DeadRuns => {
            "Read the errors: taskcenter run list --state dead. Fix the cause, then retry the runs."
        }
        Measure::FirstDead => "Read the error: taskcenter run list --state dead.",
        Measure::NoWorker => "Start a worker that leases from this queue.",
        Measure::ExpiredLeases => "Workers stop or hang: check their logs, or use a longer lease_ms.",
        Measure::Undecided => {
            "Check /readyz of every node: the store, the bus or a clock keeps moments waiting."
        }
        Measure::BackEndDown => "Check the back end and the network; /readyz has the reason.",
        Measure::Clock => "Check the time service (NTP) of the machine.",
        Measure::NodesMissing => "Check whether a node has stopped, and start it again.",
        Measure::LimitSaturated => {
            "Find out why its runs are slow, or raise max of the limit: taskcenter queue list."
        }
        Measure::Lateness => {
            "Compare the stages on the overview of the console; check the load of the node, the store and the bus."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_run_is_not_named_as_several() {
        assert_eq!(
            [value(Measure::FirstDead, 1, 0), value(Measure::FirstDead, 2, 0)],
            ["1 dead run", "2 dead runs"]
        );
        assert_eq!(
            [value(Measure::NoWorker, 1, 0), value(Measure::NoWorker, 2, 0)],
            ["1 run waits", "2 runs wait"]
        );
    }
}
