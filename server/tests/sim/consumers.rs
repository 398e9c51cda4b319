//! Consumer group on the bus: it receives messages late, out of order and twice, and reports
//! outcomes.

use std::sync::Arc;

use taskcenter_server::core::{Run, RunId};
use taskcenter_server::engine::publish::property;
use taskcenter_server::ports::BusMessage;

use super::random_input::{self, one_in};
use super::time::sleep_ms;
use super::workers::settle;
use super::world::World;

/// Consumes messages until the end of the history.
pub async fn run(world: Arc<World>) {
    let mut rng = world.fork_rng();
    let mut seen = 0;
    loop {
        sleep_ms(20).await;
        let messages = world.bus.since(seen);
        seen += messages.len();
        for message in messages {
            let copies = if world.has_faults() && one_in(&mut rng, 8) { 2 } else { 1 };
            for _ in 0..copies {
                tokio::spawn(consume(Arc::clone(&world), message.clone(), rng.fork()));
            }
        }
    }
}

async fn consume(world: Arc<World>, message: BusMessage, mut rng: fastrand::Rng) {
    let faultless = !world.has_faults();
    sleep_ms(rng.u64(..if faultless { 100 } else { 2_500 })).await;
    let read =
        |name: &str| message.properties.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    if read(property::ACK).is_none() || (!faultless && one_in(&mut rng, 15)) {
        return;
    }
    let id = RunId::from_text(read(property::RUN_ID).unwrap_or_default());
    let Ok(Some(run)) = world.store.run(&id).await else { return };
    let attempt = read(property::ATTEMPT).and_then(|text| text.parse().ok()).unwrap_or(0);
    let delivered = Run { attempt, token: read(property::TOKEN).unwrap_or_default(), ..run };
    let outcome = random_input::outcome(&mut rng, faultless, false);
    settle(&world, &delivered, outcome, &mut rng).await;
}
