//! An operator who holds queues and tags.

use std::sync::Arc;

use taskcenter_server::core::Moment;
use taskcenter_server::core::hold::{Hold, HoldScope};
use taskcenter_server::engine::service::NewHold;

use super::broken::Defect;
use super::random_input;
use super::time::sleep_ms;
use super::users::call;
use super::world::World;

/// Shortest hold, in milliseconds: the checker cannot tell whether a lease began before a shorter one.
const SHORTEST_MS: i64 = 26_000;

/// Runs the operator while faults happen. Every hold ends with the faults.
pub async fn run(world: Arc<World>) {
    let mut rng = world.fork_rng();
    while world.has_faults() {
        sleep_ms(rng.u64(500..8_000)).await;
        let left_ms = world.faults_end().since(world.now());
        let Some(node) = world.any_node(&mut rng).filter(|_| left_ms > SHORTEST_MS) else { continue };
        let scope = HoldScope::ALL[rng.usize(..HoldScope::ALL.len())];
        let name = match scope {
            HoldScope::Queue => random_input::queues().swap_remove(rng.usize(..random_input::queues().len())),
            HoldScope::Tag => random_input::name(&mut rng),
        };
        let until = world.now().plus_ms(rng.i64(SHORTEST_MS..=left_ms.min(45_000)));
        let new = NewHold { scope, name, reason: "maintenance".to_owned(), until: Some(until) };
        let Some(Ok(hold)) = call(&node, node.service.hold(new)).await else { continue };
        world.checker.log(|| format!("held {hold:?}"));
        world.checker.held(&hold);
        if world.defect == Some(Defect::ForgetsAHold) {
            call(&node, node.service.release_hold(hold.scope, &hold.name)).await;
        }
        sleep_ms(rng.u64(5_000..40_000)).await;
        release(&world, &mut rng, &hold, until).await;
    }
}

/// Ends the hold by hand, or waits for its end.
async fn release(world: &World, rng: &mut fastrand::Rng, hold: &Hold, until: Moment) {
    if let Some(node) = world.any_node(rng).filter(|_| rng.bool()) {
        world.checker.about_to_release(hold.scope, &hold.name);
        let released = call(&node, node.service.release_hold(hold.scope, &hold.name)).await;
        world.checker.log(|| format!("released {released:?}"));
    }
    sleep_ms(until.since(world.now()).max(0).unsigned_abs()).await;
}
