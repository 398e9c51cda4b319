//! Calls for alerts, `/v1/alerts`.

use reqwest::Method;

use super::{Error, TaskCenter};
use crate::resources::{AlertList, ChannelTest, NewSilence, SilenceResource};

impl TaskCenter {
    /// Returns the raised alerts, the silences, the rules and the channels.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 401 or 403 without the scope `task:read`.
    pub async fn alerts(&self) -> Result<AlertList, Error> {
        self.get(&["v1", "alerts"], &()).await
    }

    /// Suppresses the notifications of alerts for some time. If the answer is lost, the silence may
    /// exist: [`alerts`](Self::alerts) shows it.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 400 for an invalid field.
    pub async fn silence_alert(&self, silence: &NewSilence) -> Result<SilenceResource, Error> {
        let request = self.request(Method::POST, &["v1", "alerts", "silences"]);
        self.send_non_idempotent(&request.json(silence)).await?.read()
    }

    /// Ends a silence and returns it.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 404 for an unknown silence.
    pub async fn unsilence_alert(&self, id: &str) -> Result<SilenceResource, Error> {
        self.call_non_idempotent(Method::DELETE, &["v1", "alerts", "silences", id]).await
    }

    /// Sends a test message to a channel, and waits for the answer of its receiver.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 404 for an unknown channel.
    pub async fn test_alert_channel(&self, name: &str) -> Result<ChannelTest, Error> {
        self.call_non_idempotent(Method::POST, &["v1", "alerts", "channels", name, "test"]).await
    }
}
