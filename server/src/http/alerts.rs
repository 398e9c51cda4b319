//! Routes of alerts, silences and channels.

use axum::Json;
use axum::http::StatusCode;
use taskcenter_client::resources::{
    AlertChannel, AlertList, AlertResource, AlertRule, ChannelTest, NewSilence, ResolvedAlert,
    SilenceResource,
};

use super::decode::Body;
use super::error::ApiError;
use super::query::Segment;
use crate::core::alert::message::Language;
use crate::core::alert::{self, Measure, Rule, Silence};
use crate::engine::service::{Alert, ChannelStatus, EndedAlert, Service};
use crate::wire;

/// Lists the raised alerts of all nodes, those that ended lately, the silences, the rules and the channels.
///
/// A token that is limited to tags gets the alerts of those tags.
#[utoipa::path(get, path = "/v1/alerts", operation_id = "listAlerts", tag = "alerts",
    responses((status = 200, body = AlertList, description = "What is raised now.")))]
pub async fn list(service: Service) -> Result<Json<AlertList>, ApiError> {
    let found = service.alerts().await?;
    let silences = service.silences().await?.into_iter().map(shown).collect();
    let rules = service.alert_rules().await?.0.into_iter().map(rule).collect();
    let channels = service.alert_channels().await?.into_iter().map(channel).collect();
    let alerts = found.alerts.into_iter().map(raised).collect();
    let resolved = found.resolved.into_iter().map(ended).collect();
    Ok(Json(AlertList { alerts, total: found.total as u64, resolved, silences, rules, channels }))
}

/// Creates a silence: the notifications of matching alerts are suppressed until it ends.
///
/// An alert that is still raised then is notified. A repeated request creates another silence.
#[utoipa::path(post, path = "/v1/alerts/silences", operation_id = "silenceAlerts", tag = "alerts",
    request_body = NewSilence,
    responses((status = 201, body = SilenceResource, description = "The new silence.")))]
pub async fn silence(
    service: Service,
    Body(new): Body<NewSilence>,
) -> Result<(StatusCode, Json<SilenceResource>), ApiError> {
    Ok((StatusCode::CREATED, Json(shown(service.silence_alert(read(new)?).await?))))
}

/// Ends a silence.
#[utoipa::path(delete, path = "/v1/alerts/silences/{silence_id}", operation_id = "unsilenceAlerts", tag = "alerts",
    params(("silence_id" = String, Path, description = "Id of the silence.")),
    responses(
        (status = 200, body = SilenceResource, description = "The ended silence."),
        (status = 404, description = "`not_found`: the silence does not exist or has ended."),
    ))]
pub async fn unsilence(service: Service, Segment(id): Segment) -> Result<Json<SilenceResource>, ApiError> {
    Ok(Json(shown(service.unsilence_alert(&id).await?)))
}

/// Sends a test message to a channel, and waits for the answer of its receiver.
#[utoipa::path(post, path = "/v1/alerts/channels/{name}/test", operation_id = "testAlertChannel", tag = "alerts",
    params(("name" = String, Path, description = "Name of the channel.")),
    responses(
        (status = 200, body = ChannelTest, description = "Whether the receiver accepted the message."),
        (status = 404, description = "`not_found`: the channel does not exist."),
    ))]
pub async fn test(service: Service, Segment(name): Segment) -> Result<Json<ChannelTest>, ApiError> {
    let error = service.test_alert_channel(&name).await?.err();
    Ok(Json(ChannelTest { channel: name, delivered: error.is_none(), error }))
}

fn read(new: NewSilence) -> Result<alert::NewSilence, ApiError> {
    let unknown = || {
        let known = Measure::ALL.map(Measure::rule).join(", ");
        ApiError::field("rule", format!("unknown rule: use one of {known}"))
    };
    let rule = new.rule.map(|rule| Measure::of_rule(&rule).ok_or_else(unknown)).transpose()?;
    let until = wire::moment(new.until);
    Ok(alert::NewSilence { rule, subject: new.subject, until, comment: new.comment })
}

fn raised(alert: Alert) -> AlertResource {
    AlertResource {
        rule: alert.rule,
        subject: alert.subject,
        severity: alert.severity.as_str().to_owned(),
        value: alert.value,
        threshold: alert.threshold,
        since: wire::timestamp(alert.since),
        silenced_by: alert.silenced_by,
    }
}

fn ended(alert: EndedAlert) -> ResolvedAlert {
    ResolvedAlert {
        rule: alert.rule,
        subject: alert.subject,
        severity: alert.severity.as_str().to_owned(),
        since: wire::timestamp(alert.since),
        resolved_at: wire::timestamp(alert.resolved_at),
    }
}

fn shown(silence: Silence) -> SilenceResource {
    SilenceResource {
        id: silence.id,
        rule: silence.rule,
        subject: silence.subject,
        until: wire::timestamp(silence.until),
        comment: silence.comment,
        created_by: silence.created_by,
        created_at: wire::timestamp(silence.created_at),
    }
}

fn rule((measure, rule): (Measure, Rule)) -> AlertRule {
    let sec = |ms: i64| u64::try_from(ms / 1_000).unwrap_or(0);
    AlertRule {
        rule: measure.rule().to_owned(),
        severity: rule.severity.as_str().to_owned(),
        threshold: rule.one,
        threshold_total: rule.total,
        for_sec: sec(rule.for_ms),
        remind_sec: rule.remind_ms.map(sec),
    }
}

fn channel(ChannelStatus { channel, last_error, last_delivered_at }: ChannelStatus) -> AlertChannel {
    AlertChannel {
        last_error,
        last_delivered_at: last_delivered_at.map(wire::timestamp),
        name: channel.name,
        kind: channel.kind.to_owned(),
        language: match channel.language {
            Language::En => "en",
            Language::Zh => "zh",
        }
        .to_owned(),
        min_severity: channel.min_severity.as_str().to_owned(),
        rules: channel.rules,
        tags: channel.tags,
    }
}
