//! Origin of a request: whether the address of the connection is the address of the caller.
//!
//! A proxy gives all its callers one address. A browser sends requests for every page that it
//! shows. Both are foreign: an address that needs no token does not count for them.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Version, header};

use super::error::ApiError;
use super::request_info::Peer;
use crate::core::net::OUTBOUND_CALL;

/// Prefix of a family of headers of reverse proxies.
const FORWARDED_PREFIX: &str = "x-forwarded";
/// Headers that reverse proxies, load balancers and content networks add to forwarded requests.
const FORWARDED: &[&str] = &[
    "forwarded",
    "forwarded-for",
    "via",
    "x-real-ip",
    "x-real-port",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-remote-addr",
    "x-remote-ip",
    "x-originating-ip",
    "x-original-forwarded-for",
    "x-original-host",
    "x-original-url",
    "x-proxyuser-ip",
    "x-envoy-external-address",
    "x-envoy-original-path",
    "x-azure-clientip",
    "x-azure-socketip",
    "x-appengine-user-ip",
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "cf-pseudo-ipv4",
    "cf-ray",
    "cdn-loop",
    "client-ip",
    "true-client-ip",
    "fastly-client-ip",
    "fly-client-ip",
    "proxy-client-ip",
    "wl-proxy-client-ip",
    OUTBOUND_CALL,
];
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Checks that a request names its host once (RFC 9112, 3.2).
///
/// # Errors
/// An error of the field `Host`. HTTP/1.0 has no such header.
pub fn check_host(request: &Request) -> Result<(), ApiError> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let is_valid = match (hosts.next(), hosts.next()) {
        (None, _) => request.version() < Version::HTTP_11,
        (Some(host), None) => host.is_empty() || host.to_str().is_ok_and(|host| authority(host).is_some()),
        (Some(_), Some(_)) => false,
    };
    let message = "Host should occur once, with the name or address of the server";
    if is_valid { Ok(()) } else { Err(ApiError::field("Host", message)) }
}

fn authority(host: &str) -> Option<Authority> {
    host.parse::<Authority>().ok().filter(|_| !host.contains('@'))
}

/// Returns the address of the caller. `None`: another party may be behind the address, such as a
/// page of another origin in a browser. `may_call` returns whether pages of an origin count as this
/// server's own.
pub fn caller_address(request: &Request, may_call: impl Fn(&HeaderValue) -> bool) -> Option<IpAddr> {
    let Peer(address) = request.extensions().get::<Peer>()?;
    let (address, headers) = (address.to_canonical(), request.headers());
    let hosts = hosts(request);
    // DNS rebinding: a page whose public name resolves to this machine sends that name as its host.
    let is_rebound = address.is_loopback() && (hosts.is_empty() || !hosts.iter().all(is_loopback));
    let is_cross_origin = match single(headers, &header::ORIGIN) {
        Ok(Some(origin)) if may_call(origin) => false,
        _ => is_cross_origin(headers, hosts.first()),
    };
    (!is_forwarded(headers) && !is_rebound && !is_cross_origin).then_some(address)
}

fn is_forwarded(headers: &HeaderMap) -> bool {
    let by_proxy =
        |name: &HeaderName| name.as_str().starts_with(FORWARDED_PREFIX) || FORWARDED.contains(&name.as_str());
    headers.keys().any(by_proxy)
}

/// Returns the authority of the target, if it has one, and of `Host`. An invalid one is missing.
fn hosts(request: &Request) -> Vec<Authority> {
    let of_header = |host: &HeaderValue| host.to_str().ok().and_then(authority);
    let of_headers = request.headers().get_all(header::HOST).iter().filter_map(of_header);
    request.uri().authority().cloned().into_iter().chain(of_headers).collect()
}

/// Returns whether a host is a loopback address, `localhost` or a name below it. Resolvers never
/// look up these names in public zones (RFC 6761).
fn is_loopback(host: &Authority) -> bool {
    let name = host.host().trim_end_matches('.').to_ascii_lowercase();
    match name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => name == "localhost" || name.ends_with(".localhost"),
    }
}

/// Returns the value of a header. The error: the header occurs more than once.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, ()> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_none() { Ok(first) } else { Err(()) }
}

/// Returns whether a page of another origin caused the request. Browsers send `Sec-Fetch-Site` for
/// every request to a trustworthy address, `Origin` for most, and `Referer` if the page allows it.
fn is_cross_origin(headers: &HeaderMap, host: Option<&Authority>) -> bool {
    let is_own = |url: &str| {
        let rest = url.split_once("://").map(|(_, rest)| rest);
        let named = rest.and_then(|rest| rest.split('/').next());
        host.zip(named).is_some_and(|(host, named)| host.as_str().eq_ignore_ascii_case(named))
    };
    let is_other = |name: &HeaderName, is_own: &dyn Fn(&str) -> bool| match single(headers, name) {
        Ok(None) => false,
        Ok(Some(value)) => !value.to_str().is_ok_and(is_own),
        Err(()) => true,
    };
    // `same-site` is another port of this host. `none` is an address that the user has entered.
    let is_same = |site: &str| matches!(site, "same-origin" | "none");
    is_other(&SEC_FETCH_SITE, &is_same)
        || is_other(&header::ORIGIN, &is_own)
        || is_other(&header::REFERER, &is_own)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    const LOCAL: &str = "127.0.0.1:8275";

    fn request(peer: Option<&str>, headers: &[(&str, &str)]) -> Request {
        let mut request = Request::builder();
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Body::empty()).unwrap();
        if let Some(peer) = peer {
            request.extensions_mut().insert(Peer(peer.parse().unwrap()));
        }
        request
    }

    fn address(request: &Request) -> Option<String> {
        caller_address(request, |_| false).map(|address| address.to_string())
    }

    fn is_local(peer: Option<&str>, headers: &[(&str, &str)]) -> bool {
        caller_address(&request(peer, headers), |_| false).is_some_and(|address| address.is_loopback())
    }

    #[test]
    fn a_host_name_in_the_own_network_keeps_the_address() {
        let at = |headers: &[(&str, &str)]| address(&request(Some("10.0.0.1"), headers));
        assert_eq!(at(&[("host", "tasks.corp.example:8275")]).as_deref(), Some("10.0.0.1"));
        assert_eq!(at(&[("host", "tasks"), ("x-forwarded-for", "10.0.0.2")]), None);
        assert_eq!(at(&[("host", "tasks.corp.example"), ("origin", "http://elsewhere.example")]), None);
    }

    #[test]
    fn a_loopback_peer_is_local_only_with_a_loopback_name() {
        for peer in ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"] {
            for host in
                ["127.0.0.1:8275", "[::1]:8275", "localhost:8275", "LOCALHOST", "my.localhost", "localhost."]
            {
                assert!(is_local(Some(peer), &[("host", host)]), "{peer} {host}");
            }
            for host in
                ["", "x", "elsewhere.example:8275", "10.0.0.1:8275", "localhost.example", "a@localhost"]
            {
                assert!(!is_local(Some(peer), &[("host", host)]), "{peer} {host}");
            }
            assert!(!is_local(Some(peer), &[]), "{peer}");
        }
        for peer in [None, Some("10.0.0.1"), Some("192.168.1.2"), Some("fe80::1"), Some("::ffff:10.0.0.1")] {
            assert!(!is_local(peer, &[("host", LOCAL)]), "{peer:?}");
        }
    }

    #[test]
    fn the_authority_of_the_target_counts_too() {
        let mut request = request(Some("127.0.0.1"), &[("host", LOCAL)]);
        *request.uri_mut() = "http://elsewhere.example/v1/tasks".parse().unwrap();
        assert_eq!(address(&request), None);
        *request.uri_mut() = format!("http://{LOCAL}/v1/tasks").parse().unwrap();
        assert_eq!(address(&request).as_deref(), Some("127.0.0.1"));
    }

    #[test]
    fn a_call_through_a_proxy_or_from_another_origin_is_not_local() {
        let forwarded =
            FORWARDED.iter().copied().chain(["x-forwarded", "x-forwarded-proto", "x-forwarded-new"]);
        let of_proxies = forwarded.map(|name| (name, "127.0.0.1"));
        let of_pages = [
            ("origin", "https://elsewhere.example"),
            ("origin", "null"),
            ("origin", "http://127.0.0.1:9"),
            ("origin", ""),
            ("referer", "https://elsewhere.example/127.0.0.1:8275"),
            ("referer", "http://127.0.0.1:8275@elsewhere.example/"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("sec-fetch-site", "new"),
        ];
        for (name, value) in of_proxies.chain(of_pages) {
            assert!(!is_local(Some("127.0.0.1"), &[("host", LOCAL), (name, value)]), "{name}: {value}");
        }
        let twice = [("host", LOCAL), ("sec-fetch-site", "none"), ("sec-fetch-site", "none")];
        assert!(!is_local(Some("127.0.0.1"), &twice));
    }

    #[test]
    fn a_page_of_this_server_is_local() {
        let own = [
            ("origin", "http://127.0.0.1:8275"),
            ("referer", "http://127.0.0.1:8275/docs/"),
            ("sec-fetch-site", "same-origin"),
            ("sec-fetch-site", "none"),
        ];
        for header in own {
            assert!(is_local(Some("127.0.0.1"), &[("host", LOCAL), header]), "{header:?}");
        }
    }

    #[test]
    fn an_allowed_origin_keeps_the_address_but_not_through_a_proxy() {
        let page = ("origin", "https://board.example");
        let at = |headers: &[(&str, &str)]| {
            caller_address(&request(Some("127.0.0.1"), headers), |origin| origin == page.1).is_some()
        };
        assert!(at(&[("host", LOCAL), page, ("sec-fetch-site", "cross-site")]));
        assert!(!at(&[("host", LOCAL), page, ("via", "1.1 proxy")]));
        assert!(!at(&[("host", "elsewhere.example"), page]));
        assert!(!at(&[("host", LOCAL), page, page]), "a doubled header");
    }

    #[test]
    fn a_request_names_its_host_once() {
        let is_valid = |headers: &[(&str, &str)]| check_host(&request(None, headers)).is_ok();
        for host in ["", "localhost", "[::1]:8275", "a.example:1"] {
            assert!(is_valid(&[("host", host)]), "{host}");
        }
        for headers in [&[][..], &[("host", "a"), ("host", "a")], &[("host", "a b")], &[("host", "u@a")]] {
            assert!(!is_valid(headers), "{headers:?}");
        }
        let mut old = request(None, &[]);
        *old.version_mut() = Version::HTTP_10;
        assert!(check_host(&old).is_ok());
    }
}
