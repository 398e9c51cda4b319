//! Client SDK of the task center: create delayed and scheduled tasks, and handle their deliveries.
//!
//! # Creating tasks
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
//! The same consumer on RocketMQ, in a dozen lines:
//!
#![cfg_attr(feature = "rocketmq", doc = "```no_run")]
#![cfg_attr(not(feature = "rocketmq"), doc = "```text")]
//! # use taskcenter_client::{Consumer, Context, HandlerError, TaskCenter};
//! # use taskcenter_client::rocketmq::RocketMqConfig;
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
//!         .report_to(TaskCenter::new("http://127.0.0.1:8275")?)
//!         .rocketmq(RocketMqConfig::new("127.0.0.1:9876", "taskcenter", "order-service"))
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
//! A retry has exactly one owner. For a task created with [`NewTask::ack`] and a consumer that
//! [reports](ConsumerBuilder::report_to) it is the server: outcomes go there and the message is always settled, unless the
//! report does not get through. In every other case it is the broker:
//!
//! | handler | server owns | broker owns |
//! |---|---|---|
//! | `Ok` | `succeeded` | acknowledged |
//! | any error, a panic | `failed` | delivered again |
//! | [`HandlerError::retry_after`] | `failed`, with the delay | delivered again after the delay, rounded up |
//! | [`HandlerError::dead_letter`], data that does not decode | `dead` | dead-letter queue |
//! | [`HandlerError::skip`] | `skipped` | acknowledged |

// The RocketMQ client's types are nested deeper than the compiler looks by default.
#![recursion_limit = "256"]

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
#[cfg(feature = "rocketmq")]
pub use transport::rocketmq;
pub use transport::{Deliver, Delivery, Transport, TransportError, Verdict};

/// The examples of the README, compiled as tests.
#[cfg(all(doctest, feature = "rocketmq"))]
#[doc = include_str!("../../README.md")]
struct Readme;
