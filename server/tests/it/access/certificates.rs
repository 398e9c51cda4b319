//! Certificate authority and server certificate, created for each test.

use std::path::{Path, PathBuf};
use std::process::Command;

/// PEM files.
pub struct Certificates {
    pub authority: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
    /// Certificate and key in one file, for MongoDB.
    #[cfg(feature = "cluster")]
    pub both: PathBuf,
}

/// Creates certificates for `localhost` and 127.0.0.1.
pub fn create(dir: &Path) -> Certificates {
    let key = ["-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout"];
    let authority = ["-subj", "/CN=test authority", "-out", "ca.pem"];
    openssl(dir, &[&["req", "-x509"][..], &key, &["ca.key"], &authority].concat());
    let server = ["-subj", "/CN=localhost", "-out", "server.pem", "-CA", "ca.pem", "-CAkey", "ca.key"];
    let names =
        ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE"];
    openssl(dir, &[&["req", "-x509"][..], &key, &["server.key"], &server, &names].concat());
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).expect("openssl created the file");
    std::fs::write(dir.join("both.pem"), read("server.pem") + &read("server.key")).unwrap();
    Certificates {
        authority: dir.join("ca.pem"),
        cert: dir.join("server.pem"),
        key: dir.join("server.key"),
        #[cfg(feature = "cluster")]
        both: dir.join("both.pem"),
    }
}

fn openssl(dir: &Path, arguments: &[&str]) {
    let output =
        Command::new("openssl").args(arguments).current_dir(dir).output().expect("openssl is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
