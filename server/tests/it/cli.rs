//! Runs the program as a user does, and checks exit codes and output.

mod backfill;
mod commands;
mod dev;
mod files;
mod help;
mod holds;
mod operation;
mod program;
mod readme;
mod run_log;
mod terminal;
mod tokens;
mod users;
mod worker;

use std::process::{Command, Output};

fn taskcenter(arguments: &[&str], env: &[(&str, &str)]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_taskcenter"));
    let Output { status, stdout, stderr } =
        command.args(arguments).envs(env.iter().copied()).output().expect("the program starts");
    let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
    (status.code().expect("it exits without a signal"), text(stdout), text(stderr))
}

fn shipped(name: &str) -> String {
    format!("{}/../config/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn check_accepts_the_shipped_configurations() {
    let check = |name: &str| taskcenter(&["config", "check", "--config", &shipped(name)], &[]);
    let (code, out, err) = check("default.toml");
    assert!(
        code == 0 && out.starts_with("the configuration is valid (") && out.contains("store sqlite"),
        "{out}{err}"
    );
    let (code, out, err) = check("cluster.toml");
    if cfg!(feature = "cluster") {
        assert!(
            code == 0 && out.contains("cluster.toml): store mongodb, bus rocketmq, lock redis"),
            "{out}{err}"
        );
    } else {
        assert!(code == 2 && err.contains("built without cluster support"), "{err}");
    }
}

#[test]
fn an_invalid_configuration_ends_with_2_and_names_the_key() {
    let env = [("TASKCENTER__SERVER__LISEN", "x")];
    for command in [&["config", "check"][..], &["config", "print"], &["serve"]] {
        let (code, out, err) = taskcenter(command, &env);
        assert_eq!((code, out.as_str()), (2, ""));
        assert!(err.contains("`server.lisen`") && err.contains("TASKCENTER__SERVER__LISEN"), "{err}");
        assert!(err.contains("did you mean `server.listen`?"), "{err}");
    }
    let (code, _, err) = taskcenter(&["serve", "--config", "no/such.toml"], &[]);
    assert!(code == 2 && err.contains("no/such.toml"), "{err}");
    let (code, _, err) = taskcenter(&["serve", "--listen", "nowhere"], &[]);
    assert!(code == 2 && err.contains("server.listen") && err.contains("--listen"), "{err}");
    let env = [("TASKCENTER__ENGINE__BATCH", "0"), ("TASKCENTER__ENGINE__PRUNE_SEC", "0")];
    let (code, _, err) = taskcenter(&["config", "check"], &env);
    assert_eq!(code, 2);
    for (name, _) in env {
        assert!(err.contains(name), "{err}");
    }
}

#[test]
fn wrong_arguments_end_with_2() {
    assert_eq!(taskcenter(&["serv"], &[]).0, 2);
    assert_eq!(taskcenter(&[], &[]).0, 2);
}

#[cfg(feature = "cluster")]
#[test]
fn print_shows_effective_values_and_no_secret() {
    let env = [
        ("TASKCENTER__REDIS__PASSWORD", "canary-7f3a"),
        ("TASKCENTER__MONGODB__URI", "mongodb://app:canary-7f3a@db/"),
        ("TASKCENTER__ALERTS__WEBHOOK_URL", "http://hook/canary-7f3a"),
        ("TASKCENTER__ENGINE__KEEP_HOURS", "25"),
    ];
    let (code, out, err) = taskcenter(&["config", "print", "--config", &shipped("cluster.toml")], &env);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(!out.contains("canary-7f3a"), "{out}");
    assert!(out.contains("keep_hours = 25") && out.contains("listen = \"0.0.0.0:8275\""), "{out}");
    assert!(out.contains("mode = \"cluster\""), "{out}");
}

#[test]
fn print_shows_the_mode_and_the_data_directory() {
    let (code, out, _) = taskcenter(&["config", "print"], &[("TASKCENTER__EMBEDDED__DATA_DIR", "somewhere")]);
    assert_eq!(code, 0);
    assert!(out.contains("mode = \"embedded\"") && out.contains("data_dir = \"somewhere\""), "{out}");
}

#[test]
fn an_address_in_use_ends_with_1() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, _, err) = taskcenter(&["serve", "--listen", &address], &[]);
    assert!(code == 1 && err.contains(&format!("{address} is in use")), "{err}");
    assert_eq!(err.matches("is in use").count(), 1, "{err}");
}

#[test]
fn version_is_printed() {
    let (code, out, _) = taskcenter(&["--version"], &[]);
    assert_eq!((code, out.trim()), (0, concat!("taskcenter ", env!("CARGO_PKG_VERSION"))));
}
