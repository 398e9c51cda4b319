//! The stream of events.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::ACCEPT;
use reqwest::{Method, Response};
use serde::Serialize;

use super::{Error, TaskCenter, error};
use crate::resources::Event;

/// Time limit of a stream. The server ends a stream after an hour.
const LONGEST: Duration = Duration::from_hours(2);
/// Silence after which a connection counts as lost. The server sends a sign of life every 5 s.
const SILENCE: Duration = Duration::from_secs(20);
/// Size of the largest event, in bytes. An event has ids and names only.
const MAX_EVENT: usize = 64 * 1_024;
/// Kind of the signs of life.
const ALIVE: &str = "alive";

/// Filter of [`TaskCenter::events`]. An absent field does not filter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct EventQuery {
    /// Only these [kinds](Event::kind), separated by commas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Only changes of tasks with this name, of their runs, and of the queue with this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Only changes of this task and of its runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    /// Only changes of this run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
}

/// Events of a server, from the moment of the connection on.
#[derive(Debug)]
pub struct EventStream {
    response: Response,
    received: Vec<u8>,
}

impl TaskCenter {
    /// Watches changes of tasks, runs, queues and operations. The stream is lossy: read the current state after
    /// this call, and after each event `resync`. When the stream ends, call again.
    ///
    /// # Errors
    /// [`Error::Refused`] with status 400 for an invalid filter, and 503 if the server has too many streams.
    pub async fn events(&self, query: &EventQuery) -> Result<EventStream, Error> {
        let request = self.request(Method::GET, &["v1", "events"]).query(query).timeout(LONGEST);
        let request = request.header(ACCEPT, "text/event-stream");
        let response = request.send().await.map_err(Error::Unanswered)?;
        let status = response.status();
        if !status.is_success() {
            return Err(error::refused(status, &response.bytes().await.unwrap_or_default()));
        }
        Ok(EventStream { response, received: Vec::new() })
    }
}

impl EventStream {
    /// Waits for the next event. `None`: the stream has ended, or the connection is silent.
    ///
    /// # Errors
    /// [`Error::Unanswered`] if the connection is lost, or [`Error::Answer`] for a malformed event.
    pub async fn next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            while let Some(text) = take_event(&mut self.received) {
                if let Some(event) = read(&text)? {
                    return Ok(Some(event));
                }
            }
            if self.received.len() > MAX_EVENT {
                return Err(Error::Answer(format!("an event has more than {MAX_EVENT} bytes")));
            }
            let chunk = tokio::time::timeout(SILENCE, self.response.chunk()).await;
            let chunk: Option<Bytes> = chunk.unwrap_or(Ok(None)).map_err(Error::Unanswered)?;
            let Some(chunk) = chunk else { return Ok(None) };
            self.received.extend_from_slice(&chunk);
        }
    }
}

/// Removes the first complete event, and returns its lines.
fn take_event(received: &mut Vec<u8>) -> Option<String> {
    let end = received.windows(2).position(|two| two == b"\n\n")?;
    let event: Vec<u8> = received.drain(..end + 2).collect();
    Some(String::from_utf8_lossy(&event).into_owned())
}

/// Reads an event. `None`: a comment or a sign of life.
fn read(text: &str) -> Result<Option<Event>, Error> {
    let Some(data) = text.lines().find_map(|line| line.strip_prefix("data: ")) else { return Ok(None) };
    let event: Event = serde_json::from_str(data).map_err(|error| Error::Answer(error.to_string()))?;
    Ok(Some(event).filter(|event| event.kind != ALIVE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_from_parts() {
        let mut received =
            b"retry: 2000\nevent: alive\ndata: {\"kind\":\"alive\"}\n\n: x\n\nevent: run".to_vec();
        let events = |received: &mut Vec<u8>| {
            std::iter::from_fn(|| take_event(received))
                .filter_map(|text| read(&text).unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(events(&mut received), []);
        received.extend_from_slice(b"\ndata: {\"kind\":\"run\",\"run_id\":\"1\",\"more\":2}\n\nevent: ");
        let run = Event { kind: "run".to_owned(), run_id: Some("1".to_owned()), ..Event::default() };
        assert_eq!(events(&mut received), [run]);
        assert!(read("data: {").is_err());
    }
}
