//! Small pieces of HTML that are written in Rust: icons, state pills, times and payloads.
//!
//! Each piece escapes the texts that it is given.

use std::borrow::Borrow;
use std::fmt::{self, Display, Formatter};

use askama::filters::{Escaper as _, Html, HtmlSafe};

pub use super::assets::{
    composer_script, copy_script, filter_script, live_script, palette_script, review_script, script, style,
};
use super::time;
use super::words::{Lang, Words, fill};
use crate::core::{Moment, RunState, TaskState};

/// HTML without a text from outside that is not escaped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Markup(String);

impl Markup {
    /// Returns this piece with another one after it.
    #[must_use]
    pub fn and(mut self, next: &Self) -> Self {
        self.0.push_str(&next.0);
        self
    }
}

impl Display for Markup {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl HtmlSafe for Markup {}

/// Returns a text as HTML.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    // Writing to a string cannot fail.
    let _ = Html.write_escaped_str(&mut escaped, text);
    escaped
}

/// Returns an icon of `icons.html`.
pub fn icon(name: &str) -> Markup {
    Markup(format!(r##"<svg class="i" aria-hidden="true"><use href="#i-{}"/></svg>"##, escape(name)))
}

/// Returns the mark of the product.
pub fn brand() -> Markup {
    let paths = r#"<path d="M2 4.5h12M8 4.5V14"/><path d="M11 10.5l1.5 1.5 2.5-3"/>"#;
    Markup(format!(r#"<svg class="i" viewBox="0 0 16 16" aria-hidden="true">{paths}</svg>"#))
}

/// Returns a number with separators between its thousands.
pub fn count(number: impl Borrow<u64>) -> String {
    let digits = number.borrow().to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns a field of a form that a person does not see.
pub fn hidden(name: &str, value: &str) -> Markup {
    Markup(format!(r#"<input type="hidden" name="{}" value="{}">"#, escape(name), escape(value)))
}

/// Returns a pill: icon, word and colour.
pub fn pill(class: &str, icon_name: &str, word: &str) -> Markup {
    Markup(format!(r#"<span class="st {class}">{}{}</span>"#, icon(icon_name), escape(word)))
}

/// Returns the word of a run's state.
pub fn run_word(state: RunState, t: &Words) -> &str {
    match state {
        RunState::Firing => &t.state_firing,
        RunState::Held => &t.state_held,
        RunState::Fired => &t.state_fired,
        RunState::Ready => &t.state_ready,
        RunState::Leased => &t.state_leased,
        RunState::Retrying => &t.state_retrying,
        RunState::Succeeded => &t.state_succeeded,
        RunState::Dead => &t.state_dead,
        RunState::Skipped => &t.state_skipped,
        RunState::Cancelled => &t.state_cancelled,
    }
}

/// Returns the pill of a run's state.
pub fn run_pill(state: RunState, t: &Words) -> Markup {
    let (class, icon) = match state {
        RunState::Firing => ("run", "bolt"),
        RunState::Held => ("hold", "pause"),
        RunState::Fired => ("none", "out"),
        RunState::Ready => ("", "ring"),
        RunState::Leased => ("run", "play"),
        RunState::Retrying => ("retry", "retry"),
        RunState::Succeeded => ("ok", "check"),
        RunState::Dead => ("dead", "skull"),
        RunState::Skipped => ("none", "skip"),
        RunState::Cancelled => ("none", "slash"),
    };
    pill(class, icon, run_word(state, t))
}

/// Returns the word of a task's state.
pub fn task_word(state: TaskState, t: &Words) -> &str {
    match state {
        TaskState::Active => &t.state_active,
        TaskState::Paused => &t.state_paused,
        TaskState::Finished => &t.state_finished,
        TaskState::Cancelled => &t.state_cancelled,
    }
}

/// Returns the pill of a task's state.
pub fn task_pill(state: TaskState, t: &Words) -> Markup {
    let (class, icon) = match state {
        TaskState::Active => ("ok", "play"),
        TaskState::Paused => ("hold", "pause"),
        TaskState::Finished => ("none", "check"),
        TaskState::Cancelled => ("none", "slash"),
    };
    pill(class, icon, task_word(state, t))
}

/// Returns an instant in a zone, with quiet milliseconds.
pub fn instant(at: Moment, zone: &jiff::tz::TimeZone, lang: Lang) -> Markup {
    let Some(text) = time::date_time(at, zone, lang) else { return Markup(escape(&at.to_string())) };
    let ms = at.ms().rem_euclid(1_000);
    Markup(format!(r#"<time class="nowrap" datetime="{at}">{text}<span class="ms">.{ms:03}</span></time>"#))
}

/// Returns the time of day of an instant in a zone.
pub fn clock(at: Moment, zone: &jiff::tz::TimeZone) -> Markup {
    let text = time::time_of_day(at, zone).unwrap_or_else(|| escape(&at.to_string()));
    Markup(format!(r#"<time class="nowrap" datetime="{at}">{text}</time>"#))
}

/// Returns the distance of an instant from now. The script keeps it up to date.
pub fn distance(at: Moment, now: Moment, t: &Words) -> Markup {
    let text = escape(&time::relative(at, now, t));
    Markup(format!(r#"<time class="nowrap" datetime="{at}" data-relative>{text}</time>"#))
}

/// Longest part of a payload that a page shows, in bytes.
const SHOWN_BYTES: usize = 64 * 1024;

/// A payload as text, cut if it is long.
#[derive(Debug)]
pub struct Payload {
    /// Length in words.
    pub size: String,
    body: Markup,
}

impl Payload {
    pub fn new(text: &str, t: &Words) -> Self {
        let size = fill(&t.bytes, &[&count(text.len() as u64)]);
        if text.is_empty() {
            return Self { size, body: Markup(format!(r#"<p class="dim">{}</p>"#, escape(&t.no_data))) };
        }
        let shown = &text[..text.floor_char_boundary(SHOWN_BYTES)];
        let cut = if shown.len() < text.len() {
            let note = fill(&t.cut, &[&count(SHOWN_BYTES as u64)]);
            format!(r#"<p class="hint">{}</p>"#, escape(&note))
        } else {
            String::new()
        };
        let body = format!(r#"<pre class="code" tabindex="0">{}</pre>{cut}"#, escape(shown));
        Self { size, body: Markup(body) }
    }
}

impl Display for Payload {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.body.fmt(f)
    }
}

impl HtmlSafe for Payload {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_from_outside_are_escaped() {
        let attack = r#"<script>alert("x")</script>'&"#;
        let t = Lang::En.words();
        for html in [
            escape(attack),
            pill("ok", "check", attack).to_string(),
            hidden("n", attack).to_string(),
            Payload::new(attack, t).to_string(),
        ] {
            assert!(!html.contains("<script") && !html.contains(r#""x""#), "{html}");
        }
    }

    #[test]
    fn a_long_payload_is_cut_at_a_character() {
        let payload = Payload::new(&"é".repeat(SHOWN_BYTES), Lang::En.words());
        assert_eq!(payload.size, "131,072 B");
        assert!(payload.to_string().contains("65,536 bytes"));
    }

    #[test]
    fn thousands_are_separated() {
        assert_eq!([count(0u64), count(999u64), count(1_234_567u64)], ["0", "999", "1,234,567"]);
    }
}
