//! Values that layers attach to requests and to responses.

use std::net::IpAddr;

/// The address that a connection comes from. Attached to requests.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

/// The id of a request. Attached to requests.
#[derive(Debug, Clone, Default)]
pub struct RequestId(pub String);

/// The id of a request's caller, for the access log. Attached to responses.
#[derive(Debug, Clone)]
pub struct CallerId(pub String);
