//! Errors of a configuration.

use std::path::PathBuf;

/// Why a configuration is invalid. The text never contains a value that may be secret.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {0}: {1}")]
    Read(PathBuf, #[source] std::io::Error),
    /// The file is not valid TOML.
    #[error("{file}, line {line}: {problem}")]
    Syntax {
        /// Path of the file.
        file: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// The parser's message.
        problem: String,
    },
    /// No key has this name.
    #[error("unknown key `{key}` in {origin}: {}use one of {known}", did_you_mean(key, known))]
    Unknown {
        /// The key.
        key: String,
        /// File or environment variable.
        origin: String,
        /// The keys of the section.
        known: String,
    },
    /// The value has the wrong type.
    #[error("`{key}` in {origin}: expected {expected}, got {found}")]
    Kind {
        /// The key.
        key: String,
        /// File or environment variable.
        origin: String,
        /// The expected type.
        expected: String,
        /// The type of the value.
        found: &'static str,
    },
    /// The value has the right type, but is invalid.
    #[error("`{key}` is {}{}: {remedy}", found.as_deref().unwrap_or("invalid"), from(origin.as_deref()))]
    Value {
        /// The key.
        key: String,
        /// File, environment variable or option. `None`: the value is the default.
        origin: Option<String>,
        /// The value. `None` when the value may be secret.
        found: Option<String>,
        /// What to do.
        remedy: String,
    },
    /// The configuration selects a back end that this binary does not contain.
    #[error(
        "`{key}`{} selects a cluster, but this binary was built without cluster support (feature `cluster`): rebuild with \
         `cargo build --release`, or set {remedy}",
        from(origin.as_deref())
    )]
    NoCluster {
        /// The key.
        key: String,
        /// File, environment variable or option.
        origin: Option<String>,
        /// A setting that works without cluster support.
        remedy: String,
    },
    /// More than one of the above.
    #[error("the configuration has {} errors:{}", .0.len(), lines(.0))]
    Several(Vec<ConfigError>),
}

fn from(origin: Option<&str>) -> String {
    origin.map_or_else(String::new, |origin| format!(" (from {origin})"))
}

fn lines(errors: &[ConfigError]) -> String {
    errors.iter().fold(String::new(), |text, error| text + "\n  " + &error.to_string())
}

impl ConfigError {
    /// Returns the key of an invalid value.
    pub(super) fn key(&self) -> Option<&str> {
        match self {
            Self::Value { key, .. } => Some(key),
            _ => None,
        }
    }
}

/// Suggests the known key that differs least from `key`, if one is similar.
fn did_you_mean(key: &str, known: &str) -> String {
    let similarity = |name: &&str| (strsim::jaro_winkler(key, name) * 1_000.0) as u32;
    let nearest = known.split(", ").max_by_key(similarity).filter(|name| similarity(name) > 850);
    nearest.map_or_else(String::new, |name| format!("did you mean `{name}`? Otherwise "))
}
