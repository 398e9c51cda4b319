//! Requests of brokers.

use std::sync::Arc;

use tokio::sync::broadcast;

use crate::protocol::codes;
use crate::protocol::json::Json;
use crate::{Command, MessageQueue};

/// A request from a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) enum ServerRequest {
    /// A consumer joined or left a group (`NOTIFY_CONSUMER_IDS_CHANGED` = 40).
    GroupChanged {
        /// Group as on the wire.
        group: String,
    },
    /// An operator reset the offsets of a group (`RESET_CONSUMER_CLIENT_OFFSET` = 220). Brokers from
    /// 5.0 on answer the next pull with the new offset instead.
    OffsetsReset {
        /// Group as on the wire.
        group: String,
        /// Queues of one topic with their new offsets.
        offsets: Arc<[(MessageQueue, i64)]>,
    },
}

/// Hands a request of a broker to the consumers, and returns the response.
pub(crate) fn handle(requests: &broadcast::Sender<ServerRequest>, request: &Command) -> Command {
    let parsed = match request.code {
        codes::NOTIFY_CONSUMER_IDS_CHANGED => {
            let group = request.fields.get("consumerGroup").unwrap_or_default().to_owned();
            Ok(ServerRequest::GroupChanged { group })
        }
        codes::RESET_CONSUMER_CLIENT_OFFSET => offsets_reset(request),
        code => Err((
            codes::REQUEST_CODE_NOT_SUPPORTED,
            format!("request code {code} is not supported by this client"),
        )),
    };
    match parsed {
        Ok(parsed) => {
            // Without a consumer nobody receives.
            let _ = requests.send(parsed);
            Command::response(codes::SUCCESS, request.opaque)
        }
        Err((code, remark)) => Command { remark: Some(remark), ..Command::response(code, request.opaque) },
    }
}

/// Reads a reset (`ResetOffsetRequestHeader.java`, `ResetOffsetBody.java`).
fn offsets_reset(request: &Command) -> Result<ServerRequest, (i32, String)> {
    let body = Json::parse(&request.body).map_err(|why| (codes::SYSTEM_ERROR, why))?;
    let topic = request.fields.get("topic").unwrap_or_default();
    let table = body.get("offsetTable").map(Json::entries).unwrap_or_default();
    let offset = |(queue, offset): &(Json, Json)| {
        let queue = MessageQueue {
            topic: queue.text_of("topic"),
            broker_name: queue.text_of("brokerName"),
            queue_id: queue.get("queueId")?.as_i64()?.try_into().ok()?,
        };
        (queue.topic == topic).then_some((queue, offset.as_i64()?.max(0)))
    };
    Ok(ServerRequest::OffsetsReset {
        group: request.fields.get("group").unwrap_or_default().to_owned(),
        offsets: table.iter().filter_map(offset).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_of_a_broker_is_read() {
        let (requests, mut received) = broadcast::channel(4);
        let body = br#"{"offsetTable":{{"brokerName":"b","queueId":1,"topic":"t"}:7,
            {"brokerName":"b","queueId":2,"topic":"other"}:8,{"brokerName":"b","topic":"t"}:9,
            {"brokerName":"b","queueId":0,"topic":"t"}:-1}}"#;
        let request = Command::request(codes::RESET_CONSUMER_CLIENT_OFFSET)
            .field("topic", "t")
            .field("group", "g")
            .with_body(&body[..]);
        assert_eq!(handle(&requests, &request).code, codes::SUCCESS);
        let queue = |queue_id| MessageQueue { topic: "t".into(), broker_name: "b".into(), queue_id };
        let offsets = Arc::new([(queue(1), 7), (queue(0), 0)]);
        let expected = ServerRequest::OffsetsReset { group: "g".to_owned(), offsets };
        assert_eq!(received.try_recv(), Ok(expected));
        let corrupt = request.with_body("{");
        assert_eq!(handle(&requests, &corrupt).code, codes::SYSTEM_ERROR);
        assert!(received.try_recv().is_err());
    }
}
