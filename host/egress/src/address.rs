//! Where a webhook may be: which addresses are never spoken to.
//!
//! The address is the operator's own, so that one in a private network is fine. What a name
//! leads to may be somebody else's, so that it is looked at when it is used, and the address
//! that was looked at is the one that is spoken to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::EgressError;

/// Addresses that are tried.
const ADDRESSES_MAX: usize = 8;

/// Where cloud machines get their credentials from, besides the link-local addresses: AWS
/// over IPv6, Alibaba, Oracle.
const METADATA: [IpAddr; 3] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
];

/// Why an address is not spoken to; nothing where it may be. `local` is whether the webhook
/// is this machine by its written name.
fn refused(address: IpAddr, local: bool) -> Option<&'static str> {
    let address = plain(address);
    if address.is_loopback() != local {
        return Some(if local {
            "is not this machine"
        } else {
            "is this machine, which must be written as localhost or 127.0.0.1"
        });
    }
    let (link_local, broadcast) = match address {
        IpAddr::V4(address) => (address.is_link_local(), address.is_broadcast()),
        IpAddr::V6(address) => (address.is_unicast_link_local(), false),
    };
    if link_local || METADATA.contains(&address) {
        return Some("is where machines keep their own credentials");
    }
    (address.is_unspecified() || address.is_multicast() || broadcast)
        .then_some("is no address of one machine")
}

/// The IPv4 address within an IPv6 one, in each of the forms that lead there.
fn plain(address: IpAddr) -> IpAddr {
    let IpAddr::V6(six) = address else {
        return address;
    };
    let [a, b, c, d, e, f, g, h] = six.segments();
    let four = |high: u16, low: u16| {
        let [[a, b], [c, d]] = [high.to_be_bytes(), low.to_be_bytes()];
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match [a, b, c, d, e, f] {
        // Mapped, and the translators of NAT64.
        [0, 0, 0, 0, 0, 0xffff] | [0x64, 0xff9b, 0, 0, 0, 0] => four(g, h),
        // Compatible, but for `::` and `::1`.
        [0, 0, 0, 0, 0, 0] if g != 0 => four(g, h),
        // 6to4.
        [0x2002, high, low, ..] => four(high, low),
        _ => address,
    }
}

/// The addresses of a host that may be spoken to.
pub(crate) async fn resolve(
    host: &url::Host<String>,
    port: u16,
    local: bool,
) -> Result<Vec<SocketAddr>, EgressError> {
    let all: Vec<SocketAddr> = match host {
        url::Host::Ipv4(address) => vec![(*address, port).into()],
        url::Host::Ipv6(address) => vec![(*address, port).into()],
        url::Host::Domain(name) => tokio::net::lookup_host((name.as_str(), port))
            .await
            .map_err(|error| EgressError::Later(format!("{name} can't be found: {error}")))?
            .take(ADDRESSES_MAX)
            .collect(),
    };
    let mut why = None;
    let mut allowed = Vec::new();
    for address in all {
        match refused(address.ip(), local) {
            None => allowed.push(address),
            Some(reason) => why = Some(format!("{} {reason}", address.ip())),
        }
    }
    if allowed.is_empty() {
        // What a name leads to can change.
        return Err(EgressError::Later(why.map_or_else(
            || format!("{host} has no address"),
            |why| format!("{host} is not spoken to: {why}"),
        )));
    }
    Ok(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (address, local, allowed) in [
            ("93.184.216.34", false, true),
            ("2606:2800:220:1::1", false, true),
            // The operator's own network.
            ("10.0.0.7", false, true),
            ("192.168.1.1", false, true),
            ("fd12:3456::1", false, true),
            ("127.0.0.1", true, true),
            ("127.9.9.9", true, true),
            ("::1", true, true),
            ("127.0.0.1", false, false),
            ("::1", false, false),
            ("::ffff:127.0.0.1", false, false),
            ("93.184.216.34", true, false),
            ("169.254.169.254", false, false),
            ("169.254.1.1", false, false),
            ("::ffff:169.254.169.254", false, false),
            ("::169.254.169.254", false, false),
            ("64:ff9b::a9fe:a9fe", false, false),
            ("2002:a9fe:a9fe::1", false, false),
            ("fe80::1", false, false),
            ("fd00:ec2::254", false, false),
            ("100.100.100.200", false, false),
            ("0.0.0.0", false, false),
            ("::", false, false),
            ("255.255.255.255", false, false),
            ("224.0.0.1", false, false),
            ("ff02::1", false, false),
        ] {
            let ip: IpAddr = address.parse().unwrap();
            assert_eq!(refused(ip, local).is_none(), allowed, "{address} {local}");
        }
    }

    #[tokio::test]
    async fn a_host_that_is_refused_says_why() {
        for (host, local, words) in [
            ("169.254.169.254", false, "credentials"),
            ("localhost", false, "this machine"),
            ("127.0.0.1", false, "this machine"),
        ] {
            let host = url::Host::parse(host).unwrap();
            let error = resolve(&host, 443, local).await.unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        let localhost = url::Host::parse("localhost").unwrap();
        assert!(!resolve(&localhost, 80, true).await.unwrap().is_empty());
    }
}
