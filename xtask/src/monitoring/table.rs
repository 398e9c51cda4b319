//! What the dashboard shows, and when Prometheus raises an alert.

/// One diagram of the dashboard.
pub struct Panel {
    pub row: &'static str,
    pub title: &'static str,
    /// Unit of the axis, as Grafana names it.
    pub unit: &'static str,
    /// Queries with the legends of their lines. `{@}` stands for the selector of the dashboard, and `[@]` for the range of
    /// a rate.
    pub queries: &'static [(&'static str, &'static str)],
    /// Whether an embedded node has the data.
    pub embedded: bool,
}

const fn panel(
    row: &'static str,
    title: &'static str,
    unit: &'static str,
    queries: &'static [(&'static str, &'static str)],
) -> Panel {
    Panel { row, title, unit, queries, embedded: true }
}

const RUNS: &str = "Runs";
const BACKLOG: &str = "Backlog";
const TASKS: &str = "Tasks";
const HTTP: &str = "HTTP";
const NODES: &str = "Nodes";

pub const PANELS: [Panel; 21] = [
    panel(RUNS, "Fires by tag", "ops", &[("sum by (tag) (rate(taskcenter_fires_total{@}[@]))", "{{tag}}")]),
    panel(
        RUNS,
        "Lateness of fires",
        "s",
        &[
            (
                "histogram_quantile(0.5, sum by (le) (rate(taskcenter_fire_lateness_seconds_bucket{@}[@])))",
                "median",
            ),
            (
                "histogram_quantile(0.99, sum by (le) (rate(taskcenter_fire_lateness_seconds_bucket{@}[@])))",
                "99 %",
            ),
        ],
    ),
    panel(
        RUNS,
        "Outcomes by state",
        "ops",
        &[("sum by (state) (rate(taskcenter_run_outcomes_total{@}[@]))", "{{state}}")],
    ),
    panel(
        RUNS,
        "Wait in the queue by tag, 99 %",
        "s",
        &[(
            "histogram_quantile(0.99, sum by (le, tag) (rate(taskcenter_queue_wait_seconds_bucket{@}[@])))",
            "{{tag}}",
        )],
    ),
    panel(
        RUNS,
        "Duration of the last attempt by tag, 99 %",
        "s",
        &[(
            "histogram_quantile(0.99, sum by (le, tag) (rate(taskcenter_run_duration_seconds_bucket{@}[@])))",
            "{{tag}}",
        )],
    ),
    panel(
        RUNS,
        "Attempts by tag, mean",
        "short",
        &[(
            "sum by (tag) (rate(taskcenter_run_attempts_sum{@}[@])) / sum by (tag) (rate(taskcenter_run_attempts_count{@}[@]))",
            "{{tag}}",
        )],
    ),
    panel(
        RUNS,
        "Rescued runs, unconfirmed messages",
        "ops",
        &[
            ("sum(rate(taskcenter_runs_rescued_total{@}[@]))", "rescued"),
            ("sum(rate(taskcenter_publish_errors_total{@}[@]))", "unconfirmed"),
        ],
    ),
    panel(
        BACKLOG,
        "Due moments",
        "short",
        &[
            ("max by (tag) (taskcenter_backlog_due{@})", "{{tag}}"),
            ("max(taskcenter_backlog_due_all_tags{@})", "all tags"),
        ],
    ),
    panel(
        BACKLOG,
        "Runs without an outcome",
        "short",
        &[
            ("max by (tag) (taskcenter_backlog_unreported{@})", "{{tag}}"),
            ("max(taskcenter_backlog_unreported_all_tags{@})", "all tags"),
        ],
    ),
    panel(
        BACKLOG,
        "Runs that wait for admission",
        "short",
        &[("max by (tag) (taskcenter_backlog_held{@})", "{{tag}}")],
    ),
    panel(
        BACKLOG,
        "Open runs by queue",
        "short",
        &[("max by (queue, state) (taskcenter_queue_runs{@})", "{{queue}} {{state}}")],
    ),
    Panel {
        embedded: false,
        ..panel(
            BACKLOG,
            "Messages that wait in RocketMQ",
            "short",
            &[("max by (group) (taskcenter_rocketmq_consumer_lag{@})", "{{group}}")],
        )
    },
    panel(
        BACKLOG,
        "Active alerts of the server",
        "short",
        &[("max by (kind, subject) (taskcenter_alert_active{@})", "{{kind}} {{subject}}")],
    ),
    panel(
        TASKS,
        "Created tasks, refusals by quota",
        "ops",
        &[
            ("sum(rate(taskcenter_tasks_submitted_total{@}[@]))", "created"),
            ("sum by (quota) (rate(taskcenter_quota_refusals_total{@}[@]))", "refused: {{quota}}"),
        ],
    ),
    panel(TASKS, "Pruned rows", "ops", &[("sum(rate(taskcenter_rows_pruned_total{@}[@]))", "pruned")]),
    panel(
        HTTP,
        "Requests by status",
        "reqps",
        &[("sum by (status) (rate(taskcenter_http_requests_total{@}[@]))", "{{status}}")],
    ),
    panel(
        HTTP,
        "Time of a request by route, 99 %",
        "s",
        &[(
            "histogram_quantile(0.99, sum by (le, route) (rate(taskcenter_http_request_duration_seconds_bucket{@}[@])))",
            "{{route}}",
        )],
    ),
    panel(
        HTTP,
        "Refused connections and requests",
        "ops",
        &[
            ("sum(rate(taskcenter_http_connections_refused_total{@}[@]))", "connections"),
            ("sum(rate(taskcenter_http_requests_rate_limited_total{@}[@]))", "requests"),
        ],
    ),
    panel(NODES, "Shards by node", "short", &[("taskcenter_shards_held{@}", "{{instance}}")]),
    panel(
        NODES,
        "Clocks",
        "ms",
        &[
            ("taskcenter_clock_skew_ms{@}", "{{instance}}: store minus node"),
            ("taskcenter_clock_behind_ledger_ms{@}", "{{instance}}: behind the ledger"),
        ],
    ),
    panel(
        NODES,
        "Time zone databases",
        "short",
        &[
            ("count by (version) (taskcenter_zone_database{@})", "nodes with {{version}}"),
            ("max(taskcenter_zone_database_versions{@})", "versions"),
        ],
    ),
];

/// One alert of Prometheus.
pub struct Alert {
    pub name: &'static str,
    pub severity: &'static str,
    pub expression: &'static str,
    /// Minutes for which the expression must hold.
    pub minutes: u32,
    pub summary: &'static str,
    pub action: &'static str,
    /// Series, one sample a minute, that raise the alert within 30 minutes.
    pub raised_by: &'static [(&'static str, &'static str)],
    /// Series that do not raise the alert.
    pub not_by: &'static [(&'static str, &'static str)],
}

pub const ALERTS: [Alert; 14] = [
    Alert {
        name: "TaskcenterNodeDown",
        severity: "critical",
        expression: "up{job=\"taskcenter\"} == 0",
        minutes: 1,
        summary: "The node {{ $labels.instance }} does not answer.",
        action: "Read the log of the node. Other nodes of a cluster continue its work.",
        raised_by: &[("up{job=\"taskcenter\",instance=\"a\"}", "0x40")],
        not_by: &[("up{job=\"taskcenter\",instance=\"a\"}", "1x40")],
    },
    Alert {
        name: "TaskcenterShardsUnwatched",
        severity: "critical",
        expression: "sum(taskcenter_shards_held) < 64",
        minutes: 2,
        summary: "{{ $value }} of 64 shards have a node: tasks of the others do not fire.",
        action: "Check the clocks of the nodes, and their connection to the store.",
        raised_by: &[("taskcenter_shards_held{instance=\"a\"}", "32x40")],
        not_by: &[
            ("taskcenter_shards_held{instance=\"a\"}", "32x40"),
            ("taskcenter_shards_held{instance=\"b\"}", "32x40"),
        ],
    },
    Alert {
        name: "TaskcenterLate",
        severity: "warning",
        expression: "histogram_quantile(0.99, sum by (le) (rate(taskcenter_fire_lateness_seconds_bucket[5m]))) > 5",
        minutes: 5,
        summary: "1 % of the runs fire more than {{ $value | humanizeDuration }} late.",
        action: "Relieve the slowest part: compare the load of the store, the bus and the nodes.",
        raised_by: &[
            ("taskcenter_fire_lateness_seconds_bucket{le=\"1\"}", "0x40"),
            ("taskcenter_fire_lateness_seconds_bucket{le=\"10\"}", "0+60x40"),
            ("taskcenter_fire_lateness_seconds_bucket{le=\"+Inf\"}", "0+60x40"),
        ],
        not_by: &[
            ("taskcenter_fire_lateness_seconds_bucket{le=\"1\"}", "0+60x40"),
            ("taskcenter_fire_lateness_seconds_bucket{le=\"10\"}", "0+60x40"),
            ("taskcenter_fire_lateness_seconds_bucket{le=\"+Inf\"}", "0+60x40"),
        ],
    },
    Alert {
        name: "TaskcenterDueBacklog",
        severity: "warning",
        expression: "max(taskcenter_backlog_due_all_tags) > 10000",
        minutes: 5,
        summary: "{{ $value }} due moments have not fired.",
        action: "Check `readyz` of the nodes: the store or the bus may not answer.",
        raised_by: &[("taskcenter_backlog_due_all_tags", "10001x40")],
        not_by: &[("taskcenter_backlog_due_all_tags", "10000x40")],
    },
    Alert {
        name: "TaskcenterUnreportedBacklog",
        severity: "warning",
        expression: "max(taskcenter_backlog_unreported_all_tags) > 10000",
        minutes: 5,
        summary: "{{ $value }} runs wait for an outcome.",
        action: "Check that the consumers run, and that they report.",
        raised_by: &[("taskcenter_backlog_unreported_all_tags", "10001x40")],
        not_by: &[("taskcenter_backlog_unreported_all_tags", "10000x40")],
    },
    Alert {
        name: "TaskcenterDeadRuns",
        severity: "warning",
        expression: "sum by (tag) (increase(taskcenter_run_outcomes_total{state=\"dead\"}[5m])) > 10",
        minutes: 0,
        summary: "{{ $value | humanize }} runs of {{ $labels.tag }} died in 5 minutes.",
        action: "Read the reason of a run: taskcenter run list --state dead.",
        raised_by: &[("taskcenter_run_outcomes_total{tag=\"a\",state=\"dead\"}", "0+3x40")],
        not_by: &[
            ("taskcenter_run_outcomes_total{tag=\"a\",state=\"dead\"}", "0+1x40"),
            ("taskcenter_run_outcomes_total{tag=\"a\",state=\"succeeded\"}", "0+9x40"),
        ],
    },
    Alert {
        name: "TaskcenterUnconfirmedMessages",
        severity: "warning",
        expression: "sum(rate(taskcenter_publish_errors_total[5m])) > 0",
        minutes: 5,
        summary: "RocketMQ does not confirm messages. The nodes send them again.",
        action: "Check the brokers, the topic and the ACL.",
        raised_by: &[("taskcenter_publish_errors_total", "0+1x40")],
        not_by: &[("taskcenter_publish_errors_total", "7x40")],
    },
    Alert {
        name: "TaskcenterConsumerLag",
        severity: "warning",
        expression: "max by (group) (taskcenter_rocketmq_consumer_lag) > 10000",
        minutes: 5,
        summary: "{{ $value }} messages wait for the consumer group {{ $labels.group }}.",
        action: "Check that the consumers of the group run, or start more of them.",
        raised_by: &[("taskcenter_rocketmq_consumer_lag{group=\"a\"}", "10001x40")],
        not_by: &[("taskcenter_rocketmq_consumer_lag{group=\"a\"}", "10000x40")],
    },
    Alert {
        name: "TaskcenterNoWorker",
        severity: "warning",
        expression: "max by (queue) (taskcenter_queue_runs{state=\"ready\"}) > 0 and \
                     max by (queue) (taskcenter_queue_runs{state=\"leased\"}) == 0",
        minutes: 10,
        summary: "{{ $value }} runs wait in the queue {{ $labels.queue }}, and no worker has a run of it.",
        action: "Check that a worker of the queue runs: taskcenter worker list.",
        raised_by: &[
            ("taskcenter_queue_runs{queue=\"a\",state=\"ready\"}", "3x40"),
            ("taskcenter_queue_runs{queue=\"a\",state=\"leased\"}", "0x40"),
        ],
        not_by: &[
            ("taskcenter_queue_runs{queue=\"a\",state=\"ready\"}", "3x40"),
            ("taskcenter_queue_runs{queue=\"a\",state=\"leased\"}", "1x40"),
        ],
    },
    Alert {
        name: "TaskcenterClockSkew",
        severity: "warning",
        expression: "abs(taskcenter_clock_skew_ms) > 500",
        minutes: 1,
        summary: "The clock of {{ $labels.instance }} differs by {{ $value }} ms from the store's clock.",
        action: "Check the time service of the node and of the store.",
        raised_by: &[("taskcenter_clock_skew_ms{instance=\"a\"}", "-501x40")],
        not_by: &[("taskcenter_clock_skew_ms{instance=\"a\"}", "-500x40")],
    },
    Alert {
        name: "TaskcenterClockBehindLedger",
        severity: "critical",
        expression: "taskcenter_clock_behind_ledger_ms > 2000",
        minutes: 1,
        summary: "The clock of {{ $labels.instance }} is {{ $value }} ms behind the newest row of the ledger.",
        action: "Correct the clock. If the clock is right now, edit the times of the tasks that wait.",
        raised_by: &[("taskcenter_clock_behind_ledger_ms{instance=\"a\"}", "2001x40")],
        not_by: &[("taskcenter_clock_behind_ledger_ms{instance=\"a\"}", "0x40")],
    },
    Alert {
        name: "TaskcenterZoneDatabases",
        severity: "warning",
        expression: "max(taskcenter_zone_database_versions) > 1",
        minutes: 15,
        summary: "The nodes use {{ $value }} versions of the time zone database.",
        action: "Update the package tzdata on all nodes, and restart them.",
        raised_by: &[("taskcenter_zone_database_versions", "2x40")],
        not_by: &[("taskcenter_zone_database_versions", "1x40")],
    },
    Alert {
        name: "TaskcenterServerErrors",
        severity: "warning",
        expression: "sum(rate(taskcenter_http_requests_total{status=~\"5..\"}[5m])) / \
                     sum(rate(taskcenter_http_requests_total[5m])) > 0.05",
        minutes: 5,
        summary: "{{ $value | humanizePercentage }} of the requests end with an error of the server.",
        action: "Check `readyz` of the nodes and their logs.",
        raised_by: &[
            ("taskcenter_http_requests_total{status=\"503\"}", "0+6x40"),
            ("taskcenter_http_requests_total{status=\"200\"}", "0+60x40"),
        ],
        not_by: &[
            ("taskcenter_http_requests_total{status=\"404\"}", "0+60x40"),
            ("taskcenter_http_requests_total{status=\"200\"}", "0+60x40"),
        ],
    },
    Alert {
        name: "TaskcenterAlert",
        severity: "warning",
        expression: "max by (kind, subject) (taskcenter_alert_active) == 1",
        minutes: 0,
        summary: "The server raises {{ $labels.kind }} {{ $labels.subject }}.",
        action: "See taskcenter alert list.",
        raised_by: &[("taskcenter_alert_active{kind=\"dead_runs\",subject=\"a\"}", "1x40")],
        not_by: &[("taskcenter_shards_held", "64x40")],
    },
];
