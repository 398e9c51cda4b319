//! Bar charts as SVG, with a title, a description, and a title for each bar.
//!
//! Sizes are attributes and colours are classes, because the content security policy forbids styles in a page.
//! A chart has no text of its own, so that it can be stretched to the width of a phone: the page has the labels,
//! and the same figures as a table.

use std::fmt::{self, Display, Formatter};

use askama::filters::HtmlSafe;

use super::html::escape;

/// Height of a chart, width of a bar, and width with its gap.
const HEIGHT: u64 = 72;
const WIDTH: usize = 8;
const STEP: usize = 10;
/// Width of a bar with parts.
const SPAN_WIDTH: u64 = 1_000;
/// Height of the smallest bar that is not empty, so that one run among millions is seen. Width of the
/// shortest part.
const LEAST: u64 = 2;

/// A bar, and the part of it that is bad.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bar {
    pub value: u64,
    pub bad: u64,
    /// What the bar says, in words.
    pub title: String,
}

/// A chart of bars.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BarChart {
    /// Id of the chart, unique in its page.
    pub id: &'static str,
    pub title: String,
    pub description: String,
    pub bars: Vec<Bar>,
}

impl Display for BarChart {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (id, width) = (self.id, self.bars.len() * STEP);
        write!(
            f,
            r#"<svg class="chart bars" viewBox="0 0 {width} {HEIGHT}" preserveAspectRatio="none" role="img" "#
        )?;
        write!(f, r#"aria-labelledby="{id}-t {id}-d"><title id="{id}-t">{}</title>"#, escape(&self.title))?;
        write!(f, r#"<desc id="{id}-d">{}</desc>"#, escape(&self.description))?;
        write!(f, r#"<path class="axis" d="M0 {HEIGHT}H{width}"/>"#)?;
        let most = self.bars.iter().map(|bar| bar.value.max(bar.bad)).max().unwrap_or(0);
        for (at, bar) in self.bars.iter().enumerate().filter(|(_, bar)| bar.value + bar.bad > 0) {
            write!(f, "<g><title>{}</title>", escape(&bar.title))?;
            rect(f, "bar", at, height(bar.value, most))?;
            rect(f, "f-dead", at, height(bar.bad, most))?;
            f.write_str("</g>")?;
        }
        f.write_str("</svg>")
    }
}

impl HtmlSafe for BarChart {}

/// Part of a [`SpanBar`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Class of the colour.
    pub class: &'static str,
    pub ms: u64,
    /// What the part says, in words.
    pub title: String,
}

/// A bar with parts, each as long as its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpanBar {
    /// Id of the bar, unique in its page.
    pub id: &'static str,
    pub title: String,
    pub spans: Vec<Span>,
}

impl SpanBar {
    /// Returns the bar. `None`: no time has passed.
    pub fn new(id: &'static str, title: &str, spans: Vec<Span>) -> Option<Self> {
        let has_time = spans.iter().any(|span| span.ms > 0);
        has_time.then(|| Self { id, title: title.to_owned(), spans })
    }
}

impl Display for SpanBar {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let id = self.id;
        write!(
            f,
            r#"<svg class="chart spans" viewBox="0 0 {SPAN_WIDTH} 8" preserveAspectRatio="none" role="img" "#
        )?;
        write!(f, r#"aria-labelledby="{id}-t {id}-d"><title id="{id}-t">{}</title>"#, escape(&self.title))?;
        let titles: Vec<&str> = self.spans.iter().map(|span| span.title.as_str()).collect();
        write!(f, r#"<desc id="{id}-d">{}</desc>"#, escape(&titles.join(", ")))?;
        let all: u64 = self.spans.iter().map(|span| span.ms).sum();
        let mut before = 0;
        for span in &self.spans {
            let (x, end) = (at(before, all), at(before + span.ms, all));
            let (class, width, title) = (span.class, (end - x).max(LEAST), escape(&span.title));
            write!(
                f,
                r#"<rect class="{class}" x="{x}" y="0" width="{width}" height="8"><title>{title}</title></rect>"#
            )?;
            before += span.ms;
        }
        f.write_str("</svg>")
    }
}

impl HtmlSafe for SpanBar {}

/// Returns the place of a time in a bar.
fn at(ms: u64, all: u64) -> u64 {
    u64::try_from(u128::from(ms) * u128::from(SPAN_WIDTH) / u128::from(all.max(1))).unwrap_or(SPAN_WIDTH)
}

fn rect(f: &mut Formatter<'_>, class: &str, at: usize, height: u64) -> fmt::Result {
    if height == 0 {
        return Ok(());
    }
    let (x, y) = (at * STEP + (STEP - WIDTH) / 2, HEIGHT - height);
    write!(f, r#"<rect class="{class}" x="{x}" y="{y}" width="{WIDTH}" height="{height}"/>"#)
}

fn height(value: u64, most: u64) -> u64 {
    if value == 0 { 0 } else { (value.saturating_mul(HEIGHT) / most.max(1)).clamp(LEAST, HEIGHT) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_is_a_picture_with_a_title_and_a_bar_for_each_value() {
        let bar = |value, bad| Bar { value, bad, title: format!("{value} <b>") };
        let chart = BarChart {
            id: "late",
            title: "Lateness & more".to_owned(),
            description: "Runs by lateness".to_owned(),
            bars: vec![bar(36, 0), bar(0, 0), bar(72, 18), bar(1_000_000, 0)],
        };
        let svg = BarChart { bars: chart.bars[..3].to_vec(), ..chart.clone() }.to_string();
        assert_eq!(
            svg,
            "<svg class=\"chart bars\" viewBox=\"0 0 30 72\" preserveAspectRatio=\"none\" role=\"img\" \
             aria-labelledby=\"late-t late-d\"><title id=\"late-t\">Lateness &#38; more</title>\
             <desc id=\"late-d\">Runs by lateness</desc><path class=\"axis\" d=\"M0 72H30\"/>\
             <g><title>36 &#60;b&#62;</title><rect class=\"bar\" x=\"1\" y=\"36\" width=\"8\" height=\"36\"/></g>\
             <g><title>72 &#60;b&#62;</title><rect class=\"bar\" x=\"21\" y=\"0\" width=\"8\" height=\"72\"/>\
             <rect class=\"f-dead\" x=\"21\" y=\"54\" width=\"8\" height=\"18\"/></g></svg>"
        );
        let svg = chart.to_string();
        assert!(svg.contains(r#"x="1" y="70" width="8" height="2""#), "a small value is seen: {svg}");
        assert!(BarChart { bars: Vec::new(), ..chart }.to_string().ends_with("d=\"M0 72H0\"/></svg>"));
    }

    #[test]
    fn each_part_of_a_bar_is_as_long_as_its_time_and_a_short_one_is_seen() {
        let span = |ms, class| Span { class, ms, title: format!("{ms} <ms>") };
        let bar =
            SpanBar::new("stages", "Time", vec![span(250, "f-wait"), span(0, "f-none"), span(750, "f-run")]);
        let svg = bar.unwrap().to_string();
        for part in [
            "<desc id=\"stages-d\">250 &#60;ms&#62;, 0 &#60;ms&#62;, 750 &#60;ms&#62;</desc>",
            "<rect class=\"f-wait\" x=\"0\" y=\"0\" width=\"250\" height=\"8\"><title>250 &#60;ms&#62;</title></rect>",
            "<rect class=\"f-none\" x=\"250\" y=\"0\" width=\"2\" height=\"8\">",
            "<rect class=\"f-run\" x=\"250\" y=\"0\" width=\"750\" height=\"8\">",
        ] {
            assert!(svg.contains(part), "{part}: {svg}");
        }
        assert_eq!(SpanBar::new("stages", "Time", vec![span(0, "f-run")]), None);
    }
}
