//! What this node did in the last hour: lateness by stage, and throughput by minute.

use super::super::charts::{Bar, BarChart};
use super::super::html;
use super::super::problem::Result;
use super::super::time::duration;
use super::super::visit::Visit;
use super::super::words::{Words, fill};
use crate::engine::service::{CLASSES, LATENESS_MS, LastHour, Lateness, Minute, Stage};

/// Minutes of a row of the table.
const MINUTES_OF_ROW: usize = 5;
/// Classes of lateness with a label below the charts, at equal distances.
const LABELLED: [usize; 4] = [0, 4, 8, 12];
const MINUTE_MS: i64 = 60_000;

/// The chart of a stage.
pub struct StageChart {
    pub name: String,
    pub summary: String,
    pub chart: BarChart,
}

/// The panels of the last hour.
pub struct Activity {
    /// p50 and p99 of the lateness of fires.
    pub p50: String,
    pub p99: String,
    pub stages: Vec<StageChart>,
    pub labels: Vec<String>,
    /// Class of lateness, and runs of each stage.
    pub classes: Vec<(String, Vec<String>)>,
    pub throughput: BarChart,
    pub summary: String,
    pub oldest: String,
    /// Beginning of some minutes, then fired, succeeded and dead.
    pub minutes: Vec<(String, [String; 3])>,
    pub is_empty: bool,
}

impl Activity {
    /// Returns the panels. `None`: the reader is limited to tags, and the figures are of all tags.
    pub async fn read(visit: &Visit) -> Result<Option<Self>> {
        if visit.service.caller().grant.is_limited() {
            return Ok(None);
        }
        Ok(Some(Self::new(&visit.service.last_hour().await?, visit.lang.words())))
    }

    fn new(hour: &LastHour, t: &Words) -> Self {
        let stages = Stage::ALL.map(|stage| hour.lateness(stage));
        let class =
            |class: usize| (class_word(class, t), stages.iter().map(|of| html::count(of.0[class])).collect());
        let [p50, p99] = quantiles(&stages[0], t);
        Self {
            p50,
            p99,
            stages: Stage::ALL
                .into_iter()
                .zip(&stages)
                .map(|(stage, of)| stage_chart(stage, of, t))
                .collect(),
            labels: LABELLED.map(|class| class_word(class, t)).to_vec(),
            classes: (0..CLASSES).map(class).collect(),
            throughput: throughput(&hour.minutes, t),
            summary: summary(&hour.minutes, t),
            oldest: ago(hour.minutes.len(), t),
            minutes: minute_rows(&hour.minutes, t),
            is_empty: hour.minutes.iter().all(|minute| *minute == Minute::default()),
        }
    }
}

/// Returns the words of a class of lateness, such as `≤ 25 ms`.
fn class_word(class: usize, t: &Words) -> String {
    let bound = |class: usize| duration(LATENESS_MS[class], t);
    if class < LATENESS_MS.len() {
        fill(&t.at_most, &[&bound(class)])
    } else {
        fill(&t.more_than, &[&bound(LATENESS_MS.len() - 1)])
    }
}

fn quantiles(of: &Lateness, t: &Words) -> [String; 2] {
    [50, 99].map(|percent| of.class_of(percent).map_or_else(|| "–".to_owned(), |class| class_word(class, t)))
}

fn stage_chart(stage: Stage, of: &Lateness, t: &Words) -> StageChart {
    let (id, name) = match stage {
        Stage::Fired => ("late-fired", &t.fired),
        Stage::Leased => ("late-leased", &t.state_leased),
        Stage::Ended => ("late-ended", &t.ended),
    };
    let [p50, p99] = quantiles(of, t);
    let bar = |(class, runs): (usize, &u64)| Bar {
        value: *runs,
        bad: 0,
        title: format!("{}: {}", class_word(class, t), html::count(runs)),
    };
    let summary = fill(&t.lateness_summary, &[&html::count(of.runs()), &p50, &p99]);
    let chart = BarChart {
        id,
        title: format!("{} · {name}", t.lateness),
        description: format!("{} {summary}", t.lateness_hint),
        bars: of.0.iter().enumerate().map(bar).collect(),
    };
    StageChart { name: name.clone(), summary, chart }
}

fn throughput(minutes: &[Minute], t: &Words) -> BarChart {
    let bar = |(at, minute): (usize, &Minute)| Bar {
        value: minute.fired,
        bad: minute.dead,
        title: format!("{}: {}", ago(minutes.len() - at, t), summary(std::slice::from_ref(minute), t)),
    };
    BarChart {
        id: "throughput",
        title: t.throughput.clone(),
        description: format!("{} {}", t.throughput_hint, summary(minutes, t)),
        bars: minutes.iter().enumerate().map(bar).collect(),
    }
}

fn sums(minutes: &[Minute]) -> [String; 3] {
    let sum = |part: fn(&Minute) -> u64| html::count(minutes.iter().map(part).sum::<u64>());
    [sum(|minute| minute.fired), sum(|minute| minute.succeeded), sum(|minute| minute.dead)]
}

fn summary(minutes: &[Minute], t: &Words) -> String {
    fill(&t.throughput_summary, &sums(minutes).each_ref().map(String::as_str))
}

/// Returns the words of the beginning of a minute, counted from the end of the hour.
fn ago(minutes: usize, t: &Words) -> String {
    fill(&t.past_time, &[&duration(minutes as i64 * MINUTE_MS, t)])
}

/// Returns rows of some minutes each, newest first.
fn minute_rows(minutes: &[Minute], t: &Words) -> Vec<(String, [String; 3])> {
    let rows = minutes.chunks(MINUTES_OF_ROW).enumerate();
    let mut rows: Vec<_> =
        rows.map(|(at, some)| (ago(minutes.len() - at * MINUTES_OF_ROW, t), sums(some))).collect();
    rows.reverse();
    rows
}

#[cfg(test)]
mod tests {
    use super::super::super::words::Lang;
    use super::*;
    use crate::core::Moment;
    use crate::engine::service::Metrics;

    const NOW: Moment = Moment::from_sec(1_000_000_000);

    #[test]
    fn the_charts_say_their_figures_in_words() {
        let metrics = Metrics::new();
        (0..99).for_each(|_| metrics.fired("a", NOW.plus_ms(-3), NOW));
        (0..9).for_each(|_| metrics.fired("a", NOW.plus_ms(-8_000_000), NOW));
        let activity = Activity::new(&metrics.last_hour(NOW), Lang::En.words());
        assert_eq!((activity.p50.as_str(), activity.p99.as_str()), ("≤ 5 ms", "over 1 h"));
        assert_eq!(activity.labels, ["≤ 1 ms", "≤ 50 ms", "≤ 5 s", "over 1 h"]);
        assert_eq!(activity.stages[0].summary, "108 runs · p50 ≤ 5 ms · p99 over 1 h");
        let svg = activity.stages[0].chart.to_string();
        assert!(svg.contains("<title>≤ 5 ms: 99</title>") && svg.contains("Lateness · Fired"), "{svg}");
        assert_eq!(activity.classes[1], ("≤ 5 ms".to_owned(), ["99", "0", "0"].map(str::to_owned).to_vec()));
        assert_eq!(activity.summary, "108 fired · 0 succeeded · 0 dead");
        assert_eq!(activity.minutes[0], ("5 min ago".to_owned(), ["108", "0", "0"].map(str::to_owned)));
        assert_eq!((activity.minutes.len(), activity.oldest.as_str()), (12, "1 h ago"));
        assert!(activity.throughput.to_string().contains("<title>1 min ago: 108 fired"));
    }

    #[test]
    fn an_idle_node_has_empty_charts() {
        let activity = Activity::new(&Metrics::new().last_hour(NOW), Lang::En.words());
        assert!(activity.is_empty);
        assert_eq!((activity.p50.as_str(), activity.p99.as_str()), ("–", "–"));
    }
}
