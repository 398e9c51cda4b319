use super::*;

fn at(text: &str) -> Moment {
    Moment::from_ms(text.parse::<Timestamp>().unwrap().as_millisecond())
}

fn matches(expression: &str, zone: &str, from: &str, n: usize) -> Vec<String> {
    let rule = CronRule::parse(expression, zone).unwrap();
    let first = rule.first(at(from));
    std::iter::successors(first, |m| rule.after(*m)).take(n).map(|m| m.to_string()).collect()
}

fn error(expression: &str) -> String {
    CronRule::parse(expression, "UTC").unwrap_err().to_string()
}

#[test]
fn contract_examples() {
    for valid in ["1,5,3 * 1-10 * *", "55-58 * * * *", "@every 1h30m", "@daily", "TZ=Asia/Shanghai 0 9 * * *"]
    {
        assert!(CronRule::parse(valid, "UTC").is_ok(), "{valid}");
    }
    for invalid in ["", "   ", "* * 34 * *", "* 25 * * * ", "* * * *", "* * * * * * * *", "@reboot"] {
        assert!(CronRule::parse(invalid, "UTC").is_err(), "{invalid}");
    }
}

#[test]
fn six_fields_begin_with_seconds() {
    assert_eq!(
        matches("*/20 * * * * *", "UTC", "2026-01-01T00:00:01Z", 3),
        ["2026-01-01T00:00:20.000Z", "2026-01-01T00:00:40.000Z", "2026-01-01T00:01:00.000Z"]
    );
}

#[test]
fn the_first_match_is_never_before_a_start_inside_its_second() {
    assert_eq!(matches("* * * * * *", "UTC", "2026-01-01T00:00:01.001Z", 1), ["2026-01-01T00:00:02.000Z"]);
    assert_eq!(matches("* * * * * *", "UTC", "2026-01-01T00:00:01Z", 1), ["2026-01-01T00:00:01.000Z"]);
}

#[test]
fn a_start_with_a_step_runs_to_the_end_of_the_field() {
    assert_eq!(
        matches("5/20 * * * *", "UTC", "2026-01-01T00:00:00Z", 4),
        [
            "2026-01-01T00:05:00.000Z",
            "2026-01-01T00:25:00.000Z",
            "2026-01-01T00:45:00.000Z",
            "2026-01-01T01:05:00.000Z"
        ]
    );
}

#[test]
fn ranges_wrap_round() {
    assert_eq!(
        matches("0 22-2 * * *", "UTC", "2026-01-01T20:00:00Z", 6)
            .iter()
            .map(|m| m[11..13].to_owned())
            .collect::<Vec<_>>(),
        ["22", "23", "00", "01", "02", "22"]
    );
    // 2026-01-02 is a Friday.
    assert_eq!(
        matches("0 0 * * FRI-MON", "UTC", "2026-01-02T00:00:00Z", 5)
            .iter()
            .map(|m| m[8..10].to_owned())
            .collect::<Vec<_>>(),
        ["02", "03", "04", "05", "09"]
    );
}

#[test]
fn monday_to_friday_is_one_to_five_and_sunday_may_be_seven() {
    let days = |e: &str| {
        matches(e, "UTC", "2026-01-05T00:00:00Z", 3).iter().map(|m| m[8..10].to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(days("0 0 * * 1-5"), ["05", "06", "07"]);
    assert_eq!(days("0 0 * * 7"), ["11", "18", "25"]);
    assert_eq!(days("0 0 * * 5-7"), ["09", "10", "11"]);
}

#[test]
fn day_of_month_or_day_of_week_when_both_are_set() {
    let found = matches("0 0 13 * FRI", "UTC", "2026-01-01T00:00:00Z", 3);
    assert_eq!(found.iter().map(|m| &m[8..10]).collect::<Vec<_>>(), ["02", "09", "13"]);
}

#[test]
fn a_zone_prefix_wins_over_the_default() {
    assert_eq!(
        matches("TZ=Asia/Shanghai 0 9 * * *", "UTC", "2026-01-01T00:00:00Z", 1),
        ["2026-01-01T01:00:00.000Z"]
    );
    assert_eq!(
        matches("0 9 * * *", "Asia/Shanghai", "2026-01-01T00:00:00Z", 1),
        ["2026-01-01T01:00:00.000Z"]
    );
    assert_eq!(
        error("TZ=Mars/Olympus 0 9 * * *"),
        "unknown time zone \"Mars/Olympus\": use an IANA name such as \"Asia/Shanghai\""
    );
}

#[test]
fn an_hour_that_daylight_saving_skips_fires_once_and_one_it_repeats_fires_once() {
    let spring = matches("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2);
    assert_eq!(spring.len(), 2);
    assert_eq!(&spring[0][..10], "2026-03-29");
    assert_eq!(&spring[1][..10], "2026-03-30");
    let autumn = matches("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2);
    assert_eq!(autumn.iter().map(|m| &m[..10]).collect::<Vec<_>>(), ["2026-10-25", "2026-10-26"]);
}

#[test]
fn a_local_day_that_never_was_is_stepped_past() {
    let found = matches("0 12 30 12 *", "Pacific/Apia", "2011-12-01T00:00:00Z", 1);
    assert_eq!(found.len(), 1, "{found:?}");
    let daily = matches("0 12 * * *", "Pacific/Apia", "2011-12-29T00:00:00Z", 3);
    assert_eq!(daily.len(), 3, "{daily:?}");
}

#[test]
fn years_may_follow_as_a_seventh_field() {
    let found = |e: &str| matches(e, "UTC", "2026-01-01T00:00:00Z", 3);
    assert_eq!(found("0 30 8 1 1 * 2027,2030"), ["2027-01-01T08:30:00.000Z", "2030-01-01T08:30:00.000Z"]);
    assert_eq!(found("0 0 0 29 2 ? 2026-2032").len(), 2);
    assert!(found("0 0 0 1 1 * 2025").is_empty(), "that year has passed");
    assert_eq!(error("0 0 0 1 1 * 1969-1970"), "year: \"1969\" is not between 1970 and 2999");
}

#[test]
fn who_does_not_know_years_can_tell_them() {
    for without in ["", "* * * * *", "* * * * * *", "TZ=UTC * * * * * *", "@daily"] {
        assert!(!has_year_field(without), "{without}");
    }
    for with in ["* * * * * * *", "TZ=UTC  * * * * * * 2030"] {
        assert!(has_year_field(with), "{with}");
    }
}

#[test]
fn the_last_day_the_nearest_weekday_and_the_nth_weekday() {
    let days = |e: &str| {
        let found = matches(e, "UTC", "2026-01-01T00:00:00Z", 3);
        found.iter().map(|m| m[5..10].to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(days("0 0 L * *"), ["01-31", "02-28", "03-31"]);
    // 2026-02-15 and 2026-03-15 are Sundays.
    assert_eq!(days("0 0 15W * *"), ["01-15", "02-16", "03-16"]);
    assert_eq!(days("0 0 * * FRI#2"), ["01-09", "02-13", "03-13"]);
    assert_eq!(days("0 0 0 * * 5L"), ["01-30", "02-27", "03-27"]);
}

#[test]
fn impossible_dates_are_refused() {
    for never in ["0 0 30 2 *", "0 0 31 4,6 *", "0 0 30W 2 *", "0 0 0 29 2 ? 2027", "0 0 0 30 2 ? *"] {
        assert_eq!(error(never), format!("no date matches {never:?}: check day of month and month"));
    }
    assert!(CronRule::parse("0 0 29 2 *", "UTC").is_ok());
    assert!(CronRule::parse("0 0 30 2 MON", "UTC").is_ok(), "matches on Mondays");
    assert!(CronRule::parse("0 0 L 2 *", "UTC").is_ok());
}

#[test]
fn every_takes_go_durations() {
    let period = |e: &str| match CronRule::parse(e, "UTC") {
        Ok(CronRule::Period(ms)) => Ok(ms),
        Ok(CronRule::Fields(..)) => Err(format!("{e} has fields")),
        Err(e) => Err(e.to_string()),
    };
    assert_eq!(period("@every 1h30m"), Ok(5_400_000));
    assert_eq!(period("@every 1.5s"), Ok(2_000), "whole seconds");
    assert!(period("@every 10ms").is_err());
    assert!(period("@every 5").is_err());
    assert!(period("@every").is_err());
    assert!(period("@every -5s").is_err());
}

#[test]
fn errors_name_the_field() {
    assert_eq!(error("5-99 * * * *"), "minute: \"99\" is not between 0 and 59");
    assert_eq!(error("*/0 * * * *"), "minute: step \"0\" is not a number from 1");
    assert_eq!(error("0 25 * * *"), "hour: \"25\" is not between 0 and 23");
    assert_eq!(error(", * * * *"), "minute: the list \",\" has an empty item: remove the extra comma");
    assert_eq!(error("0 9 * MON *"), "month: \"MON\" is not between 1 and 12, or a name from JAN to DEC");
    assert_eq!(error("* * *"), "3 fields: write 5, or 6 with leading seconds, or 7 with trailing years");
}

#[test]
fn malformed_items_are_refused() {
    let malformed = [
        "1,,2 * * * *",
        "1, * * * *",
        "* * * * 1-5,",
        "0 0 MON2 * *",
        "0 0 * * +1-5",
        "-5 * * * *",
        "5- * * * *",
        "* * * * 8",
        "? * * * *",
        "1/ * * * *",
        "/5 * * * *",
        "1/2/3 * * * *",
        "*-5 * * * *",
        "0 0 L-0 * *",
        "0 0 L-31 * *",
        "0 0 32W * *",
        "0 0 W * *",
        "0 0 * * L",
        "0 0 * * MON#6",
        "0 0 * * #1",
        "0 0 * JANU *",
        "99999999999 * * * *",
        "* * * * * * 1969",
        "* * * * * * 2030-2029",
    ];
    for expression in malformed {
        assert!(CronRule::parse(expression, "UTC").is_err(), "{expression}");
    }
}

#[test]
fn names_are_whole_words() {
    let days = |e: &str| {
        let found = matches(e, "UTC", "2026-01-01T00:00:00Z", 2);
        found.iter().map(|m| m[5..10].to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(days("0 0 * * MONDAY"), ["01-05", "01-12"]);
    assert_eq!(days("0 0 * * mon-Wednesday"), ["01-05", "01-06"]);
    assert_eq!(days("0 0 1 FEBRUARY *"), ["02-01", "02-01"]);
}

#[test]
fn two_day_fields_must_both_match_when_either_begins_with_a_star() {
    let days = |e: &str| {
        let found = matches(e, "UTC", "2026-01-01T00:00:00Z", 4);
        found.iter().map(|m| m[8..10].to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(days("0 11 */1 * 1-5"), ["01", "02", "05", "06"]);
    assert_eq!(days("0 0 */2 * MON"), ["05", "19", "09", "23"]);
    assert_eq!(days("0 0 1 * MON"), ["01", "05", "12", "19"]);
}

#[test]
fn a_step_larger_than_the_field_selects_the_first_value_and_says_so() {
    let rule = CronRule::parse("0 */24 * * *", "UTC").unwrap();
    assert_eq!(
        rule.notes(),
        ["hour: the step 24 of \"*/24\" is larger than the field, so only 0 is selected"]
    );
    assert_eq!(rule.after(at("2026-01-01T00:00:00Z")), Some(at("2026-01-02T00:00:00Z")));
    assert!(CronRule::parse("0 */12 1/1 * *", "UTC").unwrap().notes().is_empty());
}

#[test]
fn year_steps_count_from_1970() {
    let found = matches("0 0 0 1 1 ? */2", "UTC", "2026-01-02T00:00:00Z", 2);
    assert_eq!(found, ["2028-01-01T00:00:00.000Z", "2030-01-01T00:00:00.000Z"]);
}

#[test]
fn last_days_count_side_by_side() {
    let days = |e: &str| {
        let found = matches(e, "UTC", "2026-01-01T00:00:00Z", 3);
        found.iter().map(|m| m[5..10].to_owned()).collect::<Vec<_>>()
    };
    // 2026-01-31 is a Saturday.
    assert_eq!(days("0 0 L,LW * *"), ["01-30", "01-31", "02-27"]);
    assert_eq!(days("0 0 L-3 * *"), ["01-28", "02-25", "03-28"]);
    // A month without the day has no match, and the nearest weekday stays within the month.
    assert_eq!(days("0 0 31W * *"), ["01-30", "03-31", "05-29"]);
    assert_eq!(days("0 0 * * FRIL"), ["01-30", "02-27", "03-27"]);
}

#[test]
fn a_fixed_time_in_a_gap_fires_after_it_and_in_a_repeat_in_the_first_pass() {
    let amsterdam = |from: &str| matches("15 2,21 * * *", "Europe/Amsterdam", from, 2);
    assert_eq!(amsterdam("2026-10-24T20:00:00Z"), ["2026-10-25T00:15:00.000Z", "2026-10-25T20:15:00.000Z"]);
    assert_eq!(amsterdam("2026-03-28T21:00:00Z"), ["2026-03-29T01:00:00.000Z", "2026-03-29T19:15:00.000Z"]);
    // This gap crosses midnight: 22:00 on Saturday is followed by 23:00 of Saturday 29 March, UTC.
    assert_eq!(
        matches("30 23 * * 6", "America/Nuuk", "2026-03-27T00:00:00Z", 1),
        ["2026-03-29T01:00:00.000Z"]
    );
}

#[test]
fn an_interval_follows_real_time_through_gap_and_repeat() {
    let berlin = |from: &str| {
        let found = matches("*/30 * * * *", "Europe/Berlin", from, 4);
        found.iter().map(|m| m[11..16].to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(berlin("2026-03-29T00:30:00Z"), ["00:30", "01:00", "01:30", "02:00"]);
    assert_eq!(berlin("2026-10-25T00:00:00Z"), ["00:00", "00:30", "01:00", "01:30"]);
    let two = matches("*/30 2 * * *", "Europe/Berlin", "2026-10-24T22:00:00Z", 5);
    let two = two.iter().map(|m| m[8..16].to_owned()).collect::<Vec<_>>();
    assert_eq!(two, ["25T00:00", "25T00:30", "25T01:00", "25T01:30", "26T01:00"]);
    let spring = matches("*/30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 1);
    assert_eq!(spring, ["2026-03-30T00:00:00.000Z"], "02:00 to 03:00 of 29 March does not exist");
}

#[test]
fn an_expression_without_a_match_ends_its_search() {
    let rule = CronRule::parse("0 0 0 1 1 * 2025", "Europe/Berlin").unwrap();
    assert_eq!(rule.after(at("2026-01-01T00:00:00Z")), None);
    let rule = CronRule::parse("*/5 * * * *", "Europe/Berlin").unwrap();
    assert_eq!(rule.after(at("9999-12-30T21:59:59Z")), Some(at("9999-12-30T22:00:00Z")));
}

#[test]
fn the_first_match_after_a_change_of_the_clocks_is_found() {
    let after = |expression: &str, zone: &str, from: &str| {
        let rule = CronRule::parse(expression, zone).unwrap();
        rule.after_clock_change(at(from)).map(|m| m.to_string())
    };
    let berlin = |expression: &str, from: &str| after(expression, "Europe/Berlin", from).unwrap();
    assert_eq!(berlin("30 2 * * *", "2026-01-01T00:00:00Z"), "2026-03-29T01:00:00.000Z", "in the gap");
    assert_eq!(berlin("0 9 * * *", "2026-03-29T01:00:00Z"), "2026-10-25T08:00:00.000Z", "the next change");
    assert_eq!(berlin("*/5 * * * *", "2026-09-01T00:00:00Z"), "2026-10-25T01:00:00.000Z");
    assert_eq!(after("0 9 * * *", "Asia/Shanghai", "2026-01-01T00:00:00Z"), None, "the clocks stay");
    assert_eq!(after("@every 1h", "Europe/Berlin", "2026-01-01T00:00:00Z"), None);
}

#[test]
fn the_quartz_dialect_needs_seconds_and_one_day_field() {
    let quartz = |e: &str| CronRule::parse_with(e, "UTC", Dialect::Quartz, Dst::default());
    let refused = |e: &str| quartz(e).unwrap_err().to_string();
    assert!(refused("0 9 * * ?").starts_with("5 fields: the quartz dialect has 6"));
    assert!(refused("0 0 9 15 * MON").contains("write ?"));
    assert_eq!(
        refused("0 0 9 ? * 0"),
        "day of week: \"0\" is not between 1 and 7, or a name from SUN to SAT"
    );
    assert!(quartz("0 0 9 ? * 8").is_err());
    for valid in
        ["0 0 9 * * ?", "0 0 9 ? * *", "0 0 9 * * *", "@daily", "@every 1h", "TZ=Asia/Shanghai 0 0 9 ? * L"]
    {
        assert!(quartz(valid).is_ok(), "{valid}");
    }
}

fn with_dst(expression: &str, dst: Dst, from: &str, n: usize) -> Vec<String> {
    let rule = CronRule::parse_with(expression, "Europe/Berlin", Dialect::Unix, dst).unwrap();
    let first = rule.after(at(from));
    std::iter::successors(first, |m| rule.after(*m))
        .take(n)
        .map(|m| m.to_string()[5..16].to_owned())
        .collect()
}

/// Every combination of the rules, against a search minute by minute.
#[test]
fn the_rules_for_changes_of_clocks_agree_with_a_search_by_minutes() {
    use jiff::tz::AmbiguousOffset;
    let zone = super::find_zone("Europe/Berlin").unwrap();
    let walls = |expression: &str, minute: i64| {
        let rule = CronRule::parse(expression, "UTC").unwrap();
        rule.after(Moment::from_sec(minute * 60 - 1)) == Some(Moment::from_sec(minute * 60))
    };
    for (expression, from) in [
        ("20,40 1-4 * * *", "2026-10-24T20:00:00Z"),
        ("*/20 1-4 * * *", "2026-10-24T20:00:00Z"),
        ("20,40 1-4 * * *", "2026-03-28T20:00:00Z"),
        ("*/20 1-4 * * *", "2026-03-28T20:00:00Z"),
    ] {
        for gap in Gap::ALL {
            for repeat in Repeat::ALL {
                let dst = Dst { gap: Some(gap), repeat: Some(repeat) };
                let begin = at(from).sec() / 60;
                let mut expected = std::collections::BTreeSet::new();
                // Walk over the wall clock, and map each match as the rules say.
                for minute in begin..begin + 16 * 60 {
                    if !walls(expression, minute) {
                        continue;
                    }
                    let wall =
                        Timestamp::from_second(minute * 60).unwrap().to_zoned(TimeZone::UTC).datetime();
                    let ambiguous = zone.to_ambiguous_timestamp(wall);
                    let instants = match (ambiguous.offset(), repeat, gap) {
                        (AmbiguousOffset::Unambiguous { .. }, ..) => vec![ambiguous.compatible()],
                        (AmbiguousOffset::Fold { .. }, Repeat::First, _) => vec![ambiguous.earlier()],
                        (AmbiguousOffset::Fold { .. }, Repeat::Last, _) => vec![ambiguous.later()],
                        (AmbiguousOffset::Fold { .. }, Repeat::Both, _) => {
                            vec![zone.to_ambiguous_timestamp(wall).earlier(), ambiguous.later()]
                        }
                        (AmbiguousOffset::Gap { .. }, _, Gap::Skip) => vec![],
                        (AmbiguousOffset::Gap { .. }, _, Gap::After) => {
                            vec!["2026-03-29T01:00:00Z".parse::<Timestamp>()]
                        }
                    };
                    expected.extend(instants.into_iter().map(|at| at.unwrap().to_string()[5..16].to_owned()));
                }
                let expected: Vec<String> = expected.into_iter().take(10).collect();
                assert_eq!(
                    with_dst(expression, dst, from, 10)[..10.min(expected.len())],
                    expected,
                    "{expression} {dst:?}"
                );
            }
        }
    }
}
