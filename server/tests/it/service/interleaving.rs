//! A call of the store that is held up, so that something else can happen before it, or before it is answered.

use std::sync::Arc;

use async_trait::async_trait;
use taskcenter_server::adapters::fault::{Faulty, Plan};
use taskcenter_server::adapters::local::LocalLock;
use taskcenter_server::adapters::memory::MemoryRecords;
use taskcenter_server::engine::ids::Ids;
use taskcenter_server::engine::service::{Caller, Ports, Service};
use taskcenter_server::engine::settings::Settings;
use taskcenter_server::ports::{Clock, Result};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Stage;
use crate::store::samples::unique;

/// Where the call is held up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// Before its effect.
    Before(&'static str),
    /// After its effect, and before its answer.
    After(&'static str),
}

struct Held {
    at: Pause,
    reached: Notify,
    go_on: Notify,
}

impl Held {
    async fn pass(&self, here: Pause) -> Result<()> {
        if here == self.at {
            self.reached.notify_one();
            self.go_on.notified().await;
        }
        Ok(())
    }
}

#[async_trait]
impl Plan for Held {
    async fn request(&self, call: &'static str) -> Result<()> {
        self.pass(Pause::Before(call)).await
    }

    async fn answer(&self, call: &'static str) -> Result<()> {
        self.pass(Pause::After(call)).await
    }

    fn portion(&self, rows: usize) -> usize {
        rows
    }
}

impl Stage {
    /// Has another node carry a command out, and `meanwhile` when it has come to `pause` for the first time.
    pub async fn with_a_pause<T>(
        &self,
        at: Pause,
        command: impl AsyncFn(&Service) -> T,
        meanwhile: impl Future<Output = ()>,
    ) -> T {
        let held = Arc::new(Held { at, reached: Notify::new(), go_on: Notify::new() });
        let service = self.held_up(&held);
        let other = async {
            held.reached.notified().await;
            meanwhile.await;
            loop {
                held.go_on.notify_one();
                held.reached.notified().await;
            }
        };
        tokio::select! {
            answer = command(&service) => answer,
            () = other => unreachable!("it lets every further call pass"),
        }
    }

    fn held_up(&self, held: &Arc<Held>) -> Service {
        let clock: Arc<dyn Clock> = self.clock.clone();
        let ports = Ports {
            store: Arc::new(Faulty::new(Arc::clone(&self.store), held.clone())),
            lock: Arc::new(LocalLock::new(Arc::clone(&clock))),
            records: Arc::new(MemoryRecords::default()),
            clock,
            has_bus: false,
        };
        let ids = Arc::new(Ids::new(unique() as u64));
        let shutdown = CancellationToken::new();
        let service = Service::new(ports, ids, Arc::default(), Settings::default(), shutdown);
        service.for_caller(Caller::node())
    }
}
