//! Reads a TOML file and the environment on top of it. Every error names the key, and where it was found.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::{Config, Mode};

/// Prefix of the environment variables that set keys: `TASKCENTER__SERVER__LISTEN` is `server.listen`.
pub const ENV_PREFIX: &str = "TASKCENTER__";

/// Whoever says where one of these is means to use it; so do the old server's files, which know no mode.
const CLUSTER_SECTIONS: [&str; 3] = ["mongodb", "redis", "rocketmq"];

/// Keys of the old server that its configurations may hold as text.
const LEGACY_NUMBERS: [&str; 4] =
    ["task_center.port", "task_center.name_alert_count", "task_center.total_alert_count", "redis.db"];

/// Why a configuration is refused. The text is for the person who wrote it, and never holds a value that may be secret.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {0}: {1}")]
    Read(PathBuf, #[source] std::io::Error),
    /// The file is no TOML.
    #[error("{file}, line {line}: {problem}")]
    Syntax {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// There is no such key.
    #[error("unknown key `{key}` in {origin}; known here: {known}")]
    Unknown {
        /// The key.
        key: String,
        /// Where it stands.
        origin: String,
        /// The keys that could stand there.
        known: String,
    },
    /// The key is there, its value is of the wrong kind.
    #[error("`{key}` in {origin} should be {expected}, and is {found}")]
    Kind {
        /// The key.
        key: String,
        /// Where it stands.
        origin: String,
        /// What it should be.
        expected: String,
        /// What it is.
        found: &'static str,
    },
    /// A value of the right kind that makes no sense.
    #[error("`{key}` should be {expected}")]
    Value {
        /// The key.
        key: String,
        /// What it should be.
        expected: String,
    },
}

impl Config {
    /// Reads the file, if one is named, and the variables whose name begins with [`ENV_PREFIX`]; checks every value.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn load(
        file: Option<&Path>,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut table = Table::new();
        let reference = reference();
        if let Some(file) = file {
            table = read(file)?;
            check_table(&mut table, &reference, "", &file.display().to_string())?;
        }
        let mut variables: Vec<_> =
            env.into_iter().filter(|(name, _)| name.starts_with(ENV_PREFIX)).collect();
        variables.sort();
        for (name, text) in variables {
            set_from_env(&mut table, &reference, &name, &text)?;
        }
        let say_cluster = CLUSTER_SECTIONS.iter().any(|section| table.contains_key(*section));
        let mode_is_said = table.get("server").is_some_and(|server| server.get("mode").is_some());
        let mut config: Self = Value::Table(table).try_into().map_err(|error| from_serde(&error))?;
        if say_cluster && !mode_is_said {
            config.server.mode = Mode::Cluster;
        }
        config.validate()?;
        Ok(config)
    }
}

/// The defaults, which name every key there is and the kind of its value.
fn reference() -> Table {
    match Value::try_from(Config::default()) {
        Ok(Value::Table(table)) => table,
        _ => unreachable!("the defaults are a table"),
    }
}

fn read(file: &Path) -> Result<Table, ConfigError> {
    let text = std::fs::read_to_string(file).map_err(|error| ConfigError::Read(file.into(), error))?;
    text.parse::<Table>().map_err(|error| {
        // The error's own text quotes the line, which may hold a password.
        let before = &text[..error.span().map_or(0, |span| span.start).min(text.len())];
        let line = before.matches('\n').count() + 1;
        ConfigError::Syntax { file: file.into(), line, problem: error.message().to_owned() }
    })
}

fn check_table(table: &mut Table, reference: &Table, path: &str, origin: &str) -> Result<(), ConfigError> {
    for (name, value) in table.iter_mut() {
        let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let Some(expected) = reference.get(name) else { return Err(unknown(key, origin, path, reference)) };
        match (&mut *value, expected) {
            (Value::Table(inner), Value::Table(expected)) => check_table(inner, expected, &key, origin)?,
            _ => check_value(value, expected, &key, origin)?,
        }
    }
    Ok(())
}

fn check_value(value: &mut Value, expected: &Value, key: &str, origin: &str) -> Result<(), ConfigError> {
    match (&*value, expected) {
        (Value::String(text), Value::Integer(_)) if LEGACY_NUMBERS.contains(&key) => {
            *value = from_text(text, expected, key, origin)?;
        }
        (Value::String(text), Value::Array(_)) => *value = from_text(text, expected, key, origin)?,
        (Value::Integer(whole), Value::Float(_)) => *value = Value::Float(*whole as f64),
        (Value::Array(items), Value::Array(_)) if items.iter().all(Value::is_str) => {}
        (found, expected) if !found.is_array() && found.same_type(expected) => {}
        (found, expected) => return Err(wrong_kind(key, origin, expected, found.type_str())),
    }
    Ok(())
}

fn set_from_env(table: &mut Table, reference: &Table, name: &str, text: &str) -> Result<(), ConfigError> {
    let origin = format!("the environment variable {name}");
    let key = name[ENV_PREFIX.len()..].to_lowercase().replace("__", ".");
    let (path, last) = key.rsplit_once('.').unwrap_or(("", &key));
    let (mut table, mut reference, mut walked) = (table, reference, String::new());
    for step in path.split('.').filter(|step| !step.is_empty()) {
        let Some(Value::Table(inner)) = reference.get(step) else {
            return Err(unknown(key.clone(), &origin, &walked, reference));
        };
        reference = inner;
        let entry = table.entry(step).or_insert_with(|| Value::Table(Table::new()));
        let Value::Table(inner) = entry else { unreachable!("the file's tables have been checked") };
        table = inner;
        walked = if walked.is_empty() { step.to_owned() } else { format!("{walked}.{step}") };
    }
    match reference.get(last) {
        None => Err(unknown(key.clone(), &origin, &walked, reference)),
        Some(expected @ Value::Table(_)) => Err(wrong_kind(&key, &origin, expected, "text")),
        Some(expected) => {
            table.insert(last.to_owned(), from_text(text, expected, &key, &origin)?);
            Ok(())
        }
    }
}

/// Text as a value of the expected kind. Lists are written with `;` or `,` in between, as the old server wrote name servers.
fn from_text(text: &str, expected: &Value, key: &str, origin: &str) -> Result<Value, ConfigError> {
    let trimmed = text.trim();
    let value = match expected {
        Value::Integer(_) => trimmed.parse().ok().map(Value::Integer),
        Value::Float(_) => trimmed.parse().ok().map(Value::Float),
        Value::Boolean(_) => trimmed.parse().ok().map(Value::Boolean),
        Value::Array(_) => Some(list(text)),
        _ => Some(Value::String(text.to_owned())),
    };
    value.ok_or_else(|| wrong_kind(key, origin, expected, "other text"))
}

fn list(text: &str) -> Value {
    let items = text.split([';', ',']).map(str::trim).filter(|item| !item.is_empty());
    Value::Array(items.map(|item| Value::String(item.to_owned())).collect())
}

fn unknown(key: String, origin: &str, path: &str, reference: &Table) -> ConfigError {
    let prefix = if path.is_empty() { String::new() } else { format!("{path}.") };
    let known: Vec<_> = reference.keys().map(|name| format!("{prefix}{name}")).collect();
    ConfigError::Unknown { key, origin: origin.to_owned(), known: known.join(", ") }
}

fn wrong_kind(key: &str, origin: &str, expected: &Value, found: &'static str) -> ConfigError {
    let expected = match expected {
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Array(_) => "a list of text, or text with ';' in between",
        Value::Table(_) => "a section of keys",
        _ => "text",
    };
    ConfigError::Kind { key: key.to_owned(), origin: origin.to_owned(), expected: expected.to_owned(), found }
}

/// What is left for serde to find: a number out of its type's range, or a word that is none of a list. It knows the key.
fn from_serde(error: &toml::de::Error) -> ConfigError {
    let text = error.to_string();
    let mut lines = text.lines();
    let problem = lines.next().unwrap_or_default();
    let key = lines.find_map(|line| line.strip_prefix("in `")?.strip_suffix('`'));
    let expected = problem.rsplit_once("expected ").map_or(problem, |(_, expected)| expected);
    let number = expected.starts_with(['u', 'i']) && expected[1..].parse::<u32>().is_ok();
    let expected = if number || expected == "usize" {
        "a whole number that is neither negative nor too large".to_owned()
    } else {
        expected.to_owned()
    };
    ConfigError::Value { key: key.unwrap_or("?").to_owned(), expected }
}
