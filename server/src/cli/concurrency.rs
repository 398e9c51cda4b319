//! Concurrency limits as options.

use clap::Args;
use serde_json::{Value, json};
use taskcenter_client::resources::Concurrency;

/// Options of a task about concurrency limits.
#[derive(Debug, Default, Args)]
pub struct ConcurrencyOptions {
    /// Concurrency limit MAX[:SCOPE[:KEY]]: runs that have started and not ended, such
    /// as 1, 10:queue or 2:all:eu. SCOPE: task, tag, queue or all; default: task. At
    /// most 3 times. Default: no limit.
    #[arg(long, value_name = "LIMIT", value_parser = parse, help_heading = super::overlap::OVERLAPS)]
    concurrency: Vec<Value>,
}

impl ConcurrencyOptions {
    /// Returns the limits as the API reads them. `None`: no option is given.
    pub fn field(&self) -> Option<Value> {
        (!self.concurrency.is_empty()).then(|| json!(self.concurrency))
    }
}

/// Reads a limit: `MAX`, `MAX:SCOPE` or `MAX:SCOPE:KEY`.
fn parse(text: &str) -> Result<Value, String> {
    const SCOPES: [&str; 4] = ["task", "tag", "queue", "all"];
    let mut parts = text.splitn(3, ':');
    let max = parts.next().unwrap_or_default();
    let max: u32 = max.parse().map_err(|_| format!("{max:?} is not a number: use 1 to 1000"))?;
    let scope = parts.next().unwrap_or("task");
    if !SCOPES.contains(&scope) {
        return Err(format!("unknown scope {scope:?}: use one of {}", SCOPES.join(", ")));
    }
    Ok(match parts.next() {
        Some(key) => json!({ "max": max, "scope": scope, "key": key }),
        None => json!({ "max": max, "scope": scope }),
    })
}

/// Formats the limits of a task.
pub fn format(limits: &[Concurrency]) -> String {
    let format = |Concurrency { max, scope, key }: &Concurrency| match key {
        Some(key) => format!("{max}:{}:{key}", scope.as_str()),
        None => format!("{max}:{}", scope.as_str()),
    };
    limits.iter().map(format).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_has_a_maximum_a_scope_and_a_key() {
        assert_eq!(parse("2").unwrap(), json!({"max": 2, "scope": "task"}));
        assert_eq!(parse("2:queue").unwrap(), json!({"max": 2, "scope": "queue"}));
        assert_eq!(parse("2:all:a:b").unwrap(), json!({"max": 2, "scope": "all", "key": "a:b"}));
        assert!(parse("x:all").unwrap_err().contains("\"x\" is not a number"));
        assert!(parse("2:host").unwrap_err().contains("use one of task, tag, queue, all"));
    }
}
