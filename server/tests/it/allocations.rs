//! Memory allocations of a run: a cost that no other load on the machine changes.

use std::sync::Arc;
use std::time::Duration;

use taskcenter_server::core::run::Outcome;
use taskcenter_server::core::submission::Submission;
use taskcenter_server::core::task::SHARDS;
use taskcenter_server::core::{Run, RunId};
use taskcenter_server::engine::service::{LeaseTerms, MIN_LEASE_MS, Report, Service};
use taskcenter_server::engine::{dispatch, scan};

use crate::service::Stage;
use crate::store::Fixture as _;
use crate::store::sqlite::SqliteFixture;

const RUNS: u32 = 200;
/// Bound of the allocations per run in batches of 200, a tenth above the measurement: 104.
/// Those of SQLite's writing thread do not count.
const PER_RUN: u64 = 115;

#[test]
fn a_run_allocates_a_bounded_number_of_times() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let fixture = runtime.block_on(SqliteFixture::open());
    let stage = Stage::on(fixture.one(), fixture.records());
    for order in 0..RUNS {
        // A dedup key of its own: otherwise, all of them would be one task.
        runtime.block_on(stage.submit(Submission::named("allocations", format!("{{\"order\":{order}}}"))));
    }
    let Stage { node, service, .. } = stage;
    let node = Arc::new(node);
    let mut runs = Vec::new();
    let counted = allocation_counter::measure(|| {
        runtime.block_on(async {
            let (shards, now) = ((0..SHARDS).collect::<Vec<_>>(), node.clock.now());
            scan::run_once(&node, &shards, now).await.unwrap();
            assert_eq!(dispatch::run_once(&node, now).await, RUNS as usize);
            runs = handle(&service).await;
        });
    });
    assert_eq!(runs.len(), RUNS as usize);
    let per_run = counted.count_total / u64::from(RUNS);
    assert!((PER_RUN / 2..PER_RUN).contains(&per_run), "{per_run} allocations per run");
}

/// Leases all runs and reports their success, as one worker does.
async fn handle(service: &Service) -> Vec<Run> {
    let terms = LeaseTerms {
        worker: "worker".to_owned(),
        queues: vec!["allocations".to_owned()],
        limit: RUNS,
        lease_ms: MIN_LEASE_MS,
        wait: Duration::ZERO,
        request_id: Some("request".to_owned()),
    };
    let leased = service.lease(&terms).await.unwrap();
    let reports: Vec<(RunId, Report)> = leased.iter().map(|run| (run.id.clone(), success(run))).collect();
    service.settle(&reports).await.unwrap().into_iter().map(Result::unwrap).collect()
}

fn success(run: &Run) -> Report {
    Report {
        attempt: run.attempt,
        token: run.token.clone(),
        outcome: Outcome::Succeeded { result: None },
        message: None,
        started_at: None,
    }
}
