//! Conformance suite of [`Lock`], run against every adapter. A new adapter needs one line in
//! `on_every_lock!`.

mod cases;
mod local;
#[cfg(feature = "cluster")]
mod redis;

use std::sync::Arc;

use taskcenter_server::ports::Lock;

/// Handles of two nodes on leases that no other test uses.
trait Fixture: Send + Sync {
    fn one(&self) -> Arc<dyn Lock>;
    fn two(&self) -> Arc<dyn Lock>;
}

/// Makes each case a test on every adapter.
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
    a_holder_renews_its_leases
    another_node_acquires_an_expired_lease
    only_the_holder_releases_a_lease
    announced_nodes_are_listed_until_they_leave
    an_announcement_expires
    a_description_is_listed_until_it_expires
    a_hint_reaches_every_node
    a_cancelled_wait_loses_no_hint
    nodes_with_viewers_are_listed_until_they_expire
    changes_reach_every_listener
}
