//! Addresses that the built-in workers may call. An address that contains another one (IPv4-mapped, NAT64, 6to4)
//! is checked as both.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::LazyLock;

use crate::core::net::{InvalidNet, Net};

/// Ranges outside the public Internet: loopback, private networks, tunnels, documentation, multicast and
/// metadata services of clouds.
const SPECIAL: &[&str] = &[
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "168.63.129.16/32",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/96",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
];

static DENIED: LazyLock<Vec<Net>> =
    LazyLock::new(|| SPECIAL.iter().filter_map(|text| text.parse().ok()).collect());

/// A denied address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The address is not public, and no range of the configuration allows it.
    #[error("the address {0} is not allowed: see `callback.allow` and `callback.deny`")]
    NotAllowed(IpAddr),
    /// The server itself listens there.
    #[error("the address {0} with this port belongs to this server, which never calls itself")]
    Own(IpAddr),
}

/// Checks addresses. Ranges in `deny` are denied, then ranges in `allow` and all public addresses are allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Guard {
    allow: Vec<Net>,
    deny: Vec<Net>,
    own: Vec<SocketAddr>,
}

impl Guard {
    /// Returns a guard with these ranges.
    ///
    /// # Errors
    /// [`InvalidNet`]: the first invalid range.
    pub fn new(allow: &[String], deny: &[String]) -> Result<Self, InvalidNet> {
        let nets = |texts: &[String]| texts.iter().map(|text| text.parse()).collect::<Result<_, _>>();
        Ok(Self { allow: nets(allow)?, deny: nets(deny)?, own: Vec::new() })
    }

    /// Also denies the addresses where this server listens, also if the ranges contain them.
    #[must_use]
    pub fn with_own(self, own: &[SocketAddr]) -> Self {
        Self { own: own.to_vec(), ..self }
    }

    /// Returns whether this server listens on a port, at any address.
    pub fn is_own_port(&self, port: u16) -> bool {
        self.own.iter().any(|own| own.port() == port)
    }

    /// Checks an address for a call to a port where this server listens.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn check_at_own_port(&self, address: IpAddr) -> Result<(), Denied> {
        let is_own = |form: IpAddr| self.own.iter().any(|own| listens_at(own.ip().to_canonical(), form));
        if forms(address).any(is_own) { Err(Denied::Own(address)) } else { self.check(address) }
    }

    /// Checks an address.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn check(&self, address: IpAddr) -> Result<(), Denied> {
        let is_permitted = forms(address).all(|form| self.permits(form));
        if is_permitted { Ok(()) } else { Err(Denied::NotAllowed(address.to_canonical())) }
    }

    fn permits(&self, address: IpAddr) -> bool {
        let holds = |nets: &[Net]| nets.iter().any(|net| net.contains(address));
        !holds(&self.deny) && (holds(&self.allow) || !holds(&DENIED))
    }
}

/// Returns the address, and the address that it contains.
fn forms(address: IpAddr) -> impl Iterator<Item = IpAddr> {
    let address = address.to_canonical();
    [Some(address), embedded(address).map(IpAddr::V4)].into_iter().flatten()
}

/// Returns whether a connection to `address` can reach a listener at `listener`. The system connects
/// the unspecified address to this machine.
fn listens_at(listener: IpAddr, address: IpAddr) -> bool {
    address == listener
        || address.is_unspecified()
        || listener.is_unspecified() && is_of_this_machine(address)
}

/// Returns whether an interface of this machine has the address: only then a socket can be bound to
/// the address. Any other refusal says nothing, and counts as yes.
fn is_of_this_machine(address: IpAddr) -> bool {
    let bound = UdpSocket::bind((address, 0));
    address.is_loopback() || bound.map_or_else(|error| error.kind() != ErrorKind::AddrNotAvailable, |_| true)
}

/// Returns the IPv4 address that an IPv6 address contains, for a translator or a tunnel. Mapped addresses are
/// IPv4 addresses already.
fn embedded(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(address) = address else { return None };
    match address.segments() {
        // NAT64 and 6to4.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => Some(v4(high, low)),
        // The deprecated IPv4-compatible form. `::1` is not one.
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => Some(v4(high, low)),
        // Teredo inverts the bits of the client's address.
        [0x2001, 0, .., high, low] => Some(v4(!high, !low)),
        _ => None,
    }
}

fn v4(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from((u32::from(high) << 16) | u32::from(low))
}

/// Parses the host of a URL as an address.
pub fn literal(host: &str) -> Option<IpAddr> {
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match inner {
        Some(address) => address.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(allow: &[&str], deny: &[&str]) -> Guard {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        Guard::new(&texts(allow), &texts(deny)).unwrap()
    }

    fn permits(guard: &Guard, address: &str) -> bool {
        guard.check(address.parse().unwrap()).is_ok()
    }

    #[test]
    fn every_special_range_is_a_range() {
        assert_eq!(DENIED.len(), SPECIAL.len());
    }

    #[test]
    fn addresses_that_are_not_public_are_denied_in_every_form() {
        for address in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:a9fe:a9fe",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2001:0:1:1::80ff:fffe",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2001:db8::1",
        ] {
            assert!(!permits(&Guard::default(), address), "{address}");
        }
    }

    #[test]
    fn public_addresses_are_allowed() {
        for address in
            ["1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1", "::ffff:1.1.1.1", "64:ff9b::101:101"]
        {
            assert!(permits(&Guard::default(), address), "{address}");
        }
    }

    #[test]
    fn deny_takes_precedence_over_allow() {
        let guard = guard(&["10.0.0.0/8", "::1"], &["10.9.0.0/16", "1.1.1.1"]);
        for address in ["10.1.1.1", "::1", "::ffff:10.1.1.1", "64:ff9b::a01:101", "8.8.8.8"] {
            assert!(permits(&guard, address), "{address}");
        }
        for address in ["10.9.1.1", "1.1.1.1", "::ffff:10.9.1.1", "64:ff9b::a09:101", "127.0.0.1"] {
            assert!(!permits(&guard, address), "{address}");
        }
    }

    #[test]
    fn the_addresses_of_the_server_are_denied_whatever_is_allowed() {
        let at = |listener: &str| guard(&["0.0.0.0/0", "::/0"], &[]).with_own(&[listener.parse().unwrap()]);
        let is_own = |guard: &Guard, address: &str| {
            matches!(guard.check_at_own_port(address.parse().unwrap()), Err(Denied::Own(_)))
        };
        let loopback = at("127.0.0.1:8275");
        for address in ["127.0.0.1", "::ffff:127.0.0.1", "0.0.0.0", "::", "64:ff9b::7f00:1"] {
            assert!(is_own(&loopback, address), "{address}");
        }
        assert!(!is_own(&loopback, "127.0.0.2") && !is_own(&loopback, "192.0.2.1"));
        for listener in ["0.0.0.0:8275", "[::]:8275"] {
            let all = at(listener);
            for address in ["127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "::ffff:127.0.0.1"] {
                assert!(is_own(&all, address), "{listener} {address}");
            }
            assert!(!is_own(&all, "192.0.2.1"), "an address of another machine");
        }
        assert!(loopback.is_own_port(8275) && !loopback.is_own_port(8276));
    }

    #[test]
    fn everything_can_be_allowed() {
        assert!(permits(&guard(&["0.0.0.0/0"], &[]), "127.0.0.1"));
    }
}
