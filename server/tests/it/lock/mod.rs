//! The contract of [`Lock`], run against every adapter. A further adapter is one more line in `on_every_lock!`.

mod cases;
mod local;
#[cfg(feature = "cluster")]
mod redis;

use std::sync::Arc;

use taskcenter_server::ports::Lock;

/// Two nodes' handles on one set of leases, which no other test uses.
trait Fixture: Send + Sync {
    fn one(&self) -> Arc<dyn Lock>;
    fn two(&self) -> Arc<dyn Lock>;
}

/// Makes each named case a test on each adapter.
macro_rules! on_every_lock {
    ($($case:ident)*) => {
        #[cfg(feature = "cluster")]
        on_every_lock!(@adapter on_redis crate::lock::redis::RedisFixture, $($case)*);
        on_every_lock!(@adapter in_process crate::lock::local::LocalFixture, $($case)*);
    };
    (@adapter $adapter:ident $fixture:path, $($case:ident)*) => {
        mod $adapter {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    crate::lock::cases::$case(&<$fixture>::open()).await;
                }
            )*
        }
    };
}

on_every_lock! {
    a_shard_has_one_holder
    a_holder_renews_what_it_holds
    a_lease_that_runs_out_is_taken_by_another
    only_the_holder_gives_a_lease_up
    nodes_see_one_another_until_they_leave
    a_node_that_stops_announcing_itself_is_forgotten
    a_hint_reaches_every_watcher
    a_watcher_that_stopped_waiting_loses_nothing
}
