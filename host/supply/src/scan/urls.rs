//! Addresses in data: which server, how it is named, and whether the plugin asks for it.

use std::net::IpAddr;
use std::sync::OnceLock;

use portreeve_manifest::grant::{HostPattern, Requests};
use regex::bytes::Regex;

use super::patterns::shown;
use crate::finding::{Rule, rules};

/// The longest scheme that is looked for, in bytes.
pub(super) const SCHEME_BYTES_MAX: usize = 8;

/// Schemes of addresses that a program can go to, the longer ones first.
const SCHEMES: [&str; 9] = [
    "https", "http", "wss", "ws", "ftps", "ftp", "tcp", "udp", "ssh",
];

/// Words that stand for a password in what people write about passwords.
const PLACEHOLDERS: [&str; 13] = [
    "password", "passwd", "pass", "pw", "pwd", "secret", "token", "user", "username", "foo", "bar",
    "xxx", "example",
];

/// An address that was found.
pub(super) struct Found<'a> {
    pub(super) scheme: &'static str,
    /// Bytes after `://`, as far as they are the server's.
    pub(super) length: usize,
    user: Option<&'a [u8]>,
    host: &'a [u8],
}

fn authority() -> Option<&'static Regex> {
    static AUTHORITY: OnceLock<Option<Regex>> = OnceLock::new();
    let form = r"(?-u)\A(?:([A-Za-z0-9._~%!$&'()*+,;=-]{1,64}:[A-Za-z0-9._~%!$&'()*+,;=-]{1,128})@)?(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?)(?::[0-9]{1,5})?";
    AUTHORITY.get_or_init(|| Regex::new(form).ok()).as_ref()
}

impl<'a> Found<'a> {
    /// The address whose `://` stands between two texts.
    pub(super) fn read(before: &[u8], after: &'a [u8]) -> Option<Found<'a>> {
        let scheme = SCHEMES.into_iter().find(|scheme| {
            let from = before.len().checked_sub(scheme.len());
            let end = from.and_then(|from| before.get(from..));
            end.is_some_and(|end| end.eq_ignore_ascii_case(scheme.as_bytes()))
        })?;
        let found = authority()?.captures(after)?;
        let host = found.get(2)?.as_bytes();
        Some(Found {
            scheme,
            length: found.get(0)?.len(),
            user: found.get(1).map(|user| user.as_bytes()),
            host,
        })
    }

    /// What about it is to be looked at. In an author's own texts (`papers`) servers are
    /// named for people.
    pub(super) fn findings(
        &self,
        requests: &Requests,
        papers: bool,
    ) -> Vec<(&'static Rule, String)> {
        let mut findings: Vec<(&'static Rule, String)> = Vec::new();
        let host = shown(self.host).to_ascii_lowercase();
        let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
        if self.user.is_some_and(is_a_password) {
            let what = format!("a name and a password for `{}://{host}`", self.scheme);
            findings.push((&rules::PASSWORD_IN_URL, what));
        }
        match address {
            Some(address) if is_public(address) => {
                if !is_requested(requests, &host) {
                    findings.push((
                        &rules::ADDRESS_IN_URL,
                        format!("`{}://{host}`", self.scheme),
                    ));
                }
            }
            Some(_) => {}
            None if papers || !is_name(&host) || is_requested(requests, &host) => {}
            None => findings.push((
                &rules::URL_UNREQUESTED,
                format!("`{}://{host}`", self.scheme),
            )),
        }
        findings
    }
}

/// Whether an address could be on the internet: tables of addresses in programs are full of
/// the others.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [first, ..] = v4.octets();
            !(v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_broadcast()
                || v4.is_multicast()
                || v4.is_documentation()
                || first == 0
                || first >= 240)
        }
        IpAddr::V6(v6) => {
            let [first, second, ..] = v6.segments();
            first & 0xe000 == 0x2000 && (first, second) != (0x2001, 0x0db8)
        }
    }
}

/// Whether it is a name on the internet: with a last part of letters, as far as texts that
/// run into each other let that be told.
fn is_name(host: &str) -> bool {
    let Some((front, last)) = host.rsplit_once('.') else {
        return false;
    };
    !front.is_empty()
        && (2..=18).contains(&last.len())
        && last.bytes().all(|byte| byte.is_ascii_lowercase())
        && last != "invalid"
        && last != "test"
        && last != "example"
}

/// Whether a plugin requests to go to a host, or to some below it.
pub(super) fn is_requested(requests: &Requests, host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    let asked = match host.parse() {
        Ok(address) => HostPattern::Address(address),
        Err(_) => HostPattern::Name(host.to_owned()),
    };
    let below = HostPattern::Below(host.to_owned());
    requests.network.iter().any(|request| {
        let allowed = &request.allow.host;
        allowed.covers(&asked) || below.covers(allowed)
    })
}

fn is_a_password(user: &[u8]) -> bool {
    let user = String::from_utf8_lossy(user).to_ascii_lowercase();
    let Some((_, password)) = user.split_once(':') else {
        return false;
    };
    let mut seen: Vec<char> = password.chars().collect();
    seen.sort_unstable();
    seen.dedup();
    let format = password.starts_with(['%', '$', '{', '(', '*']);
    seen.len() >= 4 && !format && !PLACEHOLDERS.contains(&password)
}

/// The name of the Tor network that ends before `.onion`: 56 characters of base32.
pub(super) fn onion(before: &[u8]) -> Option<&[u8]> {
    const NAME_BYTES: usize = 56;
    let name = before.get(before.len().checked_sub(NAME_BYTES)?..)?;
    let base32 = |byte: &u8| matches!(byte, b'a'..=b'z' | b'2'..=b'7');
    name.iter().all(base32).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(before: &str, after: &str) -> Vec<(String, String)> {
        let found = Found::read(before.as_bytes(), after.as_bytes());
        let findings = found.map(|found| found.findings(&Requests::default(), false));
        let findings = findings.unwrap_or_default().into_iter();
        findings
            .map(|(rule, what)| (rule.id.to_owned(), what))
            .collect()
    }

    #[test]
    fn addresses() {
        for (before, after, expected) in [
            (
                "see https",
                "example.com/x",
                "url-unrequested `https://example.com`",
            ),
            (
                "HTTPS",
                "Example.COM",
                "url-unrequested `https://example.com`",
            ),
            ("http", "8.8.4.4:80/x", "address-in-url `http://8.8.4.4`"),
            (
                "http",
                "[2606:4700::1]/x",
                "address-in-url `http://[2606:4700::1]`",
            ),
            ("http", "127.0.0.1/x", ""),
            ("http", "192.0.2.1/x", ""),
            ("http", "localhost:8080/x", ""),
            ("git+ssh", "host", ""),
            ("x", "example.com", ""),
            ("https", "{}/x", ""),
            (
                "https",
                "bob:hunter2@db.example.org/",
                "password-in-url a name and a password for `https://db.example.org`; url-unrequested `https://db.example.org`",
            ),
            ("https", "user:password@db.test/", ""),
            ("https", "user:%s@db.test/", ""),
        ] {
            let found: Vec<_> = found(before, after)
                .into_iter()
                .map(|(rule, what)| format!("{rule} {what}"))
                .collect();
            assert_eq!(found.join("; "), expected, "{before}://{after}");
        }
    }

    #[test]
    fn names_of_tor() {
        let name = "a2".repeat(28);
        assert_eq!(
            onion(format!("http://{name}").as_bytes()),
            Some(name.as_bytes())
        );
        assert_eq!(onion(b"short"), None);
        assert_eq!(onion("A".repeat(60).as_bytes()), None);
    }
}
