//! Reads a TOML file, then environment variables, which override the file. Every error names the
//! key and its origin.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::{Config, Mode};

/// Prefix of the environment variables that set keys: `TASKCENTER__SERVER__LISTEN` is
/// `server.listen`.
pub const ENV_PREFIX: &str = "TASKCENTER__";

/// Sections that select the mode `cluster` if `server.mode` is absent. Configurations of the old
/// task center have these sections and no `server.mode`.
const CLUSTER_SECTIONS: [&str; 3] = ["mongodb", "redis", "rocketmq"];

/// Settings that select a back end of a cluster: key, value, and a value that works without the
/// feature `cluster`.
const CLUSTER_CHOICES: [(&str, &str, &str); 4] = [
    ("mode", "cluster", "embedded"),
    ("store", "mongodb", "sqlite"),
    ("bus", "rocketmq", "none"),
    ("lock", "redis", "local"),
];

/// Numeric keys that configurations of the old task center may contain as strings.
const LEGACY_NUMBERS: [&str; 4] =
    ["task_center.port", "task_center.name_alert_count", "task_center.total_alert_count", "redis.db"];

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
    #[error("`{key}` is {}: {remedy}", found.as_deref().unwrap_or("invalid"))]
    Value {
        /// The key.
        key: String,
        /// The value. `None` when the value may be secret.
        found: Option<String>,
        /// What to do.
        remedy: String,
    },
    /// The configuration selects a back end that this binary does not contain.
    #[error(
        "`{key}` selects a cluster, but this binary was built without cluster support (feature `cluster`): rebuild with \
         `cargo build --release`, or set {remedy}"
    )]
    NoCluster {
        /// The key.
        key: String,
        /// A setting that works without cluster support.
        remedy: String,
    },
}

impl Config {
    /// Reads the optional file, then the variables whose names begin with [`ENV_PREFIX`], and
    /// validates every value.
    ///
    /// # Errors
    /// The first problem found.
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
        let section = cluster_section(&table);
        if !cfg!(feature = "cluster") {
            refuse_cluster(&table, section.as_deref())?;
        }
        let values = Value::Table(table);
        let mut config: Self = values.clone().try_into().map_err(|error| from_serde(&error, &values))?;
        if section.is_some() {
            config.server.mode = Mode::Cluster;
        }
        config.validate()?;
        Ok(config)
    }
}

/// The first key of a section that selects the mode `cluster`. `None` when there is none or
/// `server.mode` is set.
fn cluster_section(table: &Table) -> Option<String> {
    if table.get("server").is_some_and(|server| server.get("mode").is_some()) {
        return None;
    }
    let section = CLUSTER_SECTIONS.into_iter().find(|section| table.contains_key(*section))?;
    let first = table[section].as_table().and_then(|keys| keys.keys().next());
    Some(first.map_or_else(|| section.to_owned(), |key| format!("{section}.{key}")))
}

/// Refuses settings for which this binary has no adapter.
fn refuse_cluster(table: &Table, section: Option<&str>) -> Result<(), ConfigError> {
    let server = table.get("server");
    let chosen = CLUSTER_CHOICES.into_iter().find(|(key, cluster, _)| {
        server.and_then(|server| server.get(key)).and_then(Value::as_str) == Some(cluster)
    });
    let (key, remedy) = match (chosen, section) {
        (Some((key, _, without)), _) => (format!("server.{key}"), format!("server.{key} = {without:?}")),
        (None, Some(section)) => (section.to_owned(), "server.mode = \"embedded\"".to_owned()),
        (None, None) => return Ok(()),
    };
    Err(ConfigError::NoCluster { key, remedy })
}

/// The defaults as a table: every key with a value of its type.
fn reference() -> Table {
    match Value::try_from(Config::default()) {
        Ok(Value::Table(table)) => table,
        _ => unreachable!("the defaults serialize to a table"),
    }
}

fn read(file: &Path) -> Result<Table, ConfigError> {
    let text = std::fs::read_to_string(file).map_err(|error| ConfigError::Read(file.into(), error))?;
    text.parse::<Table>().map_err(|error| {
        // The parser's own text quotes the line, which may contain a password.
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
        (found, expected) => return Err(wrong_kind(key, origin, expected, type_name(found))),
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
        let Value::Table(inner) = entry else { unreachable!("the tables of the file have been checked") };
        table = inner;
        walked = if walked.is_empty() { step.to_owned() } else { format!("{walked}.{step}") };
    }
    match reference.get(last) {
        None => Err(unknown(key.clone(), &origin, &walked, reference)),
        Some(expected @ Value::Table(_)) => Err(wrong_kind(&key, &origin, expected, "a string")),
        Some(expected) => {
            table.insert(last.to_owned(), from_text(text, expected, &key, &origin)?);
            Ok(())
        }
    }
}

/// Converts text to a value of the expected type. A list separates its items by `;` or `,`, as in
/// configurations of the old task center.
fn from_text(text: &str, expected: &Value, key: &str, origin: &str) -> Result<Value, ConfigError> {
    let trimmed = text.trim();
    let value = match expected {
        Value::Integer(_) => trimmed.parse().ok().map(Value::Integer),
        Value::Float(_) => trimmed.parse().ok().map(Value::Float),
        Value::Boolean(_) => trimmed.parse().ok().map(Value::Boolean),
        Value::Array(_) => Some(list(text)),
        _ => Some(Value::String(text.to_owned())),
    };
    value.ok_or_else(|| wrong_kind(key, origin, expected, "another string"))
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

/// Suggests the known key that differs least from `key`, if one is similar.
fn did_you_mean(key: &str, known: &str) -> String {
    let similarity = |name: &&str| (strsim::jaro_winkler(key, name) * 1_000.0) as u32;
    let nearest = known.split(", ").max_by_key(similarity).filter(|name| similarity(name) > 850);
    nearest.map_or_else(String::new, |name| format!("did you mean `{name}`? Otherwise "))
}

fn wrong_kind(key: &str, origin: &str, expected: &Value, found: &'static str) -> ConfigError {
    let expected = match expected {
        Value::Array(_) => "a list of strings, or one string with `;` between the items",
        other => type_name(other),
    };
    ConfigError::Kind { key: key.to_owned(), origin: origin.to_owned(), expected: expected.to_owned(), found }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Integer(_) => "an integer",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Array(_) => "a list",
        Value::Table(_) => "a section",
        Value::Datetime(_) => "a date",
        Value::String(_) => "a string",
    }
}

/// Converts the errors that only deserialization finds: an integer out of range, or an unknown
/// word. The error names the key, and a number: any text may be a secret in the wrong place.
fn from_serde(error: &toml::de::Error, values: &Value) -> ConfigError {
    let text = error.to_string();
    let mut lines = text.lines();
    let problem = lines.next().unwrap_or_default();
    let key = lines.find_map(|line| line.strip_prefix("in `")?.strip_suffix('`'));
    let expected = problem.rsplit_once("expected ").map_or(problem, |(_, expected)| expected);
    let number = expected.starts_with(['u', 'i']) && expected[1..].parse::<u32>().is_ok();
    let remedy = if number || expected == "usize" {
        "use an integer that is not negative and not too large".to_owned()
    } else {
        format!("use {expected}")
    };
    let found = key.and_then(|key| key.split('.').try_fold(values, |value, name| value.get(name)));
    let found = found.filter(|value| value.is_integer()).map(ToString::to_string);
    ConfigError::Value { key: key.unwrap_or("?").to_owned(), found, remedy }
}
