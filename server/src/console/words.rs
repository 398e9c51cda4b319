//! Words of the console in each language: one file per language, and every file has every word.

use std::collections::BTreeMap;
use std::sync::LazyLock;

/// Language of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lang {
    En,
    Zh,
}

impl Lang {
    pub const ALL: [Self; 2] = [Self::En, Self::Zh];

    /// Returns the language as HTML and the cookie spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Zh => "zh",
        }
    }

    /// Returns the language's name in the language itself.
    pub const fn name(self) -> &'static str {
        match self {
            Self::En => "English",
            Self::Zh => "中文",
        }
    }

    /// Returns the language that [`as_str`](Self::as_str) spells as `text`.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|lang| lang.as_str() == text)
    }

    /// Returns the first language of an `Accept-Language` header that the console has.
    pub fn accepted(header: &str) -> Self {
        let tags = header.split(',').filter_map(|tag| tag.trim().get(..2));
        tags.map(str::to_ascii_lowercase).find_map(|tag| Self::parse(&tag)).unwrap_or(Self::En)
    }

    /// Returns the words of this language.
    pub fn words(self) -> &'static Words {
        static EN: LazyLock<Words> = LazyLock::new(|| read(include_str!("text/en.toml")));
        static ZH: LazyLock<Words> = LazyLock::new(|| read(include_str!("text/zh.toml")));
        match self {
            Self::En => &EN,
            Self::Zh => &ZH,
        }
    }
}

/// Reads a file of words. A test reads every file, so a release has no incomplete one.
fn read(text: &str) -> Words {
    Words::parse(text).unwrap_or_else(|error| panic!("words of the console: {error}"))
}

/// Moves a text out of the table. A missing word is noted. Hundreds of inlined copies would be a large function.
#[inline(never)]
fn take(word: &'static str, to: &mut String, table: &mut BTreeMap<String, String>, missing: &mut Vec<&str>) {
    match table.remove(word) {
        Some(text) => *to = text,
        None => missing.push(word),
    }
}

/// Replaces each `{}` of a text by the next value, and each `{one|other}` by the form for the value before it:
/// `{} {run|runs}` becomes `1 run` or `2 runs`. Other braces stay.
pub fn fill(text: &str, values: &[&str]) -> String {
    let (mut filled, mut rest) = (String::with_capacity(text.len()), text);
    let (mut values, mut last) = (values.iter(), "");
    while let Some((before, (place, after))) =
        rest.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)))
    {
        filled.push_str(before);
        match place.split_once('|') {
            Some((one, other)) => filled.push_str(if last == "1" { one } else { other }),
            None if place.is_empty() => {
                last = values.next().copied().unwrap_or_default();
                filled.push_str(last);
            }
            None => filled.push_str(&rest[before.len()..rest.len() - after.len()]),
        }
        rest = after;
    }
    filled + rest
}

/// Defines the words. A template that uses another word does not compile, and a file that lacks a word or
/// has another one is refused.
macro_rules! words {
    ($($word:ident,)*) => {
        /// The words of one language.
        #[derive(Debug)]
        pub struct Words {
            $(pub $word: String,)*
        }

        impl Words {
            /// Reads a file. Not by derived code, and not field by field of a new value: with hundreds of fields, both
            /// take minutes to compile.
            fn parse(text: &str) -> Result<Self, String> {
                let mut table = toml::from_str(text).map_err(|error| error.to_string())?;
                let mut missing = Vec::new();
                let mut words = Self { $($word: String::new(),)* };
                $(take(stringify!($word), &mut words.$word, &mut table, &mut missing);)*
                let unknown: Vec<_> = table.into_keys().collect();
                if missing.is_empty() && unknown.is_empty() {
                    return Ok(words);
                }
                Err(format!("missing: {missing:?}, unknown: {unknown:?}"))
            }
        }

        #[cfg(test)]
        impl Words {
            fn all(&self) -> Vec<(&'static str, &str)> {
                vec![$((stringify!($word), self.$word.as_str()),)*]
            }
        }
    };
}

words! {
    silence_hides, silence_hides_none, silence_preview, allowed_id, allowed_number, allowed_place, parameter_refused, queue_oldest, queue_rate, task_blocked_by, task_starts_next, task_waits,
    payload_without_field,
    op_wrong_action,
    op_update_copies,
    trigger_sent_before,
    run_changed, run_not_retried,
    label_twice, live_ended, password, password_hint, sign_in_as_user, sign_in_user_expired, sign_in_user_failed, user_expires_hint, sign_in_with_token, user_name,
    time_in_states, workers_active,
    as_table, at_most, last_hour_here, lateness, lateness_hint, lateness_quantiles, lateness_summary,
    more_than, no_activity, throughput, throughput_hint, throughput_summary,
    away_policy_task, away_policy_tried, misfire_at_most, misfire_grace_sec, misfire_hint, misfire_max, misfire_max_hint,
    cron_also, cron_also_hint, cron_dialect, cron_dialect_quartz, cron_dialect_unix, cron_options,
    dst_by_expression, dst_gap, dst_gap_after, dst_gap_skip, dst_repeat, dst_repeat_both, dst_repeat_first,
    dst_repeat_last,
    blocked_by, stop_requested_for, on_conflict, on_conflict_reject, on_conflict_replace, on_conflict_return, overlap, overlap_all, overlap_all_of, overlap_allow, overlap_cancel, overlap_first, overlap_hint, overlap_latest, overlap_max,
    rate_burst, rate_burst_hint, rate_drop, rate_excess, rate_hint, rate_limit, rate_of_all, rate_of_queue, rate_of_tag,
    rate_of_task, rate_wait, rate_with_burst, rate_with_drop, run_waits_rate, task_waits_rate, wrong_rate,
    overlap_skip, run_waits_slot, state_held, concurrency, concurrency_hint, limit_of_all, limit_of_queue, limit_of_tag,
    limit_of_task, limit_with_key, run_starts_next, run_waits_limit, run_with_slot, task_limit_used, wrong_limit,
    misfire_of_task, moment_jitter, moment_jitter_hint, jitter_sec, jitter_up_to, nominal,
    calendar_changed, calendar_delete, calendar_delete_effect, calendar_delete_leaves, calendar_description, calendar_effect, calendar_entries, calendar_exclude, calendar_exclude_hint, calendar_exists, calendar_include, calendar_include_hint, calendar_name_hint, calendar_new, calendar_tasks, calendar_tasks_none, calendar_weekly, calendar_weekly_hint, calendars, calendars_choice_hint, calendars_except, calendars_except_fact, calendars_hint, calendars_none, calendars_none_hint, calendars_only, calendars_only_fact, calendars_wait, done_calendar_deleted, done_calendar_saved,
    backfill, backfill_count, backfill_effect, backfill_from, backfill_leaves, backfill_none, backfill_range,
    backfill_runs, backfill_to, backfill_to_hint, op_moments,
    abort, abort_effect, abort_leaves, about, access, access_hint, ack_label, alert_above,
    alert_above_total, alert_ended, alert_for, alert_lasted, alert_number, alert_quiet, alert_reminder,
    alert_rule, start_within, start_within_hint, start_within_sec, attempts_growing, attempts_list, factor_percent, intervals_exclusive, intervals_hint,
    intervals_sec, jitter_fact, jitter_hint, jitter_percent, alert_rules, alert_rules_hint, alert_rules_none, alert_severity, alert_since,
    alert_subject, alert_test_failed, alert_threshold, alert_total, alert_value, alerts, alerts_ended,
    alerts_ended_hint, alerts_ended_none, alerts_hint, alerts_more, alerts_none, alerts_raised, all_dead,
    all_queues, all_runs_of_task, anywhere, apply, attempt, attempts, attempts_hint, audit, audit_1d, audit_1h, audit_30d, audit_7d, audit_action, audit_actor, audit_any, audit_at, audit_hint, audit_none, audit_none_hint, audit_object, audit_of_task, audit_outcome, audit_since, away, away_fires,
    away_from, away_hint, away_merged, away_more, away_none, away_order, away_policy, away_policy_server,
    away_skipped, away_to, back_end_bus, back_end_clock, back_end_down, back_end_lock, back_end_rows,
    back_end_store, back_ends, backlog_by_tag, backoff_sec, breadcrumb, bulk_actions, bulk_actions_all,
    bulk_all, bulk_all_matching, bulk_all_of, bulk_no_selection, bytes, bytes_delivered, canary, canary_failed, canary_failed_hint, canary_field_hint, canary_held, canary_open, canary_open_hint, canary_overruled, canary_overruled_hint, canary_passed, canary_passed_hint, cancel,
    cancel_effect, cancel_leaves, cancel_requested, cancel_run, cancel_run_effect, cancel_run_leaves, changed_meanwhile,
    channel_delivered, channel_error, channel_from, channel_gets, channel_test, channels, channels_hint,
    channels_none, claimed_by, clear_filter, clock_back, clock_forward, close, compare, compose,
    compose_day, compose_every, compose_minute, compose_phrase, compose_phrase_hint,
    compose_phrase_unknown, compose_rhythm, compose_time, compose_use_choices, compose_use_phrase,
    compose_weekday, compose_wrong, conflict, conflict_hint, continue_search, control, copied, copy,
    copy_as, copy_create, copy_hint, copy_hint_here, copy_log, copy_view, create, created, created_by, cron_daily,
    cron_days_of_month, cron_every_hours, cron_every_minute, cron_every_minutes, cron_every_seconds,
    cron_expression, cron_hint, cron_hourly, cron_weekdays, cron_weekly, cut, day_0, day_1, day_2, day_3,
    day_4, day_5, day_6, dead_groups, dead_groups_hint, dead_letters, dead_redrive_tag, dead_today,
    dedup_hint, dedup_key, delivery, done_aborted, done_alert_tested, done_cancelled, done_continued, done_created,
    done_existing, done_paused, done_replaced, done_resumed, done_retried, done_run_cancelled, done_saved, done_silenced,
    done_triggered, done_unsilenced, due, due_hint, due_not_fired, edit, edit_again, end_hint, ended,
    ended_today, ends, error, error_or_result, every, expires, failures, failures_hint, filter,
    filter_checks, filter_error_scans, filter_open_quote, filter_unknown, find, find_tasks, fired, fires,
    fires_hint, fires_of, fires_this_minute, first_page, from_now, go_to, headers, health_check,
    health_down, health_ok, health_unknown, history, history_at, history_by, history_change, history_changes,
    history_compare, history_created, history_edit_from, history_edited, history_from, history_hint,
    history_large, history_rev, history_same, history_to, in_a_list, in_time, item, keep, kept_discard, kept_effect, kept_input, kept_send, kept_sign_in, key_curl, key_filter,
    key_help, key_new, key_open, key_pause_live, key_refresh, key_rows, keyboard, keyboard_help,
    kind_cron, kind_every, kind_once, kind_once_hint, labels, labels_hint, last, last_runs, late,
    latest_dead, latest_runs, live, live_new, live_paused, live_polling, live_stale, log, log_empty, log_first, log_newest,
    log_older, log_range, log_removed, main_menu, max_attempts, max_backoff_sec, max_runtime,
    max_runtime_sec, menu, misfire_of_server, moment, moment_number, more_fields, most_attempts,
    most_fires, name, name_hint, never, new_task, newest_first, next, next_moments, next_page, no,
    no_backlog, no_data, no_dead, no_error, no_match_runs, no_match_so_far, no_match_tasks, no_operations,
    no_operations_hint, no_queues, no_queues_hint, no_result, no_runs_yet, no_services, no_services_hint,
    no_tasks, no_tasks_hint, no_tokens, no_users, no_worker, no_worker_on_queue, node, node_ahead,
    node_behind, node_checks, node_clock, node_clock_unknown, node_in_step, node_leader, node_member,
    node_seen, node_shards, node_started, node_version, node_zones, nodes, nodes_hint, not_set, note,
    now_time, once, op_all, op_cancel, op_cancel_effect, op_cancel_leaves, op_cancel_runs, op_continue, op_continue_effect, op_continue_leaves, op_count_done,
    op_count_failed, op_count_skipped, op_delete, op_edit, op_ids, op_items, op_later, op_none, op_patch, op_patch_payload, op_patch_payload_hint, op_pause,
    op_pause_effect, op_pause_leaves, op_rate_hint, op_reason_hint, op_redrive, op_redrive_effect,
    op_redrive_leaves, op_resume, op_resume_effect, op_resume_leaves, op_select_first, op_sent_before,
    op_show_runs, op_show_tasks, op_state_aborted, op_state_completed, op_state_failed, op_state_held, op_state_running, op_trigger,
    op_trigger_effect, op_trigger_leaves, operation, operations, overview, pages, palette, palette_action,
    palette_hint, palette_keys, palette_none, palette_page, palette_runs_tagged, palette_tasks_named,
    past_time, pause, pause_before_retry, pause_effect, pause_leaves, payload, payload_changes,
    payload_edited, payload_next_hint, payload_of_run, payload_of_run_hint, payload_original,
    payload_too_large, period, policies, policy_fire_all, policy_fire_last, policy_skip, problem_csrf,
    problem_csrf_title, problem_forbidden, problem_forbidden_title, problem_internal,
    problem_internal_title, problem_invalid_title, problem_method, problem_not_found,
    problem_not_found_title, problem_store, problem_store_title, progress, progress_of, queue, queue_bus,
    queue_hint, queues, queues_hint, ran, rate, rate_per_sec, rate_unlimited, ready_hint, ready_in_queues,
    reason, reports, reports_no, reports_yes, request, result, resume, resume_effect, resume_leaves,
    retry, retry_default, retry_effect, retry_leaves, retry_now, review_changes, revision, rhythm_daily,
    rhythm_hourly, rhythm_hours, rhythm_minutes, rhythm_monthly, rhythm_weekdays, rhythm_weekly, run,
    run_waits_bus, run_waits_free, run_waits_outcome, run_waits_replaced, run_waits_stop, run_waits_worker, runs, save, schedule, scopes,
    searched_runs, searched_tasks, select, select_page, selection, senior, service_heartbeat, service_node_why, services, services_hint, show,
    show_moments, sign_in, sign_in_expired, sign_in_failed, sign_in_later, sign_out, signed, silence,
    silence_create, silence_effect, silence_end, silence_end_effect, silence_end_leaves,
    silence_every_rule, silence_every_subject, silence_leaves, silence_length, silence_new,
    silence_reason_hint, silence_subject_hint, silence_unknown_rule, silence_until, silenced, silences,
    silences_hint, silences_more, silences_none, skip_to_content, start_hint, starts, state, state_active,
    state_all, state_cancelled, state_dead, state_failed, state_finished, state_fired, state_firing,
    state_leased, state_path, state_paused, state_ready, state_retrying, state_scheduled, state_skipped,
    state_succeeded, strip_text, switch_theme, tag, tags, tags_all, task, tasks, time_zone, times_in,
    to_overview, token, token_hint, tokens, trigger, trigger_effect, trigger_leaves, triggered, unit,
    unit_d, unit_h, unit_m, unit_ms, unit_s, users, users_hint, why_waits, without_outcome,
    without_outcome_hint, worker, worker_built_in, worker_holds, worker_more_runs, worker_not_listed,
    worker_nothing, worker_oldest, worker_seen, worker_waits, workers, workers_and_nodes, workers_hint,
    workers_incomplete, workers_none, workers_none_hint, wrong_kind, wrong_label, wrong_number,
    wrong_time,
    done_token_revoked, done_user_removed, done_user_saved, password_keep_hint, password_length_hint, remove, revoke,
    role, role_admin, role_none, role_operator, role_viewer, scope_admin, scope_run_pull, scope_task_read,
    scope_task_write, senior_label, tags_limit_hint, token_create, token_days, token_days_hint, token_issued,
    token_issued_hint, token_name_hint, token_new, token_revoke, token_revoke_effect, token_revoke_leaves, user_edit,
    user_new, user_remove, user_remove_effect, user_remove_leaves,
    limit_used, limit_waiting, limits, limits_hint, done_held, done_released, hold_by, hold_create, hold_effect, hold_ends_at, hold_leaves, hold_length, hold_length_hint, hold_name_hint,
    hold_new, hold_no_end, hold_reason_hint, hold_release, hold_release_effect, hold_release_leaves, hold_scope, hold_unknown_scope,
    quota_creates, quota_creates_hint, quota_live_tasks, quota_live_tasks_hint, quota_of_creates, quota_of_live_tasks, quotas, quotas_none,
    hold_until, hold_waits_queue, hold_waits_tag, holds, holds_hint, holds_none, on_hold,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_has_every_word_with_the_same_places() {
        let places = |text: &str| text.matches("{}").count();
        let english = Lang::En.words().all();
        for lang in Lang::ALL {
            for ((word, text), (_, english)) in lang.words().all().into_iter().zip(&english) {
                assert!(!text.trim().is_empty(), "{word} is empty in {}", lang.as_str());
                assert_eq!(places(text), places(english), "{word} in {}", lang.as_str());
                assert!(!text.contains(['<', '>', '&']), "{word} in {} has markup", lang.as_str());
            }
        }
    }

    #[test]
    fn a_file_without_a_word_or_with_another_one_is_refused() {
        let english = include_str!("text/en.toml");
        assert!(Words::parse(&english.replacen("about = ", "# about = ", 1)).is_err());
        assert!(Words::parse(&format!("{english}another = \"x\"\n")).is_err());
    }

    #[test]
    fn the_browser_chooses_among_the_languages() {
        assert_eq!(Lang::accepted("zh-CN,zh;q=0.9,en;q=0.8"), Lang::Zh);
        assert_eq!(Lang::accepted("de-DE,en-GB;q=0.7,zh;q=0.3"), Lang::En);
        assert_eq!(Lang::accepted("de"), Lang::En);
        assert_eq!(Lang::accepted("日本"), Lang::En);
    }

    #[test]
    fn a_number_chooses_between_two_forms() {
        let text = "{} of {} {run was|runs were} read";
        assert_eq!(fill(text, &["1", "2"]), "1 of 2 runs were read");
        assert_eq!(fill(text, &["0", "1"]), "0 of 1 run was read");
        let more = |lang: Lang, number| fill(&lang.words().worker_more_runs, &[number]);
        assert_eq!((more(Lang::En, "1"), more(Lang::En, "11")), ("1 more run".into(), "11 more runs".into()));
        assert!(!more(Lang::Zh, "1").contains('{'));
    }

    #[test]
    fn values_replace_the_places_in_order() {
        assert_eq!(fill("On day {} at {}", &["1", "02:30"]), "On day 1 at 02:30");
        assert_eq!(fill("{} and {}", &["{}"]), "{} and ");
        assert_eq!(fill("{a} {", &["1"]), "{a} {");
    }
}
