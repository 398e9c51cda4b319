//! Blocks a call of the store, so that another change can happen before the call or before its
//! answer.

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

/// Point at which the call is blocked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// Before the effect of the call.
    Before(&'static str),
    /// After the effect of the call, and before its answer.
    After(&'static str),
}

struct Gate {
    at: Pause,
    reached: Notify,
    release: Notify,
}

impl Gate {
    async fn pass(&self, here: Pause) -> Result<()> {
        if here == self.at {
            self.reached.notify_one();
            self.release.notified().await;
        }
        Ok(())
    }
}

#[async_trait]
impl Plan for Gate {
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
    /// Executes a command on another node, and `meanwhile` when the command reaches `at` for the
    /// first time.
    pub async fn with_interleaved<T>(
        &self,
        at: Pause,
        command: impl AsyncFn(&Service) -> T,
        meanwhile: impl Future<Output = ()>,
    ) -> T {
        let gate = Arc::new(Gate { at, reached: Notify::new(), release: Notify::new() });
        let service = self.blocked_service(&gate);
        let other = async {
            gate.reached.notified().await;
            meanwhile.await;
            loop {
                gate.release.notify_one();
                gate.reached.notified().await;
            }
        };
        tokio::select! {
            answer = Box::pin(command(&service)) => answer,
            () = other => unreachable!("every further call is released"),
        }
    }

    /// Executes a command on another node, which stops for ever when the command reaches `at`. Returns whether it
    /// reached `at`.
    pub async fn interrupted(&self, at: Pause, command: impl AsyncFn(&Service)) -> bool {
        let gate = Arc::new(Gate { at, reached: Notify::new(), release: Notify::new() });
        let service = self.blocked_service(&gate);
        tokio::select! {
            () = Box::pin(command(&service)) => false,
            () = gate.reached.notified() => true,
        }
    }

    fn blocked_service(&self, gate: &Arc<Gate>) -> Service {
        let clock: Arc<dyn Clock> = self.clock.clone();
        let ports = Ports {
            store: Arc::new(Faulty::new(Arc::clone(&self.store), gate.clone())),
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
