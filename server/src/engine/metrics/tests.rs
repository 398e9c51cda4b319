use super::*;

fn row(tag: &str, due: u64, unreported: u64) -> BacklogRow {
    BacklogRow { tag: tag.into(), due, unreported, ready: 0, held: 2 }
}

#[test]
fn a_page_holds_what_was_counted() {
    let metrics = Metrics::new();
    let moment = Moment::from_sec(1_000);
    metrics.fired("a", moment, moment.plus_ms(12));
    metrics.fired("a", moment, moment.plus_ms(-3));
    metrics.publish_failed(2);
    metrics.submitted();
    metrics.backlog(&[row("a", 3, 1), row("b", 4, 0)]);
    metrics.lag(&[("workers".into(), 9)]);
    metrics.answered("GET", "/livez", 200, std::time::Duration::from_millis(2));
    let page = metrics.encode().unwrap();
    for line in [
        "taskcenter_fires_total{tag=\"a\"} 2",
        "taskcenter_fire_lateness_seconds_count 2",
        "taskcenter_publish_errors_total 2",
        "taskcenter_tasks_submitted_total 1",
        "taskcenter_backlog_due{tag=\"b\"} 4",
        "taskcenter_backlog_due_all_tags 7",
        "taskcenter_backlog_held{tag=\"b\"} 2",
        "taskcenter_rocketmq_consumer_lag{group=\"workers\"} 9",
        "taskcenter_http_requests_total{method=\"GET\",route=\"/livez\",status=\"200\"} 1",
    ] {
        assert!(page.contains(line), "{line} is missing from\n{page}");
    }
}

#[test]
fn a_tag_without_a_backlog_is_not_on_the_page() {
    let metrics = Metrics::new();
    metrics.backlog(&[row("a", 3, 1)]);
    metrics.backlog(&[]);
    let page = metrics.encode().unwrap();
    assert!(!page.contains("taskcenter_backlog_due{tag=\"a\"}"), "{page}");
    assert!(page.contains("taskcenter_backlog_due_all_tags 0"), "{page}");
}

#[test]
fn tags_beyond_the_bound_are_counted_together() {
    let metrics = Metrics::new();
    for n in 0..MAX_TAGS + 5 {
        metrics.fired(&format!("tag-{n}"), Moment::from_sec(1), Moment::from_sec(1));
    }
    let page = metrics.encode().unwrap();
    assert!(page.contains("taskcenter_fires_total{tag=\"other\"} 5\n"), "{page}");
    assert_eq!(page.matches("taskcenter_fires_total{").count(), MAX_TAGS + 1);
}
