//! Workers on queues: they take runs, keep them, settle them, give them back, and vanish.

use std::sync::Arc;
use std::time::Duration;

use taskcenter_server::core::Run;
use taskcenter_server::core::run::Outcome;
use taskcenter_server::engine::service::{Held, LeaseTerms, Report};

use super::time::sleep_ms;
use super::users::ask;
use super::words::{self, once_in};
use super::world::World;

/// Tries to hand an outcome in.
const TRIES: u32 = 12;

/// One worker, to the end of the history.
pub async fn live(world: Arc<World>, name: String) {
    let mut lots = world.lots();
    loop {
        sleep_ms(lots.u64(1..if world.is_rough() { 400 } else { 50 })).await;
        let Some(node) = world.any_node(&mut lots) else { continue };
        let terms = terms(&mut lots, &name);
        let Some(Ok(runs)) = ask(&node, node.service.lease(&terms)).await else { continue };
        for run in &runs {
            world.checker.log(|| format!("{name} takes {} claim {}", run.id, run.claim));
            world.checker.leased(&name, run);
        }
        for run in runs {
            tokio::spawn(handle(Arc::clone(&world), run, lots.fork()));
        }
        if lots.bool() {
            sleep_ms(lots.u64(..if world.is_rough() { 1_000 } else { 1 })).await;
        }
    }
}

fn terms(lots: &mut fastrand::Rng, name: &str) -> LeaseTerms {
    let queues = if once_in(lots, 4) { Vec::new() } else { words::queues() };
    LeaseTerms {
        worker: name.to_owned(),
        queues,
        limit: lots.u32(1..6),
        lease_ms: lots.i64(1_000..6_000),
        wait: Duration::from_millis(lots.u64(..2_000)),
    }
}

async fn handle(world: Arc<World>, run: Run, mut lots: fastrand::Rng) {
    let calm = !world.is_rough();
    if !calm && once_in(&mut lots, 15) {
        // It died with the run in its hands.
        return;
    }
    sleep_ms(lots.u64(..if calm { 200 } else { 3_000 })).await;
    if lots.bool() {
        renew(&world, &run, &mut lots).await;
        sleep_ms(lots.u64(..if calm { 100 } else { 6_000 })).await;
    }
    let outcome = words::outcome(&mut lots, calm, true);
    settle(&world, &run, outcome, &mut lots).await;
}

async fn renew(world: &World, run: &Run, lots: &mut fastrand::Rng) {
    let Some(node) = world.any_node(lots) else { return };
    let held = Held { run_id: run.id.clone(), attempt: run.attempt, token: run.token.clone() };
    let _ = ask(&node, node.service.renew(&[held], lots.i64(1_000..6_000))).await;
}

/// Hands an outcome in until there is an answer, and at times once more.
pub async fn settle(world: &World, run: &Run, outcome: Outcome, lots: &mut fastrand::Rng) {
    let message = lots.bool().then(|| "so it said".to_owned());
    let report = Report { attempt: run.attempt, token: run.token.clone(), outcome, message };
    let mut again = once_in(lots, 10);
    for _ in 0..TRIES {
        let answer = match world.any_node(lots) {
            Some(node) => {
                world.checker.about_to_report(&run.id, &report);
                ask(&node, node.service.report(&run.id, &report)).await
            }
            None => None,
        };
        match answer {
            Some(Ok(taken)) => world.checker.report_taken(&run.id, &report, &taken),
            Some(Err(taskcenter_server::engine::service::ServiceError::Port(_))) | None => {
                sleep_ms(lots.u64(50..1_000)).await;
                continue;
            }
            Some(Err(refused)) => world.checker.log(|| format!("{}: {refused}", run.id)),
        }
        if !std::mem::take(&mut again) {
            return;
        }
        sleep_ms(lots.u64(..3_000)).await;
    }
}
