//! The configuration file.

use std::fs;

use taskcenter_server::config::{Config, ConfigError};
use tempfile::TempDir;

use super::mutate::each;

fn assert_names_the_fault(error: &ConfigError) {
    let is_named = match error {
        ConfigError::Syntax { line, problem, .. } => *line > 0 && !problem.is_empty(),
        ConfigError::Unknown { key, known, .. } => !key.is_empty() && !known.is_empty(),
        ConfigError::Kind { key, .. }
        | ConfigError::Value { key, .. }
        | ConfigError::NoCluster { key, .. } => !key.is_empty() && key != "?",
        // The file is not valid UTF-8.
        ConfigError::Read(..) => true,
        ConfigError::Several(errors) => {
            errors.iter().for_each(assert_names_the_fault);
            errors.len() > 1
        }
    };
    assert!(is_named, "{error}");
    assert!(
        !error.to_string().contains("canary"),
        "the message contains a value, which may be a secret: {error}"
    );
}

#[tokio::test]
async fn files() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("config.toml");
    let load = |bytes: &[u8]| {
        fs::write(&file, bytes).unwrap();
        Config::load(Some(&file), [])
    };
    let mut valid = 0;
    each("config", 800, async |input| match load(&input) {
        Ok(config) => {
            valid += 1;
            // Secrets are not written; all other values survive.
            let written = toml::to_string(&config).unwrap();
            let again = toml::to_string(&load(written.as_bytes()).unwrap()).unwrap();
            assert_eq!(again, written);
        }
        Err(error) => assert_names_the_fault(&error),
    })
    .await;
    assert!(valid > 20, "only {valid} files were valid");
}
