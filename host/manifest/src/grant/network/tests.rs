//! What is written and what it means, case by case.

use expect_test::expect;
use url::Host;

use super::*;

/// How a URL is sent, or why it isn't.
fn sent(url: &str) -> String {
    match Target::new("GET", url) {
        Ok(target) => target.url().to_string(),
        Err(error) => format!("refused: {error}"),
    }
}

#[test]
fn urls_have_one_form() {
    let shown: String = [
        "HTTPS://API.Example.COM",
        "https://api.example.com:443/a?q#f",
        "https://api.example.com./a",
        "https://api.example.com../a",
        "https://b\u{fc}cher.example/\u{fc}",
        "https://xn--bcher-kva.example/",
        "https://user@api.example.com/",
        "https://@api.example.com/",
        "https://api.example.com@evil.example/",
        "https:api.example.com/",
        "https:///api.example.com/",
        "https:\\\\api.example.com\\a",
        "https://api.example.com\\@evil.example/",
        " https://api.example.com/",
        "https://api.example.com/a\tb",
        "https://api.example.com/a\n",
        "https://api.exa\tmple.com/",
        "https://127.1/",
        "https://0x7f.1/",
        "https://2130706433/",
        "https://0177.0.0.1/",
        "https://127.0.0.1./",
        "https://\u{ff11}\u{ff12}\u{ff17}.0.0.1/",
        "https://256.256.256.256/",
        "https://[::FFFF:127.0.0.1]:443/",
        "https://[fe80::1%25eth0]/",
        "https://[0:0:0:0:0:0:0:1]/",
        "https://ex%61mple.com/",
        "https://*.example.com/",
        "https://a..example.com/",
        "https://exa mple.com/",
        "https://example.com:0/",
        "https://example.com:99999/",
        "https://example.com:/",
        "https://example.com/a/../b/./c",
        "https://example.com/a/%2e%2E/b/%2e/c/.%2e",
        "https://example.com/%61%7e%2d",
        "https://example.com/a%2fb%5c%00",
        "https://example.com/a%",
        "https://example.com/a%zz",
        "https://example.com//a",
        "https://example.com/a*b",
        "https://example.com/';echo${IFS}x;'",
        "https://example.com/{a}|\"<>^`",
        "https://example.com?q",
        "https://example.com#f",
        "ftp://example.com/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "http://",
        "",
    ]
    .into_iter()
    .map(|url| format!("{url:?}: {}\n", sent(url)))
    .collect();
    expect![[r#"
        "HTTPS://API.Example.COM": https://api.example.com/
        "https://api.example.com:443/a?q#f": https://api.example.com/a?q
        "https://api.example.com./a": https://api.example.com/a
        "https://api.example.com../a": refused: `api.example.com.` is no host's name: labels of letters, digits and hyphens, 63 characters at most each and 253 together
        "https://bücher.example/ü": https://xn--bcher-kva.example/%C3%BC
        "https://xn--bcher-kva.example/": https://xn--bcher-kva.example/
        "https://user@api.example.com/": refused: a URL must not carry a user name or a password; the plugin's manifest asks for a credential instead
        "https://@api.example.com/": refused: a URL must not carry a user name or a password; the plugin's manifest asks for a credential instead
        "https://api.example.com@evil.example/": refused: a URL must not carry a user name or a password; the plugin's manifest asks for a credential instead
        "https:api.example.com/": refused: no URL: it must start with https:// or http://
        "https:///api.example.com/": refused: the URL has no host
        "https:\\\\api.example.com\\a": refused: the URL has a `\`, which some take for a `/`; percent-encode it
        "https://api.example.com\\@evil.example/": refused: the URL has a `\`, which some take for a `/`; percent-encode it
        " https://api.example.com/": refused: the URL has a space or a control character; percent-encode it
        "https://api.example.com/a\tb": refused: the URL has a space or a control character; percent-encode it
        "https://api.example.com/a\n": refused: the URL has a space or a control character; percent-encode it
        "https://api.exa\tmple.com/": refused: the URL has a space or a control character; percent-encode it
        "https://127.1/": https://127.0.0.1/
        "https://0x7f.1/": https://127.0.0.1/
        "https://2130706433/": https://127.0.0.1/
        "https://0177.0.0.1/": https://127.0.0.1/
        "https://127.0.0.1./": https://127.0.0.1/
        "https://１２７.0.0.1/": https://127.0.0.1/
        "https://256.256.256.256/": refused: no URL: invalid IPv4 address
        "https://[::FFFF:127.0.0.1]:443/": https://[::ffff:7f00:1]/
        "https://[fe80::1%25eth0]/": refused: no URL: invalid IPv6 address
        "https://[0:0:0:0:0:0:0:1]/": https://[::1]/
        "https://ex%61mple.com/": https://example.com/
        "https://*.example.com/": refused: `*.example.com` is no host's name: labels of letters, digits and hyphens, 63 characters at most each and 253 together
        "https://a..example.com/": refused: `a..example.com` is no host's name: labels of letters, digits and hyphens, 63 characters at most each and 253 together
        "https://exa mple.com/": refused: the URL has a space or a control character; percent-encode it
        "https://example.com:0/": refused: there is no port 0
        "https://example.com:99999/": refused: no URL: invalid port number
        "https://example.com:/": https://example.com/
        "https://example.com/a/../b/./c": https://example.com/b/c
        "https://example.com/a/%2e%2E/b/%2e/c/.%2e": https://example.com/b/
        "https://example.com/%61%7e%2d": https://example.com/a~-
        "https://example.com/a%2fb%5c%00": https://example.com/a%2Fb%5C%00
        "https://example.com/a%": refused: `%` in the path must be followed by two hexadecimal digits
        "https://example.com/a%zz": refused: `%` in the path must be followed by two hexadecimal digits
        "https://example.com//a": https://example.com//a
        "https://example.com/a*b": https://example.com/a%2Ab
        "https://example.com/';echo${IFS}x;'": https://example.com/%27;echo$%7BIFS%7Dx;%27
        "https://example.com/{a}|\"<>^`": https://example.com/%7Ba%7D|%22%3C%3E^%60
        "https://example.com?q": https://example.com/?q
        "https://example.com#f": https://example.com/
        "ftp://example.com/": refused: the scheme `ftp` is not spoken; write https or http
        "file:///etc/passwd": refused: the URL has no host
        "javascript:alert(1)": refused: no URL: it must start with https:// or http://
        "http://": refused: the URL has no host
        "": refused: no URL: it must start with https:// or http://
    "#]].assert_eq(&shown);
    let long = format!("https://example.com/{}", "a".repeat(16 << 10));
    assert!(sent(&long).contains("longer than"));
    let grows = format!("https://example.com/{}", "\u{fc}".repeat(5 << 10));
    assert!(sent(&grows).contains("longer than"));
}

#[test]
fn methods_are_sent_in_capitals_or_not_at_all() {
    let method =
        |method| Target::new(method, "https://x.example/").map(|target| target.method().to_owned());
    assert_eq!(method("get").unwrap(), "GET");
    assert_eq!(method("M-SEARCH").unwrap(), "M-SEARCH");
    for refused in [
        "",
        "G ET",
        "GET\r\n",
        "TRACE",
        "trace",
        "CONNECT",
        &"A".repeat(33),
    ] {
        assert!(method(refused).is_err(), "{refused}");
    }
}

#[test]
fn rules_cover() {
    let shown: String = [
        ("GET https://*/**", "GET https://*.x.example/a"),
        ("GET https://*/**", "GET https://[::1]/a"),
        ("GET https://*.x.example/**", "GET https://*/a"),
        ("GET https://*.x.example/**", "GET https://a.x.example/**"),
        ("GET https://*.x.example/**", "GET https://*.a.x.example/b"),
        ("GET https://*.x.example/**", "GET https://x.example/**"),
        ("GET https://*.x.example/**", "GET https://ax.example/**"),
        (
            "GET https://*.x.example/**",
            "GET https://x.example.evil.example/**",
        ),
        ("* https://x.example/**", "GET,POST https://x.example/a"),
        ("GET https://x.example/**", "* https://x.example/a"),
        ("GET https://x.example/**", "GET http://x.example/a"),
        ("GET https://x.example/**", "GET https://x.example:8443/a"),
        ("GET https://x.example:*/**", "GET https://x.example:8443/a"),
        (
            "GET https://x.example:1-65535/**",
            "GET https://x.example:*/a",
        ),
        ("GET https://x.example/a/**", "GET https://x.example/a"),
        ("GET https://x.example/a/**", "GET https://x.example/a/"),
        ("GET https://x.example/a/**", "GET https://x.example/ab"),
        ("GET https://x.example/a/*", "GET https://x.example/a/"),
        ("GET https://x.example/a/*", "GET https://x.example/a/b/c"),
        ("GET https://x.example/a/*", "GET https://x.example/a/b*"),
        ("GET https://x.example/a*", "GET https://x.example/a"),
        ("GET https://x.example/**/b", "GET https://x.example/a/*/b"),
        ("GET https://x.example/**/*", "GET https://x.example/*/**"),
        ("GET https://x.example/~a", "GET https://x.example/%7Ea"),
        ("GET https://x.example/%e4", "GET https://x.example/%E4"),
        (
            "GET https://x.example/{id}",
            "GET https://x.example/%7Bid%7D",
        ),
        ("GET https://x.example/it's", "GET https://x.example/it%27s"),
        ("GET https://127.0.0.1/**", "GET https://0x7f.1/**"),
        ("GET https://[::1]/**", "GET https://[0:0::1]/**"),
        (
            "GET https://127.0.0.1/**",
            "GET https://[::ffff:127.0.0.1]/**",
        ),
    ]
    .into_iter()
    .map(|(wide, narrow)| {
        let covers = wide
            .parse::<NetworkRule>()
            .unwrap()
            .covers(&narrow.parse().unwrap());
        format!(
            "{wide} {} {narrow}\n",
            if covers { "covers" } else { "does not cover" }
        )
    })
    .collect();
    expect![[r#"
        GET https://*/** covers GET https://*.x.example/a
        GET https://*/** covers GET https://[::1]/a
        GET https://*.x.example/** does not cover GET https://*/a
        GET https://*.x.example/** covers GET https://a.x.example/**
        GET https://*.x.example/** covers GET https://*.a.x.example/b
        GET https://*.x.example/** does not cover GET https://x.example/**
        GET https://*.x.example/** does not cover GET https://ax.example/**
        GET https://*.x.example/** does not cover GET https://x.example.evil.example/**
        * https://x.example/** covers GET,POST https://x.example/a
        GET https://x.example/** does not cover * https://x.example/a
        GET https://x.example/** does not cover GET http://x.example/a
        GET https://x.example/** does not cover GET https://x.example:8443/a
        GET https://x.example:*/** covers GET https://x.example:8443/a
        GET https://x.example:1-65535/** covers GET https://x.example:*/a
        GET https://x.example/a/** covers GET https://x.example/a
        GET https://x.example/a/** covers GET https://x.example/a/
        GET https://x.example/a/** does not cover GET https://x.example/ab
        GET https://x.example/a/* does not cover GET https://x.example/a/
        GET https://x.example/a/* does not cover GET https://x.example/a/b/c
        GET https://x.example/a/* covers GET https://x.example/a/b*
        GET https://x.example/a* covers GET https://x.example/a
        GET https://x.example/**/b covers GET https://x.example/a/*/b
        GET https://x.example/**/* does not cover GET https://x.example/*/**
        GET https://x.example/~a covers GET https://x.example/%7Ea
        GET https://x.example/%e4 covers GET https://x.example/%E4
        GET https://x.example/{id} covers GET https://x.example/%7Bid%7D
        GET https://x.example/it's covers GET https://x.example/it%27s
        GET https://127.0.0.1/** covers GET https://0x7f.1/**
        GET https://[::1]/** covers GET https://[0:0::1]/**
        GET https://127.0.0.1/** does not cover GET https://[::ffff:127.0.0.1]/**
    "#]]
    .assert_eq(&shown);
}

/// What servers read in several ways goes to a server that may be asked for everything, or
/// not at all.
#[test]
fn ambiguous_paths_match_the_whole_server_only() {
    let matches = |rule: &str, path: &str| {
        let target = Target::new("GET", &format!("https://x.example{path}")).unwrap();
        rule.parse::<NetworkRule>().unwrap().matches(&target)
    };
    for path in [
        "/a/b%2Fc",
        "/a/b%2fc",
        "/a/%5c",
        "/a/%5C",
        "/a/b%00",
        "/a/..;/c",
        "/a/..;x=1/c",
        "/a/.;",
        "/a/..%3Bx/c",
        "/a/%252e%252e/c",
        "/a/b%252fc",
        "/a/%25252525252e",
        "/a/%2525252f",
    ] {
        for rule in [
            "GET https://x.example/a/**",
            "GET https://x.example/a/*/**",
            "GET https://x.example/**/*",
        ] {
            assert!(!matches(rule, path), "{rule} {path}");
        }
        assert!(matches("GET https://x.example/**", path), "{path}");
        let target = Target::new("GET", &format!("https://x.example{path}")).unwrap();
        assert_eq!(target.rule().to_string(), "GET https://x.example/**");
    }
    for path in [
        "/a/b;c",
        "/a/...;",
        "/a/%20",
        "/a/%25",
        "/a/100%25",
        "/a/%E4",
    ] {
        assert!(matches("GET https://x.example/a/*", path), "{path}");
    }
}

#[test]
fn mistakes_in_rules() {
    let shown: String = [
        "TRACE https://x.example/**",
        "GET https://x.example/a%2Fb",
        "GET https://x.example/a%5cb",
        "GET https://x.example/..;/b",
        "GET https://x.example/a/%2e%2e/b",
        "GET https://x.example/a%",
        "GET https://x.example/%2*",
        "GET https://x..example/",
        "GET https://x!.example/",
        &format!("GET https://x.example{}", "/a".repeat(65)),
        &format!("GET https://x.example/{}", "a*".repeat(17)),
    ]
    .into_iter()
    .map(|text| format!("{}\n", text.parse::<NetworkRule>().unwrap_err()))
    .collect();
    expect![[r#"
        `TRACE https://x.example/**` is no rule: the method TRACE is never sent; use another
        `GET https://x.example/a%2Fb` is no rule: servers read this path in several ways (%2F, %5C, %00, or dots before `;`); only /** matches such paths
        `GET https://x.example/a%5cb` is no rule: servers read this path in several ways (%2F, %5C, %00, or dots before `;`); only /** matches such paths
        `GET https://x.example/..;/b` is no rule: servers read this path in several ways (%2F, %5C, %00, or dots before `;`); only /** matches such paths
        `GET https://x.example/a/%2e%2e/b` is no rule: the path must not contain `.` or `..`
        `GET https://x.example/a%` is no rule: `%` in the path must be followed by two hexadecimal digits
        `GET https://x.example/%2*` is no rule: `%` in the path must be followed by two hexadecimal digits
        `GET https://x..example/` is no rule: `x..example` is no host's name: labels of letters, digits and hyphens, 63 characters at most each and 253 together
        `GET https://x!.example/` is no rule: `x!.example` is no host's name: labels of letters, digits and hyphens, 63 characters at most each and 253 together
        `GET https://x.example/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/…` is no rule: the path has more than 64 segments or 16 `*`; name less of it, and `**` for the rest
        `GET https://x.example/a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*` is no rule: the path has more than 64 segments or 16 `*`; name less of it, and `**` for the rest
    "#]].assert_eq(&shown);
    let collapsed: NetworkRule = "GET https://x.example./**/**/a".parse().unwrap();
    assert_eq!(collapsed.to_string(), "GET https://x.example/**/a");
}

#[test]
fn sockets_are_matched() {
    let rule: SocketRule = "tcp *.db.example:5000-5010".parse().unwrap();
    let may = |name: &str, port| rule.matches(SocketProtocol::Tcp, &Host::Domain(name), port);
    assert!(may("a.db.example", 5000) && may("A.DB.example.", 5010));
    assert!(!may("db.example", 5000) && !may("a.db.example", 5011) && !may("", 5000));
    assert!(!rule.matches(SocketProtocol::Udp, &Host::Domain("a.db.example"), 5000));
    let listen: SocketRule = "listen tcp 127.0.0.1:*".parse().unwrap();
    let here = Host::Ipv4([127, 0, 0, 1].into());
    assert!(!listen.matches(SocketProtocol::Tcp, &here, 80));
    let policy = SocketPolicy::new(Some(vec![listen.clone(), rule.clone()]), vec![listen, rule]);
    assert!(policy.decide(SocketProtocol::Tcp, &here, 80, true));
    assert!(!policy.decide(SocketProtocol::Tcp, &here, 80, false));
    assert!(!policy.decide(
        SocketProtocol::Tcp,
        &Host::Domain("a.db.example"),
        5000,
        true
    ));
    assert!(!policy.may_resolve("127.0.0.1") && policy.may_resolve("a.db.example"));
    // Asked for and granted, but nothing that is both.
    let policy = SocketPolicy::new(
        Some(vec!["tcp a.example:1".parse().unwrap()]),
        vec!["tcp a.example:2".parse().unwrap()],
    );
    assert!(!policy.may_resolve("a.example") && !policy.is_empty());
}

#[test]
fn credentials_are_read() {
    #[derive(Debug, serde::Deserialize, serde::Serialize)]
    struct Holder {
        credential: CredentialUse,
    }
    let shown: String = [
        "'github'",
        "{ name = 'maps', query = 'key' }",
        "{ name = 'search', header = 'X-Api-Key' }",
        "{ name = 'plain' }",
        "{ name = 'both', header = 'a', query = 'b' }",
        "{ name = 'a', header = 'Host' }",
        "{ name = 'a', header = 'proxy-authorization' }",
        "{ name = 'a', header = 'x y' }",
        "{ name = 'a', query = 'a&b' }",
        "{ name = 'a', cookie = 'b' }",
        "{ header = 'b' }",
        "'Not A Name'",
        "5",
    ]
    .into_iter()
    .map(
        |text| match toml::from_str::<Holder>(&format!("credential = {text}")) {
            Ok(holder) => format!(
                "{text}: {}\n",
                serde_json::to_string(&holder.credential).unwrap()
            ),
            Err(error) => format!("{text}: {}\n", error.message()),
        },
    )
    .collect();
    expect![[r#"
        'github': "github"
        { name = 'maps', query = 'key' }: {"name":"maps","query":"key"}
        { name = 'search', header = 'X-Api-Key' }: {"name":"search","header":"x-api-key"}
        { name = 'plain' }: "plain"
        { name = 'both', header = 'a', query = 'b' }: a credential goes into a header or into the query
        { name = 'a', header = 'Host' }: the header `host` is the host's; a credential goes into another
        { name = 'a', header = 'proxy-authorization' }: the header `proxy-authorization` is the host's; a credential goes into another
        { name = 'a', header = 'x y' }: `x y` is no name of a header; write one such as "x-api-key"
        { name = 'a', query = 'a&b' }: `a&b` is no name of a query parameter; write one such as "key"
        { name = 'a', cookie = 'b' }: unknown field `cookie`, expected one of `name`, `header`, `query`
        { header = 'b' }: missing field `name`
        'Not A Name': `Not A Name` is no valid name: it has other characters; use a-z, 0-9 and single hyphens between them, at most 64 characters, as in "github-issues"
        5: invalid type: integer `5`, expected a credential's name, or { name = "…", header = "…" }, or { name = "…", query = "…" }
    "#]].assert_eq(&shown);
    for text in [
        "github for GET https://api.example.com/**",
        "maps in query key for GET https://api.example.com/**",
        "search in header x-api-key for * https://*.example.com:*/**",
    ] {
        assert_eq!(text.parse::<CredentialAsked>().unwrap().to_string(), text);
    }
}

#[test]
fn origins_are_read() {
    let shown: String = [
        "https://API.example.com",
        "https://api.example.com:443/",
        "http://[::0:1]:8080",
        "http://127.1",
        "https://api.example.com/a",
        "https://api.example.com/a/..",
        "https://api.example.com?q",
        "https://user@api.example.com",
        "api.example.com",
    ]
    .into_iter()
    .map(|text| match text.parse::<Origin>() {
        Ok(origin) => format!("{text}: {origin}\n"),
        Err(error) => format!("{error}\n"),
    })
    .collect();
    expect![[r#"
        https://API.example.com: https://api.example.com
        https://api.example.com:443/: https://api.example.com
        http://[::0:1]:8080: http://[::1]:8080
        http://127.1: http://127.0.0.1
        `https://api.example.com/a` is no origin: it has more than scheme, host and port; write it as "https://api.example.com"
        `https://api.example.com/a/..` is no origin: it has more than scheme, host and port; write it as "https://api.example.com"
        `https://api.example.com?q` is no origin: it has more than scheme, host and port; write it as "https://api.example.com"
        `https://user@api.example.com` is no origin: a URL must not carry a user name or a password; the plugin's manifest asks for a credential instead; write it as "https://api.example.com"
        `api.example.com` is no origin: no URL: it must start with https:// or http://; write it as "https://api.example.com"
    "#]].assert_eq(&shown);
}
