//! Addresses that are refused, however they are come by.

use portreeve_egress::{Gate, GateErrorKind, Phase, SocketGate, Timeouts};
use portreeve_manifest::settings::NetworkSettings;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UdpSocket;

use crate::support::*;

async fn kind_of(dns: &Dns, ranges: &[&'static str], url: &str) -> (GateErrorKind, String) {
    let call = Call {
        ranges: ranges.to_vec(),
        ..Call::default()
    };
    let client = client_of(dns.address);
    let error = gathered(&client, get(url), &call.policy(), TIMEOUTS)
        .await
        .unwrap_err();
    (error.kind().clone(), error.to_string())
}

#[tokio::test]
async fn an_address_that_is_written_is_refused_in_each_form() {
    let server = Server::bytes("HTTP/1.1 204 No Content\r\n\r\n", false).await;
    let dns = Dns::start([]).await;
    for host in [
        "127.0.0.1",
        "127.1",
        "0x7f.1",
        "2130706433",
        "017700000001",
        "0x7f000001",
        "127.0.0.1.",
        "127.9.9.9",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "169.254.169.254",
        "169.254.1.1",
        "100.100.100.200",
        "192.0.0.192",
        "168.63.129.16",
        "224.0.0.1",
        "255.255.255.255",
        "240.0.0.1",
        "198.18.0.1",
        "192.0.2.1",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[2001::8000:0:80ff:fffe]",
        "[fc00::1]",
        "[fd00:ec2::254]",
        "[fe80::1]",
        "[fec0::1]",
        "[ff02::1]",
        "[2001:db8::1]",
        "１２７.0.0.1",
    ] {
        let url = format!("http://{host}:{}/", server.port());
        // As a request has it, or as it would have been written by the guest.
        let url = url::Url::parse(&url).unwrap();
        let (kind, words) = kind_of(&dns, &[], url.as_str()).await;
        assert!(
            matches!(kind, GateErrorKind::AddressRefused { .. }),
            "{host}: {words}"
        );
    }
    assert_eq!(server.connections(), 0);
    assert!(dns.asked().is_empty());
}

#[tokio::test]
async fn a_name_that_leads_to_a_refused_address_is_refused() {
    const REFUSED: [(&str, &str); 12] = [
        ("loopback.test", "127.0.0.1"),
        ("loopback6.test", "::1"),
        ("private.test", "10.0.0.1"),
        ("unique.test", "fd12::1"),
        ("link.test", "169.254.7.7"),
        ("metadata.test", "169.254.169.254"),
        ("metadata6.test", "fd00:ec2::254"),
        ("shared.test", "100.64.0.1"),
        ("mapped.test", "::ffff:127.0.0.1"),
        ("nat64.test", "64:ff9b::a9fe:a9fe"),
        ("zero.test", "0.0.0.0"),
        ("multicast.test", "224.0.0.251"),
    ];
    let server = Server::bytes("HTTP/1.1 204 No Content\r\n\r\n", false).await;
    let dns = Dns::start(REFUSED.map(|(name, address)| (name, vec![vec![address]]))).await;
    for (name, address) in REFUSED {
        let url = format!("http://{name}:{}/", server.port());
        let (kind, words) = kind_of(&dns, &[], &url).await;
        assert!(
            matches!(kind, GateErrorKind::AddressRefused { .. }),
            "{name}: {words}"
        );
        assert!(words.contains(name) && words.contains(address), "{words}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_name_behind_another_is_refused_for_where_it_ends() {
    let dns = Dns::start([
        ("a.test", vec![vec!["b.test."]]),
        ("b.test", vec![vec!["127.0.0.1"]]),
    ])
    .await;
    let (kind, words) = kind_of(&dns, &[], "http://a.test/").await;
    assert!(
        matches!(kind, GateErrorKind::AddressRefused { .. }),
        "{words}"
    );
}

/// Servers at two addresses of this machine on one port.
async fn pair() -> (Server, Server) {
    loop {
        let first = Server::start_at("127.0.0.1:0", |mut stream, _| async move {
            while read_head(&mut stream).await.is_some() {
                let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
            }
        })
        .await;
        let other = format!("127.0.0.2:{}", first.port());
        if tokio::net::TcpListener::bind(&other).await.is_err() {
            continue;
        }
        let second = Server::start_at(&other, |mut stream, _| async move {
            while read_head(&mut stream).await.is_some() {
                let close =
                    b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 6\r\n\r\nsecond";
                let _ = stream.write_all(close).await;
            }
        })
        .await;
        return (first, second);
    }
}

#[tokio::test]
async fn a_name_that_leads_elsewhere_after_the_check_is_not_followed() {
    let (inner, public) = pair().await;
    // What is checked first is granted; each look-up after it leads to what isn't.
    let dns = Dns::start([("rebind.test", vec![vec!["127.0.0.2"], vec!["127.0.0.1"]])]).await;
    let client = client_of(dns.address);
    let call = Call {
        ranges: vec!["127.0.0.2"],
        ..Call::default()
    };
    let call = call.policy();
    let url = format!("http://rebind.test:{}/", public.port());
    let first = gathered(&client, get(&url), &call, TIMEOUTS).await.unwrap();
    assert_eq!(first.into_body(), "second");
    let questions = dns
        .asked()
        .iter()
        .filter(|asked| asked.starts_with("A "))
        .count();
    assert_eq!(questions, 1, "{:?}", dns.asked());
    // The next connection is looked up and checked anew.
    let error = gathered(&client, get(&url), &call, TIMEOUTS)
        .await
        .unwrap_err();
    assert!(
        matches!(error.kind(), GateErrorKind::AddressRefused { .. }),
        "{error}"
    );
    assert_eq!((inner.connections(), public.connections()), (0, 1));
}

#[tokio::test]
async fn of_several_addresses_only_those_that_are_granted_are_tried() {
    let (inner, public) = pair().await;
    let several = vec![vec!["127.0.0.1", "10.0.0.1", "::1", "127.0.0.2"]];
    let dns = Dns::start([("mixed.test", several)]).await;
    let client = client_of(dns.address);
    let call = Call {
        ranges: vec!["127.0.0.2"],
        ..Call::default()
    };
    let url = format!("http://mixed.test:{}/", public.port());
    let answer = gathered(&client, get(&url), &call.policy(), TIMEOUTS)
        .await
        .unwrap();
    assert_eq!(answer.into_body(), "second");
    assert_eq!((inner.connections(), public.connections()), (0, 1));
}

#[tokio::test]
async fn an_address_that_does_not_answer_is_no_end() {
    let (first, second) = pair().await;
    drop(first);
    // Nothing listens at the first on this port, nor at the second.
    let several = vec![vec!["127.0.0.3", "127.0.0.4", "127.0.0.2"]];
    let dns = Dns::start([("some.test", several)]).await;
    let url = format!("http://some.test:{}/", second.port());
    let answer = answer(&client_of(dns.address), get(&url)).await.unwrap();
    assert_eq!(answer.into_body(), "second");
}

#[tokio::test]
async fn what_has_no_address_is_said_so() {
    let dns = Dns::start([("none.test", vec![vec![]])]).await;
    for name in ["none.test", "unknown.test", "localhost.none.test"] {
        let (kind, words) = kind_of(&dns, &[], &format!("http://{name}/")).await;
        assert_eq!(kind, GateErrorKind::Dns, "{words}");
        assert!(words.contains(name), "{words}");
    }
}

#[tokio::test]
async fn a_name_is_asked_for_as_it_is_written() {
    let dns = Dns::start([]).await;
    let (kind, _) = kind_of(&dns, &[], "http://API.Example/").await;
    assert_eq!(kind, GateErrorKind::Dns);
    let asked = dns.asked();
    // No search list has its say.
    assert!(
        asked.iter().all(|asked| asked.ends_with(" api.example.")),
        "{asked:?}"
    );
    assert!(
        asked.iter().any(|asked| asked.starts_with("AAAA ")),
        "{asked:?}"
    );
}

#[tokio::test]
async fn a_server_of_names_that_says_nothing_is_left() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let client = client_of(silent.local_addr().unwrap());
    let call = Call::default().policy();
    let timeouts = Timeouts {
        connect: std::time::Duration::from_millis(200),
        ..TIMEOUTS
    };
    let error = gathered(&client, get("http://name.test/"), &call, timeouts).await;
    assert_eq!(
        error.unwrap_err().kind(),
        &GateErrorKind::Timeout(Phase::Connect)
    );
}

#[tokio::test]
async fn a_flood_of_addresses_is_cut() {
    let many = (1..=60).map(|number| &*Box::leak(format!("127.0.1.{number}").into_boxed_str()));
    let dns = Dns::start([("many.in.test", vec![many.collect()])]).await;
    let call = Call {
        sockets: vec!["tcp *.in.test:80"],
        ..Call::default()
    };
    let settings = NetworkSettings {
        dns: vec![dns.address],
        ..NetworkSettings::default()
    };
    let gate = Gate::new(&settings, None).unwrap();
    let found = SocketGate::new(gate, call.policy())
        .resolve("many.in.test")
        .await;
    assert_eq!(found.unwrap().len(), 16);
}
