//! Client SDK of the task center.

pub mod clock;
mod consumer;
mod context;
mod dispatch;
mod handler;
mod harness;
mod http;
mod new_task;
mod report;
mod route;
mod seen;
pub mod tag;
pub mod transport;
pub mod wire;

pub use consumer::{Consumer, ConsumerBuilder, DEFAULT_CONCURRENCY, DEFAULT_DRAIN, StartError};
pub use context::Context;
pub use dispatch::Outcome;
pub use handler::{Disposition, HandlerError};
pub use harness::{Delivered, HARNESS_EPOCH_MS, Harness, TestDelivery};
pub use http::{Error, Page, TaskCenter, TaskCenterBuilder};
pub use new_task::{Cron, Every, NewTask, Once, Repeating, json};
pub use report::{ReportError, Reporter};
pub use route::RouteError;
pub use transport::{Deliver, Delivery, Transport, TransportError, Verdict};
