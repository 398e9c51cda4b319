//! A consumer group on the bus: it gets messages late, out of order and twice, and reports what it made of them.

use std::sync::Arc;

use taskcenter_server::core::{Run, RunId};
use taskcenter_server::engine::publish::property;
use taskcenter_server::ports::BusMessage;

use super::time::sleep_ms;
use super::words::{self, once_in};
use super::workers::settle;
use super::world::World;

/// Consumes to the end of the history.
pub async fn live(world: Arc<World>) {
    let mut lots = world.lots();
    let mut seen = 0;
    loop {
        sleep_ms(20).await;
        let messages = world.bus.since(seen);
        seen += messages.len();
        for message in messages {
            let copies = if world.is_rough() && once_in(&mut lots, 8) { 2 } else { 1 };
            for _ in 0..copies {
                tokio::spawn(consume(Arc::clone(&world), message.clone(), lots.fork()));
            }
        }
    }
}

async fn consume(world: Arc<World>, message: BusMessage, mut lots: fastrand::Rng) {
    let calm = !world.is_rough();
    sleep_ms(lots.u64(..if calm { 100 } else { 2_500 })).await;
    let read =
        |name: &str| message.properties.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    if read(property::ACK).is_none() || (!calm && once_in(&mut lots, 15)) {
        return;
    }
    let id = RunId::from_text(read(property::RUN_ID).unwrap_or_default());
    let Ok(Some(run)) = world.store.run(&id).await else { return };
    let attempt = read(property::ATTEMPT).and_then(|text| text.parse().ok()).unwrap_or(0);
    let of_message = Run { attempt, token: read(property::TOKEN).unwrap_or_default(), ..run };
    let outcome = words::outcome(&mut lots, calm, false);
    settle(&world, &of_message, outcome, &mut lots).await;
}
