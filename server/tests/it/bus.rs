//! Conformance suite of [`Bus`], run against every adapter, and tests of single adapters. A new
//! adapter needs one line in `on_every_bus!`.

#[cfg(feature = "cluster")]
mod rocketmq;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use taskcenter_server::adapters::absent::NoBus;
use taskcenter_server::adapters::fault::{Faulty, Odds, SeededPlan};
use taskcenter_server::adapters::memory::MemoryBus;
use taskcenter_server::ports::{Bus, BusMessage, PortError};

use crate::store::samples::unique;

/// A bus with its own topic.
#[async_trait]
trait Fixture: Send + Sync {
    fn bus(&self) -> Arc<dyn Bus>;
    /// Waits for `count` messages, and returns them.
    async fn arrived(&mut self, count: usize) -> Vec<BusMessage>;
    async fn close(self);
}

/// Makes each case a test on every adapter.
macro_rules! on_every_bus {
    ($($case:ident)*) => {
        #[cfg(feature = "cluster")]
        on_every_bus!(@adapter on_rocketmq crate::bus::rocketmq::Broker, $($case)*);
        on_every_bus!(@adapter in_memory crate::bus::Memory, $($case)*);
        on_every_bus!(@adapter through_the_fault_decorator crate::bus::Decorated, $($case)*);
    };
    (@adapter $adapter:ident $fixture:path, $($case:ident)*) => {
        mod $adapter {
            use super::Fixture;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let mut fixture = <$fixture>::open().await;
                    super::$case(&mut fixture).await;
                    fixture.close().await;
                }
            )*
        }
    };
}

on_every_bus! {
    messages_arrive_unchanged
    each_of_a_thousand_messages_is_confirmed_and_arrives_once
    a_probe_succeeds_and_an_unused_topic_has_no_lag
}

fn message(tag: &str, body: impl Into<Vec<u8>>) -> BusMessage {
    let properties =
        vec![("TC_RUN_ID".to_owned(), format!("run-{tag}")), ("note".to_owned(), "äöü 日本 =;".to_owned())];
    BusMessage { tag: tag.to_owned(), key: format!("task-{tag}"), body: body.into(), properties }
}

async fn messages_arrive_unchanged(on: &mut impl Fixture) {
    let bytes: Vec<u8> = (0..100_000_u32).map(|at| (at % 251) as u8).collect();
    let sent = [message("订单 close", "{\"a\":1}"), message("empty", ""), message("bytes", bytes)];
    let answers = on.bus().publish(sent.to_vec()).await;
    assert!(matches!(answers[..], [Ok(()), Ok(()), Ok(())]), "{answers:?}");
    let arrived = on.arrived(3).await;
    for message in &sent {
        let found = arrived.iter().find(|found| found.tag == message.tag).expect("the message has arrived");
        assert_eq!((&found.key, &found.body), (&message.key, &message.body));
        assert!(message.properties.iter().all(|property| found.properties.contains(property)), "{found:?}");
    }
    assert_eq!(on.bus().publish(Vec::new()).await.len(), 0);
}

async fn each_of_a_thousand_messages_is_confirmed_and_arrives_once(on: &mut impl Fixture) {
    let sent: Vec<BusMessage> = (0..1_000).map(|n| message("t", n.to_string())).collect();
    let answers = on.bus().publish(sent.clone()).await;
    assert_eq!((answers.len(), answers.iter().filter(|answer| answer.is_ok()).count()), (1_000, 1_000));
    let arrived = on.arrived(1_000).await;
    let bodies: BTreeSet<Vec<u8>> = arrived.iter().map(|message| message.body.clone()).collect();
    assert_eq!((arrived.len(), bodies), (1_000, sent.into_iter().map(|message| message.body).collect()));
}

async fn a_probe_succeeds_and_an_unused_topic_has_no_lag(on: &mut impl Fixture) {
    on.bus().probe().await.unwrap();
    let waiting: u64 = on.bus().lag().await.unwrap().into_iter().map(|(_, waiting)| waiting).sum();
    assert_eq!(waiting, 0);
    on.bus().close().await;
}

struct Memory(Arc<MemoryBus>);

impl Memory {
    #[allow(clippy::unused_async, reason = "other fixtures need async")]
    async fn open() -> Self {
        Self(Arc::default())
    }
}

#[async_trait]
impl Fixture for Memory {
    fn bus(&self) -> Arc<dyn Bus> {
        self.0.clone()
    }

    async fn arrived(&mut self, _: usize) -> Vec<BusMessage> {
        self.0.since(0)
    }

    async fn close(self) {}
}

/// The fault decorator without faults, with writes in parts.
struct Decorated {
    inner: Memory,
    bus: Arc<Faulty<MemoryBus>>,
}

fn decorated(inner: &Memory, seed: u64, odds: Odds) -> Faulty<MemoryBus> {
    Faulty::new(inner.0.clone(), Arc::new(SeededPlan::new("bus", seed, Odds { parts: 1_000, ..odds })))
}

impl Decorated {
    async fn open() -> Self {
        let inner = Memory::open().await;
        let bus = Arc::new(decorated(&inner, unique() as u64, Odds::default()));
        Self { inner, bus }
    }
}

#[async_trait]
impl Fixture for Decorated {
    fn bus(&self) -> Arc<dyn Bus> {
        self.bus.clone()
    }

    async fn arrived(&mut self, count: usize) -> Vec<BusMessage> {
        self.inner.arrived(count).await
    }

    async fn close(self) {}
}

#[tokio::test]
async fn only_confirmed_messages_arrive_after_lost_requests() {
    let mut mixed = 0;
    for seed in 0..50 {
        let inner = Memory::open().await;
        let bus = decorated(&inner, seed, Odds { lost_requests: 300, ..Odds::default() });
        let sent: Vec<BusMessage> = (0..20).map(|n| message("t", n.to_string())).collect();
        let answers = bus.publish(sent.clone()).await;
        let confirmed = sent.into_iter().zip(&answers).filter(|(_, answer)| answer.is_ok());
        let confirmed: Vec<BusMessage> = confirmed.map(|(message, _)| message).collect();
        assert_eq!((answers.len(), inner.0.since(0)), (20, confirmed.clone()), "seed {seed}");
        assert!(
            answers
                .iter()
                .filter_map(|answer| answer.as_ref().err())
                .all(|error| matches!(error, PortError::Unavailable(..)))
        );
        mixed += usize::from((1..20).contains(&confirmed.len()));
    }
    assert!(mixed > 0, "no seed had both confirmed and lost messages");
}

#[tokio::test]
async fn a_node_without_a_broker_refuses_each_message() {
    let refused = NoBus.publish(vec![message("a", "1"), message("b", "2")]).await;
    assert!(refused.len() == 2 && refused.iter().all(Result::is_err), "{refused:?}");
}
