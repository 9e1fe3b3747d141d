//! The matcher against a slow one that knows no shortcuts, and against what must hold of any.

use std::net::IpAddr;

use proptest::prelude::*;

use super::*;

/// Whether `**`-segments and segments with `*` match, tried in every way.
fn path_matches(pattern: &[&str], path: &[&str]) -> bool {
    match pattern.split_first() {
        None => path.is_empty(),
        Some((&"**", rest)) => (0..=path.len()).any(|taken| path_matches(rest, &path[taken..])),
        Some((first, rest)) => path.split_first().is_some_and(|(segment, left)| {
            let empty = *first == "*" && segment.is_empty();
            !empty
                && segment_matches(first.as_bytes(), segment.as_bytes())
                && path_matches(rest, left)
        }),
    }
}

fn segment_matches(pattern: &[u8], segment: &[u8]) -> bool {
    match pattern.split_first() {
        None => segment.is_empty(),
        Some((b'*', rest)) => {
            (0..=segment.len()).any(|taken| segment_matches(rest, &segment[taken..]))
        }
        Some((first, rest)) => segment
            .split_first()
            .is_some_and(|(byte, left)| byte == first && segment_matches(rest, left)),
    }
}

fn segments(path: &str) -> Vec<&str> {
    path.split('/').skip(1).collect()
}

/// Whether a rule matches, from its text and that of the request.
fn slow_matches(rule: &str, method: &str, url: &str) -> bool {
    fn parts(url: &str) -> (&str, &str, &str, &str) {
        let (scheme, rest) = url.split_once("://").unwrap();
        let slash = rest.find('/').unwrap();
        let (authority, path) = rest.split_at(slash);
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port),
            _ => (authority, if scheme == "https" { "443" } else { "80" }),
        };
        (scheme, host, port, path)
    }
    let (methods, pattern) = rule.split_once(' ').unwrap();
    let (scheme, host, ports, path) = parts(pattern);
    let (their_scheme, their_host, their_port, their_path) = parts(url);
    let their_port: u16 = their_port.parse().unwrap();
    let hidden = ["%2F", "%5C", "%00", ";"]
        .iter()
        .any(|sign| their_path.contains(sign));
    (methods == "*" || methods.split(',').any(|one| one == method))
        && scheme == their_scheme
        && match host.strip_prefix('*') {
            Some(below) => their_host.len() > below.len() && their_host.ends_with(below),
            None => host == their_host,
        }
        && match ports.split_once('-') {
            _ if ports == "*" => true,
            Some((first, last)) => {
                (first.parse().unwrap()..=last.parse().unwrap()).contains(&their_port)
            }
            None => ports.parse() == Ok(their_port),
        }
        && if hidden {
            path == "/**"
        } else {
            path_matches(&segments(path), &segments(their_path))
        }
}

/// Few letters, so that things meet.
fn any_rule() -> impl Strategy<Value = String> {
    let methods = prop_oneof![
        Just("*".to_owned()),
        Just("GET".to_owned()),
        Just("GET,POST".to_owned()),
        Just("POST,DELETE".to_owned()),
    ];
    let host = prop_oneof![
        4 => "(\\*\\.)?([ab]\\.){0,2}x\\.y",
        1 => Just("*".to_owned()),
        1 => Just("10.0.0.1".to_owned()),
        1 => Just("[::1]".to_owned()),
    ];
    let port = prop_oneof![4 => Just(""), 1 => Just(":*"), 1 => Just(":80-90"), 1 => Just(":85")];
    let segment =
        prop_oneof![2 => "[ab*]{0,3}", 1 => Just("**".to_owned()), 1 => Just("*".to_owned())];
    let path = proptest::collection::vec(segment, 1..4);
    (methods, "https?", host, port, path).prop_filter_map(
        "a rule",
        |(methods, scheme, host, port, path)| {
            let path = path.join("/");
            let rule = format!("{methods} {scheme}://{host}{port}/{path}");
            // In the form in which it is shown.
            rule.parse::<NetworkRule>()
                .ok()
                .map(|rule| rule.to_string())
        },
    )
}

fn any_request() -> impl Strategy<Value = (String, String)> {
    let host = prop_oneof![
        4 => "([ab]\\.){0,3}x\\.y",
        1 => Just("10.0.0.1".to_owned()),
        1 => Just("[::1]".to_owned()),
    ];
    let port = prop_oneof![4 => Just(""), 1 => Just(":85"), 1 => Just(":9")];
    let segment = prop_oneof![
        6 => "[ab]{0,3}",
        1 => Just("a%2Fb".to_owned()),
        1 => Just("..;".to_owned())
    ];
    let path = proptest::collection::vec(segment, 1..5);
    ("GET|POST|PUT", "https?", host, port, path).prop_map(|(method, scheme, host, port, path)| {
        (
            method,
            format!("{scheme}://{host}{port}/{}", path.join("/")),
        )
    })
}

/// A rule and one that is often within it.
fn narrowed() -> impl Strategy<Value = (String, String)> {
    let piece = prop_oneof![Just("a"), Just("*"), Just("ba"), Just("")];
    (any_rule(), proptest::collection::vec(piece, 8)).prop_map(|(rule, pieces)| {
        let mut pieces = pieces.into_iter().cycle();
        let url = rule.find("://").unwrap() + 3;
        let slash = url + rule[url..].find('/').unwrap();
        let (front, path) = rule.split_at(slash);
        let mut narrow = front.replace("*.", "b.").replacen("GET,POST", "GET", 1);
        for segment in path.split('/').skip(1) {
            narrow.push('/');
            match segment {
                "**" => narrow.push_str(["a/b", "**", "*/**/a"][pieces.next().unwrap().len()]),
                _ => {
                    for part in segment.split_inclusive('*') {
                        match part.strip_suffix('*') {
                            None => narrow.push_str(part),
                            Some(part) => {
                                narrow.push_str(part);
                                narrow.push_str(pieces.next().unwrap());
                            }
                        }
                    }
                }
            }
        }
        (rule, narrow)
    })
}

fn rule(text: &str) -> NetworkRule {
    text.parse().unwrap()
}

fn target((method, url): &(String, String)) -> Target {
    Target::new(method, url).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_matcher_agrees_with_the_slow_one(text in any_rule(), request in any_request()) {
        let target = target(&request);
        let (method, url) = (target.method(), target.url().as_str());
        prop_assert_eq!(rule(&text).matches(&target), slow_matches(&text, method, url));
    }

    /// Where one rule covers another, there is no request that only the other allows.
    #[test]
    fn what_covers_allows_no_less(one in any_rule(), other in any_rule(), request in any_request()) {
        let (one, other, target) = (rule(&one), rule(&other), target(&request));
        prop_assert!(!one.covers(&other) || !other.matches(&target) || one.matches(&target));
        prop_assert!(!one.covers(&other) || one.overlaps(&other));
        prop_assert!(one.overlaps(&other) || !(one.matches(&target) && other.matches(&target)));
        prop_assert_eq!(one.overlaps(&other), other.overlaps(&one));
        prop_assert!(one.covers(&one));
    }

    #[test]
    fn covering_is_transitive(one in any_rule(), other in any_rule(), third in any_rule()) {
        let (one, other, third) = (rule(&one), rule(&other), rule(&third));
        prop_assert!(!one.covers(&other) || !other.covers(&third) || one.covers(&third));
    }

    /// Narrowing by hand what people narrow is seen as such: a `*` by letters or another `*`,
    /// a `**` by segments.
    #[test]
    fn what_is_narrowed_is_covered((wide, narrow) in narrowed()) {
        let (wide, narrow) = (rule(&wide), narrow.parse::<NetworkRule>());
        if let Ok(narrow) = narrow {
            let empties = narrow.path.as_str().split('/').skip(1).any(str::is_empty);
            prop_assert!(wide.covers(&narrow) || empties, "{} {}", wide, narrow);
        }
    }

    /// The path alone, where the slow one is asked for all short paths.
    #[test]
    fn covering_a_path_is_never_wrong(one in "(/([ab*]{0,2}|\\*\\*)){1,3}", other in "(/([ab*]{0,2}|\\*\\*)){1,3}") {
        if let (Ok(one), Ok(other)) = (one.parse::<PathPattern>(), other.parse::<PathPattern>()) {
            let names = ["", "a", "b", "ab", "ba", "c"];
            let mut paths: Vec<Vec<&str>> = vec![Vec::new()];
            for _ in 0..4 {
                let longer = paths.iter().flat_map(|path| {
                    names.iter().map(|name| [path.clone(), vec![*name]].concat())
                });
                let longer: Vec<_> = longer.collect();
                let (wide, narrow) = (segments(one.as_str()), segments(other.as_str()));
                let within = |path: &Vec<&str>| !path_matches(&narrow, path) || path_matches(&wide, path);
                let meets = |path: &Vec<&str>| path_matches(&narrow, path) && path_matches(&wide, path);
                prop_assert!(!one.covers(&other) || longer.iter().all(within), "{} {}", one, other);
                prop_assert!(one.overlaps(&other) || !longer.iter().any(meets), "{} {}", one, other);
                paths = longer;
            }
        }
    }

    /// A plugin may send what is asked for and granted, neither more nor less, however many
    /// rules there are and in whatever way they are found.
    #[test]
    fn a_policy_is_what_both_allow(
        requests in proptest::collection::vec((any_rule(), proptest::option::of("[a-c]")), 0..8),
        grants in proptest::collection::vec(any_rule(), 0..8),
        request in any_request(),
    ) {
        let requests: Vec<(NetworkRule, Option<CredentialUse>)> = requests
            .iter()
            .map(|(text, name)| {
                let name = name.as_ref().map(|name| name.parse().unwrap());
                (rule(text), name.map(|name| CredentialUse { name, place: None }))
            })
            .collect();
        let grants: Vec<NetworkRule> = grants.iter().map(|text| rule(text)).collect();
        let target = target(&request);
        let asked: Vec<_> = requests.iter().filter(|(rule, _)| rule.matches(&target)).collect();
        let granted = grants.iter().any(|rule| rule.matches(&target));
        let credential = asked.iter().find_map(|(_, credential)| credential.clone());
        let expected = match (asked.is_empty(), granted) {
            (true, _) => Decision::NotRequested,
            (false, false) => Decision::NotGranted,
            (false, true) => Decision::Allowed { credential },
        };
        let policy = NetworkPolicy::new(Some(requests.clone()), &grants);
        prop_assert_eq!(policy.decide(&target), expected);
        let inferred = NetworkPolicy::new(None, &grants);
        let allowed = Decision::Allowed { credential: None };
        prop_assert_eq!(inferred.decide(&target), if granted { allowed } else { Decision::NotGranted });
        let overlaps = Overlaps::new(requests.iter().map(|(rule, _)| rule));
        for grant in &grants {
            let slow = requests.iter().any(|(rule, _)| rule.overlaps(grant));
            prop_assert_eq!(overlaps.any(grant), slow);
        }
    }

    /// What is sent is read again as what was checked, and its rule allows it.
    #[test]
    fn targets_are_settled(
        scheme in "[hH]ttps?",
        host in prop_oneof![
            "[a-zA-Z0-9.-]{1,12}",
            "[a-zäß。０-９]{1,6}\\.[a-z]{2}\\.?",
            "(0x)?[0-9a-f]{1,10}(\\.[0-9]{1,3}){0,3}\\.?",
            "\\[[0-9a-f:.]{2,20}\\]"
        ],
        port in "(:[0-9]{0,5})?",
        path in "(/([a-z.*;ä|{}^`\"<>]{0,3}|%[0-9a-fA-F]{2}|%2e|%25%32%65)){0,4}",
        query in "(\\?[a-z%/\\.@:]{0,5})?(#[a-z]{0,3})?",
    ) {
        let url = format!("{scheme}://{host}{port}{path}{query}");
        if let Ok(target) = Target::new("get", &url) {
            let again = Target::new(target.method(), target.url().as_str());
            prop_assert_eq!(again.as_ref(), Ok(&target));
            let segments: Vec<_> = target.path().split('/').collect();
            prop_assert!(!segments.contains(&"..") && !segments.contains(&"."), "{}", target);
            prop_assert!(!target.path().contains(['*', '\\', '#']), "{}", target);
            prop_assert!(target.rule().matches(&target), "{}", target.rule());
            prop_assert_eq!(target.rule().to_string().parse::<NetworkRule>(), Ok(target.rule()));
            prop_assert_eq!(target.origin().to_string().parse::<Origin>(), Ok(target.origin()));
        }
    }

    #[test]
    fn rules_read_as_they_are_shown(text in any_rule()) {
        prop_assert_eq!(rule(&text).to_string(), text);
    }

    #[test]
    fn ranges_and_sockets_cover_what_they_should(
        one in (any::<[u8; 4]>(), 0..=32_u8),
        other in (any::<[u8; 4]>(), 0..=32_u8),
        address in any::<[u8; 4]>(),
    ) {
        let range = |(octets, bits): ([u8; 4], u8)| {
            AddressRange(ipnet::IpNet::new(IpAddr::from(octets), bits).unwrap().trunc())
        };
        let (one, other, address) = (range(one), range(other), IpAddr::from(address));
        let both = one.contains(address) && other.contains(address);
        let common = one.common(&other).is_some_and(|range| range.contains(address));
        prop_assert_eq!(both, common);
        prop_assert!(!one.covers(&other) || !other.contains(address) || one.contains(address));
    }
}
