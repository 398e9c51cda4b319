//! Async client of the remoting protocol of Apache RocketMQ 4.x and 5.x: name servers and brokers,
//! without the proxy.
//!
//! A [`Client`] holds the connections. [`Producer`](producer::Producer),
//! [`Consumer`](consumer::Consumer) and [`Admin`](admin::Admin) share it.
//!
//! ```no_run
//! use taskcenter_rocketmq::producer::{Message, Producer, ProducerConfig};
//! use taskcenter_rocketmq::{Client, ClientConfig};
//!
//! # async fn example() -> Result<(), taskcenter_rocketmq::Error> {
//! let client = Client::new(ClientConfig::new("127.0.0.1:9876"))?;
//! let producer = Producer::new(&client, ProducerConfig::new("orders"))?;
//! match producer.send(Message::new("orders", "body").tag("created")).await {
//!     Ok(receipt) => println!("stored as {}", receipt.message_id),
//!     Err(failed) if failed.may_have_arrived() => println!("unknown result: {failed}"),
//!     Err(failed) => println!("not stored: {failed}"),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! - A failed request is never repeated by the client, because its result may be unknown: see
//!   [`Error::may_have_arrived`].
//! - A lost connection is opened again with a pause of at most 1 s, with jitter. Calls fail at once
//!   during the pause, and producers use other brokers.
//! - All queues, waits and lengths from the network are bounded.
//!
//! [`Client`], [`Producer`](producer::Producer) and [`Consumer`](consumer::Consumer) need a tokio
//! runtime with time and I/O.

mod acl;
pub mod admin;
mod client;
mod clock;
mod config;
mod connection;
mod connections;
pub mod consumer;
mod error;
mod heartbeat;
mod name_servers;
pub mod producer;
pub mod protocol;
mod routes;
mod server_requests;
mod tls;

pub use client::Client;
pub(crate) use client::Membership;
pub use config::{ClientConfig, Credentials, Tls};
pub use error::Error;
pub(crate) use heartbeat::GroupMember;
pub use producer::SendStatus;
pub use protocol::command::Command;
pub use protocol::route::{Broker, MessageQueue, QueueRange, Route};
pub(crate) use server_requests::ServerRequest;
