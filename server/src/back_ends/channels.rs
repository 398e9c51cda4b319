//! Starts the channels of alerts that the configuration names.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};

use crate::adapters::channels::{ChannelSettings, Mail, MailEncryption, Receiver, Robot, RunningChannel};
use crate::config::{Alerts, ChannelKind, ChannelSection, MailTls};
use crate::core::alert::channel::Channel;
use crate::ports::{AlertSink, Clock};

/// Starts the channels.
///
/// # Errors
/// When an address is invalid. The text names the channel and no address.
pub fn channels(alerts: &Alerts, clock: &Arc<dyn Clock>) -> anyhow::Result<Vec<Arc<dyn AlertSink>>> {
    let started = alerts.channels.iter().map(|(name, section)| {
        let settings = settings(name, section, &alerts.public_url);
        let started = settings.and_then(|settings| RunningChannel::start(settings, Arc::clone(clock)));
        let started = started.map_err(|error| anyhow!(error));
        let channel = started.with_context(|| format!("alerts.channels.{name}"))?;
        Ok(Arc::new(channel) as Arc<dyn AlertSink>)
    });
    started.collect()
}

fn settings(name: &str, section: &ChannelSection, link: &str) -> Result<ChannelSettings, String> {
    let channel = Channel {
        name: name.to_owned(),
        kind: kind(section.kind),
        language: section.language,
        min_severity: section.min_severity,
        rules: section.rules.clone(),
        tags: section.tags.clone(),
    };
    let timeout = Duration::from_millis(section.timeout_ms);
    let (attempts, link) = (section.attempts, link.to_owned());
    Ok(ChannelSettings { channel, receiver: receiver(section)?, timeout, attempts, link })
}

fn kind(kind: ChannelKind) -> &'static str {
    match kind {
        ChannelKind::Webhook => "webhook",
        ChannelKind::Dingtalk => "dingtalk",
        ChannelKind::Feishu => "feishu",
        ChannelKind::Wecom => "wecom",
        ChannelKind::Slack => "slack",
        ChannelKind::Email => "email",
    }
}

fn receiver(section: &ChannelSection) -> Result<Receiver, String> {
    let robot = || Robot::new(section.url.expose(), section.secret.expose());
    Ok(match section.kind {
        ChannelKind::Webhook => Receiver::Webhook(robot()?),
        ChannelKind::Dingtalk => Receiver::Dingtalk(robot()?),
        ChannelKind::Feishu => Receiver::Feishu(robot()?),
        ChannelKind::Wecom => Receiver::Wecom(robot()?),
        ChannelKind::Slack => Receiver::Slack(robot()?),
        ChannelKind::Email => Receiver::Email(Box::new(mail(section))),
    })
}

fn mail(section: &ChannelSection) -> Mail {
    let login = (section.smtp_user.clone(), section.smtp_password.expose().to_owned());
    Mail {
        host: section.smtp_host.clone(),
        port: section.smtp_port,
        encryption: match section.smtp_tls {
            MailTls::Starttls => MailEncryption::StartTls,
            MailTls::Tls => MailEncryption::Tls,
            MailTls::None => MailEncryption::None,
        },
        login: Some(login).filter(|(user, _)| !user.is_empty()),
        from: section.from.clone(),
        to: section.to.clone(),
    }
}
