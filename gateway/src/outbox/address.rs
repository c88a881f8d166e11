//! Pure: which addresses a webhook may go to. A name of the internet that leads into our own network would let whoever owns the
//! name speak with what is not meant for them, so only addresses that are routed in public are taken unless the target is
//! allowed more.
//!
//! What is checked is the address that the connection goes to, after the name was resolved, so a name that leads elsewhere the
//! next moment gains nothing.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why an address is not taken; `None` when it is.
pub(super) fn refusal(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => refusal_v4(address),
        IpAddr::V6(address) => refusal_v6(address),
    }
}

fn refusal_v4(address: Ipv4Addr) -> Option<&'static str> {
    let octets = address.octets();
    Some(match octets {
        [127, ..] => "loopback",
        [10, ..] | [192, 168, ..] => "private",
        [172, second, ..] if (16..32).contains(&second) => "private",
        [169, 254, ..] => "link-local",
        [100, second, ..] if (64..128).contains(&second) => "shared between a provider's customers",
        [0, ..] => "this network",
        [192, 0, 0, _] => "for protocols",
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => "for documents",
        [192, 88, 99, _] => "a relay",
        [198, 18 | 19, ..] => "for benchmarks",
        [first, ..] if (224..240).contains(&first) => "multicast",
        [first, ..] if first >= 240 => "reserved",
        _ => return None,
    })
}

fn refusal_v6(address: Ipv6Addr) -> Option<&'static str> {
    let segments = address.segments();
    if let Some(inner) = embedded_v4(segments) {
        // An IPv6 address that is an IPv4 address in disguise is what that one is.
        return refusal_v4(inner);
    }
    Some(match segments {
        [0, 0, 0, 0, 0, 0, 0, 0] => "unspecified",
        [0, 0, 0, 0, 0, 0, 0, 1] => "loopback",
        [first, ..] if first & 0xfe00 == 0xfc00 => "private",
        [first, ..] if first & 0xffc0 == 0xfe80 => "link-local",
        [first, ..] if first & 0xffc0 == 0xfec0 => "private",
        [first, ..] if first & 0xff00 == 0xff00 => "multicast",
        [0x2001, second, ..] if second < 0x0200 => "for protocols",
        [0x2001, 0x0db8, ..] => "for documents",
        // Nothing else is routed in public.
        [first, ..] if first & 0xe000 != 0x2000 => "reserved",
        _ => return None,
    })
}

/// The IPv4 address that is mapped, translated (NAT64) or tunnelled (6to4), or was meant to be (the old compatible form).
fn embedded_v4(segments: [u16; 8]) -> Option<Ipv4Addr> {
    let of = |high: u16, low: u16| {
        let ([first, second], [third, fourth]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(first, second, third, fourth)
    };
    match segments {
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => Some(of(high, low)),
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => Some(of(high, low)),
        _ => None,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused(text: &str) -> Option<&'static str> {
        refusal(text.parse().unwrap())
    }

    #[test]
    fn what_is_not_routed_in_public_is_refused() {
        for (address, why) in [
            ("127.0.0.1", "loopback"),
            ("127.255.255.254", "loopback"),
            ("::1", "loopback"),
            ("0.0.0.0", "this network"),
            ("0.1.2.3", "this network"),
            ("::", "unspecified"),
            ("10.0.0.1", "private"),
            ("172.16.0.1", "private"),
            ("172.31.255.255", "private"),
            ("192.168.1.1", "private"),
            ("fc00::1", "private"),
            ("fdff::1", "private"),
            ("fec0::1", "private"),
            ("169.254.169.254", "link-local"),
            ("fe80::1", "link-local"),
            ("febf::1", "link-local"),
            ("100.64.0.1", "shared between a provider's customers"),
            ("100.127.255.255", "shared between a provider's customers"),
            ("192.0.0.8", "for protocols"),
            ("192.0.2.1", "for documents"),
            ("198.51.100.1", "for documents"),
            ("203.0.113.1", "for documents"),
            ("2001:db8::1", "for documents"),
            ("2001::1", "for protocols"),
            ("198.18.0.1", "for benchmarks"),
            ("198.19.255.255", "for benchmarks"),
            ("224.0.0.1", "multicast"),
            ("239.255.255.255", "multicast"),
            ("ff02::1", "multicast"),
            ("240.0.0.1", "reserved"),
            ("255.255.255.255", "reserved"),
            ("4000::1", "reserved"),
            ("::ffff:127.0.0.1", "loopback"),
            ("::ffff:10.1.2.3", "private"),
            ("::ffff:169.254.169.254", "link-local"),
            ("::127.0.0.1", "loopback"),
            ("::ffff:0:192.168.0.1", "private"),
            ("64:ff9b::10.0.0.1", "private"),
            ("2002:7f00:1::1", "loopback"),
        ] {
            assert_eq!(refused(address), Some(why), "{address}");
        }
    }

    #[test]
    fn what_is_routed_in_public_is_taken() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.1",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450:4001::1",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
        ] {
            assert_eq!(refused(address), None, "{address}");
        }
    }

    proptest! {
        /// The standard library's own names for such addresses agree.
        #[test]
        fn no_address_that_has_another_name_for_private_slips_through(bits in any::<u32>()) {
            let address = Ipv4Addr::from(bits);
            let is_special = address.is_private() || address.is_loopback() || address.is_link_local() || address.is_multicast()
                || address.is_broadcast() || address.is_documentation() || address.is_unspecified();
            prop_assert!(!is_special || refusal(IpAddr::V4(address)).is_some(), "{}", address);
            prop_assert_eq!(refusal(IpAddr::V6(address.to_ipv6_mapped())), refusal(IpAddr::V4(address)));
        }

        #[test]
        fn nothing_outside_the_public_block_of_ipv6_is_taken(bits in any::<u128>()) {
            let address = Ipv6Addr::from(bits);
            if refusal(IpAddr::V6(address)).is_none() && embedded_v4(address.segments()).is_none() {
                prop_assert_eq!(bits >> 125, 1, "{}", address);
            }
        }
    }
}
