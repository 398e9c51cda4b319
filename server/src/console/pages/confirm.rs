//! The page that asks before an action: what the action hits, and what it leaves alone.

use askama::Template;

use super::super::frame::Frame;
use super::super::html::{self as h, Markup};
use super::super::words::Words;

/// A button that leads to the page of an action.
pub struct Action {
    pub href: String,
    pub icon: &'static str,
    pub label: String,
    pub is_danger: bool,
}

/// The page before an action.
#[derive(Template)]
#[template(path = "confirm.html")]
pub struct Confirm {
    pub f: Frame,
    /// Where the form is sent.
    pub path: String,
    pub hidden: Markup,
    pub facts: Vec<(String, String)>,
    pub effect: String,
    pub leaves: String,
    pub label: String,
    pub is_danger: bool,
    pub back: String,
    pub problem: Option<String>,
}

/// Words of an action.
pub struct ActionWords<'a> {
    pub label: &'a str,
    pub effect: &'a str,
    pub leaves: &'a str,
    /// Notice after the action.
    pub done: &'static str,
    pub icon: &'static str,
    pub is_danger: bool,
}

impl ActionWords<'_> {
    /// Returns the link to the page that asks.
    pub fn link(&self, of: &str, name: &str) -> Action {
        Action {
            href: format!("{of}/{name}"),
            icon: self.icon,
            label: format!("{}…", self.label),
            is_danger: self.is_danger,
        }
    }
}

/// An action on a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskAction {
    Pause,
    Resume,
    Trigger,
    Cancel,
}

impl TaskAction {
    pub const ALL: [Self; 4] = [Self::Trigger, Self::Pause, Self::Resume, Self::Cancel];

    /// Returns the last segment of the action's path.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Trigger => "trigger",
            Self::Cancel => "cancel",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == text)
    }

    pub fn words(self, t: &Words) -> ActionWords<'_> {
        let (label, effect, leaves): (&str, &str, &str) = match self {
            Self::Pause => (&t.pause, &t.pause_effect, &t.pause_leaves),
            Self::Resume => (&t.resume, &t.resume_effect, &t.resume_leaves),
            Self::Trigger => (&t.trigger, &t.trigger_effect, &t.trigger_leaves),
            Self::Cancel => (&t.cancel, &t.cancel_effect, &t.cancel_leaves),
        };
        let (done, icon) = match self {
            Self::Pause => ("paused", "pause"),
            Self::Resume => ("resumed", "play"),
            Self::Trigger => ("triggered", "bolt"),
            Self::Cancel => ("cancelled", "slash"),
        };
        ActionWords { label, effect, leaves, done, icon, is_danger: self == Self::Cancel }
    }
}

/// An action on a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunAction {
    Retry,
    Cancel,
}

impl RunAction {
    pub const ALL: [Self; 2] = [Self::Retry, Self::Cancel];

    /// Returns the last segment of the action's path.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Cancel => "cancel",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == text)
    }

    pub fn words(self, t: &Words) -> ActionWords<'_> {
        match self {
            Self::Retry => ActionWords {
                label: &t.retry_now,
                effect: &t.retry_effect,
                leaves: &t.retry_leaves,
                done: "retried",
                icon: "retry",
                is_danger: false,
            },
            Self::Cancel => ActionWords {
                label: &t.cancel_run,
                effect: &t.cancel_run_effect,
                leaves: &t.cancel_run_leaves,
                done: "run_cancelled",
                icon: "slash",
                is_danger: true,
            },
        }
    }
}
