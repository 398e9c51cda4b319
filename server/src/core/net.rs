//! Ranges of network addresses (CIDR).

use ::core::net::IpAddr;
use std::str::FromStr;

/// Header of every HTTP call that taskcenter makes to other programs. A callee that is taskcenter
/// does not take such a call for a call of a local program.
pub const OUTBOUND_CALL: &str = "x-taskcenter-call";

/// A range of addresses, such as `10.0.0.0/8` or `::1/128`, or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Net {
    first: u128,
    mask: u128,
    is_v4: bool,
}

/// The text is not a range of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a range of addresses: write a range such as 10.0.0.0/8, or an address")]
pub struct InvalidNet(String);

impl FromStr for Net {
    type Err = InvalidNet;

    fn from_str(text: &str) -> Result<Self, InvalidNet> {
        let wrong = || InvalidNet(text.to_owned());
        let (address, bits) =
            text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.trim().parse().map_err(|_| wrong())?;
        let all = if address.is_ipv4() { 32 } else { 128 };
        let bits: u32 = bits.map_or(Ok(all), |bits| bits.trim().parse().map_err(|_| wrong()))?;
        if bits > all {
            return Err(wrong());
        }
        let mask = u128::MAX.checked_shl(all - bits).unwrap_or(0);
        Ok(Self { first: number(address) & mask, mask, is_v4: address.is_ipv4() })
    }
}

impl Net {
    /// Returns whether the range contains the address. Callers must convert an IPv4-mapped IPv6
    /// address to IPv4 first.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.is_v4 == address.is_ipv4() && number(address) & self.mask == self.first
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_range_is_named_in_the_error() {
        for text in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "localhost", "10.0.0.0/-1"] {
            assert_eq!(text.parse::<Net>(), Err(InvalidNet(text.to_owned())));
        }
    }

    #[test]
    fn a_range_contains_addresses_with_its_prefix() {
        let contains =
            |range: &str, address: &str| range.parse::<Net>().unwrap().contains(address.parse().unwrap());
        assert!(
            contains("10.0.0.0/8", "10.9.8.7") && contains("0.0.0.0/0", "1.1.1.1") && contains("::1", "::1")
        );
        assert!(
            !contains("10.0.0.0/8", "11.0.0.1")
                && !contains("::/0", "1.1.1.1")
                && !contains("0.0.0.0/0", "::1")
        );
    }
}
