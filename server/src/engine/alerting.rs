//! The raised alerts of this node, its silences, and the destinations of the notifications. The loops bring
//! the values.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::metrics::Metrics;
use crate::core::Moment;
use crate::core::alert::{
    ActiveAlert, AlertEvent, AlertTransition, Alerts, Measure, Reading, ResolvedAlert, Rules, Silence,
};
use crate::ports::AlertSink;

/// The alerts of this node.
pub struct Alerting {
    metrics: Arc<Metrics>,
    sinks: Vec<Arc<dyn AlertSink>>,
    alerts: Mutex<Alerts>,
    silences: Mutex<Arc<[Silence]>>,
}

impl Default for Alerting {
    /// Returns alerts without rules and destinations.
    fn default() -> Self {
        Self::new(Arc::default(), Rules::default(), Vec::new())
    }
}

impl Alerting {
    /// Returns no raised alerts. Notifications go to the log and to `sinks`.
    pub fn new(metrics: Arc<Metrics>, rules: impl Into<Rules>, sinks: Vec<Arc<dyn AlertSink>>) -> Self {
        let (alerts, silences) = (Mutex::new(Alerts::new(rules)), Mutex::new(Arc::from([])));
        Self { metrics, sinks, alerts, silences }
    }

    /// Applies values that were read at `now`, and sends the notifications. Never blocks.
    pub fn apply(&self, readings: &[Reading], now: Moment) {
        let silences = self.silences();
        let mut alerts = self.alerts();
        let events = alerts.evaluate_with(readings, &silences, now);
        self.show(&alerts);
        drop(alerts);
        if events.is_empty() {
            return;
        }
        events.iter().for_each(log);
        for sink in &self.sinks {
            sink.send(&events);
        }
    }

    /// Drops the alerts of some measures without a notification, because another node watches them now.
    pub fn forget(&self, measures: &[Measure]) {
        let mut alerts = self.alerts();
        alerts.forget(measures);
        self.show(&alerts);
    }

    /// Returns the raised alerts.
    pub fn active(&self) -> Vec<ActiveAlert> {
        self.alerts().active()
    }

    /// Returns the alerts that ended within a day before `now`, latest first.
    pub fn resolved(&self, now: Moment) -> Vec<ResolvedAlert> {
        self.alerts().resolved(now)
    }

    /// Returns the rules.
    pub fn rules(&self) -> Rules {
        self.alerts().rules().clone()
    }

    /// Returns the destinations.
    pub fn sinks(&self) -> &[Arc<dyn AlertSink>] {
        &self.sinks
    }

    /// Returns the silences that this node knows.
    pub fn silences(&self) -> Arc<[Silence]> {
        Arc::clone(&self.silences.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the silences.
    pub fn set_silences(&self, silences: Vec<Silence>) {
        *self.silences.lock().unwrap_or_else(PoisonError::into_inner) = silences.into();
    }

    fn show(&self, alerts: &Alerts) {
        let raised = alerts.raised().map(|key| (key.kind(), key.subject.as_deref().unwrap_or_default()));
        self.metrics.alerts(raised);
    }

    fn alerts(&self) -> MutexGuard<'_, Alerts> {
        self.alerts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn log(event: &AlertEvent) {
    let (code, kind) = (event.key.code(), event.key.kind());
    let subject = event.key.subject.as_deref().unwrap_or_default();
    let severity = event.severity.as_str();
    let (value, threshold, since) = (event.value, event.threshold, event.since.to_string());
    match event.change {
        AlertTransition::Raised | AlertTransition::Reminder => {
            tracing::warn!(
                code,
                kind,
                subject,
                severity,
                value,
                threshold,
                since,
                "alert {code}: {value} is above {threshold}"
            );
        }
        AlertTransition::Cleared => {
            tracing::info!(
                code,
                kind,
                subject,
                severity,
                value,
                threshold,
                since,
                "alert {code} cleared: {value} is within {threshold}"
            );
        }
    }
}
