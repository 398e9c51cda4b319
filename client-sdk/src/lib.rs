//! Client SDK of the task center: create delayed and scheduled tasks, and handle their deliveries.
//!
//! # Creating tasks
//!
//! ```no_run
//! use taskcenter_client::resources::{ScheduleSpec, TaskSpec};
//! use taskcenter_client::{NewTask, TaskCenter, json};
//!
//! # async fn create() -> Result<(), Box<dyn std::error::Error>> {
//! let center = TaskCenter::new("http://127.0.0.1:8275")?;
//! let (name, data) = ("order.close".to_owned(), json(&42)?);
//! let close = TaskSpec { name, data, delay_ms: Some(900_000), ..TaskSpec::default() };
//! let task = center.create_task(&close).await?;
//! center.edit_task(&task.id, task.rev, &serde_json::json!({"data": "43"})).await?;
//! center.cancel_task(&task.id).await?;
//!
//! // The first API, which stays as it is:
//! let id = center.add_task(NewTask::once("order.close", json(&42)?).at(1_900_000_000)).await?;
//! center.add_task(NewTask::every("heartbeat", "ping", 60).times(10)).await?;
//! center.add_task(NewTask::cron("report", "daily", "TZ=Asia/Shanghai 0 8 * * *")).await?;
//! center.delete_tasks([id]).await?;
//! # Ok(())
//! # }
//! ```
//!
//! [`resources`] has the types of the resource API, and [`TaskCenter`] a method for each of its routes.
//!
//! # Handling deliveries
//!
//! A handler is a plain async function of a [`Context`] and a payload that `serde` decodes. It is tested by a
//! [`Harness`], with no broker:
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
//!         return Err(HandlerError::dead_letter("there is no order 0"));
//!     }
//!     ctx.state().close(order.id).await?; // a plain error retries
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
//! The same consumer in a program, in a dozen lines. The connection string says where the deliveries come from, and nothing
//! else changes: `http://127.0.0.1:8275` for the server's own queues ([`transport::pull`]),
//! `rocketmq://127.0.0.1:9876/taskcenter?group=order-service&report_to=http://127.0.0.1:8275` for RocketMQ
//! ([`ConsumerBuilder::connect`] has the parameters).
//!
//! ```no_run
//! # use taskcenter_client::{Consumer, Context, HandlerError};
//! # #[derive(serde::Deserialize)] struct Order { id: u64 }
//! async fn close_order(ctx: Context, order: Order) -> Result<(), HandlerError> {
//!     println!("order {} is closed, {:?} late", order.id, ctx.lateness());
//!     Ok(())
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let consumer = Consumer::builder()
//!         .on("order.close", close_order)
//!         .connect("http://127.0.0.1:8275")?
//!         .start()?;
//!     Ok(consumer.run_until(tokio::signal::ctrl_c()).await??)
//! }
//! ```
//!
//! # What a handler may count on
//!
//! Delivery is at least once, and once in effect with a transactional or idempotent sink: key the effect by
//! [`Context::run_id`], or fence on [`Context::claim`]. [`ConsumerBuilder::drop_duplicates`] makes duplicates rarer.
//!
//! A retry has exactly one owner. For a run that was taken from a queue it is the server, and so it is for a task created with
//! [`NewTask::ack`] and a consumer on a broker that [reports](ConsumerBuilder::report_to): outcomes go there and the message is
//! always settled, unless the report does not get through. In every other case it is the broker:
//!
//! | handler | server owns | broker owns |
//! |---|---|---|
//! | `Ok` | `succeeded` | acknowledged |
//! | any error, a panic | `failed` | delivered again |
//! | [`HandlerError::retry_after`] | `failed`, with the delay | delivered again after the delay, rounded up |
//! | [`HandlerError::dead_letter`], data that does not decode | `dead` | dead-letter queue |
//! | [`HandlerError::confirm_later`] | nothing; kept for whoever confirms it | acknowledged |
//! | [`HandlerError::skip`] | `skipped` | acknowledged |
//!
//! What a handler [hands back](Context::set_result) goes to the server with `succeeded`. At a shutdown, what no handler has begun
//! is given back and counts as no attempt; a handler that outlasts the [drain time](ConsumerBuilder::drain_for) is a failed one.

#![warn(missing_docs)]
// The RocketMQ client's types are nested deeper than the compiler looks by default.
#![recursion_limit = "256"]

pub mod clock;
mod connect;
mod consumer;
mod context;
mod dispatch;
mod handler;
mod harness;
mod http;
mod new_task;
mod random;
mod report;
pub mod resources;
mod route;
mod seen;
pub mod tag;
pub mod transport;
pub mod wire;

pub use connect::ConnectError;
pub use consumer::{Consumer, ConsumerBuilder, DEFAULT_CONCURRENCY, DEFAULT_DRAIN, StartError};
pub use context::{Context, MAX_RESULT_BYTES, MAX_RESULT_DEPTH, ResultError};
pub use dispatch::{Delivered, Outcome};
pub use handler::{Disposition, HandlerError};
pub use harness::{HARNESS_EPOCH_MS, Harness, TestDelivery};
pub use http::{Error, Page, RunQuery, TaskCenter, TaskCenterBuilder, TaskQuery};
/// An instant of the resource API.
pub use jiff::Timestamp;
pub use new_task::{Cron, Every, NewTask, Once, Repeating, json};
pub use report::{ReportError, Reporter};
pub use route::RouteError;
#[cfg(feature = "rocketmq")]
pub use transport::rocketmq;
pub use transport::{Deliver, Delivery, Transport, TransportError, Verdict};

/// The examples of the README, compiled as tests.
#[cfg(all(doctest, feature = "rocketmq"))]
#[doc = include_str!("../../README.md")]
struct Readme;
