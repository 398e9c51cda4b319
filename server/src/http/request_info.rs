//! Values that the middleware stores in a request or its answer.

use std::net::IpAddr;

/// Address of the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

/// Id of a request, stored in the request.
#[derive(Debug, Clone, Default)]
pub struct RequestId(pub String);

/// Id of the caller, stored in the answer for the access log.
#[derive(Debug, Clone)]
pub struct CallerId(pub String);
