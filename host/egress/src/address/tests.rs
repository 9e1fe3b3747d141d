//! Addresses against a slow reference: lists of ranges, as IANA has them.

use ipnet::IpNet;
use proptest::prelude::*;

use super::*;

/// Special ranges with what they are, the narrower first.
const RANGES: [(&str, AddressKind); 60] = [
    ("169.254.169.254/32", AddressKind::Metadata),
    ("169.254.170.2/32", AddressKind::Metadata),
    ("169.254.170.23/32", AddressKind::Metadata),
    ("169.254.42.42/32", AddressKind::Metadata),
    ("168.63.129.16/32", AddressKind::Metadata),
    ("100.100.100.200/32", AddressKind::Metadata),
    ("192.0.0.192/32", AddressKind::Metadata),
    ("fd00:ec2::254/128", AddressKind::Metadata),
    ("fd00:ec2::23/128", AddressKind::Metadata),
    ("fd20:ce::254/128", AddressKind::Metadata),
    ("fd00:42::42/128", AddressKind::Metadata),
    ("0.0.0.0/32", AddressKind::Unspecified),
    ("0.0.0.0/8", AddressKind::Reserved),
    ("10.0.0.0/8", AddressKind::Private),
    ("100.64.0.0/10", AddressKind::Shared),
    ("127.0.0.0/8", AddressKind::Loopback),
    ("169.254.0.0/16", AddressKind::LinkLocal),
    ("172.16.0.0/12", AddressKind::Private),
    ("192.0.0.0/24", AddressKind::Reserved),
    ("192.0.2.0/24", AddressKind::Reserved),
    ("192.88.99.0/24", AddressKind::Reserved),
    ("192.168.0.0/16", AddressKind::Private),
    ("198.18.0.0/15", AddressKind::Reserved),
    ("198.51.100.0/24", AddressKind::Reserved),
    ("203.0.113.0/24", AddressKind::Reserved),
    ("224.0.0.0/4", AddressKind::Multicast),
    ("255.255.255.255/32", AddressKind::Broadcast),
    ("240.0.0.0/4", AddressKind::Reserved),
    ("0.0.0.0/0", AddressKind::Public),
    ("::/128", AddressKind::Unspecified),
    ("::1/128", AddressKind::Loopback),
    ("::/96", AddressKind::Translated),
    ("::ffff:0:0/96", AddressKind::Translated),
    ("::ffff:0:0:0/96", AddressKind::Translated),
    ("64:ff9b::/96", AddressKind::Translated),
    ("64:ff9b:1::/48", AddressKind::Reserved),
    ("100::/64", AddressKind::Reserved),
    ("2001::/32", AddressKind::Translated),
    ("2001:1::/32", AddressKind::Reserved),
    ("2001:2::/48", AddressKind::Reserved),
    ("2001:3::/32", AddressKind::Reserved),
    ("2001:4:112::/48", AddressKind::Reserved),
    ("2001:10::/28", AddressKind::Reserved),
    ("2001:20::/28", AddressKind::Reserved),
    ("2001:30::/28", AddressKind::Reserved),
    ("2001::/23", AddressKind::Reserved),
    ("2001:db8::/32", AddressKind::Reserved),
    ("2002::/16", AddressKind::Translated),
    ("3fff::/20", AddressKind::Reserved),
    ("2000::/3", AddressKind::Public),
    ("5f00::/16", AddressKind::Reserved),
    ("fc00::/8", AddressKind::Private),
    ("fd00::/8", AddressKind::Private),
    ("fe80::/10", AddressKind::LinkLocal),
    ("fec0::/10", AddressKind::LinkLocal),
    ("ff00::/8", AddressKind::Multicast),
    ("4000::/2", AddressKind::Reserved),
    ("8000::/1", AddressKind::Reserved),
    ("::/3", AddressKind::Reserved),
    ("::/0", AddressKind::Reserved),
];

fn reference(address: IpAddr) -> AddressKind {
    RANGES
        .iter()
        .find(|(range, _)| range.parse::<IpNet>().unwrap().contains(&address))
        .map(|(_, kind)| *kind)
        .unwrap()
}

fn ranges(texts: &[&str]) -> Vec<AddressRange> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// An address anywhere, near an edge of a range, or within one.
fn any_address() -> impl Strategy<Value = IpAddr> {
    let within = (0..RANGES.len(), any::<u128>(), -2_i8..3).prop_map(|(at, random, off)| {
        match RANGES[at].0.parse::<IpNet>().unwrap() {
            IpNet::V4(range) => {
                let host = random as u32 & range.hostmask().to_bits();
                let edge = [host, 0, range.hostmask().to_bits()][random as usize % 3];
                let bits = range.network().to_bits() | edge;
                IpAddr::V4(Ipv4Addr::from_bits(bits.wrapping_add_signed(off.into())))
            }
            IpNet::V6(range) => {
                let host = random & range.hostmask().to_bits();
                let edge = [host, 0, range.hostmask().to_bits()][random as usize % 3];
                let bits = range.network().to_bits() | edge;
                IpAddr::V6(Ipv6Addr::from_bits(bits.wrapping_add_signed(off.into())))
            }
        }
    });
    prop_oneof![
        any::<u32>().prop_map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits))),
        any::<u128>().prop_map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits))),
        within,
    ]
}

/// The IPv6 forms of an IPv4 address.
fn forms(address: Ipv4Addr) -> [Ipv6Addr; 6] {
    let bits = u128::from(address.to_bits());
    [
        address.to_ipv6_mapped(),
        Ipv6Addr::from_bits(0xffff << 48 | bits),
        Ipv6Addr::from_bits(0x64_ff9b << 96 | bits),
        Ipv6Addr::from_bits(bits),
        Ipv6Addr::from_bits(0x2002 << 112 | bits << 80 | 1),
        Ipv6Addr::from_bits(0x2001 << 112 | u128::from(!address.to_bits())),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn kinds_are_those_of_the_registries(address in any_address()) {
        prop_assert_eq!(AddressKind::of(address), reference(address), "{}", address);
    }

    #[test]
    fn an_ipv4_address_in_an_ipv6_one_is_found(bits in 65_536_u32..) {
        let address = Ipv4Addr::from_bits(bits);
        for six in forms(address) {
            prop_assert_eq!(inner(six), Some(address), "{}", six);
        }
    }

    #[test]
    fn nothing_special_is_reached_without_its_range(address in any_address()) {
        let bare = permit(address, &[]);
        let v4 = match address {
            IpAddr::V6(address) => inner(address).map(IpAddr::V4),
            IpAddr::V4(_) => None,
        };
        let public = reference(address) == AddressKind::Public
            && v4.is_none_or(|v4| reference(v4) == AddressKind::Public);
        prop_assert_eq!(bare.is_ok(), public, "{}", address);
        // By its own address, and by what is in it, anything can be granted.
        let mut own = vec![AddressRange(address.into())];
        own.extend(v4.map(|v4| AddressRange(v4.into())));
        prop_assert!(permit(address, &own).is_ok());
        // By all ranges, all but metadata.
        let metadata = [Some(address), v4]
            .into_iter()
            .flatten()
            .any(|address| reference(address) == AddressKind::Metadata);
        let all = ranges(&["0.0.0.0/0", "::/0"]);
        prop_assert_eq!(permit(address, &all).is_ok(), !metadata);
    }
}

#[test]
fn granted_ranges_open_what_is_in_them() {
    for (address, granted, allowed) in [
        ("10.1.2.3", &["10.1.0.0/16"][..], true),
        ("10.2.2.3", &["10.1.0.0/16"], false),
        ("127.0.0.1", &["10.0.0.0/8"], false),
        ("::1", &["127.0.0.1"], false),
        ("169.254.169.254", &["169.254.0.0/16"], false),
        ("169.254.169.254", &["0.0.0.0/0"], false),
        ("169.254.169.254", &["169.254.169.254"], true),
        ("fd00:ec2::254", &["fd00::/8"], false),
        // Both must be allowed: the form, and what is in it.
        ("::ffff:10.1.2.3", &["10.1.0.0/16"], false),
        ("::ffff:10.1.2.3", &["::ffff:0:0/96"], false),
        ("::ffff:10.1.2.3", &["::ffff:0:0/96", "10.1.0.0/16"], true),
        ("::ffff:169.254.169.254", &["::/0", "0.0.0.0/0"], false),
        // A network whose only way to IPv4 is a translator.
        ("64:ff9b::5db8:d822", &["64:ff9b::/96"], true),
        ("64:ff9b::7f00:1", &["64:ff9b::/96"], false),
    ] {
        let permitted = permit(address.parse().unwrap(), &ranges(granted));
        assert_eq!(permitted.is_ok(), allowed, "{address} {granted:?}");
    }
}

#[test]
fn a_refusal_says_what_would_have_to_be_granted() {
    let words = |address: &str| {
        permit(address.parse().unwrap(), &[])
            .unwrap_err()
            .to_string()
    };
    let error = words("10.0.0.7");
    assert!(
        error.contains("10.0.0.7 is an address of a private network"),
        "{error}"
    );
    assert!(error.contains("\"10.0.0.7\""), "{error}");
    let error = words("::ffff:127.0.0.1");
    assert!(error.contains("in an IPv6 form"), "{error}");
    assert!(words("169.254.169.254").contains("credentials"));
}

#[test]
fn the_host_speaks_to_what_its_operator_names() {
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
        ("2001:0:0:0:0:0:5601:5601", false, false),
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
        assert_eq!(
            refused_to_host(ip, local).is_none(),
            allowed,
            "{address} {local}"
        );
    }
}
