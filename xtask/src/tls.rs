//! Test certificates, and an encrypted connection for the probes.
//!
//! Both use the `openssl` program: a TLS library would double the build time of this crate for one
//! probe.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result};

use crate::download;
use crate::net::ANSWER_LIMIT;

/// Returns the file of the certificate authority that a client of the TLS services must trust.
pub fn authority(root: &Path) -> PathBuf {
    root.join("tls/ca.pem")
}

/// Returns the JVM properties of a server that accepts only encrypted connections, and connects to
/// its name server by TLS.
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

/// Creates an authority and a server certificate. rustls refuses one certificate that is both.
fn create_certificates(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir)?;
    let key = ["-newkey", "rsa:2048", "-nodes", "-days", "3650", "-keyout"];
    let authority = ["-subj", "/CN=taskcenter test authority", "-out", "new-ca.pem"];
    openssl(dir, &[&["req", "-x509"][..], &key, &["ca.key"], &authority].concat())?;
    let server = ["-subj", "/CN=localhost", "-out", "server.pem", "-CA", "new-ca.pem", "-CAkey", "ca.key"];
    let names =
        ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE"];
    openssl(dir, &[&["req", "-x509"][..], &key, &["server.key"], &server, &names].concat())?;
    // Last: if `ca.pem` exists, all files exist.
    fs::rename(dir.join("new-ca.pem"), dir.join("ca.pem"))?;
    Ok(())
}

fn openssl(dir: &Path, arguments: &[&str]) -> Result<()> {
    let program = download::program("openssl", "openssl")?;
    download::run(Command::new(program).args(arguments).current_dir(dir))
        .context("cannot create test certificates")
}

/// Opens an encrypted connection to a port on the loopback interface. Checks the certificate.
pub fn connect(root: &Path, port: u16) -> Result<Connection> {
    // A frozen server must not block the probe, and pipes have no timeout.
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
    let input = child.stdin.take().context("openssl has no standard input")?;
    let output = child.stdout.take().context("openssl has no standard output")?;
    Ok(Connection { child, input: Some(input), output })
}

/// Encrypted connection through a child process.
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
        // The end of its input ends `openssl`. A signal would reach only `timeout`.
        drop(self.input.take());
        let _ = self.child.wait();
    }
}
