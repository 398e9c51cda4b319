//! The rules of the product, without I/O, async code and clocks: every decision takes `now` as an
//! argument.

pub mod access;
pub mod admission;
pub mod advance;
pub mod alert;
pub mod audit;
pub mod calendar;
pub mod callback_format;
pub mod callback_service;
pub mod change;
pub mod concurrency;
pub mod conflict;
pub mod cron;
pub mod definition;
pub mod headers;
pub mod hold;
pub mod invalid_timing;
pub mod jitter;
pub mod labels;
pub mod misfire;
pub mod moment;
pub mod net;
pub mod next_moments;
pub mod operation;
pub mod overlap;
pub mod payload_patch;
pub mod quota;
pub mod rate;
pub mod replan;
pub mod retry;
pub mod revision;
pub mod run;
pub mod run_log;
pub mod schedule;
pub mod submission;
pub mod tag;
pub mod task;
pub mod task_change;
pub mod timing;
pub mod user;
pub mod wait_group;
pub mod zone;

pub use moment::Moment;
pub use run::{Run, RunId, RunState};
pub use schedule::Schedule;
pub use task::{Task, TaskId, TaskState};
