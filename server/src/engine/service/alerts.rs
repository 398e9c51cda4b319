//! Alerts: what is raised on any node, silences, and the channels.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::audit::AuditAction;
use super::record_kind::RecordKind;
use super::{Result, Service, ServiceError};
use crate::core::Moment;
use crate::core::access::Scope;
use crate::core::alert::channel::Channel;
use crate::core::alert::pattern;
use crate::core::alert::{
    ActiveAlert, AlertKey, Coverage, Measure, NewSilence, ResolvedAlert, Rules, Severity, Silence,
};

/// Kind of the silences.
const SILENCES: RecordKind = RecordKind::audited("alert_silence");
/// Kind of the raised alerts that a node shares for display. No decision depends on them.
const RAISED: RecordKind = RecordKind::internal("alert_raised");
/// Maximum number of silences.
const MAX_SILENCES: usize = 1_000;
/// Maximum number of alerts in one answer.
const MAX_LISTED: usize = 500;
/// Maximum number of ended alerts in one answer.
const MAX_ENDED: usize = 50;
/// Maximum number of alerts of each list that a node shares. Records are small documents.
const MAX_SHARED: usize = 20;
/// Maximum number of nodes whose alerts are read.
const MAX_NODES: u32 = 1_000;
/// Interval at which a node renews what it shares, in milliseconds.
const RENEW_MS: i64 = 60_000;
/// Age at which shared alerts no longer count: their node has stopped.
const STALE_MS: i64 = 3 * RENEW_MS;

/// A raised alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// Name of the rule, such as `dead_runs`.
    pub rule: String,
    /// Tag, queue, group, back end or node. `None`: the total of all.
    pub subject: Option<String>,
    pub severity: Severity,
    pub value: u64,
    pub threshold: i64,
    /// When the value exceeded the threshold.
    pub since: Moment,
    /// Id of the silence that suppresses the notifications.
    #[serde(default)]
    pub silenced_by: Option<String>,
}

/// An alert that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedAlert {
    /// Name of the rule, such as `dead_runs`.
    pub rule: String,
    /// Tag, queue, group, back end or node. `None`: the total of all.
    pub subject: Option<String>,
    pub severity: Severity,
    /// When the value exceeded the threshold.
    pub since: Moment,
    /// When the value was low again.
    pub resolved_at: Moment,
}

/// The raised alerts, most severe first, then oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RaisedAlerts {
    pub alerts: Vec<Alert>,
    /// Number of raised alerts, which may be larger than the list.
    pub total: usize,
    /// Alerts that ended within the last day, latest first.
    pub resolved: Vec<EndedAlert>,
}

/// A channel of this node, without its address and its secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelStatus {
    pub channel: Channel,
    /// Why this node did not deliver its last message to the channel.
    pub last_error: Option<String>,
    /// When the receiver last accepted a message of this node.
    pub last_delivered_at: Option<Moment>,
}

/// What a node shares with the others.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct SharedAlerts {
    at: Moment,
    total: usize,
    alerts: Vec<Alert>,
    #[serde(default)]
    resolved: Vec<EndedAlert>,
}

/// What a node has shared last.
#[derive(Debug, Default)]
pub struct LastShared {
    /// `None`: unknown, because this process has not shared yet.
    state: Option<SharedState>,
    at: Option<Moment>,
}

/// What decides whether a node shares again: the raised alerts, and when the last one ended.
type SharedState = (BTreeSet<AlertKey>, Option<Moment>);

impl Alert {
    fn of(active: ActiveAlert) -> Self {
        Self {
            rule: active.key.measure.rule().to_owned(),
            subject: active.key.subject,
            severity: active.severity,
            value: active.value,
            threshold: active.threshold,
            since: active.since,
            silenced_by: None,
        }
    }

    fn key(&self) -> Option<AlertKey> {
        Some(AlertKey { measure: Measure::of_rule(&self.rule)?, subject: self.subject.clone() })
    }
}

impl EndedAlert {
    fn of(resolved: ResolvedAlert) -> Self {
        let ResolvedAlert { key, severity, since, resolved_at } = resolved;
        Self { rule: key.measure.rule().to_owned(), subject: key.subject, severity, since, resolved_at }
    }
}

impl Service {
    /// Returns the raised alerts of all nodes. A caller that is limited to tags gets the alerts of those
    /// tags.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], or a port's error.
    pub async fn alerts(&self) -> Result<RaisedAlerts> {
        self.require(Scope::TaskRead)?;
        let now = self.now();
        let (mut alerts, mut resolved) = (self.own_alerts(), self.own_ended(now));
        let mut hidden = 0;
        for (_, shared) in self.shared.list_documents::<SharedAlerts>(RAISED, None, None, MAX_NODES).await? {
            if now.since(shared.at) < STALE_MS {
                hidden += shared.total.saturating_sub(shared.alerts.len());
                alerts.extend(shared.alerts);
                resolved.extend(shared.resolved);
            }
        }
        let mut seen = BTreeSet::new();
        alerts.retain(|alert| seen.insert((alert.rule.clone(), alert.subject.clone())));
        alerts.retain(|alert| self.sees(&alert.rule, alert.subject.as_ref()));
        resolved.retain(|alert| self.sees(&alert.rule, alert.subject.as_ref()));
        resolved
            .sort_by(|a, b| (b.resolved_at, &a.rule, &a.subject).cmp(&(a.resolved_at, &b.rule, &b.subject)));
        resolved.dedup();
        resolved.truncate(MAX_ENDED);
        let total = alerts.len() + if self.is_limited() { 0 } else { hidden };
        sort(&mut alerts);
        alerts.truncate(MAX_LISTED);
        let silences = self.stored_silences(now).await?;
        for alert in &mut alerts {
            let key = alert.key();
            let silence = key.and_then(|key| silences.iter().find(|silence| silence.covers(&key, now)));
            alert.silenced_by = silence.map(|silence| silence.id.clone());
        }
        Ok(RaisedAlerts { alerts, total, resolved })
    }

    /// Returns the raised alerts that a new silence would cover.
    ///
    /// # Errors
    /// As [`alerts`](Self::alerts).
    pub async fn covered_alerts(&self, coverage: &Coverage) -> Result<Vec<Alert>> {
        let mut alerts = self.alerts().await?.alerts;
        alerts.retain(|alert| alert.key().is_some_and(|key| coverage.covers(&key)));
        Ok(alerts)
    }

    fn own_alerts(&self) -> Vec<Alert> {
        self.shared.alerting.active().into_iter().map(Alert::of).collect()
    }

    fn own_ended(&self, now: Moment) -> Vec<EndedAlert> {
        self.shared.alerting.resolved(now).into_iter().map(EndedAlert::of).collect()
    }

    fn sees(&self, rule: &str, subject: Option<&String>) -> bool {
        let has_tags = Measure::of_rule(rule).is_some_and(Measure::has_tags);
        let is_allowed = |subject: &String| has_tags && self.allows_tag(subject);
        !self.is_limited() || subject.is_some_and(is_allowed)
    }

    /// Returns the rules of the alerts.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`].
    #[allow(clippy::unused_async, reason = "every command is async")]
    pub async fn alert_rules(&self) -> Result<Rules> {
        self.require(Scope::TaskRead)?;
        Ok(self.shared.alerting.rules())
    }

    /// Returns the channels, without their addresses and secrets. A caller that is limited to tags gets
    /// none.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`].
    #[allow(clippy::unused_async, reason = "every command is async")]
    pub async fn alert_channels(&self) -> Result<Vec<ChannelStatus>> {
        self.require(Scope::TaskRead)?;
        if self.is_limited() {
            return Ok(Vec::new());
        }
        let sinks = self.shared.alerting.sinks().iter();
        let status = sinks.filter_map(|sink| {
            let (last_error, last_delivered_at) = (sink.last_error(), sink.last_delivered_at());
            Some(ChannelStatus { channel: sink.channel()?.clone(), last_error, last_delivered_at })
        });
        Ok(status.collect())
    }

    /// Sends a test message to a channel, from this node. Returns why it was not delivered, if so.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], or [`ServiceError::NotFound`].
    pub async fn test_alert_channel(&self, name: &str) -> Result<std::result::Result<(), String>> {
        let tested = self.test_channel(name).await;
        match &tested {
            Ok(Err(_)) => self.record_outcome(AuditAction::AlertTest, [name], "not delivered").await,
            tested => self.record_change(AuditAction::AlertTest, [name], tested).await,
        }
        tested
    }

    async fn test_channel(&self, name: &str) -> Result<std::result::Result<(), String>> {
        self.require_unlimited(Scope::TaskWrite)?;
        let has_name = |channel: &Channel| channel.name == name;
        let sink = self.shared.alerting.sinks().iter().find(|sink| sink.channel().is_some_and(has_name));
        Ok(sink.ok_or(ServiceError::NotFound)?.test().await)
    }

    /// Returns the silences that have not ended, by id. A caller that is limited to tags gets those that
    /// can cover its tags.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], or a port's error.
    pub async fn silences(&self) -> Result<Vec<Silence>> {
        self.require(Scope::TaskRead)?;
        let mut silences = self.stored_silences(self.now()).await?;
        let tags = &self.caller.grant.tags;
        let covers = |pattern: &String| tags.iter().any(|tag| pattern::matches(pattern, tag));
        silences.retain(|silence| !self.is_limited() || silence.subject.as_ref().is_none_or(covers));
        Ok(silences)
    }

    async fn stored_silences(&self, now: Moment) -> Result<Vec<Silence>> {
        let limit = MAX_SILENCES as u32;
        let stored = self.shared.list_documents::<Silence>(SILENCES, None, None, limit).await?;
        Ok(stored.into_iter().map(|(_, silence)| silence).filter(|silence| !silence.has_ended(now)).collect())
    }

    /// Suppresses notifications. This node applies the silence at once, the other nodes within ten
    /// seconds.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`]; [`ServiceError::Silence`] names the broken rule;
    /// [`ServiceError::TooManySilences`]; or a port's error.
    pub async fn silence_alert(&self, new: NewSilence) -> Result<Silence> {
        self.require_unlimited(Scope::TaskWrite)?;
        let now = self.now();
        new.check(now)?;
        if self.stored_silences(now).await?.len() >= MAX_SILENCES {
            return Err(ServiceError::TooManySilences);
        }
        let silence = Silence {
            id: self.token(),
            rule: new.rule.map(|rule| rule.rule().to_owned()),
            subject: new.subject,
            until: new.until,
            comment: new.comment,
            created_by: self.caller.name.clone(),
            created_at: now,
        };
        let put = |_: Option<Silence>| Ok::<_, ServiceError>((Some((silence.clone(), None)), ()));
        self.change_document(SILENCES, &silence.id, put).await?;
        self.refresh_silences().await?;
        Ok(silence)
    }

    /// Ends a silence.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], [`ServiceError::NotFound`], or a port's error.
    pub async fn unsilence_alert(&self, id: &str) -> Result<Silence> {
        self.require_unlimited(Scope::TaskWrite)?;
        let stored = self.shared.read_document::<Silence>(SILENCES, id).await?;
        let silence = stored.filter(|silence| !silence.has_ended(self.now()));
        let silence = silence.ok_or(ServiceError::NotFound)?;
        self.remove_document(SILENCES, id).await?;
        self.refresh_silences().await?;
        Ok(silence)
    }

    /// Reads the silences for the decisions of this node, and removes those that have ended.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], or a port's error; the known silences stay.
    pub async fn refresh_silences(&self) -> Result<()> {
        self.require_unlimited(Scope::TaskRead)?;
        let now = self.now();
        let limit = MAX_SILENCES as u32;
        let stored = self.shared.list_documents::<Silence>(SILENCES, None, None, limit).await?;
        let (ended, active): (Vec<_>, Vec<_>) =
            stored.into_iter().map(|(_, silence)| silence).partition(|silence| silence.has_ended(now));
        self.shared.alerting.set_silences(active);
        for silence in ended {
            self.shared.remove_if::<Silence>(SILENCES, &silence.id, |stored| stored.has_ended(now)).await?;
        }
        Ok(())
    }

    /// Shares the raised alerts of this node with the other nodes, if they have changed or must be
    /// renewed. With `clean`, removes what stopped nodes have shared.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], or a port's error; the next call repeats it.
    pub async fn share_alerts(&self, node: &str, last: &mut LastShared, clean: bool) -> Result<()> {
        self.require_unlimited(Scope::TaskWrite)?;
        let now = self.now();
        let active = self.shared.alerting.active();
        let mut resolved = self.own_ended(now);
        let keys: BTreeSet<_> = active.iter().map(|alert| alert.key.clone()).collect();
        let state = (keys, resolved.first().map(|alert| alert.resolved_at));
        let has_nothing = active.is_empty() && resolved.is_empty();
        let is_fresh = last.at.is_some_and(|at| (0..RENEW_MS).contains(&now.since(at)));
        if last.state.as_ref() == Some(&state) && (is_fresh || has_nothing) {
            return Ok(());
        }
        if has_nothing {
            self.shared.remove(RAISED, node).await?;
        } else {
            let mut alerts: Vec<_> = active.into_iter().map(Alert::of).collect();
            let total = alerts.len();
            sort(&mut alerts);
            alerts.truncate(MAX_SHARED);
            resolved.truncate(MAX_SHARED);
            let shared = SharedAlerts { at: now, total, alerts, resolved };
            let put = |_: Option<SharedAlerts>| Ok::<_, ServiceError>((Some((shared.clone(), None)), ()));
            self.shared.change(RAISED, node, put).await??;
        }
        if clean {
            self.remove_stale(now).await?;
        }
        *last = LastShared { state: Some(state), at: Some(now) };
        Ok(())
    }

    async fn remove_stale(&self, now: Moment) -> Result<()> {
        let is_stale = |shared: &SharedAlerts| now.since(shared.at) >= STALE_MS;
        for (node, shared) in
            self.shared.list_documents::<SharedAlerts>(RAISED, None, None, MAX_NODES).await?
        {
            if is_stale(&shared) {
                self.shared.remove_if(RAISED, &node, is_stale).await?;
            }
        }
        Ok(())
    }
}

fn sort(alerts: &mut [Alert]) {
    alerts.sort_by(|a, b| {
        let order = |alert: &Alert| (std::cmp::Reverse(alert.severity), alert.since);
        order(a).cmp(&order(b)).then_with(|| (&a.rule, &a.subject).cmp(&(&b.rule, &b.subject)))
    });
}
