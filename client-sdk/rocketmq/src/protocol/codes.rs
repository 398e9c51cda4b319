//! Codes of requests (`RequestCode.java`) and responses (`ResponseCode.java`,
//! `RemotingSysResponseCode.java`).

/// `PULL_MESSAGE`.
pub const PULL_MESSAGE: i32 = 11;
/// `QUERY_CONSUMER_OFFSET`.
pub const QUERY_CONSUMER_OFFSET: i32 = 14;
/// `UPDATE_CONSUMER_OFFSET`.
pub const UPDATE_CONSUMER_OFFSET: i32 = 15;
/// `UPDATE_AND_CREATE_TOPIC`.
pub const UPDATE_AND_CREATE_TOPIC: i32 = 17;
/// `SEARCH_OFFSET_BY_TIMESTAMP`.
pub const SEARCH_OFFSET_BY_TIMESTAMP: i32 = 29;
/// `GET_MAX_OFFSET`.
pub const GET_MAX_OFFSET: i32 = 30;
/// `GET_MIN_OFFSET`.
pub const GET_MIN_OFFSET: i32 = 31;
/// `HEART_BEAT`.
pub const HEART_BEAT: i32 = 34;
/// `UNREGISTER_CLIENT`.
pub const UNREGISTER_CLIENT: i32 = 35;
/// `CONSUMER_SEND_MSG_BACK`.
pub const CONSUMER_SEND_MSG_BACK: i32 = 36;
/// `GET_CONSUMER_LIST_BY_GROUP`.
pub const GET_CONSUMER_LIST_BY_GROUP: i32 = 38;
/// `CHECK_TRANSACTION_STATE`, from a broker.
pub const CHECK_TRANSACTION_STATE: i32 = 39;
/// `NOTIFY_CONSUMER_IDS_CHANGED`, from a broker.
pub const NOTIFY_CONSUMER_IDS_CHANGED: i32 = 40;
/// `GET_ROUTEINFO_BY_TOPIC`.
pub const GET_ROUTEINFO_BY_TOPIC: i32 = 105;
/// `GET_BROKER_CLUSTER_INFO`.
pub const GET_BROKER_CLUSTER_INFO: i32 = 106;
/// `UPDATE_AND_CREATE_SUBSCRIPTIONGROUP`.
pub const UPDATE_AND_CREATE_SUBSCRIPTIONGROUP: i32 = 200;
/// `GET_TOPIC_STATS_INFO`.
pub const GET_TOPIC_STATS_INFO: i32 = 202;
/// `GET_CONSUMER_CONNECTION_LIST`.
pub const GET_CONSUMER_CONNECTION_LIST: i32 = 203;
/// `GET_CONSUME_STATS`.
pub const GET_CONSUME_STATS: i32 = 208;
/// `DELETE_TOPIC_IN_BROKER`.
pub const DELETE_TOPIC_IN_BROKER: i32 = 215;
/// `DELETE_TOPIC_IN_NAMESRV`.
pub const DELETE_TOPIC_IN_NAMESRV: i32 = 216;
/// `RESET_CONSUMER_CLIENT_OFFSET`, from a broker.
pub const RESET_CONSUMER_CLIENT_OFFSET: i32 = 220;
/// `INVOKE_BROKER_TO_RESET_OFFSET`.
pub const INVOKE_BROKER_TO_RESET_OFFSET: i32 = 222;
/// `QUERY_TOPIC_CONSUME_BY_WHO`.
pub const QUERY_TOPIC_CONSUME_BY_WHO: i32 = 300;
/// `SEND_MESSAGE_V2`.
pub const SEND_MESSAGE_V2: i32 = 310;
/// `SEND_BATCH_MESSAGE`.
pub const SEND_BATCH_MESSAGE: i32 = 320;

/// `SUCCESS`.
pub const SUCCESS: i32 = 0;
/// `SYSTEM_ERROR`.
pub const SYSTEM_ERROR: i32 = 1;
/// `SYSTEM_BUSY`.
pub const SYSTEM_BUSY: i32 = 2;
/// `REQUEST_CODE_NOT_SUPPORTED`.
pub const REQUEST_CODE_NOT_SUPPORTED: i32 = 3;
/// `FLUSH_DISK_TIMEOUT`: stored, but not flushed in time.
pub const FLUSH_DISK_TIMEOUT: i32 = 10;
/// `SLAVE_NOT_AVAILABLE`: stored, but without a replica.
pub const SLAVE_NOT_AVAILABLE: i32 = 11;
/// `FLUSH_SLAVE_TIMEOUT`: stored, but not replicated in time.
pub const FLUSH_SLAVE_TIMEOUT: i32 = 12;
/// `MESSAGE_ILLEGAL`.
pub const MESSAGE_ILLEGAL: i32 = 13;
/// `SERVICE_NOT_AVAILABLE`.
pub const SERVICE_NOT_AVAILABLE: i32 = 14;
/// `VERSION_NOT_SUPPORTED`.
pub const VERSION_NOT_SUPPORTED: i32 = 15;
/// `NO_PERMISSION`.
pub const NO_PERMISSION: i32 = 16;
/// `TOPIC_NOT_EXIST`.
pub const TOPIC_NOT_EXIST: i32 = 17;
/// `PULL_NOT_FOUND`.
pub const PULL_NOT_FOUND: i32 = 19;
/// `PULL_RETRY_IMMEDIATELY`.
pub const PULL_RETRY_IMMEDIATELY: i32 = 20;
/// `PULL_OFFSET_MOVED`.
pub const PULL_OFFSET_MOVED: i32 = 21;
/// `QUERY_NOT_FOUND`.
pub const QUERY_NOT_FOUND: i32 = 22;
/// `SUBSCRIPTION_NOT_EXIST`.
pub const SUBSCRIPTION_NOT_EXIST: i32 = 24;
/// `SUBSCRIPTION_GROUP_NOT_EXIST`.
pub const SUBSCRIPTION_GROUP_NOT_EXIST: i32 = 26;
/// `CONSUMER_NOT_ONLINE`.
pub const CONSUMER_NOT_ONLINE: i32 = 206;
/// `FLOW_CONTROL`.
pub const FLOW_CONTROL: i32 = 215;
/// `GO_AWAY`: the server is about to end; use another one or connect again.
pub const GO_AWAY: i32 = 1500;

/// Returns the name of a response code, with a leading blank in parentheses, or nothing.
pub(crate) fn named(code: i32) -> &'static str {
    match code {
        SYSTEM_ERROR => " (SYSTEM_ERROR)",
        SYSTEM_BUSY => " (SYSTEM_BUSY)",
        REQUEST_CODE_NOT_SUPPORTED => " (REQUEST_CODE_NOT_SUPPORTED)",
        MESSAGE_ILLEGAL => " (MESSAGE_ILLEGAL)",
        SERVICE_NOT_AVAILABLE => " (SERVICE_NOT_AVAILABLE)",
        NO_PERMISSION => " (NO_PERMISSION)",
        TOPIC_NOT_EXIST => " (TOPIC_NOT_EXIST)",
        SUBSCRIPTION_GROUP_NOT_EXIST => " (SUBSCRIPTION_GROUP_NOT_EXIST)",
        CONSUMER_NOT_ONLINE => " (CONSUMER_NOT_ONLINE)",
        FLOW_CONTROL => " (FLOW_CONTROL)",
        GO_AWAY => " (GO_AWAY)",
        _ => "",
    }
}

/// Returns whether the broker refused a message as illegal. Brokers answer a message that is too
/// large within a batch with an exception of the encoder (`MessageExtEncoder.java`), before
/// anything is stored.
pub(crate) fn is_illegal(code: i32, remark: &str) -> bool {
    const ENCODER: [&str; 2] = ["size exceeded", "size of messageExtBatch exceeded"];
    code == MESSAGE_ILLEGAL || code == SYSTEM_ERROR && ENCODER.iter().any(|text| remark.contains(text))
}

/// Returns whether the server is too busy, or about to end, and another one may accept the request.
/// Some versions answer so with `SYSTEM_ERROR` (`SendMessageProcessor.java`).
pub(crate) fn is_busy(code: i32, remark: &str) -> bool {
    const BUSY: [&str; 3] = ["broker busy", "broker unable to service", "in-sync replicas not enough"];
    matches!(code, SYSTEM_BUSY | SERVICE_NOT_AVAILABLE | FLOW_CONTROL | GO_AWAY)
        || code == SYSTEM_ERROR && BUSY.iter().any(|text| remark.contains(text))
}

/// Returns whether the client has no right to the request. Brokers with the ACLs of 4.x answer so with
/// an exception before they process the request (`NettyRemotingAbstract.java`, `AclException.java`).
fn is_denied(code: i32, remark: &str) -> bool {
    const EXCEPTION: &str = "org.apache.rocketmq.acl.common.AclException";
    code == NO_PERMISSION || code == SYSTEM_ERROR && remark.starts_with(EXCEPTION)
}

/// Returns whether a request that the server answered so may have been processed. The store answers
/// an unknown result with `SYSTEM_ERROR` (`SendMessageProcessor.java`).
pub(crate) fn may_be_done(code: i32, remark: &str) -> bool {
    let refused = is_illegal(code, remark) || is_busy(code, remark) || is_denied(code, remark);
    code == SYSTEM_ERROR && !refused
}

/// Returns whether the same request can succeed later.
pub(crate) fn is_transient(code: i32, remark: &str) -> bool {
    !is_illegal(code, remark)
        && !is_denied(code, remark)
        && !matches!(code, VERSION_NOT_SUPPORTED | REQUEST_CODE_NOT_SUPPORTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_classified() {
        let too_large = "java.lang.RuntimeException: message body size exceeded, org.apache";
        let denied = "org.apache.rocketmq.acl.common.AclException: Check signature failed for accessKey=k";
        let busy = "[PC_SYNCHRONIZED]broker busy, start flow control for a while";
        for (code, remark, illegal, is_busy_, done, transient) in [
            (MESSAGE_ILLEGAL, "", true, false, false, false),
            (SYSTEM_ERROR, too_large, true, false, false, false),
            (SYSTEM_ERROR, busy, false, true, false, true),
            (SYSTEM_ERROR, "UNKNOWN_ERROR", false, false, true, true),
            (SYSTEM_BUSY, "", false, true, false, true),
            (FLOW_CONTROL, "", false, true, false, true),
            (NO_PERMISSION, "", false, false, false, false),
            (SYSTEM_ERROR, denied, false, false, false, false),
            (TOPIC_NOT_EXIST, "", false, false, false, true),
        ] {
            let found = (is_illegal(code, remark), is_busy(code, remark));
            assert_eq!(found, (illegal, is_busy_), "{code} {remark}");
            let found = (may_be_done(code, remark), is_transient(code, remark));
            assert_eq!(found, (done, transient), "{code} {remark}");
        }
    }
}
