//! The configuration as people write it, rightly and wrongly.

use std::path::{Path, PathBuf};

use super::*;

const CANARY: &str = "canary-7f3a";

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../config").join(name)
}

fn load_env(env: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::load(None, env.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())))
}

/// Loads a file with this text.
fn load(text: &str) -> Result<Config, ConfigError> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("test.toml");
    std::fs::write(&file, text).unwrap();
    Config::load(Some(&file), [])
}

fn refusal(text: &str) -> String {
    load(text).expect_err(text).to_string()
}

#[test]
fn the_default_file_is_the_default() {
    assert_eq!(Config::load(Some(&shipped("default.toml")), []).unwrap(), Config::default());
}

#[test]
fn the_default_file_names_every_key_with_a_comment() {
    let text = std::fs::read_to_string(shipped("default.toml")).unwrap();
    let written: toml::Table = text.parse().unwrap();
    let known = toml::Table::try_from(Config::default()).unwrap();
    assert_eq!(keys(&written, ""), keys(&known, ""));
    assert!(text.matches("\n# ").count() >= keys(&known, "").len() - 6, "pairs of keys share a comment");
}

fn keys(table: &toml::Table, path: &str) -> Vec<String> {
    let mut all: Vec<_> = table
        .iter()
        .flat_map(|(name, value)| match value {
            toml::Value::Table(inner) => keys(inner, &format!("{path}{name}.")),
            _ => vec![format!("{path}{name}")],
        })
        .collect();
    all.sort();
    all
}

#[test]
fn the_cluster_file_is_valid() {
    let config = Config::load(Some(&shipped("cluster.toml")), []).unwrap();
    assert_eq!(config.rocketmq.namesvr, ["127.0.0.1:9876"]);
    assert_eq!(config.listen(), "0.0.0.0:8275");
}

#[test]
fn the_old_servers_keys_are_accepted_as_they_are() {
    let config = load(
        r#"
        [task_center]
        port = "3000"
        name_alert_count = "10"
        total_alert_count = 100
        [mongodb]
        uri = "mongodb://db1,db2/?replicaSet=rs0"
        db = "tc"
        [redis]
        addr = "redis:6379"
        password = "p"
        db = "3"
        [rocketmq]
        group_id = "g"
        instance_name = "i"
        namesvr = "ns1:9876;ns2:9876"
        access_key = "a"
        secret_key = "s"
        topic = "t"
        "#,
    )
    .unwrap();
    assert_eq!(config.listen(), "127.0.0.1:3000");
    assert_eq!((config.task_center.name_alert_count, config.task_center.total_alert_count), (10, 100));
    assert_eq!(config.alert_limits().fires, (10, 100));
    assert_eq!(config.redis.db, 3);
    assert_eq!(config.rocketmq.namesvr, ["ns1:9876", "ns2:9876"]);
}

#[test]
fn the_environment_wins_over_the_file() {
    let env = [
        ("TASKCENTER__SERVER__LISTEN", "[::1]:1"),
        ("TASKCENTER__ENGINE__MISFIRE__GRACE_MS", "7"),
        ("TASKCENTER__ROCKETMQ__TLS", "true"),
        ("TASKCENTER__ROCKETMQ__NAMESVR", "a:1;b:2"),
        ("TASKCENTER__ALERTS__CLEAR_RATIO", "0.5"),
        ("OTHER__KEY", "is nobody's"),
    ];
    let env = env.map(|(name, text)| (name.to_owned(), text.to_owned()));
    let config = Config::load(Some(&shipped("cluster.toml")), env).unwrap();
    assert_eq!(config.listen(), "[::1]:1");
    assert_eq!(config.engine.misfire.grace_ms, 7);
    assert_eq!(config.engine.misfire.policy, Config::default().engine.misfire.policy);
    assert!(config.rocketmq.tls);
    assert_eq!(config.rocketmq.namesvr, ["a:1", "b:2"]);
    assert!((config.alerts.clear_ratio - 0.5).abs() < f64::EPSILON);
}

#[test]
fn a_redis_url_holds_any_password() {
    let mut redis = Redis { db: 3, ..Redis::default() };
    assert_eq!(redis.url(), "redis://127.0.0.1:6379/3");
    redis.password = Secret::new("p@s/:1");
    assert_eq!(redis.url(), "redis://:%70%40%73%2F%3A%31@127.0.0.1:6379/3");
    redis.tls = true;
    assert!(redis.url().starts_with("rediss://:%70"), "{}", redis.url());
}

#[test]
fn halves_of_what_belongs_together_are_refused() {
    for (text, key) in [
        ("[server.tls]\ncert = \"c.pem\"", "server.tls.key"),
        ("[server.tls]\nkey = \"k.pem\"", "server.tls.key"),
        ("[redis]\ntls_ca_file = \"ca.pem\"", "redis.tls_ca_file"),
        ("[access]\nadmin_token_sha256 = \"tc_0_0\"", "access.admin_token_sha256"),
        ("[access]\nrequired = \"never\"", "access.required"),
        ("[access]\ntrusted = [\"10.0.0.0/8\", \"intranet\"]", "access.trusted"),
    ] {
        assert!(refusal(text).contains(&format!("`{key}`")), "{}", refusal(text));
    }
    let digest = format!("[access]\nrequired = \"always\"\nadmin_token_sha256 = \"{}\"", "0a".repeat(32));
    assert!(load(&digest).is_ok());
}

#[test]
fn an_unknown_key_is_named_with_its_place() {
    for (text, key) in [
        ("lisen = 1", "`lisen`"),
        ("[server]\nlisen = 1", "`server.lisen`"),
        ("[engine.misfire]\ngrace = 1", "`engine.misfire.grace`"),
        ("[enginee]", "`enginee`"),
    ] {
        let refusal = refusal(text);
        assert!(refusal.contains(key) && refusal.contains("test.toml"), "{refusal}");
    }
    for (name, key) in [
        ("TASKCENTER__SERVER__LISEN", "`server.lisen`"),
        ("TASKCENTER__SERVR__LISTEN", "`servr.listen`"),
        ("TASKCENTER__LISTEN", "`listen`"),
        ("TASKCENTER__SERVER__LISTEN__PORT", "`server.listen.port`"),
        ("TASKCENTER__", "``"),
    ] {
        let refusal = load_env(&[(name, "1")]).expect_err(name).to_string();
        assert!(refusal.contains(key) && refusal.contains(name), "{refusal}");
    }
}

#[test]
fn a_broken_value_is_named_with_what_is_expected() {
    for (text, words) in [
        ("[server]\nbody_limit_bytes = \"8\"", ["`server.body_limit_bytes`", "a whole number"]),
        ("[server]\nlisten = 8275", ["`server.listen`", "text"]),
        ("server = 1", ["`server`", "a section"]),
        ("[rocketmq]\ntls = 1", ["`rocketmq.tls`", "true or false"]),
        ("[rocketmq]\nnamesvr = [1]", ["`rocketmq.namesvr`", "a list of text"]),
        ("[task_center]\nport = \"many\"", ["`task_center.port`", "a whole number"]),
        ("[task_center]\nport = 70000", ["`task_center.port`", "neither negative nor too large"]),
        ("[redis]\ndb = -1", ["`redis.db`", "neither negative nor too large"]),
        ("[engine]\nbatch = 0", ["`engine.batch`", "between 1 and 10000"]),
        ("[engine]\nwindow_ms = -1", ["`engine.window_ms`", "between"]),
        ("[engine]\ntime_zone = \"Mars\"", ["`engine.time_zone`", "IANA"]),
        (
            "[server]\nmode = \"cluster\"\n[engine]\nrun_lease_ms = 3000",
            ["`engine.run_lease_ms`", "rocketmq.send_timeout_ms"],
        ),
        ("[engine.misfire]\npolicy = \"all\"", ["`engine.misfire.policy`", "fire_all"]),
        ("[server]\nlisten = \"8275\"", ["`server.listen`", "a port"]),
        ("[redis]\naddr = \"redis\"", ["`redis.addr`", "host:port"]),
        ("[mongodb]\nuri = \"db:27017\"", ["`mongodb.uri`", "mongodb://"]),
        ("[rocketmq]\ntopic = \"a b\"", ["`rocketmq.topic`", "letters"]),
        ("[rocketmq]\nnamesvr = []", ["`rocketmq.namesvr`", "at least one"]),
        ("[rocketmq]\naccess_key = \"a\"", ["`rocketmq.secret_key`", "together"]),
        ("[alerts]\nclear_ratio = 2", ["`alerts.clear_ratio`", "at most 1"]),
        ("[alerts]\nwebhook_url = \"ftp://x\"", ["`alerts.webhook_url`", "http"]),
        ("[log]\nformat = \"xml\"", ["`log.format`", "json"]),
        ("[log]\nlevel = \"=loud=\"", ["`log.level`", "debug"]),
        ("[server\n", ["test.toml", "line 1"]),
        ("[compat.kingtask]\ntask_run_sec = 0", ["compat.kingtask.task_run_sec", "1"]),
        ("[compat.kingtask]\nresult_keep_sec = 0", ["compat.kingtask.result_keep_sec", "1"]),
        ("[compat.easytask]\ncallback_timeout_sec = 0", ["compat.easytask.callback_timeout_sec", "1"]),
        ("[compat.easytask_pull]\nsession_hours = 0", ["compat.easytask_pull.session_hours", "1"]),
        ("[compat.taskdash]\nsession_hours = 0", ["compat.taskdash.session_hours", "1"]),
        ("[compat.taskdash]\ntopic_prefix = \"a.b\"", ["compat.taskdash.topic_prefix", "letters"]),
    ] {
        let refusal = refusal(text);
        assert!(words.iter().all(|word| refusal.contains(word)), "{text:?} was refused with {refusal:?}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let refusal = Config::load(Some(Path::new("no/such.toml")), []).unwrap_err().to_string();
    assert!(refusal.contains("no/such.toml"), "{refusal}");
}

#[test]
fn a_secret_is_in_no_message_and_in_no_print() {
    let text = format!(
        "[redis]\npassword = \"{CANARY}\"\n[rocketmq]\naccess_key = \"{CANARY}\"\nsecret_key = \"{CANARY}\"\n\
         [mongodb]\nuri = \"mongodb://app:{CANARY}@db/\"\n[alerts]\nwebhook_url = \"http://x/{CANARY}\"\n"
    );
    let config = load(&text).unwrap();
    assert_eq!(config.redis.password.expose(), CANARY);
    let printed = format!("{config:?} {}", toml::to_string(&config).unwrap());
    assert!(!printed.contains(CANARY), "{printed}");
    for broken in [
        format!("[redis]\npassword = \"{CANARY}"),
        format!("[redis]\npassword = [\"{CANARY}\"]"),
        format!("[redis]\npassword = \"{CANARY}\"\naddr = \"\""),
        format!("[mongodb]\nuri = \"{CANARY}\""),
        format!("[rocketmq]\nsecret_key = \"{CANARY}\""),
        format!("[alerts]\nwebhook_url = \"{CANARY}\""),
        format!("[redis]\ndb = \"{CANARY}\""),
        format!("[log]\nformat = \"{CANARY}\""),
    ] {
        let refusal = refusal(&broken);
        assert!(!refusal.contains(CANARY), "{refusal}");
    }
}

#[test]
fn who_names_a_back_end_means_a_cluster() {
    let mode = |text: &str| load(text).expect(text).server.mode;
    assert_eq!(mode("[log]\nlevel = \"info\""), Mode::Embedded);
    assert_eq!(mode("[redis]\naddr = \"redis:6379\""), Mode::Cluster, "an old server's file");
    assert_eq!(mode("[server]\nmode = \"embedded\"\n[redis]\naddr = \"redis:6379\""), Mode::Embedded);
    assert_eq!(load_env(&[("TASKCENTER__MONGODB__DB", "tc")]).unwrap().server.mode, Mode::Cluster);
    assert!(refusal("[server]\nmode = \"both\"").contains("server.mode"));
}

#[test]
fn only_a_bus_sets_a_floor_under_the_run_lease() {
    let short = "[engine]\nrun_lease_ms = 2000\n[rocketmq]\nsend_timeout_ms = 3000\n[server]\nmode = ";
    assert!(load(&format!("{short}\"embedded\"")).is_ok());
    assert!(refusal(&format!("{short}\"cluster\"")).contains("engine.run_lease_ms"));
}

#[test]
fn what_an_idempotency_key_stands_for_is_kept_as_long_as_the_key() {
    let refused = refusal("engine.keep_hours = 23");
    assert!(refused.contains("engine.keep_hours") && refused.contains("idempotency keys"), "{refused}");
    assert_eq!(load("engine.keep_hours = 24").unwrap().engine.keep_hours, 24);
}
