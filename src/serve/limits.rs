//! How often anybody may ask for something that costs, or that is worth guessing at.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;

use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};

/// How often a network may ask for a subscription in a minute: an office
/// has one address.
const REQUESTS: u32 = 30;
/// How often a network may come with a link that is none, in a minute.
const WRONG_LINKS: u32 = 30;
/// How many confirmations may be asked for in a minute, by all.
const CONFIRMATIONS: u32 = 120;

/// Limits by network, and for all.
pub struct Limits {
    requests: DefaultKeyedRateLimiter<IpAddr>,
    wrong_links: DefaultKeyedRateLimiter<IpAddr>,
    confirmations: DefaultDirectRateLimiter,
}

fn per_minute(number: u32) -> Quota {
    Quota::per_minute(NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN))
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests: RateLimiter::keyed(per_minute(REQUESTS)),
            wrong_links: RateLimiter::keyed(per_minute(WRONG_LINKS)),
            confirmations: RateLimiter::direct(per_minute(CONFIRMATIONS)),
        }
    }
}

impl Limits {
    /// Whether somebody may ask for a subscription now.
    pub(super) fn may_ask(&self, who: IpAddr) -> bool {
        self.requests.check_key(&network(who)).is_ok() && self.confirmations.check().is_ok()
    }

    /// Counts a link that is none. Whether somebody may try another one.
    pub(super) fn may_guess(&self, who: IpAddr) -> bool {
        self.wrong_links.check_key(&network(who)).is_ok()
    }

    /// Forgets who has not come for a while.
    pub fn forget(&self) {
        self.requests.retain_recent();
        self.wrong_links.retain_recent();
        self.requests.shrink_to_fit();
        self.wrong_links.shrink_to_fit();
    }
}

/// The network that an address belongs to: who has one address of it has all of them.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            Ipv4Addr::new(a, b, c, 0).into()
        }
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d & 0xFF00, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_limited_as_one() {
        let limits = Limits::default();
        let at = |text: &str| text.parse().unwrap();
        for number in 0..REQUESTS {
            assert!(limits.may_ask(at(&format!("192.0.2.{number}"))));
        }
        assert!(!limits.may_ask(at("192.0.2.200")));
        assert!(limits.may_ask(at("198.51.100.1")));
        assert_eq!(network(at("2001:db8:1:2345::1")), network(at("2001:db8:1:23ff::2")));
        assert_ne!(network(at("2001:db8:1:2345::1")), network(at("2001:db8:1:2445::1")));
    }

    #[test]
    fn all_together_are_limited_too() {
        let limits = Limits::default();
        let network = |number: u32| IpAddr::from(Ipv4Addr::from_bits(0x0A00_0001 + (number << 8)));
        for number in 0..CONFIRMATIONS {
            assert!(limits.may_ask(network(number)), "{number}");
        }
        // A place is free again each half a second, and nobody asks as slowly as that here.
        assert!((CONFIRMATIONS..20_000).any(|number| !limits.may_ask(network(number))));
    }
}
