//! Live views: a caller watches the changes of tasks, runs, queues and operations that it may see.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, Sleep, interval_at, sleep};

use super::{Result, Service, ServiceError};
use crate::core::access::Scope;
use crate::core::change::{Change, ChangeFilter, ChangeKind};
use crate::engine::changes::{Tick, Watched};

/// Time between two signs of life. A viewer can tell from them that the connection works.
const BEAT: Duration = Duration::from_secs(5);
/// Longest time of a stream. The viewer connects again, perhaps to another node.
const MAX_TIME: Duration = Duration::from_hours(1);
/// First text of a stream: the time after which a browser connects again, and a sign of life.
const START: &str = "retry: 2000\nevent: alive\ndata: {\"kind\":\"alive\"}\n\n";
/// Sign of life. An event, because a script in a browser cannot see comments.
const ALIVE: &str = "event: alive\ndata: {\"kind\":\"alive\"}\n\n";
/// Event that tells a viewer to read the current state again.
const RESYNC: &str = "event: resync\ndata: {\"kind\":\"resync\"}\n\n";

impl Service {
    /// Watches changes from now on. A caller that is limited to tags sees the changes of these tags only, and
    /// its own operations.
    ///
    /// # Errors
    /// [`ServiceError::Forbidden`], or [`ServiceError::TooManyViewers`].
    #[allow(clippy::unused_async, reason = "callers wait for each command")]
    pub async fn watch_changes(&self, filter: ChangeFilter) -> Result<ChangeStream> {
        self.require(Scope::TaskRead)?;
        if let Some(tag) = &filter.tag {
            self.require_tag(tag)?;
        }
        let watched = self.shared.hints.changes.watch().ok_or(ServiceError::TooManyViewers)?;
        let mut beat = interval_at(now() + BEAT, BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let end = Box::pin(sleep(MAX_TIME));
        Ok(ChangeStream {
            service: self.clone(),
            filter,
            watched,
            beat,
            end,
            has_started: false,
            session: None,
        })
    }

    /// Returns whether the caller still has the rights with which it was admitted. If the store does not answer,
    /// the rights count as unchanged.
    async fn keeps_rights(&self) -> bool {
        let caller = self.caller();
        if caller.grant.has_expired(self.now()) {
            return false;
        }
        let now = self.rights_now(&caller.id, &caller.grant).await;
        now.is_err() || now.is_ok_and(|grant| grant.as_ref() == Some(&caller.grant))
    }

    fn may_see_change(&self, change: &Change) -> bool {
        if !self.is_limited() {
            return true;
        }
        match change.kind {
            ChangeKind::Operation => change.creator.as_deref() == Some(self.caller().id.as_str()),
            _ => change.limited_by().is_some_and(|tag| self.allows_tag(tag)),
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "the time only paces the signs of life")]
fn now() -> Instant {
    Instant::now()
}

/// Changes as the text of server-sent events.
pub struct ChangeStream {
    service: Service,
    filter: ChangeFilter,
    watched: Watched,
    beat: Interval,
    end: std::pin::Pin<Box<Sleep>>,
    has_started: bool,
    /// Secret of the session of the browser that admitted the caller.
    session: Option<String>,
}

impl ChangeStream {
    /// Ends the stream when this session of a browser ends. A secret that is not the one of a valid session has
    /// not admitted the caller, and is ignored.
    #[must_use]
    pub async fn of_session(mut self, secret: Option<&str>) -> Self {
        if let Some(secret) = secret
            && matches!(self.service.browser_session(secret).await, Ok(Some(_)))
        {
            self.session = Some(secret.to_owned());
        }
        self
    }

    async fn is_admitted(&self) -> bool {
        let has_session = match &self.session {
            // If the store does not answer, the session counts as open.
            Some(secret) => !matches!(self.service.browser_session(secret).await, Ok(None)),
            None => true,
        };
        has_session && self.service.keeps_rights().await
    }

    /// Waits for the next text, a few seconds at most. `None`: the stream has ended, because the node stops, the
    /// caller has lost its rights, or the stream is old. The caller may connect again.
    pub async fn next(&mut self) -> Option<String> {
        if !std::mem::replace(&mut self.has_started, true) {
            return Some(START.to_owned());
        }
        let shutdown = self.service.shared.shutdown.clone();
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return None,
                () = &mut self.end => return None,
                _ = self.beat.tick() => return self.is_admitted().await.then(|| ALIVE.to_owned()),
                tick = self.watched.next() => {
                    let text = self.text_of(&tick);
                    if !text.is_empty() {
                        return Some(text);
                    }
                }
            }
        }
    }

    /// Returns the changes that the viewer wants and may see.
    fn text_of(&self, tick: &Arc<Tick>) -> String {
        let mut text = String::new();
        for (change, event) in tick.changes() {
            if self.filter.matches(change) && self.service.may_see_change(change) {
                text.push_str(event);
            }
        }
        let is_wanted = |tag: &str| {
            self.filter.tag.as_deref().is_none_or(|wanted| wanted == tag)
                && (!self.service.is_limited() || self.service.allows_tag(tag))
        };
        if tick.missed().any(is_wanted) {
            text.push_str(RESYNC);
        }
        text
    }
}
