//! Permits of rate limits.

use futures_util::future::join_all;
use taskcenter_server::core::Moment;
use taskcenter_server::core::rate::RateLimit;

use super::Fixture;
use super::samples::unique;

/// Returns a limit with a key of its own.
fn limit(period_ms: i64, burst: u32) -> RateLimit {
    RateLimit { key: format!("rate:all:{}", unique()), limit: 1, period_ms, burst, drops: false }
}

pub async fn permits_are_granted_up_to_the_burst(on: &dyn Fixture) {
    let limit = limit(3_600_000, 3);
    assert!(on.one().next_permit(&limit).await.unwrap() <= on.one().now().await.unwrap());
    assert_eq!(on.one().take_permits(&limit, 1, 2).await.unwrap().granted, 2);
    let last = on.two().take_permits(&limit, 1, 2).await.unwrap();
    assert_eq!(last.granted, 1, "both nodes share the limit");
    assert!((3_500_000..=3_600_000).contains(&last.wait_ms), "{last:?}");
    let next_at = on.one().next_permit(&limit).await.unwrap();
    let waits_ms = next_at.since(on.one().now().await.unwrap());
    assert!((3_500_000..=3_600_000).contains(&waits_ms), "{waits_ms}");
    assert_eq!(on.two().take_permits(&limit, 1, 9).await.unwrap().granted, 0);
    assert_eq!(on.one().next_permit(&limit).await.unwrap(), next_at, "a refusal changes nothing");
    let other = RateLimit { key: format!("{}:other", limit.key), ..limit };
    assert_eq!(on.one().take_permits(&other, 1, 1).await.unwrap().granted, 1, "another key is another limit");
}

pub async fn a_request_for_several_permits_gets_all_or_none(on: &dyn Fixture) {
    let limit = limit(3_600_000, 5);
    let first = on.one().take_permits(&limit, 3, 3).await.unwrap();
    assert_eq!((first.granted, first.free), (3, 2));
    let refused = on.two().take_permits(&limit, 3, 3).await.unwrap();
    assert_eq!((refused.granted, refused.free), (0, 2), "a refusal takes nothing");
    assert!((3_500_000..=3_600_000).contains(&refused.wait_ms), "until the third permit: {refused:?}");
    let rest = on.one().take_permits(&limit, 2, 9).await.unwrap();
    assert_eq!((rest.granted, rest.free), (2, 0));
    assert!((7_000_000..=7_200_000).contains(&rest.wait_ms), "until two further permits: {rest:?}");
}

pub async fn a_permit_is_granted_again_after_the_interval(on: &dyn Fixture) {
    let limit = limit(50, 1);
    let (mut granted, begun) = (0, on.one().now().await.unwrap());
    while granted < 5 {
        granted += on.one().take_permits(&limit, 1, 1).await.unwrap().granted;
        granted += on.two().take_permits(&limit, 1, 3).await.unwrap().granted;
    }
    let ms = on.one().now().await.unwrap().since(begun);
    assert!(granted == 5 && ms >= 4 * 50, "{granted} in {ms} ms");
}

pub async fn concurrent_calls_never_exceed_a_rate(on: &dyn Fixture) {
    let limit = limit(3_600_000, 7);
    let stores = [on.one(), on.two()];
    let calls = (0..20).map(|n| stores[n % 2].take_permits(&limit, 1, 1));
    let granted: u32 =
        join_all(calls).await.into_iter().map(|answer| answer.map_or(0, |permits| permits.granted)).sum();
    assert_eq!(granted, 7);
}

pub async fn an_unused_rate_limit_is_pruned(on: &dyn Fixture) {
    let (short, long) = (limit(1, 1), limit(3_600_000, 1));
    for limit in [&short, &long] {
        assert_eq!(on.one().take_permits(limit, 1, 1).await.unwrap().granted, 1);
    }
    let end = on.one().now().await.unwrap().plus_ms(10);
    while on.one().now().await.unwrap() < end {
        tokio::task::yield_now().await;
    }
    on.one().prune(Moment::from_ms(0), end, 10).await.unwrap();
    assert!(on.two().next_permit(&short).await.unwrap() < end, "the limit can be used");
    assert_eq!(on.two().take_permits(&long, 1, 1).await.unwrap().granted, 0, "a used limit is kept");
}
