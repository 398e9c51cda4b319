use super::*;

fn rate(text: &str) -> Rate {
    text.parse().unwrap()
}

fn limit(text: &str, burst: u32) -> RateLimit {
    Rate { burst: Some(burst), ..rate(text) }.of_value(None)
}

/// Takes one permit after the other at these milliseconds. Returns the permits.
fn grants(limit: &RateLimit, at: &[i64]) -> Vec<u32> {
    let mut tat_us = 0;
    let take = |ms: &i64| {
        let (next, permits) = limit.take(tat_us, 1, 1, Moment::from_ms(*ms));
        tat_us = next;
        permits.granted
    };
    at.iter().map(take).collect()
}

#[test]
fn permits_have_the_interval_of_the_limit_after_a_burst() {
    for (limit, at, expected) in [
        (limit("10/1s", 1), vec![1_000, 1_000, 1_099, 1_100, 1_199, 1_200], vec![1, 0, 0, 1, 0, 1]),
        (limit("10/1s", 3), vec![1_000, 1_000, 1_000, 1_000, 1_100, 1_100], vec![1, 1, 1, 0, 1, 0]),
        // Time without a start gives the burst back, and no more.
        (limit("10/1s", 2), vec![1_000, 9_000, 9_000, 9_000], vec![1, 1, 1, 0]),
        (limit("1/1m", 1), vec![1_000, 60_999, 61_000], vec![1, 0, 1]),
        // A clock that goes back gives no permit.
        (limit("10/1s", 1), vec![1_000, 500, 1_100], vec![1, 0, 1]),
    ] {
        assert_eq!(grants(&limit, &at), expected, "{limit} {at:?}");
    }
}

#[test]
fn the_limit_of_any_period_is_never_exceeded() {
    for (text, burst) in [("3/1s", 1), ("7/1s", 4), ("1000/1s", 50), ("1/3ms", 2), ("999/7s", 1)] {
        let limit = limit(text, burst);
        let (mut tat_us, mut starts) = (0, Vec::new());
        for ms in 1_000..20_000 {
            let (next, permits) = limit.take(tat_us, 1, 5, Moment::from_ms(ms));
            tat_us = next;
            starts.extend((0..permits.granted).map(|_| ms));
        }
        let most = (limit.limit + burst - 1) as usize;
        let is_kept = |window: &[i64]| window[most] - window[0] >= limit.period_ms;
        assert!(starts.windows(most + 1).all(is_kept), "{limit}: {} starts", starts.len());
        let expected = 19_000 / limit.period_ms * i64::from(limit.limit);
        assert!(starts.len() as i64 >= expected * 9 / 10 || burst == 1, "{limit}: {}", starts.len());
    }
}

#[test]
fn several_permits_are_granted_at_once_and_the_next_moment_is_known() {
    let limit = limit("10/1s", 4);
    let answer = |granted, free, wait_ms| Permits { granted, free, wait_ms };
    let (tat_us, permits) = limit.take(0, 1, 3, Moment::from_ms(1_000));
    assert_eq!((tat_us, permits), (1_300_000, answer(3, 1, 0)));
    let (tat_us, permits) = limit.take(tat_us, 1, 3, Moment::from_ms(1_000));
    assert_eq!((tat_us, permits), (1_400_000, answer(1, 0, 100)));
    assert_eq!(limit.take(tat_us, 1, 0, Moment::from_ms(1_000)), (tat_us, answer(0, 0, 100)));
    assert_eq!(limit.take(tat_us, 1, 9, Moment::from_ms(1_099)), (tat_us, answer(0, 0, 1)));
    assert_eq!(limit.next_at(1_300_001), Moment::from_ms(1_001), "rounded up");
}

#[test]
fn a_request_gets_its_least_number_of_permits_or_none() {
    let limit = limit("10/1s", 4);
    let now = Moment::from_ms(1_000);
    let (tat_us, _) = limit.take(0, 2, 2, now);
    let refused = Permits { granted: 0, free: 2, wait_ms: 100 };
    assert_eq!(limit.take(tat_us, 3, 3, now), (tat_us, refused), "a refusal takes nothing");
    assert_eq!(limit.take(tat_us, 4, 4, now).1.wait_ms, 200);
    let later = now.plus_ms(refused.wait_ms);
    assert_eq!(limit.take(tat_us, 3, 3, later).1, Permits { granted: 3, free: 0, wait_ms: 300 });
    assert_eq!(limit.take(0, 5, 5, now).1.granted, 0, "more than the burst never fits");
}

#[test]
fn the_interval_is_rounded_up() {
    for (text, interval_us) in
        [("3/1s", 333_334), ("1000000/1ms", 1), ("1/31d", 2_678_400_000_000), ("4/1s", 250_000)]
    {
        assert_eq!(limit(text, 1).interval_us(), interval_us, "{text}");
    }
    assert!(limit("1/31d", MAX_STARTS).tolerance_us() > 0, "no overflow");
}

#[test]
fn the_default_burst_is_the_starts_of_50_ms() {
    for (text, burst) in [("10/1s", 1), ("20/1s", 1), ("100/1s", 5), ("1000000/1ms", 1_000_000), ("9/1h", 1)]
    {
        assert_eq!(rate(text).burst(), burst, "{text}");
    }
    assert_eq!(Rate { burst: Some(7), ..rate("1/1s") }.burst(), 7);
}

#[test]
fn a_rate_is_read_as_it_is_written() {
    for text in ["10/1s:task", "3/90s:queue:a:b", "1/1d:all:", "7/1500ms:tag", "2/36h:tag:x y"] {
        assert_eq!(rate(text).to_string(), text);
    }
    assert_eq!((rate("10/1m"), rate("5/60s").period_ms), (rate("10/60000ms:task"), 60_000));
    for text in ["", "10", "10/", "10/s", "10/1", "10/1w", "x/1s", "10/1s:", "10/1s:host", "-1/1s", "1/-1s"] {
        assert!(text.parse::<Rate>().is_err(), "{text}");
    }
}

#[test]
fn a_limit_is_read_by_its_name() {
    let rate = Rate { on_excess: OnExcess::Drop, key: Some("a/1 2-drop:#".to_owned()), ..rate("9/2s:queue") };
    let limit = rate.of_value(Some("q:1"));
    assert_eq!(limit.to_string(), "rate:queue:q%3A1:a%2F1%202-drop%3A%23/9-2000-1-drop");
    for limit in [RateLimit { drops: false, ..limit.clone() }, limit] {
        assert_eq!(RateLimit::parse(&limit.to_string()), Some(limit));
    }
    for name in ["", "task:1", "limit:all/3", "rate:all/3", "rate:all/3-4", "rate:all/x-1-1"] {
        assert_eq!(RateLimit::parse(name), None, "{name}");
    }
}

#[test]
fn an_invalid_rate_names_its_field() {
    let good = rate("1/1s");
    let field = |rate: Rate| rate.validate(false).unwrap_err().field;
    assert_eq!(field(Rate { limit: 0, ..good.clone() }), "rate.limit");
    assert_eq!(field(Rate { limit: MAX_STARTS + 1, ..good.clone() }), "rate.limit");
    assert_eq!(field(Rate { period_ms: 0, ..good.clone() }), "rate.period_ms");
    assert_eq!(field(Rate { period_ms: MAX_PERIOD_MS + 1, ..good.clone() }), "rate.period_ms");
    assert_eq!(field(Rate { burst: Some(0), ..good.clone() }), "rate.burst");
    assert_eq!(field(Rate { key: Some(String::new()), ..good.clone() }), "rate.key");
    assert_eq!(field(Rate { key: Some("k".repeat(129)), ..good }), "rate.key");
    assert_eq!(field(rate("1/1s:queue")), "rate.scope");
    assert_eq!(rate("1/1s:queue").validate(true), Ok(()));
}
