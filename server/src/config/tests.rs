//! Valid and invalid configurations.

use std::path::{Path, PathBuf};

use super::*;

/// `server.mode` for keys of cluster sections, so that they are valid in a build without cluster
/// support.
const EMBEDDED: &str = "server.mode = \"embedded\"\n";
const CANARY: &str = "canary-7f3a";

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../config").join(name)
}

fn load_env(env: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::load(None, env.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())))
}

fn load(text: &str) -> Result<Config, ConfigError> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("test.toml");
    std::fs::write(&file, text).unwrap();
    Config::load(Some(&file), [])
}

fn refusal(text: &str) -> String {
    load(text).expect_err(text).to_string()
}

/// Like [`refusal`], in a build with or without cluster support.
fn refusal_of_value(text: &str) -> String {
    let mode = if text.contains("[server") || text.contains("server = ") { "" } else { EMBEDDED };
    refusal(&format!("{mode}{text}"))
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
    assert!(
        text.matches("\n# ").count() >= keys(&known, "").len() - 6,
        "every key has a comment, except keys that share one"
    );
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

#[cfg(feature = "cluster")]
#[test]
fn the_cluster_file_is_valid() {
    let config = Config::load(Some(&shipped("cluster.toml")), []).unwrap();
    assert_eq!(config.rocketmq.namesvr, ["127.0.0.1:9876"]);
    assert_eq!(config.listen(), "0.0.0.0:8275");
}

#[cfg(feature = "cluster")]
#[test]
fn keys_of_the_go_predecessor_are_accepted() {
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

#[cfg(feature = "cluster")]
#[test]
fn the_environment_overrides_the_file() {
    let env = [
        ("TASKCENTER__SERVER__LISTEN", "[::1]:1"),
        ("TASKCENTER__ENGINE__MISFIRE__GRACE_MS", "7"),
        ("TASKCENTER__ROCKETMQ__TLS", "true"),
        ("TASKCENTER__ROCKETMQ__NAMESVR", "a:1;b:2"),
        ("TASKCENTER__ALERTS__CLEAR_RATIO", "0.5"),
        ("OTHER__KEY", "ignored"),
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
fn a_redis_url_contains_any_password() {
    let mut redis = Redis { db: 3, ..Redis::default() };
    assert_eq!(redis.url(), "redis://127.0.0.1:6379/3");
    redis.password = Secret::new("p@s/:1");
    assert_eq!(redis.url(), "redis://:%70%40%73%2F%3A%31@127.0.0.1:6379/3");
    redis.tls = true;
    assert!(redis.url().starts_with("rediss://:%70"), "{}", redis.url());
}

#[test]
fn half_of_a_pair_of_keys_is_refused() {
    for (text, key) in [
        ("[server.tls]\ncert = \"c.pem\"", "server.tls.key"),
        ("[server.tls]\nkey = \"k.pem\"", "server.tls.key"),
        ("[redis]\ntls_ca_file = \"ca.pem\"", "redis.tls_ca_file"),
        ("[access]\nadmin_token_sha256 = \"tc_0_0\"", "access.admin_token_sha256"),
        ("[access]\nrequired = \"never\"", "access.required"),
        ("[access]\ntrusted = [\"10.0.0.0/8\", \"intranet\"]", "access.trusted"),
    ] {
        let refusal = refusal_of_value(text);
        assert!(refusal.contains(&format!("`{key}`")), "{refusal}");
    }
    let digest = format!("[access]\nrequired = \"always\"\nadmin_token_sha256 = \"{}\"", "0a".repeat(32));
    assert!(load(&digest).is_ok());
}

#[test]
fn an_unknown_key_is_named_with_its_origin() {
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
fn an_invalid_value_is_named_with_what_is_expected() {
    for (text, words) in [
        (
            "[server]\nbody_limit_bytes = \"8\"",
            ["`server.body_limit_bytes`", "expected an integer, got a string"],
        ),
        ("[server]\nlisten = 8275", ["`server.listen`", "expected a string, got an integer"]),
        ("server = 1", ["`server`", "expected a section"]),
        ("[rocketmq]\ntls = 1", ["`rocketmq.tls`", "true or false"]),
        ("[rocketmq]\nnamesvr = [1]", ["`rocketmq.namesvr`", "a list of strings"]),
        ("[task_center]\nport = \"many\"", ["`task_center.port`", "expected an integer, got another string"]),
        ("[task_center]\nport = 70000", ["`task_center.port`", "not negative and not too large"]),
        ("[redis]\ndb = -1", ["`redis.db`", "not negative and not too large"]),
        ("[engine]\nbatch = 0", ["`engine.batch` is 0", "between 1 and 10000"]),
        ("[engine]\nwindow_ms = -1", ["`engine.window_ms` is -1", "between"]),
        ("[engine]\ntime_zone = \"Mars\"", ["`engine.time_zone` is \"Mars\"", "IANA"]),
        ("[engine.misfire]\npolicy = \"all\"", ["`engine.misfire.policy`", "fire_all"]),
        ("[server]\nlisten = \"8275\"", ["`server.listen`", "a port"]),
        ("[redis]\naddr = \"redis\"", ["`redis.addr`", "host:port"]),
        ("[mongodb]\nuri = \"db:27017\"", ["`mongodb.uri`", "mongodb://"]),
        ("[rocketmq]\ntopic = \"a b\"", ["`rocketmq.topic`", "letters"]),
        ("[rocketmq]\nnamesvr = []", ["`rocketmq.namesvr`", "at least one"]),
        ("[rocketmq]\naccess_key = \"a\"", ["`rocketmq.secret_key`", "both"]),
        ("[alerts]\nclear_ratio = 2", ["`alerts.clear_ratio` is 2", "at most 1"]),
        ("[alerts]\nwebhook_url = \"ftp://x\"", ["`alerts.webhook_url`", "http"]),
        ("[alerts]\npublic_url = \"tasks\"", ["`alerts.public_url`", "http"]),
        ("[alerts.rules.dead_runs]\nwindow_sec = 3601", ["`alerts.rules.dead_runs.window_sec`", "3600"]),
        ("[alerts.rules.clock]\nseverity = \"high\"", ["`alerts.rules.clock.severity`", "critical"]),
        ("[alerts.rules.other]\nfor_sec = 1", ["`alerts.rules.other`", "dead_runs"]),
        ("[alerts.channels.Ops]\nurl = \"http://x\"", ["`alerts.channels`", "a-z"]),
        ("[alerts.channels.a]\nkind = \"fax\"", ["`alerts.channels.a.kind`", "dingtalk"]),
        ("[alerts.channels.a]\nurl = \"x\"", ["`alerts.channels.a.url`", "http"]),
        ("[alerts.channels.a]\nurl = \"http://x\"\nlink = 1", ["`alerts.channels.a.link`", "min_severity"]),
        (
            "[alerts.channels.a]\nurl = \"http://x\"\nrules = [\"dead\"]",
            ["`alerts.channels.a.rules`", "dead_runs"],
        ),
        ("[alerts.channels.a]\nurl = \"http://x\"\nsecret = \"s\"", ["`alerts.channels.a.secret`", "whsec_"]),
        (
            "[alerts.channels.a]\nkind = \"email\"\nsmtp_host = \"h\"\nfrom = \"a@b\"",
            ["`alerts.channels.a.to`", "50"],
        ),
        ("[log]\nformat = \"xml\"", ["`log.format`", "json"]),
        ("[log]\nlevel = \"=loud=\"", ["`log.level`", "debug"]),
        ("[log]\nlevel = \"loud\"", ["`log.level`", "debug"]),
        ("[log]\nlevel = \"=\"", ["`log.level`", "debug"]),
        ("[server\n", ["test.toml", "line 1"]),
        ("[compat.kingtask]\ntask_run_sec = 0", ["compat.kingtask.task_run_sec", "1"]),
        ("[compat.kingtask]\nresult_keep_sec = 0", ["compat.kingtask.result_keep_sec", "1"]),
        ("[compat.easytask]\ncallback_timeout_sec = 0", ["compat.easytask.callback_timeout_sec", "1"]),
        ("[compat.easytask_pull]\nsession_hours = 0", ["compat.easytask_pull.session_hours", "1"]),
        ("[compat.taskdash]\nsession_hours = 0", ["compat.taskdash.session_hours", "1"]),
        ("[compat.taskdash]\ntopic_prefix = \"a.b\"", ["compat.taskdash.topic_prefix", "letters"]),
        (
            "[compat.taskdash]\nallow_origins = [\"board.lan\"]",
            ["compat.taskdash.allow_origins", "board.lan"],
        ),
        (
            "[compat.taskdash]\nallow_origins = [\"http://b.lan/\"]",
            ["compat.taskdash.allow_origins", "http://b.lan/"],
        ),
        ("[compat.taskdash]\nallow_origins = [\"*\"]", ["compat.taskdash.allow_origins", "*"]),
    ] {
        let refusal = refusal_of_value(text);
        assert!(words.iter().all(|word| refusal.contains(word)), "{text:?} was refused with {refusal:?}");
    }
}

#[test]
fn all_errors_are_reported_with_their_origins() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("test.toml");
    let text =
        "[server]\nlisen = 1\nmode = \"both\"\n[engine]\nbatch = 0\nwindow_ms = \"long\"\nprune_sec = 0";
    std::fs::write(&file, text).unwrap();
    let env = [("TASKCENTER__ENGINE__WAIT_HOURS", "0"), ("TASKCENTER__ENGINE__PRUNE_SEC", "-1")];
    let env = env.map(|(name, text)| (name.to_owned(), text.to_owned()));
    let options = vec![Override { key: "server.listen", option: "--listen", text: "nowhere".to_owned() }];
    let refusal = Config::load_with_options(Some(&file), env, options).unwrap_err();
    let ConfigError::Several(errors) = &refusal else { panic!("{refusal}") };
    let messages: Vec<String> = errors.iter().map(ToString::to_string).collect();
    for (key, origin) in [
        ("`server.lisen`", "test.toml"),
        ("`server.mode`", "test.toml"),
        ("`engine.window_ms`", "test.toml"),
        ("`engine.batch` is 0", "test.toml"),
        ("`engine.wait_hours` is 0", "TASKCENTER__ENGINE__WAIT_HOURS"),
        ("`engine.prune_sec`", "TASKCENTER__ENGINE__PRUNE_SEC"),
        ("`server.listen`", "--listen"),
    ] {
        let is_named = |message: &&String| message.contains(key) && message.contains(origin);
        assert_eq!(messages.iter().filter(is_named).count(), 1, "{key} {origin}: {messages:#?}");
    }
    assert_eq!(messages.len(), 7, "{messages:#?}");
    assert!(refusal.to_string().starts_with("the configuration has 7 errors:\n  "), "{refusal}");
}

#[test]
fn a_missing_file_is_named() {
    let refusal = Config::load(Some(Path::new("no/such.toml")), []).unwrap_err().to_string();
    assert!(refusal.contains("no/such.toml"), "{refusal}");
}

#[test]
fn no_message_and_no_output_contains_a_secret() {
    let text = format!(
        "[redis]\npassword = \"{CANARY}\"\n[rocketmq]\naccess_key = \"{CANARY}\"\nsecret_key = \"{CANARY}\"\n\
         [mongodb]\nuri = \"mongodb://app:{CANARY}@db/\"\n[alerts]\nwebhook_url = \"http://x/{CANARY}\"\n"
    );
    let config = load(&format!("{EMBEDDED}{text}")).unwrap();
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
        format!("[alerts.channels.a]\nurl = \"{CANARY}\"\nsecret = \"{CANARY}\""),
        format!("[alerts.channels.a]\nkind = \"email\"\nsmtp_password = \"{CANARY}\""),
        format!("[redis]\ndb = \"{CANARY}\""),
        format!("[log]\nformat = \"{CANARY}\""),
    ] {
        let refusal = refusal_of_value(&broken);
        assert!(!refusal.contains(CANARY), "{refusal}");
    }
}

#[cfg(feature = "cluster")]
#[test]
fn a_key_of_a_cluster_section_selects_the_mode() {
    let mode = |text: &str| load(text).expect(text).server.mode;
    assert_eq!(mode("[log]\nlevel = \"info\""), Mode::Embedded);
    assert_eq!(mode("[redis]\naddr = \"redis:6379\""), Mode::Cluster, "a file of the Go predecessor");
    assert_eq!(mode("[server]\nmode = \"embedded\"\n[redis]\naddr = \"redis:6379\""), Mode::Embedded);
    assert_eq!(load_env(&[("TASKCENTER__MONGODB__DB", "tc")]).unwrap().server.mode, Mode::Cluster);
    let both = refusal("[server]\nmode = \"both\"");
    assert!(both.starts_with("`server.mode` is invalid (from "), "{both}");
    assert!(both.ends_with("): use `embedded` or `cluster`"), "{both}");
    assert!(refusal("[engine]\nbatch = -1").contains("`engine.batch` is -1"));
}

#[cfg(feature = "cluster")]
#[test]
fn a_bus_requires_a_run_lease_above_its_send_timeout() {
    let short = "[engine]\nrun_lease_ms = 2000\n[rocketmq]\nsend_timeout_ms = 3000\n[server]\nmode = ";
    assert!(load(&format!("{short}\"embedded\"")).is_ok());
    let refused = refusal(&format!("{short}\"cluster\""));
    assert!(
        refused.contains("`engine.run_lease_ms` is 2000") && refused.contains("send_timeout_ms"),
        "{refused}"
    );
    assert!(refusal(&format!("{short}\"embedded\"\nbus = \"rocketmq\"")).contains("engine.run_lease_ms"));
}

#[test]
fn tasks_and_runs_are_kept_as_long_as_idempotency_keys() {
    let refused = refusal("engine.keep_hours = 23");
    assert!(refused.contains("engine.keep_hours") && refused.contains("idempotency keys"), "{refused}");
    assert_eq!(load("engine.keep_hours = 24").unwrap().engine.keep_hours, 24);
}

#[test]
fn the_mode_is_a_preset_of_three_back_ends() {
    let chosen = |text: &str| load(text).expect(text).back_ends();
    assert_eq!(chosen(""), Mode::Embedded.back_ends());
    assert_eq!(chosen("[server]\nstore = \"\"\nbus = \"\"\nlock = \"\""), Mode::Embedded.back_ends());
    assert_eq!(
        chosen("[server]\nstore = \"sqlite\"\nbus = \"none\"\nlock = \"local\""),
        Mode::Embedded.back_ends()
    );
    for (key, known) in [("store", "sqlite"), ("bus", "none"), ("lock", "local")] {
        let refused = refusal(&format!("server.{key} = \"etcd\""));
        assert!(refused.contains(&format!("`server.{key}`")) && refused.contains(known), "{refused}");
    }
}

#[cfg(feature = "cluster")]
#[test]
fn each_back_end_can_differ_from_the_mode() {
    let chosen = |text: &str| load(text).expect(text).back_ends();
    let BackEnds { store, bus, lock } = chosen("server.bus = \"rocketmq\"");
    assert_eq!((store, bus, lock), (StoreKind::Sqlite, BusKind::Rocketmq, LockKind::Local));
    let BackEnds { store, bus, lock } = chosen("server.mode = \"cluster\"\nserver.bus = \"none\"");
    assert_eq!((store, bus, lock), (StoreKind::Mongodb, BusKind::None, LockKind::Redis));
    let BackEnds { store, bus, lock } = chosen("server.store = \"mongodb\"");
    assert_eq!((store, bus, lock), (StoreKind::Mongodb, BusKind::None, LockKind::Local));
    let env = [("TASKCENTER__SERVER__MODE", "cluster"), ("TASKCENTER__SERVER__LOCK", "local")];
    assert_eq!(load_env(&env).unwrap().back_ends().lock, LockKind::Local);
}

#[cfg(feature = "cluster")]
#[test]
fn a_store_of_one_node_refuses_a_lock_that_shares_shards() {
    for text in ["server.lock = \"redis\"", "server.mode = \"cluster\"\nserver.store = \"sqlite\""] {
        let refused = refusal(text);
        assert!(refused.contains("`server.lock` is \"redis\"") && refused.contains("sqlite"), "{refused}");
    }
}

#[cfg(not(feature = "cluster"))]
#[test]
fn a_build_without_cluster_support_names_the_key_and_a_remedy() {
    for (text, key, remedy) in [
        ("server.mode = \"cluster\"", "`server.mode`", "server.mode = \"embedded\""),
        ("server.store = \"mongodb\"", "`server.store`", "server.store = \"sqlite\""),
        ("server.bus = \"rocketmq\"", "`server.bus`", "server.bus = \"none\""),
        ("server.lock = \"redis\"", "`server.lock`", "server.lock = \"local\""),
        ("[mongodb]\nuri = \"mongodb://db/\"", "`mongodb.uri`", "server.mode = \"embedded\""),
        ("[redis]\naddr = \"redis:6379\"", "`redis.addr`", "server.mode = \"embedded\""),
        ("[rocketmq]\ntopic = \"t\"", "`rocketmq.topic`", "server.mode = \"embedded\""),
    ] {
        let refused = refusal(text);
        assert!(refused.contains(key) && refused.contains(remedy), "{refused}");
        assert!(refused.contains("built without cluster support"), "{refused}");
    }
    let refused = load_env(&[("TASKCENTER__MONGODB__DB", "tc")]).expect_err("a key of a cluster");
    assert!(refused.to_string().contains("`mongodb.db`"), "{refused}");
    assert!(load(&format!("{EMBEDDED}[redis]\naddr = \"redis:6379\"")).is_ok(), "the mode is set");
}
