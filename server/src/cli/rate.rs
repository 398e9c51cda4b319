//! Rate limit as options.

use clap::Args;
use serde_json::{Map, Value, json};
use taskcenter_client::resources::{OnExcess, Rate};

use super::time;

/// Options of a task about its rate limit.
#[derive(Debug, Default, Args)]
pub struct RateOptions {
    /// Rate limit LIMIT/PERIOD[:SCOPE[:KEY]]: runs that start in a period, such as
    /// 10/1s, 100/1m:queue or 5/1s:all:eu. SCOPE: task, tag, queue or all; default:
    /// task. Default: no limit.
    #[arg(long, value_name = "LIMIT", value_parser = parse, help_heading = super::overlap::OVERLAPS)]
    rate: Option<Value>,
    /// Runs that start at once after a time without starts. Default: the starts of 50
    /// ms, at least 1.
    #[arg(long = "rate-burst", value_name = "N", help_heading = super::overlap::OVERLAPS)]
    burst: Option<u32>,
    /// What happens to a run that exceeds the rate limit. Default: wait.
    #[arg(
        long = "rate-excess",
        value_name = "ACTION",
        value_parser = ["wait", "drop"],
        help_heading = super::overlap::OVERLAPS
    )]
    on_excess: Option<String>,
}

impl RateOptions {
    /// Returns the limit as the API reads it. `None`: no option is given.
    pub fn field(&self) -> Option<Value> {
        let mut fields = match &self.rate {
            Some(Value::Object(fields)) => fields.clone(),
            _ => Map::new(),
        };
        fields.extend(self.burst.map(|burst| ("burst".to_owned(), burst.into())));
        fields.extend(self.on_excess.as_ref().map(|action| ("on_excess".to_owned(), json!(action))));
        (!fields.is_empty()).then_some(Value::Object(fields))
    }
}

/// Reads `LIMIT/PERIOD`, `LIMIT/PERIOD:SCOPE` or `LIMIT/PERIOD:SCOPE:KEY`.
fn parse(text: &str) -> Result<Value, String> {
    const SCOPES: [&str; 4] = ["task", "tag", "queue", "all"];
    let mut parts = text.splitn(3, ':');
    let rate = parts.next().unwrap_or_default();
    let (limit, period) = rate.split_once('/').ok_or("use LIMIT/PERIOD, such as 10/1s")?;
    let limit: u32 = limit.parse().map_err(|_| format!("{limit:?} is not a number: use 1 to 1000000"))?;
    let period_ms = time::parse_duration_ms(period)?;
    let scope = parts.next().unwrap_or("task");
    if !SCOPES.contains(&scope) {
        return Err(format!("unknown scope {scope:?}: use one of {}", SCOPES.join(", ")));
    }
    // An edit without a key removes the key.
    Ok(json!({ "limit": limit, "period_ms": period_ms, "scope": scope, "key": parts.next() }))
}

/// Formats the limit of a task.
pub fn format(rate: &Rate) -> String {
    let period = time::format_exact_duration(i64::try_from(rate.period_ms).unwrap_or(i64::MAX));
    let key = rate.key.as_ref().map(|key| format!(":{key}")).unwrap_or_default();
    let burst = rate.burst.map(|burst| format!(", burst {burst}")).unwrap_or_default();
    let drops = if rate.on_excess == OnExcess::Drop { ", drop" } else { "" };
    format!("{}/{period}:{}{key}{burst}{drops}", rate.limit, rate.scope.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_has_a_limit_a_period_a_scope_and_a_key() {
        let of = |text: &str| serde_json::from_value::<Rate>(parse(text).unwrap()).unwrap();
        assert_eq!(
            parse("10/1m30s:all:a:b").unwrap(),
            json!({"limit": 10, "period_ms": 90_000, "scope": "all", "key": "a:b"})
        );
        for text in ["2/1s:task", "3/500ms:queue", "2/1h:all:a:b"] {
            assert_eq!(format(&of(text)), text);
        }
        assert_eq!(format(&Rate { burst: Some(5), ..of("7/90s") }.dropping()), "7/90s:task, burst 5, drop");
        assert!(parse("x/1s").unwrap_err().contains("\"x\" is not a number"));
        assert!(parse("2/1s:host").unwrap_err().contains("use one of task, tag, queue, all"));
        assert!(parse("2").unwrap_err().contains("LIMIT/PERIOD") && parse("2/1").is_err());
    }
}
