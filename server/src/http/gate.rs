//! What admits a request: its token, its origin, and commands without a caller.

use axum::extract::Request;
use axum::http::{HeaderMap, header};

use super::cross_origin::CrossOrigin;
use super::error::ApiError;
use super::origin::caller_address;
use crate::core::Moment;
use crate::engine::service::{Caller, Denied, Origin, Service};

/// Commands without a caller, to admit requests and read the clock. A handler cannot get commands
/// from it; a handler takes a [`Service`] that is bound to the caller of the request.
#[derive(Clone)]
pub struct Gate(Service);

impl Gate {
    pub fn new(service: &Service) -> Self {
        Self(service.for_caller(Caller::anonymous()))
    }

    pub fn now(&self) -> Moment {
        self.0.now()
    }

    /// Returns commands without rights, to admit a caller.
    pub fn commands(&self) -> &Service {
        &self.0
    }
}

/// Returns where a request comes from. A party that may stand between counts as another place.
pub fn origin_of(gate: &Gate, cross_origin: &CrossOrigin, request: &Request) -> Origin {
    let caller = caller_address(request, |origin| cross_origin.allows(request, origin));
    caller.map_or(Origin::Elsewhere, |address| gate.0.origin(address))
}

/// Returns the bearer token of a request.
pub fn bearer_token(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    let token = text.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let token = token.map(|(_, token)| token.trim()).filter(|token| !token.is_empty());
    token.map(Some).ok_or(ApiError::Unauthorized(Denied::Unknown))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bearer_token_is_accepted() {
        let read = |value: &str| {
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]);
            bearer_token(&headers).map(|token| token.map(str::to_owned)).ok()
        };
        assert_eq!(read("Bearer tc_a_b"), Some(Some("tc_a_b".to_owned())));
        assert_eq!(read("bearer  tc_a_b"), Some(Some("tc_a_b".to_owned())));
        for invalid in ["", "Bearer", "Bearer ", "Basic YTpi", "tc_a_b"] {
            assert_eq!(read(invalid), None, "{invalid:?}");
        }
        assert!(bearer_token(&HeaderMap::new()).unwrap().is_none());
    }
}
