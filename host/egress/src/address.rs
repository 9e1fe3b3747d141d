//! What an address is, and who may speak to it.
//!
//! A public address is one of a machine in the internet. All others lead somewhere that a
//! stranger's server can't be: this machine, its network, the place where cloud machines get
//! their credentials from, nowhere. IPv6 addresses with an IPv4 address in them are translated
//! on their way, so that what is in them is looked at too.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use portreeve_manifest::grant::AddressRange;

use crate::error::{GateError, GateErrorKind};

/// Where cloud machines get their credentials from, as their clouds document it.
const METADATA: [IpAddr; 11] = [
    // Amazon, Google, Azure and most others; containers and pods at Amazon.
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
    // Google over IPv6.
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    // Azure's "wire server", in a range that is public otherwise.
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    // Alibaba, Oracle, Scaleway over IPv4 and IPv6.
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 42, 42)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42)),
];

/// What an address is. The ranges are those of IANA's registries of special-purpose addresses
/// (RFC 6890 and what it was updated by).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AddressKind {
    /// Of a machine in the internet.
    Public,
    /// This machine.
    Loopback,
    /// A private network: RFC 1918, and unique local ones of IPv6.
    Private,
    /// The link, and the old site-local ones of IPv6.
    LinkLocal,
    /// Where a cloud machine gets its credentials from.
    Metadata,
    /// Behind a carrier's translation of addresses.
    Shared,
    /// Many machines at once.
    Multicast,
    /// All machines of a link.
    Broadcast,
    /// None.
    Unspecified,
    /// An IPv6 form of an IPv4 address.
    Translated,
    /// Kept for documentation, measurements, protocols, or nothing yet.
    Reserved,
}

impl fmt::Display for AddressKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AddressKind::Public => "a public address",
            AddressKind::Loopback => "an address of this machine",
            AddressKind::Private => "an address of a private network",
            AddressKind::LinkLocal => "a link-local address",
            AddressKind::Metadata => "where cloud machines keep their own credentials",
            AddressKind::Shared => "an address of a carrier's inner network",
            AddressKind::Multicast => "a multicast address",
            AddressKind::Broadcast => "a broadcast address",
            AddressKind::Unspecified => "no address of a machine",
            AddressKind::Translated => "an IPv4 address in an IPv6 form",
            AddressKind::Reserved => "a reserved address",
        })
    }
}

impl AddressKind {
    /// What an address is, without a look at what is in it; see [`inner`].
    pub(crate) fn of(address: IpAddr) -> AddressKind {
        if METADATA.contains(&address) {
            return AddressKind::Metadata;
        }
        match address {
            IpAddr::V4(address) => of_v4(address),
            IpAddr::V6(address) => of_v6(address),
        }
    }
}

fn of_v4(address: Ipv4Addr) -> AddressKind {
    match address.octets() {
        [0, 0, 0, 0] => AddressKind::Unspecified,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => AddressKind::Private,
        [100, 64..=127, ..] => AddressKind::Shared,
        [127, ..] => AddressKind::Loopback,
        [169, 254, ..] => AddressKind::LinkLocal,
        [224..=239, ..] => AddressKind::Multicast,
        [255, 255, 255, 255] => AddressKind::Broadcast,
        // "This network", protocols, documentation, old relays of 6to4, measurements, later.
        [0, ..]
        | [192, 0, 0, _]
        | [192, 0, 2, _]
        | [192, 88, 99, _]
        | [198, 18..=19, ..]
        | [198, 51, 100, _]
        | [203, 0, 113, _]
        | [240..=255, ..] => AddressKind::Reserved,
        _ => AddressKind::Public,
    }
}

fn of_v6(address: Ipv6Addr) -> AddressKind {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => AddressKind::Unspecified,
        [0, 0, 0, 0, 0, 0, 0, 1] => AddressKind::Loopback,
        _ if inner(address).is_some() => AddressKind::Translated,
        [0xfc00..=0xfdff, ..] => AddressKind::Private,
        [0xfe80..=0xfeff, ..] => AddressKind::LinkLocal,
        [0xff00..=0xffff, ..] => AddressKind::Multicast,
        // Of what is given out to machines: protocols, and documentation twice.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => {
            AddressKind::Reserved
        }
        [0x2000..=0x3fff, ..] => AddressKind::Public,
        _ => AddressKind::Reserved,
    }
}

/// The IPv4 address within an IPv6 one, in each of the forms that lead there.
pub(crate) fn inner(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let four = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match [a, b, c, d, e, f] {
        // Mapped; translated by SIIT; NAT64 with the well-known prefix.
        [0, 0, 0, 0, 0, 0xffff] | [0, 0, 0, 0, 0xffff, 0] | [0x64, 0xff9b, 0, 0, 0, 0] => {
            Some(four(g, h))
        }
        // Compatible, but for `::` and `::1`.
        [0, 0, 0, 0, 0, 0] if g != 0 || h > 1 => Some(four(g, h)),
        // 6to4.
        [0x2002, high, low, ..] => Some(four(high, low)),
        // Teredo: the client's address, with its bits turned.
        [0x2001, 0, ..] => Some(four(!g, !h)),
        _ => None,
    }
}

/// The kinds of an address and of what is in it.
fn kinds(address: IpAddr) -> impl Iterator<Item = (IpAddr, AddressKind)> {
    let within = match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => inner(address).map(IpAddr::V4),
    };
    std::iter::once(address)
        .chain(within)
        .map(|address| (address, AddressKind::of(address)))
}

/// Looks whether a plugin may reach an address: a public one, or one in a granted range. An
/// address that serves metadata must be granted by itself. Where an IPv4 address is in an IPv6
/// one, both must be allowed.
///
/// # Errors
/// When it may not; the error says what would have to be granted.
pub(crate) fn permit(address: IpAddr, granted: &[AddressRange]) -> Result<(), GateError> {
    let allowed = |address: &IpAddr, kind| match kind {
        AddressKind::Public => true,
        AddressKind::Metadata => granted.iter().any(|range| {
            range.0.prefix_len() == range.0.max_prefix_len() && range.0.contains(address)
        }),
        _ => granted.iter().any(|range| range.0.contains(address)),
    };
    let refused = kinds(address).find(|(address, kind)| !allowed(address, *kind));
    let Some((within, kind)) = refused else {
        return Ok(());
    };
    let shown = if within == address {
        address.to_string()
    } else {
        format!("{address} leads to {within}, which")
    };
    Err(GateError::new(
        GateErrorKind::AddressRefused { address: within },
        format!(
            "{shown} is {kind}: it is reached only if the plugin requests the address \"{within}\" and its operator grants it"
        ),
    ))
}

/// Why the host itself doesn't speak to an address that its operator has named; nothing where
/// it may. The operator's own network is fine, and this machine where it is named as such
/// (`local`).
pub(crate) fn refused_to_host(address: IpAddr, local: bool) -> Option<&'static str> {
    let is = |kind| kinds(address).any(|(_, found)| found == kind);
    if is(AddressKind::Loopback) != local {
        return Some(if local {
            "is not this machine"
        } else {
            "is this machine, which must be written as localhost or 127.0.0.1"
        });
    }
    if is(AddressKind::LinkLocal) || is(AddressKind::Metadata) {
        return Some("is where machines keep their own credentials");
    }
    (is(AddressKind::Unspecified) || is(AddressKind::Multicast) || is(AddressKind::Broadcast))
        .then_some("is no address of one machine")
}
#[cfg(test)]
mod tests;
