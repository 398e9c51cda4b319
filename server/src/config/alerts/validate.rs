//! Checks the section `alerts`.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::{ChannelKind, ChannelSection};
use crate::config::Config;
use crate::config::validate::Faults;
use crate::core::alert::Measure;
use crate::core::alert::pattern;
use crate::engine::service::LATENESS_MS;

const DAY_SEC: u64 = 86_400;
/// Longest window of a rule: counts within windows are in memory.
const WINDOW_SEC: u64 = 3_600;
/// Longest name of a channel, in bytes.
const MAX_NAME: usize = 32;
/// Prefix of a secret of Standard Webhooks.
const WEBHOOK_SECRET: &str = "whsec_";

impl Config {
    pub(in crate::config) fn validate_alerts(&self, faults: &mut Faults) {
        let alerts = &self.alerts;
        let ratio = alerts.clear_ratio > 0.0 && alerts.clear_ratio <= 1.0;
        let found = Some(alerts.clear_ratio.to_string());
        faults.refuse(ratio, "alerts.clear_ratio", found, "use a value above 0 and at most 1".to_owned());
        faults.within("alerts.remind_min", alerts.remind_min, 0..=10_080);
        let url = alerts.webhook_url.expose();
        let known = url.is_empty()
            || reqwest::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        faults.demand(known, "alerts.webhook_url", "use an http or https URL, or \"\"");
        faults.within("alerts.webhook_timeout_ms", alerts.webhook_timeout_ms, 1..=60_000);
        faults.within("alerts.webhook_attempts", alerts.webhook_attempts, 1..=10);
        faults.within("alerts.for_sec", alerts.for_sec, 0..=DAY_SEC);
        let link = alerts.public_url.is_empty() || is_http(&alerts.public_url);
        faults.demand_text(link, "alerts.public_url", &alerts.public_url, "an http or https URL, or \"\"");
        for (key, sec) in alerts.rules.seconds() {
            let least = u64::from(!key.ends_with("for_sec"));
            faults.within(&format!("alerts.rules.{key}"), sec, least..=WINDOW_SEC);
        }
        let threshold_ms = alerts.rules.lateness.threshold_ms;
        let is_class = LATENESS_MS.iter().any(|bound| bound.unsigned_abs() == threshold_ms);
        let classes = LATENESS_MS.map(|bound| bound.to_string()).join(", ");
        let key = "alerts.rules.lateness.threshold_ms";
        faults.refuse(is_class, key, Some(threshold_ms.to_string()), format!("use one of {classes}"));
        for (name, channel) in &alerts.channels {
            validate_channel(name, channel, faults);
        }
    }
}

/// Checks a channel. Errors name the key, and never print an address or a secret.
fn validate_channel(name: &str, channel: &ChannelSection, faults: &mut Faults) {
    let key = |field: &str| format!("alerts.channels.{name}.{field}");
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    let is_valid = (1..=MAX_NAME).contains(&name.len()) && name.chars().all(is_name);
    faults.demand_text(is_valid, "alerts.channels", name, "names with 1 to 32 of a-z, 0-9, - and _");
    faults.within(&key("timeout_ms"), channel.timeout_ms, 1..=60_000);
    faults.within(&key("attempts"), channel.attempts, 1..=20);
    let unknown = channel.rules.iter().find(|rule| Measure::of_rule(rule).is_none());
    let known = Measure::ALL.map(Measure::rule).join(", ");
    let text = unknown.map_or("", String::as_str);
    faults.demand_text(unknown.is_none(), &key("rules"), text, &format!("items of {known}"));
    let is_pattern = |tag: &&String| tag.is_empty() || tag.len() > pattern::MAX_BYTES;
    let invalid = channel.tags.iter().find(is_pattern);
    let text = invalid.map_or("", String::as_str);
    faults.demand_text(
        invalid.is_none(),
        &key("tags"),
        text,
        "patterns of 1 to 255 bytes, such as \"pay.*\"",
    );
    if channel.kind == ChannelKind::Email {
        return validate_mail(name, channel, faults);
    }
    faults.demand(is_http(channel.url.expose()), &key("url"), "use the http or https URL of the channel");
    let secret = channel.secret.expose();
    let is_signing = channel.kind != ChannelKind::Webhook || secret.is_empty() || is_webhook_secret(secret);
    faults.demand(is_signing, &key("secret"), "use \"whsec_\" and 24 to 64 bytes in base64, or \"\"");
    let signs = !matches!(channel.kind, ChannelKind::Slack | ChannelKind::Wecom) || secret.is_empty();
    faults.demand(signs, &key("secret"), "remove it: messages to this kind of channel are not signed");
}

fn validate_mail(name: &str, channel: &ChannelSection, faults: &mut Faults) {
    let key = |field: &str| format!("alerts.channels.{name}.{field}");
    let host = &channel.smtp_host;
    let is_host = !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || c == '/');
    faults.demand_text(is_host, &key("smtp_host"), host, "the host name of the mail server");
    let expected = "a mail address such as \"Alerts <alerts@example.com>\"";
    faults.demand_text(is_mail_address(&channel.from), &key("from"), &channel.from, expected);
    let invalid = channel.to.iter().find(|address| !is_mail_address(address));
    let is_valid = !channel.to.is_empty() && channel.to.len() <= 50 && invalid.is_none();
    faults.demand_text(is_valid, &key("to"), invalid.map_or("", String::as_str), "1 to 50 mail addresses");
    let both = channel.smtp_user.is_empty() == channel.smtp_password.is_empty();
    faults.demand(both, &key("smtp_password"), "set both smtp_user and smtp_password, or neither");
}

fn is_mail_address(text: &str) -> bool {
    let address = text.rsplit_once('<').map_or(text, |(_, rest)| rest.strip_suffix('>').unwrap_or_default());
    let parts = address.rsplit_once('@');
    parts.is_some_and(|(user, host)| !user.is_empty() && !host.is_empty())
        && !address.contains(char::is_whitespace)
        && !text.contains(char::is_control)
}

fn is_webhook_secret(secret: &str) -> bool {
    let key = secret.strip_prefix(WEBHOOK_SECRET).and_then(|key| BASE64_STANDARD.decode(key).ok());
    key.is_some_and(|key| (24..=64).contains(&key.len()))
}

fn is_http(text: &str) -> bool {
    reqwest::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
}
