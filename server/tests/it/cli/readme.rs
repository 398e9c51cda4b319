//! The first steps of the README, as a new user runs them: its commands and its worker.
//!
//! The test replaces only the address, and the paths of the program and of the repository.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use super::program::{Dev, Running, data_dir, http_client};
use crate::docs::pages::{Page, workspace};

/// Address in the page.
const ADDRESS: &str = "127.0.0.1:8275";

/// The n-th block in a language that contains `mark`.
fn block(page: &Page, language: &str, mark: &str) -> String {
    let found = page.code(language).into_iter().find(|code| code.contains(mark));
    found.unwrap_or_else(|| panic!("{} has no {language} block with {mark:?}", page.name))
}

/// Creates the crate of the worker as `cargo new` does, in a directory whose neighbour `taskcenter` is the
/// repository. The paths are fixed, so that a second test run compiles little.
fn create_worker(page: &Page) -> PathBuf {
    let parent = Path::new(env!("CARGO_TARGET_TMPDIR")).join("readme");
    let (repository, worker) = (parent.join("taskcenter"), parent.join("order-worker"));
    std::fs::create_dir_all(worker.join("src")).unwrap();
    if !repository.exists() {
        std::os::unix::fs::symlink(workspace(), &repository).unwrap();
    }
    let package =
        "[package]\nname = \"order-worker\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[workspace]\n\n";
    let manifest = block(page, "toml", "[dependencies]");
    std::fs::write(worker.join("Cargo.toml"), format!("{package}{manifest}")).unwrap();
    std::fs::write(worker.join("src/main.rs"), block(page, "rust,no_run", "fn main")).unwrap();
    std::fs::copy(workspace().join("Cargo.lock"), worker.join("Cargo.lock")).unwrap();
    worker
}

/// Builds the worker for a server, with the packages and the profile of the workspace, and returns the
/// program.
async fn build_worker(worker: &Path, address: &str) -> PathBuf {
    let source = worker.join("src/main.rs");
    let text = std::fs::read_to_string(&source).unwrap();
    assert!(text.contains(ADDRESS), "{text}");
    std::fs::write(source, text.replace(ADDRESS, address)).unwrap();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    // `cargo xtask test` sets the variable for libtest. Build scripts of dependencies would run again.
    cargo.env_remove("RUSTC_BOOTSTRAP").current_dir(worker).env("CARGO_TARGET_DIR", target);
    cargo.args(["build", "--quiet", "--offline", "--config", "profile.dev.debug='line-tables-only'"]);
    cargo.args(["--config", "profile.dev.package.'*'.debug=false"]);
    let output = cargo.output().await.expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    target.join("debug/order-worker")
}

/// Runs a block of commands in a shell, as in the directory of the repository.
async fn run_commands(commands: &str, url: &str) -> String {
    let program = env!("CARGO_BIN_EXE_taskcenter");
    let alias = "alias taskcenter=\"$PWD/target/release/taskcenter\"";
    assert!(commands.contains(alias), "{commands}");
    let commands = commands.replace(alias, &format!("alias taskcenter='{program}'"));
    let mut shell = Command::new("bash");
    shell.args(["-c", &format!("set -eu\nshopt -s expand_aliases\n{commands}")]);
    let output = shell.env("TASKCENTER_SERVER", url).output().await.expect("a shell runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{commands}\n{out}\n{err}");
    out.into_owned()
}

/// Sends the request of a `curl` command with a JSON body.
async fn curl(command: &str, address: &str) {
    let body = command.split('\'').nth(1).expect("the body is in quotes").to_owned();
    let url = command.split_whitespace().last().unwrap().replace(ADDRESS, address);
    let request = http_client().post(url).header("content-type", "application/x-www-form-urlencoded");
    assert_eq!(request.body(body).send().await.unwrap().status().as_u16(), 201, "{command}");
}

async fn follow(page: &str) {
    let page = Page::read(page);
    let start = block(&page, "sh", "cargo run");
    let (_, start) = start.trim().split_once(" -- dev ").expect("the first command starts the server");
    let options: Vec<&str> = start.split_whitespace().collect();
    let data = data_dir();
    let mut dev = Dev::start(data.path(), &options).await;
    let address = dev.url.trim_start_matches("http://").to_owned();
    dev.running.until("delivered demo.").await;

    let create = block(&page, "sh", "curl -d");
    let (create, tail) = create.trim().split_once('\n').expect("two commands");
    curl(create, &address).await;
    let tail: Vec<&str> = tail.split_whitespace().skip(1).collect();
    let mut tail = Running::start(&[&tail[..], &["--name", "order.close", "--server", &dev.url]].concat());

    let shown = run_commands(&block(&page, "sh", "alias taskcenter"), &dev.url).await;
    for line in ["created ", "order.close", "FROM NOW", "TAG "] {
        assert!(shown.contains(line), "{line:?} is missing from {shown}");
    }
    assert!(block(&page, "sh", "cargo new").starts_with("cargo new ../order-worker && cd ../order-worker"));
    let program = build_worker(&create_worker(&page), &address).await;
    tail.until("  ready ").await;
    let mut worker = Running::spawn(Command::new(program));
    // Both tasks of the page may be due when the worker starts.
    let printed = block(&page, "rust,no_run", "fn main");
    let (prefix, _) = printed.split_once("println!(\"").unwrap().1.split_once("{}").unwrap();
    worker.until_each(&["7", "8"].map(|order| format!("{prefix}{order}"))).await;
    tail.until("  succeeded ").await;
    assert_eq!((worker.stop().await, tail.stop().await, dev.running.stop().await), (0, 0, 0));
}

#[tokio::test]
async fn the_first_steps_work_as_written() {
    // One page after the other, because both build the same program.
    for page in ["README.md", "README.zh-CN.md"] {
        follow(page).await;
    }
}
