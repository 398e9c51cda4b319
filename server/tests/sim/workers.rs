//! Workers on queues: they lease, renew, settle and release runs, and some die.

use std::sync::Arc;
use std::time::Duration;

use taskcenter_server::core::Run;
use taskcenter_server::core::run::Outcome;
use taskcenter_server::engine::service::{Held, LeaseTerms, Report};

use super::random_input::{self, one_in};
use super::time::sleep_ms;
use super::users::call;
use super::world::World;

/// Maximum number of tries to report an outcome.
const TRIES: u32 = 12;

/// Runs one worker until the end of the history.
pub async fn run(world: Arc<World>, name: String) {
    let mut rng = world.fork_rng();
    loop {
        sleep_ms(rng.u64(1..if world.has_faults() { 400 } else { 50 })).await;
        let Some(node) = world.any_node(&mut rng) else { continue };
        let terms = terms(&mut rng, &name);
        let Some(Ok(runs)) = call(&node, node.service.lease(&terms)).await else { continue };
        for run in &runs {
            world.checker.log(|| format!("{name} leases {} claim {}", run.id, run.claim));
            world.checker.leased(&name, run);
        }
        for run in runs {
            tokio::spawn(handle(Arc::clone(&world), run, rng.fork()));
        }
        if rng.bool() {
            sleep_ms(rng.u64(..if world.has_faults() { 1_000 } else { 1 })).await;
        }
    }
}

fn terms(rng: &mut fastrand::Rng, name: &str) -> LeaseTerms {
    let queues = if one_in(rng, 4) { Vec::new() } else { random_input::queues() };
    LeaseTerms {
        worker: name.to_owned(),
        queues,
        limit: rng.u32(1..6),
        lease_ms: rng.i64(1_000..6_000),
        wait: Duration::from_millis(rng.u64(..2_000)),
        request_id: None,
    }
}

async fn handle(world: Arc<World>, run: Run, mut rng: fastrand::Rng) {
    let faultless = !world.has_faults();
    if !faultless && one_in(&mut rng, 15) {
        // The worker dies while it holds the run.
        return;
    }
    sleep_ms(rng.u64(..if faultless { 200 } else { 3_000 })).await;
    if rng.bool() {
        if renew(&world, &run, &mut rng).await && rng.bool() {
            return settle(&world, &run, Outcome::Failed { retry_after_ms: None }, &mut rng).await;
        }
        sleep_ms(rng.u64(..if faultless { 100 } else { 6_000 })).await;
    }
    let outcome = random_input::outcome(&mut rng, faultless, true);
    settle(&world, &run, outcome, &mut rng).await;
}

/// Renews the lease. Returns whether a user has requested to cancel the run.
async fn renew(world: &World, run: &Run, rng: &mut fastrand::Rng) -> bool {
    let Some(node) = world.any_node(rng) else { return false };
    let held =
        Held { run_id: run.id.clone(), attempt: run.attempt, token: run.token.clone(), progress: None };
    let answers = call(&node, node.service.renew(&[held], rng.i64(1_000..6_000))).await;
    let renewal = answers.and_then(Result::ok).and_then(|mut answers| answers.pop()?.ok());
    renewal.is_some_and(|renewal| renewal.cancel_requested)
}

/// Reports an outcome until an answer arrives, and sometimes once more.
pub async fn settle(world: &World, run: &Run, outcome: Outcome, rng: &mut fastrand::Rng) {
    let message = rng.bool().then(|| "message of the handler".to_owned());
    let report =
        Report { attempt: run.attempt, token: run.token.clone(), outcome, message, started_at: None };
    let mut repeats = one_in(rng, 10);
    for _ in 0..TRIES {
        let answer = match world.any_node(rng) {
            Some(node) => {
                world.checker.about_to_report(&run.id, &report);
                call(&node, node.service.report(&run.id, &report)).await
            }
            None => None,
        };
        match answer {
            Some(Ok(accepted)) => world.checker.report_accepted(&run.id, &report, &accepted),
            Some(Err(taskcenter_server::engine::service::ServiceError::Port(_))) | None => {
                sleep_ms(rng.u64(50..1_000)).await;
                continue;
            }
            Some(Err(refused)) => world.checker.log(|| format!("{}: {refused}", run.id)),
        }
        if !std::mem::take(&mut repeats) {
            return;
        }
        sleep_ms(rng.u64(..3_000)).await;
    }
}
