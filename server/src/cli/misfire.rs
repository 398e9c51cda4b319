//! Options about late moments.

use clap::Args;
use serde_json::{Map, Value};
use taskcenter_client::resources::{Misfire, MisfirePolicy};

use super::time;

const MISFIRES: &str = "Late moments";

/// Options of a task about late moments.
#[derive(Debug, Default, Args)]
pub struct MisfireOptions {
    /// What happens to moments later than the grace period, such as after an outage: fire_all, fire_last or
    /// skip. Default: engine.misfire.policy of the server.
    #[arg(
        long = "misfire",
        value_name = "POLICY",
        value_parser = ["fire_all", "fire_last", "skip"],
        hide_possible_values = true,
        help_heading = MISFIRES
    )]
    policy: Option<String>,
    /// Lateness up to which every moment fires, at most 366d. Default: engine.misfire.grace_ms of the server.
    #[arg(
        long = "misfire-grace",
        value_name = "DURATION",
        value_parser = time::parse_duration_ms, allow_hyphen_values = true,
        help_heading = MISFIRES
    )]
    grace_ms: Option<u64>,
    /// Number of late moments that fire under fire_all, the last ones; 1 to 1,000. Default: all.
    #[arg(long = "misfire-max", value_name = "N", help_heading = MISFIRES)]
    max: Option<u32>,
}

impl MisfireOptions {
    /// Returns the members that the options set. `None`: no option is given.
    pub fn fields(&self) -> Option<Value> {
        let fields = [
            ("policy", self.policy.as_deref().map(Value::from)),
            ("grace_ms", self.grace_ms.map(Value::from)),
            ("max", self.max.map(Value::from)),
        ];
        let given = fields.into_iter().filter_map(|(field, value)| Some((field.to_owned(), value?)));
        let given: Map<String, Value> = given.collect();
        (!given.is_empty()).then_some(Value::Object(given))
    }
}

/// Parses a policy.
pub fn parse_policy(text: &str) -> Option<MisfirePolicy> {
    let all = [MisfirePolicy::FireAll, MisfirePolicy::FireLast, MisfirePolicy::Skip];
    all.into_iter().find(|policy| policy.as_str() == text)
}

/// Formats the policy of a task. What is absent is the setting of the server.
pub fn format(misfire: Misfire) -> String {
    let parts = [
        misfire.policy.map(|policy| policy.as_str().to_owned()),
        misfire
            .grace_ms
            .map(|ms| format!("later than {}", time::format_duration(i64::try_from(ms).unwrap_or(i64::MAX)))),
        misfire.max.map(|max| format!("at most {max} late moments")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}
