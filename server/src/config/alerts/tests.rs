//! Rules and channels of a configuration.

use super::ChannelKind;
use crate::config::Config;
use crate::core::alert::Measure;

const CANARY: &str = "canary-7f3a";

fn load(text: &str) -> Config {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("test.toml");
    std::fs::write(&file, text).unwrap();
    Config::load(Some(&file), []).unwrap()
}

#[test]
fn a_rule_keeps_its_other_defaults_and_can_be_off() {
    let config = load("[alerts.rules.dead_runs]\nthreshold = 5\n[alerts.rules.clock]\nseverity = \"off\"");
    let rules = config.alert_rules().0;
    assert_eq!(rules[&Measure::DeadRuns].one, Some(5));
    assert_eq!((config.alert_windows().dead_ms, rules[&Measure::BackEndDown].for_ms), (300_000, 30_000));
    assert!(!rules.contains_key(&Measure::Clock));
    assert_eq!(rules.len(), Measure::ALL.len() - 1);
    assert!(rules.values().all(|rule| rule.remind_ms == Some(600_000)));
}

#[test]
fn channels_have_names_of_the_user_and_the_environment_sets_their_keys() {
    let file = "[alerts.channels.ops]\nkind = \"dingtalk\"\nurl = \"http://x/\"\ntags = [\"pay.*\"]\n";
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.toml");
    std::fs::write(&path, file).unwrap();
    let env = [("TASKCENTER__ALERTS__CHANNELS__OPS__SECRET".to_owned(), CANARY.to_owned())];
    let config = Config::load(Some(&path), env).unwrap();
    let ops = &config.alerts.channels["ops"];
    assert_eq!((ops.kind, ops.secret.expose(), ops.timeout_ms), (ChannelKind::Dingtalk, CANARY, 5_000));
    let printed = format!("{config:?} {}", toml::to_string(&config).unwrap());
    assert!(!printed.contains(CANARY) && !printed.contains("http://x/"), "{printed}");
}
