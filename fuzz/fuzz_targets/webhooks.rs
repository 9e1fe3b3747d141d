//! How webhooks are signed: whatever headers and body come, nothing is taken that was not signed,
//! and what was signed is taken within its window, whatever stands beside the signature. Lines
//! are headers up to an empty one; the rest is the body.
#![no_main]

use std::collections::BTreeMap;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use portreeve_core::hook_signature::{Signed, sign, verify};
use portreeve_manifest::settings::HookSignature;

/// Nobody who writes inputs can sign with it.
const KEY: &str = "whsec_zf2bQ7mT1pXv0yKq9sWc4uJh6nLr8eAg";
const OTHER: &str = "whsec_b25lIHRoYXQgaGFzIHNpZ25lZCBub3RoaW5n";

const NOW_S: i64 = 1_700_000_000;
const WINDOW: Duration = Duration::from_secs(300);

fuzz_target!(|input: &[u8]| {
    let mut headers = BTreeMap::new();
    let mut rest = input;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let (line, after) = (&rest[..end], &rest[end + 1..]);
        rest = after;
        if line.is_empty() {
            break;
        }
        let line = String::from_utf8_lossy(line);
        if let Some((name, value)) = line.split_once(": ") {
            headers.insert(name.to_owned(), value.to_owned());
        }
    }
    let body = rest;
    let check = |headers: &BTreeMap<String, String>, kind, body| {
        let header = |name: &str| headers.get(name).cloned();
        let signed = Signed {
            header: &header,
            body,
        };
        verify(kind, &[OTHER, KEY], &signed, NOW_S, WINDOW)
    };
    for kind in [
        HookSignature::Standard,
        HookSignature::Github,
        HookSignature::Stripe,
    ] {
        assert!(check(&headers, kind, body).is_err());
    }

    // The same id and time, signed, with what stands there behind it.
    let given = |name: &str| headers.get(name).cloned().unwrap_or_default();
    let (id, time) = (given("webhook-id"), given("webhook-timestamp"));
    let time_s: i64 = time.parse().unwrap_or(NOW_S);
    let signature = sign(KEY, &id, time_s, body).expect("the key is one");
    let both = format!("{signature} {}", given("webhook-signature"));
    headers.insert("webhook-timestamp".to_owned(), time_s.to_string());
    headers.insert("webhook-signature".to_owned(), both);
    let is_id = (1..=128).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'.');
    let in_time = time_s >= 0 && NOW_S.abs_diff(time_s) <= WINDOW.as_secs();
    let taken = check(&headers, HookSignature::Standard, body);
    assert_eq!(taken.is_ok(), is_id && in_time, "{taken:?}");
    if let Ok(taken) = taken {
        assert_eq!((taken.id, taken.key), (id, 1));
    }
    let changed = [body, b"x"].concat();
    assert!(check(&headers, HookSignature::Standard, &changed).is_err());
});
