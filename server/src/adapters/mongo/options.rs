//! Options of the driver.

use std::time::Duration;

use mongodb::options::{Acknowledgment, ClientOptions, ReadConcern, ReadPreference, SelectionCriteria};

use super::errors::{port_error, refused};
use crate::ports::PortError;

/// Longest wait for a primary, unless the URI sets another one.
const SERVER_SELECTION_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout of a connection attempt, unless the URI sets another one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Longest wait for the majority's acknowledgement, unless the URI sets another one. After it, the
/// write may or may not have happened.
pub const MAJORITY_TIMEOUT: Duration = Duration::from_secs(5);

/// Overrides options of the URI that would weaken durability: a write on one replica only can
/// vanish at a fail-over.
pub fn strict(mut options: ClientOptions) -> ClientOptions {
    let concern = options.write_concern.get_or_insert_default();
    concern.w = Some(Acknowledgment::Majority);
    concern.journal = Some(true);
    concern.w_timeout.get_or_insert(MAJORITY_TIMEOUT);
    options.read_concern = Some(ReadConcern::majority());
    options.selection_criteria = Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
    options.retry_writes = Some(true);
    options.retry_reads = Some(true);
    options.server_selection_timeout.get_or_insert(SERVER_SELECTION_TIMEOUT);
    options.connect_timeout.get_or_insert(CONNECT_TIMEOUT);
    options.app_name.get_or_insert_with(|| "taskcenter".to_owned());
    options
}

/// Maps an error of the URI. The driver's error quotes the invalid part, which may be the password.
pub fn uri_error(uri: &str, error: mongodb::error::Error) -> PortError {
    const WITH_CREDENTIALS: &str = "invalid URI: write \
        mongodb://user:password@host:port/?replicaSet=name, with user and password percent-encoded";
    let error = port_error(error);
    match error {
        PortError::Refused(..) if uri.contains('@') => refused(WITH_CREDENTIALS),
        PortError::Refused(name, cause) => PortError::Refused(name, format!("invalid URI: {cause}").into()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_uri_cannot_weaken_durability() {
        let uri = "mongodb://localhost/?w=1&journal=false&retryWrites=false&readPreference=secondary";
        let options = strict(ClientOptions::parse(uri).await.unwrap());
        let concern = options.write_concern.unwrap();
        assert_eq!((concern.w, concern.journal), (Some(Acknowledgment::Majority), Some(true)));
        assert_eq!(options.retry_writes, Some(true));
        assert_eq!(
            options.selection_criteria,
            Some(SelectionCriteria::ReadPreference(ReadPreference::Primary))
        );
    }
}
