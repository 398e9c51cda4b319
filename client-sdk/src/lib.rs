//! Client SDK of the task center: create delayed and scheduled tasks, and handle their deliveries.
//!
//! # Create tasks
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use taskcenter_client::TaskCenter;
//! use taskcenter_client::resources::TaskSpec;
//!
//! # async fn create() -> Result<(), Box<dyn std::error::Error>> {
//! let center = TaskCenter::new("http://127.0.0.1:8275")?;
//! let close_order = TaskSpec::once("order.close").with_json(&42)?.after(Duration::from_mins(15));
//! let task = center.create_task(&close_order).await?;
//! center.edit_task(&task.id, task.rev, &serde_json::json!({"data": "43"})).await?;
//! center.cancel_task(&task.id).await?;
//! # Ok(())
//! # }
//! ```
//!
//! [`TaskCenter`] has one method for each route of the resource API, and [`resources`] has the
//! types of the API. [`NewTask`] and [`TaskCenter::add_task`] are for the legacy v1 API, with Unix
//! seconds:
//!
//! ```no_run
//! use taskcenter_client::{NewTask, TaskCenter, json};
//!
//! # async fn create() -> Result<(), Box<dyn std::error::Error>> {
//! let center = TaskCenter::new("http://127.0.0.1:8275")?;
//! let id = center.add_task(NewTask::once("order.close", json(&42)?).at(1_900_000_000)).await?;
//! center.add_task(NewTask::every("heartbeat", "ping", 60).times(10)).await?;
//! center.add_task(NewTask::cron("report", "daily", "TZ=Asia/Shanghai 0 8 * * *")).await?;
//! center.delete_tasks([id]).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Handle deliveries
//!
//! A handler is an async function of a [`Context`] and a payload that `serde` decodes from JSON. A
//! [`Harness`] tests a handler without a broker and without a server:
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use taskcenter_client::{Consumer, ConsumerBuilder, Context, HandlerError, Outcome};
//!
//! struct Db;
//!
//! impl Db {
//!     async fn close(&self, _order: u64) -> std::io::Result<()> {
//!         Ok(())
//!     }
//! }
//!
//! #[derive(Serialize, Deserialize)]
//! struct Order {
//!     id: u64,
//! }
//!
//! async fn close_order(ctx: Context<Db>, order: Order) -> Result<(), HandlerError> {
//!     if order.id == 0 {
//!         return Err(HandlerError::dead_letter("invalid order id 0"));
//!     }
//!     ctx.state().close(order.id).await?; // any other error is retried
//!     Ok(())
//! }
//!
//! fn consumer(db: Db) -> ConsumerBuilder<Db> {
//!     Consumer::builder().state(db).on("order.close || order.cancel", close_order).concurrency(8)
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let harness = consumer(Db).harness()?;
//! let delivered = harness.deliver("order.close").json(&Order { id: 7 }).attempt(2).await;
//! assert_eq!(delivered.outcome, Outcome::Succeeded);
//! # Ok(())
//! # }
//! ```
//!
//! The same consumer as a program. The connection string selects the transport, and nothing else
//! changes:
//!
//! - `http://127.0.0.1:8275`: the queues of the server ([`transport::pull`]).
//! - `rocketmq://127.0.0.1:9876/taskcenter?group=order-service&report_to=http://127.0.0.1:8275`:
//!   RocketMQ.
//!
//! [`ConsumerBuilder::connect`] lists the parameters. The first Ctrl-C or SIGTERM ends the program
//! after the running handlers, and the second one interrupts them
//! ([`Consumer::run_until_signal`]). An unreachable server is retried, and an invalid token ends the
//! program. Both are logged by `tracing`; without a subscriber, they are printed on standard error.
//!
//! ```no_run
//! # use taskcenter_client::{Consumer, Context, HandlerError};
//! # #[derive(serde::Deserialize)] struct Order { id: u64 }
//! async fn close_order(ctx: Context, order: Order) -> Result<(), HandlerError> {
//!     println!("order {} is closed, {:?} late", order.id, ctx.lateness().unwrap_or_default());
//!     Ok(())
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), taskcenter_client::Error> {
//!     let consumer = Consumer::builder()
//!         .on("order.close", close_order)
//!         .connect("http://127.0.0.1:8275")?
//!         .start()?;
//!     consumer.run_until_signal().await?;
//!     Ok(())
//! }
//! ```
//!
//! # Delivery guarantee
//!
//! Delivery is at least once. Each run takes effect once if the handler is idempotent or
//! transactional. Use [`Context::run_id`] as the key of the effect, or [`Context::claim`] as a
//! fencing token. [`ConsumerBuilder::drop_duplicates`] makes duplicates rare.
//!
//! Exactly one side owns the retries of a run:
//!
//! - The server owns the retries of runs in a queue.
//! - The server owns the retries of a task with `ack` whose consumer [reports
//!   outcomes](ConsumerBuilder::report_to). The message is acknowledged, unless the report cannot
//!   be delivered.
//! - The broker owns all other retries.
//!
//! | result of the handler | reported to the server | message at the broker |
//! |---|---|---|
//! | `Ok` | `succeeded` | acknowledged |
//! | other error, or panic | `failed` | delivered again |
//! | [`HandlerError::retry_after`] | `failed`, with the delay | delivered again after the delay |
//! | [`HandlerError::dead_letter`], or invalid payload | `dead` | dead-letter queue |
//! | [`HandlerError::confirm_later`] | nothing; another system reports | acknowledged |
//! | [`HandlerError::skip`] | `skipped` | acknowledged |
//! | [`HandlerError::release`] | `released` (queue only) | delivered again |
//!
//! The [result](Context::set_result) of a handler is part of the report of `succeeded`.
//!
//! [`Context::log`] writes lines to the log of the run, which `taskcenter run log` shows. The lines are sent while
//! the handler runs. They need a [reporter](ConsumerBuilder::report_to) over RocketMQ, but no `ack` of the task.
//!
//! [`Context::cancelled`] tells a handler to stop: at a shutdown, at its
//! [time limit](ConsumerBuilder::handler_timeout), and when the server has given the run to another
//! worker or has cancelled it.
//!
//! After a shutdown starts, deliveries without a running handler are returned and do not count as
//! an attempt. A handler that runs longer than the [drain time](ConsumerBuilder::drain_for) is
//! interrupted, and its attempt has failed.

#![warn(missing_docs)]

pub mod clock;
mod connect;
mod consumer;
mod consumer_parts;
mod context;
mod dispatch;
mod duplicate_filter;
mod error_text;
mod handler;
mod harness;
mod http;
mod new_task;
mod notice;
mod outcome;
mod random;
mod report;
pub mod resources;
mod route;
mod run_log;
mod signals;
pub mod tag;
pub mod transport;
pub mod wire;

pub use connect::ConnectError;
pub use consumer::{Consumer, ConsumerBuilder, StartError};
pub use consumer_parts::{DEFAULT_CONCURRENCY, DEFAULT_DRAIN};
pub use context::{Context, MAX_RESULT_BYTES, MAX_RESULT_DEPTH, ResultError};
pub use handler::{Disposition, HandlerError};
pub use harness::{HARNESS_EPOCH_MS, Harness, TestDelivery};
pub use http::{
    AuditQuery, Error, EventQuery, EventStream, Page, RunQuery, TaskCenter, TaskCenterBuilder, TaskQuery,
};
/// Instant of the resource API, with a precision of one millisecond on the wire.
pub use jiff::Timestamp;
pub use new_task::{Cron, Every, NewTask, Once, Repeating, json};
pub use outcome::{Delivered, Outcome};
pub use report::{ReportError, Reporter};
pub use resources::LogLevel;
pub use route::RouteError;
#[cfg(feature = "rocketmq")]
pub use transport::rocketmq;
pub use transport::{Deliver, Delivery, Transport, TransportError, Verdict};

/// The examples of the README as doc tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

/// The examples of the page about workers as doc tests.
#[cfg(doctest)]
#[doc = include_str!("../../docs/workers.md")]
struct Workers;

/// The examples of the page about attempts as doc tests.
#[cfg(doctest)]
#[doc = include_str!("../../docs/attempts.md")]
struct Attempts;

/// The examples of the Chinese README as doc tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.zh-CN.md")]
struct ReadmeZhCn;

/// The examples of the Chinese quick start as doc tests.
#[cfg(doctest)]
#[doc = include_str!("../../docs/zh/quickstart.md")]
struct QuickStartZhCn;
