//! Output on a terminal: width, colors and short ids. And prefixes of ids, in place of full ids.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Command, Stdio};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::program::{Dev, data_dir};

const WIDTH: u16 = 80;

/// Runs the program with a terminal as its standard output, and returns what the terminal shows.
async fn on_terminal(dev: &Dev, arguments: &[&str], env: &[(&str, &str)]) -> String {
    let mut screen = File::from(openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap());
    grantpt(&screen).unwrap();
    unlockpt(&screen).unwrap();
    let name = ptsname(&screen, Vec::new()).unwrap();
    let path = OsStr::from_bytes(name.to_bytes());
    let terminal = rustix::fs::open(path, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
    let size = Winsize { ws_row: 24, ws_col: WIDTH, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&terminal, size).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_taskcenter"));
    command.args(arguments).args(["--server", &dev.url]).env("TERM", "xterm").env_remove("NO_COLOR");
    command.envs(env.iter().copied()).stdout(terminal).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    // Closes the last copy of the terminal in this process, so that the end of the output is seen.
    drop(command);
    let shown = tokio::task::spawn_blocking(move || {
        let mut shown = Vec::new();
        // The end is an error, because the terminal has no user any more.
        let _ = screen.read_to_end(&mut shown);
        assert!(child.wait().unwrap().success());
        String::from_utf8(shown).unwrap()
    });
    shown.await.unwrap().replace("\r\n", "\n")
}

/// First column of each row.
fn first_column(table: &str) -> Vec<&str> {
    table.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect()
}

#[tokio::test]
async fn tables_fit_80_columns_and_their_short_ids_can_be_used() {
    let data = data_dir();
    let dev = Dev::start(data.path(), &[]).await;
    let (long, payload) = ("任务".repeat(20), "payload ".repeat(30));
    let cron = ["--cron", "0 9 * * MON-FRI", "--zone", "America/Argentina/Buenos_Aires"];
    let add = ["task", "add", &long, "--data", &payload];
    let task = dev.json(&[&add[..], &cron].concat()).await;
    let (task, other) = (task["id"].as_str().unwrap(), dev.json(&["task", "add", "mail"]).await);
    let run = dev.json(&["task", "trigger", task]).await;
    assert_eq!(dev.run(&["run", "cancel", run["run_id"].as_str().unwrap()]).await.0, 0);
    let long = &long[..60];
    let token =
        ["token", "add", long, "--scope", "task:read", "--scope", "task:write", "--scope", "run:pull"];
    assert_eq!(dev.run(&[&token[..], &["--tag", long, "--expires-in", "90d"]].concat()).await.0, 0);
    assert_eq!(dev.run(&["service", "put", long, &format!("http://{}.example", "x".repeat(60))]).await.0, 0);
    let plain = [("NO_COLOR", "1")];
    let operation = ["operation", "create", "pause", "--name", "nothing", "--reason", long];
    let operation = dev.json(&operation).await;
    for list in ["task", "run", "token", "service", "queue", "operation"].map(|thing| vec![thing, "list"]) {
        let shown = on_terminal(&dev, &list, &plain).await;
        assert!(shown.lines().count() > 1, "{list:?} shows nothing: {shown}");
        // A sentence about a queue may wrap.
        for line in shown.lines().filter(|line| !line.starts_with("queue ")) {
            let width = unicode_width::UnicodeWidthStr::width(line);
            assert!(width <= usize::from(WIDTH), "{list:?}: {width} columns: {shown}");
        }
    }

    let operations = on_terminal(&dev, &["operation", "list"], &plain).await;
    let short = first_column(&operations)[0];
    assert!(short.len() < 32, "{operations}");
    assert_eq!(dev.json(&["operation", "show", short]).await["id"], operation["id"]);
    let watched = on_terminal(&dev, &["operation", "show", short, "--watch"], &plain).await;
    assert!(watched.starts_with('\r') && watched.contains("pause completed"), "{watched}");

    let tasks = on_terminal(&dev, &["task", "list"], &plain).await;
    let ids = first_column(&tasks);
    for (short, id) in ids.iter().zip([other["id"].as_str().unwrap(), task]) {
        assert!(short.len() < 32 && id.starts_with(short), "{tasks}");
        assert_eq!(dev.json(&["task", "get", short]).await["id"], id);
    }
    let runs = on_terminal(&dev, &["run", "list"], &plain).await;
    let shown: Vec<&str> = first_column(&runs).into_iter().filter(|id| id.contains('-')).collect();
    let listed = dev.json(&["run", "list"]).await;
    let listed = listed["runs"].as_array().unwrap();
    assert_eq!((shown.len(), listed.len()), (2, 2), "{runs}");
    for (short, run) in shown.iter().zip(listed) {
        assert!(short.len() < 40, "{runs}");
        assert_eq!(dev.json(&["run", "get", short]).await["run_id"], run["run_id"]);
    }
    assert!(on_terminal(&dev, &["task", "list", "--wide"], &plain).await.contains(task));
    assert!(dev.run(&["task", "list"]).await.1.contains(task), "no terminal");
    assert_eq!(dev.running.stop().await, 0);
}

#[tokio::test]
async fn states_have_colors_on_a_terminal() {
    let data = data_dir();
    let dev = Dev::start(data.path(), &[]).await;
    assert_eq!(dev.run(&["task", "add", "mail", "--in", "1h"]).await.0, 0);
    let green = "\u{1b}[32mactive\u{1b}[0m";
    let list = ["task", "list"];
    assert!(on_terminal(&dev, &list, &[]).await.contains(green));
    for (color, env, expected) in [
        ("auto", &[("NO_COLOR", "1")][..], false),
        ("auto", &[("TERM", "dumb")], false),
        ("always", &[("NO_COLOR", "1")], true),
        ("never", &[], false),
    ] {
        let shown = on_terminal(&dev, &[&list[..], &["--color", color]].concat(), env).await;
        assert_eq!(shown.contains('\u{1b}'), expected, "{color} {env:?}: {shown:?}");
    }
    assert!(!dev.run(&list).await.1.contains('\u{1b}'), "no terminal");
    assert!(dev.run(&["task", "list", "--color", "always"]).await.1.contains(green));
    assert_eq!(dev.running.stop().await, 0);
}

#[tokio::test]
async fn a_unique_prefix_stands_for_an_id() {
    let data = data_dir();
    let dev = Dev::start(data.path(), &[]).await;
    let add = async |name: &str, delay: &str| {
        dev.json(&["task", "add", name, "--in", delay]).await["id"].as_str().unwrap().to_owned()
    };
    let (first, second) = (add("mail", "1h").await, add("sms", "1h").await);
    let common = first.bytes().zip(second.bytes()).take_while(|(a, b)| a == b).count();
    let (short, ambiguous) = (&first[..=common], &first[..common]);

    assert_eq!(dev.json(&["task", "get", short]).await["name"], "mail");
    let (code, out, err) = dev.run(&["task", "cancel", ambiguous]).await;
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains(&first) && err.contains(&second) && err.contains("longer prefix"), "{err}");
    let (code, _, err) = dev.run(&["task", "get", "ffff"]).await;
    assert!(code == 3 && err.contains("no task has the id \"ffff\""), "{err}");

    // A run: by its task as long as the task has one run, then by more of its id.
    let run = dev.json(&["task", "trigger", short]).await["run_id"].as_str().unwrap().to_owned();
    assert_eq!(dev.json(&["run", "get", short]).await["run_id"], *run);
    let again = dev.json(&["task", "trigger", short]).await["run_id"].as_str().unwrap().to_owned();
    let (code, _, err) = dev.run(&["run", "cancel", short]).await;
    assert!(code == 2 && err.contains(&run) && err.contains(&again), "{err}");
    let common = run.bytes().zip(again.bytes()).take_while(|(a, b)| a == b).count();
    assert_eq!(dev.json(&["run", "cancel", &again[..=common]]).await["run_id"], *again);
    let runs = dev.json(&["run", "list", "--task", short]).await;
    assert_eq!(runs["runs"].as_array().unwrap().len(), 2);

    // A cancelled task is found, too, and the run of a deleted task by its moment.
    assert_eq!(dev.run(&["task", "cancel", short]).await.0, 0);
    assert_eq!(dev.json(&["task", "get", short]).await["state"], "cancelled");
    let now = add("push", "0s").await;
    let run = loop {
        let runs = dev.json(&["run", "list", "--task", &now]).await;
        if let Some(run) = runs["runs"][0]["run_id"].as_str() {
            break run.to_owned();
        }
    };
    assert_eq!(dev.run(&["task", "delete", &now]).await.0, 0);
    assert_eq!(dev.json(&["run", "get", &format!("{}{}", &run[..16], &run[32..])]).await["run_id"], *run);
    assert_eq!(dev.running.stop().await, 0);
}

#[test]
fn a_shell_accepts_the_completions() {
    for shell in ["bash", "zsh", "fish"] {
        let (code, script, err) = super::taskcenter(&["completions", shell], &[]);
        assert_eq!((code, err.as_str()), (0, ""));
        assert!(script.contains("retry"), "{shell}: {script}");
        if shell == "bash" {
            let check = "source /dev/stdin && complete -p taskcenter";
            let mut bash = Command::new("bash");
            let mut bash = bash.args(["-c", check]).stdin(Stdio::piped()).spawn().unwrap();
            std::io::Write::write_all(&mut bash.stdin.take().unwrap(), script.as_bytes()).unwrap();
            assert!(bash.wait().unwrap().success());
        }
    }
    assert_eq!(super::taskcenter(&["completions", "csh"], &[]).0, 2);
}
