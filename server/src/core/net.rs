//! Ranges of network addresses.

use ::core::net::IpAddr;
use std::str::FromStr;

/// A range of addresses, such as `10.0.0.0/8`, `::1/128` or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Net {
    first: u128,
    mask: u128,
    is_v4: bool,
}

/// A text that is no range of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no range of addresses such as 10.0.0.0/8")]
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
    /// Whether the address lies in it. An IPv4 address in the clothes of IPv6 is none of these: take it out of them first.
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
    fn a_range_that_is_none_is_named() {
        for text in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "localhost", "10.0.0.0/-1"] {
            assert_eq!(text.parse::<Net>(), Err(InvalidNet(text.to_owned())));
        }
    }

    #[test]
    fn a_range_holds_what_begins_alike() {
        let holds =
            |range: &str, address: &str| range.parse::<Net>().unwrap().contains(address.parse().unwrap());
        assert!(holds("10.0.0.0/8", "10.9.8.7") && holds("0.0.0.0/0", "1.1.1.1") && holds("::1", "::1"));
        assert!(!holds("10.0.0.0/8", "11.0.0.1") && !holds("::/0", "1.1.1.1") && !holds("0.0.0.0/0", "::1"));
    }
}
