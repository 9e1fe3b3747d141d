//! Rules: what is shown reads back, a rule covers itself, and one that covers another allows
//! whatever the other does. One line for each rule; a line may also be a request.
#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use portreeve_manifest::grant::{
    AddressRange, CredentialAsked, Decision, NetworkPolicy, NetworkRule, Origin, SocketRule, Target,
};

/// Lines that are looked at: they are held against each other.
const LINES_MAX: usize = 8;

fuzz_target!(|text: &str| {
    let mut rules: Vec<NetworkRule> = Vec::new();
    let mut targets: Vec<Target> = Vec::new();
    let mut ranges: Vec<AddressRange> = Vec::new();
    let mut addresses: Vec<IpAddr> = Vec::new();
    for line in text.lines().take(LINES_MAX) {
        if let Ok(rule) = line.parse::<NetworkRule>() {
            assert_eq!(rule.to_string().parse(), Ok(rule.clone()));
            rules.push(rule);
        }
        if let Some((method, url)) = line.split_once(' ')
            && let Ok(target) = Target::new(method, url)
        {
            targets.push(target);
        }
        if let Ok(range) = line.parse::<AddressRange>() {
            assert_eq!(range.to_string().parse(), Ok(range));
            ranges.push(range);
        }
        addresses.extend(line.parse::<IpAddr>());
        if let Ok(rule) = line.parse::<SocketRule>() {
            assert_eq!(rule.to_string().parse(), Ok(rule.clone()));
            assert!(rule.covers(&rule));
        }
        if let Ok(asked) = line.parse::<CredentialAsked>() {
            assert_eq!(asked.to_string().parse(), Ok(asked.clone()));
            assert!(asked.covers(&asked));
        }
        if let Ok(origin) = line.parse::<Origin>() {
            assert_eq!(origin.to_string().parse(), Ok(origin));
        }
    }
    for one in &rules {
        assert!(one.covers(one) && one.overlaps(one));
        for other in &rules {
            assert_eq!(one.overlaps(other), other.overlaps(one));
            let covers = one.covers(other);
            assert!(!covers || one.overlaps(other));
            for target in &targets {
                let (wide, narrow) = (one.matches(target), other.matches(target));
                assert!(!covers || !narrow || wide);
                assert!(!(wide && narrow) || one.overlaps(other));
            }
        }
    }
    let policy = NetworkPolicy::new(None, &rules);
    for target in &targets {
        let allowed = matches!(policy.decide(target), Decision::Allowed { .. });
        assert_eq!(allowed, rules.iter().any(|rule| rule.matches(target)));
    }
    for one in &ranges {
        for other in &ranges {
            for address in &addresses {
                let both = one.contains(*address) && other.contains(*address);
                let common = one.common(other);
                assert_eq!(both, common.is_some_and(|range| range.contains(*address)));
            }
        }
    }
});
