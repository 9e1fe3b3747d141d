//! TCP and UDP of a call.

use std::net::SocketAddr;
use std::sync::Arc;

use portreeve_egress::{
    CallLimits, CallPolicy, DayUse, Gate, GateErrorKind, PluginBudget, PluginLimits, SocketGate,
    SocketUse,
};
use portreeve_manifest::settings::NetworkSettings;

use crate::support::*;

fn gate(dns: &Dns, call: &Arc<dyn CallPolicy>) -> SocketGate {
    let settings = NetworkSettings {
        dns: vec![dns.address],
        ..NetworkSettings::default()
    };
    SocketGate::new(Gate::new(&settings, None).unwrap(), call.clone())
}

fn at(address: &str) -> SocketAddr {
    address.parse().unwrap()
}

#[tokio::test]
async fn only_granted_names_are_looked_up() {
    let dns = Dns::start([
        ("db.test", vec![vec!["127.0.0.1"]]),
        ("a.wide.test", vec![vec!["127.0.0.1"]]),
        ("other.test", vec![vec!["127.0.0.1"]]),
    ])
    .await;
    let call = Call {
        sockets: vec!["tcp db.test:5432", "udp *.wide.test:53"],
        ..Call::default()
    };
    let sockets = gate(&dns, &call.policy());
    for name in ["db.test", "DB.test.", "a.wide.test"] {
        assert_eq!(
            sockets.resolve(name).await.unwrap(),
            [at("127.0.0.1:1").ip()]
        );
    }
    for name in [
        "other.test",
        "wide.test",
        "test",
        "db.test.other.test",
        "xdb.test",
        "",
    ] {
        assert!(sockets.resolve(name).await.is_err(), "{name}");
    }
    let asked = dns.asked();
    assert!(
        asked
            .iter()
            .all(|asked| !asked.contains("other") && !asked.contains(" wide")),
        "{asked:?}"
    );
    // An address is none to look up.
    assert_eq!(
        sockets.resolve("10.0.0.1").await.unwrap(),
        [at("10.0.0.1:1").ip()]
    );
}

#[tokio::test]
async fn a_name_is_connected_to_where_it_led_for_this_call() {
    let dns = Dns::start([("db.test", vec![vec!["127.0.0.1"]])]).await;
    let call = Call {
        sockets: vec!["tcp db.test:5432"],
        ..Call::default()
    };
    let call = call.policy();
    let sockets = gate(&dns, &call);
    let connect = |address| sockets.permit(SocketUse::TcpConnect, at(address));
    // Not before it was looked up.
    assert_eq!(
        connect("127.0.0.1:5432").unwrap_err().kind(),
        &GateErrorKind::Refused
    );
    sockets.resolve("db.test").await.unwrap();
    connect("127.0.0.1:5432").unwrap();
    for address in ["127.0.0.1:5433", "127.0.0.2:5432", "[::1]:5432"] {
        assert_eq!(
            connect(address).unwrap_err().kind(),
            &GateErrorKind::Refused,
            "{address}"
        );
    }
    let udp = sockets.permit(SocketUse::UdpSend, at("127.0.0.1:5432"));
    assert_eq!(udp.unwrap_err().kind(), &GateErrorKind::Refused);
    // What one call has looked up is nothing to the next.
    let next = gate(&dns, &call);
    assert!(
        next.permit(SocketUse::TcpConnect, at("127.0.0.1:5432"))
            .is_err()
    );
}

#[tokio::test]
async fn an_address_is_refused_however_it_is_come_by() {
    let dns = Dns::start([
        ("db.in.test", vec![vec!["10.0.0.1"]]),
        ("md.in.test", vec![vec!["169.254.169.254"]]),
    ])
    .await;
    let call = Call {
        ranges: vec!["10.1.0.0/16", "169.254.0.0/16"],
        sockets: vec![
            "tcp *.in.test:80",
            "tcp 10.0.0.1:80",
            "udp 169.254.169.254:80",
            "tcp 10.1.0.1:80",
        ],
        ..Call::default()
    };
    let sockets = gate(&dns, &call.policy());
    for name in ["db.in.test", "md.in.test"] {
        let error = sockets.resolve(name).await.unwrap_err();
        assert!(
            matches!(error.kind(), GateErrorKind::AddressRefused { .. }),
            "{error}"
        );
    }
    for (used, address, allowed) in [
        (SocketUse::TcpConnect, "10.0.0.1:80", false),
        (SocketUse::UdpSend, "169.254.169.254:80", false),
        (SocketUse::UdpConnect, "169.254.169.254:80", false),
        (SocketUse::TcpConnect, "10.1.0.1:80", true),
    ] {
        let permitted = sockets.permit(used, at(address));
        assert_eq!(permitted.is_ok(), allowed, "{address}");
        if let Err(error) = permitted {
            assert!(
                matches!(error.kind(), GateErrorKind::AddressRefused { .. }),
                "{error}"
            );
        }
    }
}

#[tokio::test]
async fn nothing_listens_unless_it_is_granted() {
    let dns = Dns::start([]).await;
    let call = Call {
        sockets: vec![
            "listen tcp 127.0.0.1:8080",
            "listen udp 127.0.0.1:9000",
            "tcp 127.0.0.1:7000",
        ],
        ..Call::default()
    };
    let sockets = gate(&dns, &call.policy());
    for (used, address, allowed) in [
        (SocketUse::TcpBind, "127.0.0.1:8080", true),
        (SocketUse::TcpListen, "127.0.0.1:8080", true),
        (SocketUse::UdpBind, "127.0.0.1:9000", true),
        // What goes out is bound to nothing in particular first, but doesn't listen there.
        (SocketUse::TcpBind, "0.0.0.0:0", true),
        (SocketUse::UdpBind, "[::]:0", true),
        (SocketUse::TcpListen, "0.0.0.0:0", false),
        (SocketUse::TcpListen, "0.0.0.0:40000", false),
        (SocketUse::TcpBind, "0.0.0.0:8080", false),
        (SocketUse::TcpBind, "127.0.0.1:7000", false),
        (SocketUse::TcpBind, "127.0.0.1:9000", false),
        (SocketUse::UdpBind, "127.0.0.1:8080", false),
        (SocketUse::UdpBind, "127.0.0.1:0", false),
        // To listen is not to connect.
        (SocketUse::TcpConnect, "127.0.0.1:8080", false),
        (SocketUse::TcpConnect, "127.0.0.1:7000", true),
    ] {
        assert_eq!(
            sockets.permit(used, at(address)).is_ok(),
            allowed,
            "{used:?} {address}"
        );
    }
}

#[tokio::test]
async fn sockets_are_counted_with_the_rest() {
    let dns = Dns::start([]).await;
    let plugin = PluginLimits {
        connections: 2,
        ..PLUGIN
    };
    let plugin = PluginBudget::new(plugin, DayUse::today());
    let call = Call {
        sockets: vec!["tcp 127.0.0.1:*"],
        limits: CallLimits {
            requests: 3,
            sent: 100,
            received: 100,
        },
        plugin: plugin.clone(),
        ..Call::default()
    };
    let call = call.policy();
    let sockets = gate(&dns, &call);
    let connect = |sockets: &SocketGate| sockets.permit(SocketUse::TcpConnect, at("127.0.0.1:1"));
    let place = || call.budget().try_connection();
    let places = [place().unwrap(), place().unwrap()];
    let is_over = |error: portreeve_egress::GateError, expected: &str| {
        let over =
            matches!(error.kind(), GateErrorKind::Budget { setting, .. } if *setting == expected);
        assert!(over, "{error}");
    };
    is_over(place().unwrap_err(), "connections");
    assert_eq!(plugin.connections(), 2);
    // They end with the sockets.
    drop(places);
    assert_eq!(plugin.connections(), 0);
    for _ in 0..3 {
        connect(&sockets).unwrap();
    }
    is_over(connect(&sockets).unwrap_err(), "requests");
    sockets.sent(100).unwrap();
    is_over(sockets.sent(1).unwrap_err(), "sent");
    sockets.received(100).unwrap();
    is_over(sockets.received(1).unwrap_err(), "received");
}
