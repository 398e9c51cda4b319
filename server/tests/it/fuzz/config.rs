//! The configuration file.

use std::fs;

use taskcenter_server::config::{Config, ConfigError};
use tempfile::TempDir;

use super::mutate::each;

fn assert_named(error: &ConfigError) {
    let named = match error {
        ConfigError::Syntax { line, problem, .. } => *line > 0 && !problem.is_empty(),
        ConfigError::Unknown { key, known, .. } => !key.is_empty() && !known.is_empty(),
        ConfigError::Kind { key, .. }
        | ConfigError::Value { key, .. }
        | ConfigError::NoCluster { key, .. } => !key.is_empty() && key != "?",
        // It is no text.
        ConfigError::Read(..) => true,
    };
    assert!(named, "{error}");
    assert!(!error.to_string().contains("canary"), "a value may be a secret: {error}");
}

#[tokio::test]
async fn files() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("config.toml");
    let load = |bytes: &[u8]| {
        fs::write(&file, bytes).unwrap();
        Config::load(Some(&file), [])
    };
    let mut taken = 0;
    each("config", 800, async |input| match load(&input) {
        Ok(config) => {
            taken += 1;
            // Secrets are not written: what is left of them is as long-lived as anything.
            let written = toml::to_string(&config).unwrap();
            let again = toml::to_string(&load(written.as_bytes()).unwrap()).unwrap();
            assert_eq!(again, written);
        }
        Err(error) => assert_named(&error),
    })
    .await;
    assert!(taken > 20, "hardly any file was taken: {taken}");
}
