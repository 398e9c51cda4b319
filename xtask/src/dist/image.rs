//! Runs the program as the container image does, without a container engine: as the only program of a file system, as the
//! user and with the environment of the Dockerfile.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::layout;
use crate::download::run;

const CERTIFICATES: &str = "etc/ssl/certs/ca-certificates.crt";
/// Maximum time until the server answers.
const TIMEOUT: Duration = Duration::from_mins(1);

/// The last stage of the Dockerfile.
struct Image {
    user: String,
    environment: Vec<(String, String)>,
    health: Vec<String>,
}

impl Image {
    /// Reads the stage that begins with `FROM scratch`.
    fn read(dockerfile: &str) -> Result<Self> {
        let joined = dockerfile.replace("\\\n", " ");
        let (_, stage) =
            joined.split_once("\nFROM scratch\n").context("the image is not empty at its start")?;
        let value = |instruction: &str| stage.lines().find_map(|line| line.strip_prefix(instruction));
        let environment = value("ENV ").context("the image has no ENV")?.split_whitespace();
        let pairs = environment.filter_map(|pair| pair.split_once('='));
        let (_, health) =
            value("HEALTHCHECK ").and_then(|line| line.split_once("CMD ")).context("no HEALTHCHECK")?;
        Ok(Self {
            user: value("USER ").context("the image has no USER")?.trim().to_owned(),
            environment: pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            health: serde_json::from_str(health.trim()).context("HEALTHCHECK is not a list")?,
        })
    }

    /// Returns a command in the file system of the image. It has its own network.
    fn command(&self, root: &Path, program: &[String]) -> Command {
        // The search for a program uses the environment of the new process, which has no PATH.
        let mut command = Command::new("/usr/sbin/chroot");
        command.arg(format!("--userspec={}", self.user)).arg(root).args(program);
        command.env_clear().envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null());
        command
    }
}

/// Starts the server, asks for its health as a container engine does, and stops it.
pub fn check(workspace: &Path, program: &Path, root: &Path) -> Result<()> {
    println!("  image (without a container engine)");
    let mut image = Image::read(&fs::read_to_string(workspace.join("Dockerfile"))?)?;
    // The port of a container is its own, and this one is shared.
    let port = crate::net::free_port()?;
    image.environment.push(("TASKCENTER_SERVER".to_owned(), format!("http://127.0.0.1:{port}")));
    let listen = ("TASKCENTER__SERVER__LISTEN".to_owned(), format!("127.0.0.1:{port}"));
    image.environment.retain(|(name, _)| *name != listen.0);
    image.environment.push(listen);
    layout::copy(program, &root.join("usr/bin/taskcenter"), 0o755)?;
    layout::copy(&Path::new("/").join(CERTIFICATES), &root.join(CERTIFICATES), 0o644)?;
    let data = root.join("var/lib/taskcenter");
    fs::create_dir_all(&data)?;
    run(Command::new("chown").arg(&image.user).arg(&data))?;
    let serve = ["/usr/bin/taskcenter", "serve"].map(str::to_owned);
    let mut server = image.command(root, &serve).stderr(fs::File::create(root.join("log"))?).spawn()?;
    let healthy = wait_healthy(&image, root, &mut server);
    let stopped = run(Command::new("kill").args(["-TERM", &server.id().to_string()]));
    let status = server.wait()?;
    healthy.and(stopped)?;
    ensure!(status.success(), "the server stopped with {status}");
    ensure!(data.join("taskcenter.db").is_file(), "the server keeps its tasks elsewhere");
    Ok(())
}

fn wait_healthy(image: &Image, root: &Path, server: &mut Child) -> Result<()> {
    let start = Instant::now();
    while !image.command(root, &image.health).output()?.status.success() {
        let log = fs::read_to_string(root.join("log"))?;
        ensure!(server.try_wait()?.is_none(), "the server ended: {log}");
        ensure!(start.elapsed() < TIMEOUT, "the server is not healthy: {log}");
        sleep(Duration::from_millis(100));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_runs_without_root() {
        let dockerfile = include_str!("../../../Dockerfile");
        let image = Image::read(dockerfile).unwrap();
        assert!(!image.user.starts_with('0') && !image.user.starts_with("root"), "{}", image.user);
        assert!(
            image.user.split(':').all(|id| id.parse::<u32>().is_ok()),
            "scratch has no names: {}",
            image.user
        );
        assert_eq!(image.health[0], "/usr/bin/taskcenter");
        assert_eq!(image.environment.len(), 2, "{:?}", image.environment);
    }
}
