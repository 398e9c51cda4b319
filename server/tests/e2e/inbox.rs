//! A consumer that records its deliveries.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use taskcenter_client::rocketmq::{RocketMq, RocketMqConfig};
use taskcenter_client::{Consumer, Context, HandlerError};

use crate::cluster::{Cluster, Mode};
use crate::wait;

/// One delivery.
#[derive(Debug, Clone)]
pub struct Received {
    pub run_id: String,
    pub task_id: String,
    pub data: String,
    pub attempt: u32,
    pub scheduled_at: i64,
    pub arrived_at: i64,
}

#[derive(Clone, Default)]
struct Deliveries(Arc<Mutex<Vec<Received>>>);

/// A running consumer of every tag.
pub struct Inbox {
    received: Deliveries,
    consumer: Consumer,
}

/// Transport of a consumer of this test.
pub fn transport(cluster: &Cluster, group: &str) -> RocketMq {
    let (namesrv, keys) = &cluster.rocketmq;
    let mut config = RocketMqConfig::new(namesrv, &cluster.id, format!("{}_{group}", cluster.id));
    if let Some((access_key, secret_key)) = keys {
        config.access_key = Some((*access_key).to_owned());
        config.secret_key = Some((*secret_key).to_owned());
    }
    RocketMq::new(config)
}

async fn record(ctx: Context<Deliveries>, data: String) -> Result<(), HandlerError> {
    let received = Received {
        run_id: ctx.run_id().unwrap_or_default().to_owned(),
        task_id: ctx.task_id().to_owned(),
        data,
        attempt: ctx.attempt(),
        scheduled_at: ctx.scheduled_at_ms().unwrap_or_default(),
        arrived_at: wait::now_ms(),
    };
    ctx.state().0.lock().expect("no thread panicked with the lock").push(received);
    Ok(())
}

impl Inbox {
    /// Starts a consumer of every delivery of the cluster.
    pub fn open(cluster: &Cluster) -> Self {
        let received = Deliveries::default();
        let builder = Consumer::builder()
            .state(received.clone())
            .on_text("*", record)
            .concurrency(64)
            .drain_for(Duration::from_secs(10));
        let builder = match cluster.mode {
            Mode::Cluster => builder.transport(transport(cluster, "inbox")),
            Mode::Embedded => builder.connect(&cluster.url()).expect("the URL is valid"),
        };
        let consumer = builder.start().expect("the consumer starts");
        Self { received, consumer }
    }

    pub fn all(&self) -> Vec<Received> {
        self.received.0.lock().expect("no thread panicked with the lock").clone()
    }

    /// Number of deliveries of each run.
    pub fn by_run(&self) -> BTreeMap<String, usize> {
        let mut times = BTreeMap::new();
        for received in self.all() {
            *times.entry(received.run_id).or_default() += 1;
        }
        times
    }

    /// Waits until this number of different runs are delivered.
    pub async fn until_runs(&self, count: usize) {
        wait::until(&format!("{count} runs are delivered"), async || self.by_run().len() >= count).await;
    }

    pub async fn close(self) {
        self.consumer.shutdown().await.expect("the consumer stops");
    }
}
