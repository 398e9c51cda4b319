//! The test certificates, and an encrypted connection for the probes.
//!
//! Both lean on the `openssl` program: a TLS library would double this crate's build time for one probe.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result};

use crate::download;
use crate::net::ANSWER_LIMIT;

/// The certificate authority that a client of the TLS services must trust.
pub fn authority(root: &Path) -> PathBuf {
    root.join("tls/ca.pem")
}

/// The JVM properties of a server that accepts encrypted connections only, and reaches its name server by one.
pub fn server_properties(root: &Path) -> Result<Vec<String>> {
    let dir = root.join("tls");
    if !authority(root).is_file() {
        create_certificates(&dir)?;
    }
    let dir = dir.display();
    let properties = format!(
        "tls.test.mode.enable=false\ntls.server.need.client.auth=none\ntls.server.keyPath={dir}/server.key\n\
         tls.server.certPath={dir}/server.pem\ntls.client.authServer=true\ntls.client.trustCertPath={dir}/ca.pem\n"
    );
    let file = root.join("tls/tls.properties");
    fs::write(&file, properties)?;
    Ok(vec![
        "-Dtls.server.mode=enforcing".to_owned(),
        "-Dtls.enable=true".to_owned(),
        format!("-Dtls.config.file={}", file.display()),
    ])
}

/// An authority and a server certificate signed by it: Rust's TLS refuses one certificate that is both.
fn create_certificates(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir)?;
    let key = ["-newkey", "rsa:2048", "-nodes", "-days", "3650", "-keyout"];
    let authority = ["-subj", "/CN=taskcenter test authority", "-out", "new-ca.pem"];
    openssl(dir, &[&["req", "-x509"][..], &key, &["ca.key"], &authority].concat())?;
    let server = ["-subj", "/CN=localhost", "-out", "server.pem", "-CA", "new-ca.pem", "-CAkey", "ca.key"];
    let names =
        ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE"];
    openssl(dir, &[&["req", "-x509"][..], &key, &["server.key"], &server, &names].concat())?;
    // Last, so that its presence means that all is there.
    fs::rename(dir.join("new-ca.pem"), dir.join("ca.pem"))?;
    Ok(())
}

fn openssl(dir: &Path, arguments: &[&str]) -> Result<()> {
    let program = download::program("openssl", "openssl")?;
    download::run(Command::new(program).args(arguments).current_dir(dir))
        .context("cannot make test certificates")
}

/// An encrypted connection to a port of this machine, whose certificate is checked.
pub fn connect(root: &Path, port: u16) -> Result<Connection> {
    // `timeout` bounds what a socket's own limits bound elsewhere: a frozen server must not block the probe.
    let mut child = Command::new("timeout")
        .arg(ANSWER_LIMIT.as_secs().to_string())
        .args(["openssl", "s_client", "-quiet", "-no_ign_eof", "-verify_return_error", "-CAfile"])
        .arg(authority(root))
        .args(["-connect", &format!("127.0.0.1:{port}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot run openssl")?;
    let input = child.stdin.take().context("no pipe to openssl")?;
    let output = child.stdout.take().context("no pipe from openssl")?;
    Ok(Connection { child, input: Some(input), output })
}

/// An encrypted connection, held by a child process.
pub struct Connection {
    child: Child,
    input: Option<ChildStdin>,
    output: ChildStdout,
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.output.read(buffer)
    }
}

impl Write for Connection {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        self.input.as_mut().map_or(Ok(0), |input| input.write(buffer))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.input.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The end of its input ends `openssl`; a signal would reach `timeout` only and leave `openssl` behind.
        drop(self.input.take());
        let _ = self.child.wait();
    }
}
