//! Reads a TOML file, then environment variables, then options of the command line; each overrides the
//! sources before it. Every error names the key and its origin.

use std::collections::BTreeMap;
use std::path::Path;

use toml::{Table, Value};

use super::error::ConfigError;
use super::{ChannelSection, Config, Mode};

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

/// Option of the command line that overrides a key.
#[derive(Debug, Clone)]
pub struct Override {
    /// The key.
    pub key: &'static str,
    /// The option, such as `--listen`.
    pub option: &'static str,
    /// The value.
    pub text: String,
}

/// What has been read.
#[derive(Default)]
struct Sources {
    table: Table,
    /// Origin of each key.
    origins: BTreeMap<String, String>,
    errors: Vec<ConfigError>,
}

impl Sources {
    /// Reads a file. Refused keys and values are left out.
    fn read_file(&mut self, file: &Path, reference: &Table) -> Result<(), ConfigError> {
        let mut table = read(file)?;
        self.check_table(&mut table, reference, "", &file.display().to_string());
        self.table = table;
        Ok(())
    }

    fn check_table(&mut self, table: &mut Table, reference: &Table, path: &str, origin: &str) {
        table.retain(|name, value| {
            let key = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            let checked = match (expected_at(reference, name), &mut *value) {
                (None, _) => Err(unknown(key.clone(), origin, path, reference)),
                (Some(Value::Table(expected)), Value::Table(inner)) => {
                    self.check_table(inner, expected, &key, origin);
                    return true;
                }
                (Some(expected), value) => check_value(value, expected, &key, origin),
            };
            self.origins.insert(key, origin.to_owned());
            checked.map_err(|error| self.errors.push(error)).is_ok()
        });
    }

    fn set(&mut self, reference: &Table, key: &str, text: &str, origin: String) {
        match set(&mut self.table, reference, key, text, &origin) {
            Ok(()) => {
                self.origins.insert(key.to_owned(), origin);
            }
            Err(error) => self.errors.push(error),
        }
    }

    fn origin(&self, key: &str) -> Option<String> {
        self.origins.get(key).cloned()
    }

    /// Converts the values to a configuration. Values that cannot be converted are reported, and replaced
    /// by their defaults.
    fn convert(&mut self) -> Option<Config> {
        let mut values = Value::Table(std::mem::take(&mut self.table));
        loop {
            let error = match values.clone().try_into() {
                Ok(config) => return Some(config),
                Err(error) => from_serde(&error, &values),
            };
            let is_removed = error.key().is_some_and(|key| remove(&mut values, key));
            self.errors.push(error);
            if !is_removed {
                return None;
            }
        }
    }

    /// Adds the origins to the errors.
    fn into_error(mut self) -> ConfigError {
        let mut errors = std::mem::take(&mut self.errors);
        for error in &mut errors {
            if let ConfigError::Value { key, origin, .. } | ConfigError::NoCluster { key, origin, .. } = error
            {
                *origin = self.origin(key);
            }
        }
        if errors.len() == 1 { errors.remove(0) } else { ConfigError::Several(errors) }
    }
}

fn remove(values: &mut Value, key: &str) -> bool {
    let (path, last) = key.rsplit_once('.').unwrap_or(("", key));
    let names = path.split('.').filter(|name| !name.is_empty());
    let table = names.into_iter().try_fold(values, |value, name| value.get_mut(name));
    table.and_then(Value::as_table_mut).and_then(|table| table.remove(last)).is_some()
}

impl Config {
    /// Reads the optional file, then the variables whose names begin with [`ENV_PREFIX`], and
    /// validates every value.
    ///
    /// # Errors
    /// All problems found.
    pub fn load(
        file: Option<&Path>,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        Self::load_with_options(file, env, Vec::new())
    }

    /// As [`load`](Self::load); options of the command line override the other sources.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_with_options(
        file: Option<&Path>,
        env: impl IntoIterator<Item = (String, String)>,
        options: Vec<Override>,
    ) -> Result<Self, ConfigError> {
        let (mut sources, reference) = (Sources::default(), reference());
        if let Some(file) = file {
            sources.read_file(file, &reference)?;
        }
        let mut variables: Vec<_> =
            env.into_iter().filter(|(name, _)| name.starts_with(ENV_PREFIX)).collect();
        variables.sort();
        for (name, text) in variables {
            let key = name[ENV_PREFIX.len()..].to_lowercase().replace("__", ".");
            sources.set(&reference, &key, &text, format!("the environment variable {name}"));
        }
        for Override { key, option, text } in options {
            sources.set(&reference, key, &text, format!("the option {option}"));
        }
        let section = cluster_section(&sources.table);
        if !cfg!(feature = "cluster")
            && let Err(error) = refuse_cluster(&sources.table, section.as_deref())
        {
            sources.errors.push(error);
            return Err(sources.into_error());
        }
        let Some(mut config) = sources.convert() else { return Err(sources.into_error()) };
        if section.is_some() {
            config.server.mode = Mode::Cluster;
        }
        sources.errors.extend(config.faults());
        if sources.errors.is_empty() { Ok(config) } else { Err(sources.into_error()) }
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
    Err(ConfigError::NoCluster { key, origin: None, remedy })
}

/// Stands in the reference for every name in a section whose keys the user names.
const ANY_NAME: &str = "*";

/// The defaults as a table: every key with a value of its type.
fn reference() -> Table {
    let channel = (ANY_NAME.to_owned(), ChannelSection::default());
    let mut config = Config::default();
    config.alerts.channels.extend([channel]);
    match Value::try_from(config) {
        Ok(Value::Table(table)) => table,
        _ => unreachable!("the defaults serialize to a table"),
    }
}

/// Returns what the reference expects under a name.
fn expected_at<'a>(reference: &'a Table, name: &str) -> Option<&'a Value> {
    reference.get(name).or_else(|| reference.get(ANY_NAME))
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

fn set(table: &mut Table, reference: &Table, key: &str, text: &str, origin: &str) -> Result<(), ConfigError> {
    let (path, last) = key.rsplit_once('.').unwrap_or(("", key));
    let (mut expected, mut walked) = (reference, String::new());
    let steps = || path.split('.').filter(|step| !step.is_empty());
    for step in steps() {
        let Some(Value::Table(inner)) = expected_at(expected, step) else {
            return Err(unknown(key.to_owned(), origin, &walked, expected));
        };
        expected = inner;
        walked = if walked.is_empty() { step.to_owned() } else { format!("{walked}.{step}") };
    }
    let value = match expected_at(expected, last) {
        None => return Err(unknown(key.to_owned(), origin, &walked, expected)),
        Some(section @ Value::Table(_)) => return Err(wrong_kind(key, origin, section, "a string")),
        Some(expected) => from_text(text, expected, key, origin)?,
    };
    let mut section = table;
    for step in steps() {
        let entry = section.entry(step).or_insert_with(|| Value::Table(Table::new()));
        let Value::Table(inner) = entry else { unreachable!("the tables of the file have been checked") };
        section = inner;
    }
    section.insert(last.to_owned(), value);
    Ok(())
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
    ConfigError::Value { key: key.unwrap_or("?").to_owned(), origin: None, found, remedy }
}
