//! Each budget, used up.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use portreeve_egress::{
    CallLimits, CallPolicy, DayUse, GateError, GateErrorKind, PluginBudget, PluginLimits, Timeouts,
};

use crate::support::*;

const FINE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n";

async fn server() -> Server {
    Server::bytes(format!("{FINE}{}", "x".repeat(1_000)), false).await
}

fn limited(limits: CallLimits, plugin: PluginLimits) -> Arc<dyn CallPolicy> {
    let call = Call {
        limits,
        plugin: PluginBudget::new(plugin, DayUse::today()),
        ..Call::default()
    };
    call.policy()
}

fn is_over(error: &GateError, expected: &str) {
    let GateErrorKind::Budget {
        setting,
        allowed,
        used,
    } = error.kind()
    else {
        panic!("{error}");
    };
    assert_eq!(*setting, expected, "{error}");
    assert!(used > allowed, "{error}");
    assert!(
        error.to_string().contains(&format!("raise `{expected}`")),
        "{error}"
    );
}

/// Sends requests until one fails: how many went through, and why no more did.
async fn until_over(call: &Arc<dyn CallPolicy>) -> (usize, GateError) {
    let (server, client) = (server().await, client());
    for count in 0..100 {
        if let Err(error) = gathered(&client, get(server.url("/")), call, TIMEOUTS).await {
            return (count, error);
        }
    }
    panic!("nothing ends it");
}

#[tokio::test]
async fn requests_of_a_call_have_a_bound() {
    let limits = CallLimits {
        requests: 3,
        ..CALL
    };
    let (count, error) = until_over(&limited(limits, PLUGIN)).await;
    assert_eq!(count, 3);
    is_over(&error, "requests");
}

#[tokio::test]
async fn bytes_that_a_call_receives_have_a_bound() {
    // Three responses, heads included, and not a fourth.
    let limits = CallLimits {
        received: 4_000,
        ..CALL
    };
    let (count, error) = until_over(&limited(limits, PLUGIN)).await;
    assert_eq!(count, 3);
    is_over(&error, "received");
}

#[tokio::test]
async fn bytes_that_a_call_sends_have_a_bound() {
    let limits = CallLimits { sent: 500, ..CALL };
    let call = limited(limits, PLUGIN);
    let (server, client) = (server().await, client());
    // In the body, of a length that is known or not, in the URL, in a header.
    let error = gathered(
        &client,
        post(server.url("/"), full(vec![7; 501])),
        &call,
        TIMEOUTS,
    )
    .await;
    is_over(&error.unwrap_err(), "sent");
    let call = limited(limits, PLUGIN);
    let (sender, body) = channel();
    let feed =
        tokio::spawn(
            async move { while sender.send(Bytes::from_static(&[7; 100])).await.is_ok() {} },
        );
    let never = Server::start(|mut stream, _| async move {
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    })
    .await;
    let error = gathered(&client, post(never.url("/"), body), &call, TIMEOUTS).await;
    is_over(&error.unwrap_err(), "sent");
    feed.await.unwrap();
    let call = limited(limits, PLUGIN);
    let long = server.url(&format!("/?{}", "x".repeat(500)));
    let error = gathered(&client, get(long), &call, TIMEOUTS).await;
    is_over(&error.unwrap_err(), "sent");
    let call = limited(limits, PLUGIN);
    let mut request = get(server.url("/"));
    let value = http::HeaderValue::from_str(&"x".repeat(500)).unwrap();
    request.headers_mut().insert("x", value);
    let error = gathered(&client, request, &call, TIMEOUTS).await;
    is_over(&error.unwrap_err(), "sent");
}

#[tokio::test]
async fn requests_of_a_day_have_a_bound_over_all_calls() {
    let plugin = PluginLimits {
        requests_a_day: 5,
        ..PLUGIN
    };
    let plugin = PluginBudget::new(
        plugin,
        DayUse {
            requests: 2,
            ..DayUse::today()
        },
    );
    let call = || {
        let call = Call {
            plugin: plugin.clone(),
            ..Call::default()
        };
        call.policy()
    };
    let (server, client) = (server().await, client());
    for _ in 0..3 {
        gathered(&client, get(server.url("/")), &call(), TIMEOUTS)
            .await
            .unwrap();
    }
    let error = gathered(&client, get(server.url("/")), &call(), TIMEOUTS).await;
    is_over(&error.unwrap_err(), "requests-a-day");
}

#[tokio::test]
async fn other_limits_hold_for_calls_that_run_and_what_was_used_stays_used() {
    let limits = |requests_a_day| PluginLimits {
        requests_a_day,
        ..PLUGIN
    };
    let plugin = PluginBudget::new(limits(2), DayUse::today());
    let call = Call {
        plugin: plugin.clone(),
        ..Call::default()
    };
    let running = call.policy();
    let (server, client) = (server().await, client());
    let asked = async || gathered(&client, get(server.url("/")), &running, TIMEOUTS).await;
    asked().await.unwrap();
    plugin.set_limits(limits(1));
    is_over(&asked().await.unwrap_err(), "requests-a-day");
    plugin.set_limits(limits(3));
    asked().await.unwrap();
    is_over(&asked().await.unwrap_err(), "requests-a-day");
}

#[tokio::test]
async fn traffic_of_a_day_has_a_bound_both_ways() {
    let plugin = PluginLimits {
        traffic_a_day: 10_000,
        ..PLUGIN
    };
    let (count, error) = until_over(&limited(CALL, plugin)).await;
    assert!((7..10).contains(&count), "{count}");
    is_over(&error, "traffic-a-day");
    let plugin = PluginBudget::new(plugin, DayUse::today());
    let call = Call {
        plugin: plugin.clone(),
        ..Call::default()
    };
    let server = server().await;
    let large = post(server.url("/"), full(vec![7; 20_000]));
    let error = gathered(&client(), large, &call.policy(), TIMEOUTS).await;
    is_over(&error.unwrap_err(), "traffic-a-day");
    assert!(plugin.day().bytes >= 10_000);
}

#[tokio::test]
async fn a_new_day_begins_with_nothing_used() {
    let limits = PluginLimits {
        requests_a_day: 5,
        ..PLUGIN
    };
    let before = DayUse {
        day: DayUse::today().day - 1,
        requests: 5,
        bytes: 7,
    };
    let plugin = PluginBudget::new(limits, before);
    assert_eq!(plugin.day(), DayUse::today());
    let call = Call {
        plugin: plugin.clone(),
        ..Call::default()
    };
    let server = server().await;
    gathered(&client(), get(server.url("/")), &call.policy(), TIMEOUTS)
        .await
        .unwrap();
    let used = plugin.day();
    assert_eq!(used.requests, 1);
    assert!((1_000..1_200).contains(&used.bytes), "{used:?}");
}

#[tokio::test]
async fn connections_at_a_time_have_a_bound() {
    let plugin = PluginLimits {
        connections: 2,
        ..PLUGIN
    };
    let plugin = PluginBudget::new(plugin, DayUse::today());
    let call = Call {
        plugin: plugin.clone(),
        ..Call::default()
    };
    let call = call.policy();
    let (server, client) = (server().await, client());
    let timeouts = Timeouts {
        connect: Duration::from_millis(200),
        ..TIMEOUTS
    };
    let first = client
        .send(get(server.url("/")), &call, timeouts)
        .await
        .unwrap();
    let second = client
        .send(get(server.url("/")), &call, timeouts)
        .await
        .unwrap();
    assert_eq!(plugin.connections(), 2);
    let error = client
        .send(get(server.url("/")), &call, timeouts)
        .await
        .err()
        .unwrap();
    is_over(&error, "connections");
    // One that waits goes on when another ends.
    let third = client.send(get(server.url("/")), &call, TIMEOUTS);
    let (third, _) = tokio::join!(third, first.into_body().collect());
    drop((third.unwrap(), second));
    while plugin.connections() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_is_kept_for_later_takes_no_place() {
    let plugin = PluginLimits {
        connections: 1,
        ..PLUGIN
    };
    let call = limited(CALL, plugin);
    let client = client();
    for _ in 0..5 {
        let server = server().await;
        gathered(&client, get(server.url("/")), &call, TIMEOUTS)
            .await
            .unwrap();
    }
}
