//! How a webhook says who sent it: an HMAC (RFC 2104) with SHA-256 over its body, in the form of
//! Standard Webhooks, GitHub or Stripe.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use portreeve_manifest::settings::HookSignature;
use sha2::Sha256;

/// What a key of Standard Webhooks begins with; the rest is base64.
const KEY_PREFIX: &str = "whsec_";

/// Longest id of a delivery, in bytes.
const ID_BYTES_MAX: usize = 128;

/// Signatures of one request that are looked at: senders that change their key send two.
const SIGNATURES_MAX: usize = 8;

/// A request, as far as its signature goes.
pub(crate) struct Signed<'a> {
    pub(crate) header: &'a (dyn Fn(&str) -> Option<String> + Sync),
    pub(crate) body: &'a [u8],
}

/// Holds a request against the key that it must be signed with; the id under which it enters
/// once. `now_s` are seconds since 1970, UTC.
///
/// # Errors
/// Why it is not taken for what it says it is.
pub(crate) fn verify(
    kind: HookSignature,
    secret: &str,
    signed: &Signed<'_>,
    now_s: i64,
    window: Duration,
) -> Result<String, &'static str> {
    match kind {
        HookSignature::Standard => standard(secret, signed, now_s, window),
        HookSignature::Github => github(secret, signed),
        HookSignature::Stripe => stripe(secret, signed, now_s, window),
    }
}

/// The signature of a request in the form of Standard Webhooks; none where the key is none.
pub(crate) fn sign(secret: &str, id: &str, time_s: i64, body: &[u8]) -> Option<String> {
    let mac = mac(
        &standard_key(secret)?,
        &[format!("{id}.{time_s}.").as_bytes(), body],
    )?;
    let signature = STANDARD.encode(mac.finalize().into_bytes());
    Some(format!("v1,{signature}"))
}

fn mac(key: &[u8], parts: &[&[u8]]) -> Option<Hmac<Sha256>> {
    // Anybody can sign with a key that is empty.
    let mut mac = (!key.is_empty())
        .then(|| Hmac::<Sha256>::new_from_slice(key).ok())
        .flatten()?;
    for part in parts {
        mac.update(part);
    }
    Some(mac)
}

const NO_KEY: &str = "the secret of this webhook can't be used as its key";

/// Whether one of the signatures is right; comparing takes as long whatever is wrong.
fn any_fits(mac: &Hmac<Sha256>, signatures: impl Iterator<Item = Vec<u8>>) -> bool {
    signatures
        .take(SIGNATURES_MAX)
        .fold(false, |fits, signature| {
            mac.clone().verify_slice(&signature).is_ok() | fits
        })
}

fn standard_key(secret: &str) -> Option<Vec<u8>> {
    let secret = secret.trim();
    let encoded = secret.strip_prefix(KEY_PREFIX).unwrap_or(secret);
    STANDARD.decode(encoded).ok()
}

fn standard(
    secret: &str,
    signed: &Signed<'_>,
    now_s: i64,
    window: Duration,
) -> Result<String, &'static str> {
    let header = |name: &str| (signed.header)(name);
    let id = header("webhook-id").ok_or("the header `webhook-id` is missing")?;
    let time = header("webhook-timestamp").ok_or("the header `webhook-timestamp` is missing")?;
    let signatures =
        header("webhook-signature").ok_or("the header `webhook-signature` is missing")?;
    // A dot in it could be read as the end of it.
    let is_id = !id.is_empty()
        && id.len() <= ID_BYTES_MAX
        && id
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'.');
    if !is_id {
        return Err("the header `webhook-id` is no id");
    }
    let key = standard_key(secret).ok_or(NO_KEY)?;
    let content = format!("{id}.{time}.");
    let mac = mac(&key, &[content.as_bytes(), signed.body]).ok_or(NO_KEY)?;
    let known = signatures
        .split(' ')
        .filter_map(|signature| signature.strip_prefix("v1,"))
        .filter_map(|signature| STANDARD.decode(signature).ok());
    if !any_fits(&mac, known) {
        return Err("no signature fits");
    }
    in_time(&time, now_s, window)?;
    Ok(id)
}

fn github(secret: &str, signed: &Signed<'_>) -> Result<String, &'static str> {
    let signature = (signed.header)("x-hub-signature-256")
        .ok_or("the header `x-hub-signature-256` is missing")?;
    let mac = mac(secret.trim().as_bytes(), &[signed.body]).ok_or(NO_KEY)?;
    let given = signature.strip_prefix("sha256=").and_then(hex);
    if !any_fits(&mac, given.into_iter()) {
        return Err("the signature does not fit");
    }
    // The header with the id of the delivery is not signed: whoever sends a request again
    // could put another one there.
    Ok(signature.to_ascii_lowercase())
}

fn stripe(
    secret: &str,
    signed: &Signed<'_>,
    now_s: i64,
    window: Duration,
) -> Result<String, &'static str> {
    let header =
        (signed.header)("stripe-signature").ok_or("the header `stripe-signature` is missing")?;
    let parts = || header.split(',').filter_map(|part| part.split_once('='));
    let mut times = parts().filter(|(name, _)| *name == "t");
    let (time, None) = (times.next(), times.next()) else {
        return Err("the header `stripe-signature` has more than one time");
    };
    let (_, time) = time.ok_or("the header `stripe-signature` has no time")?;
    // The whole of it is the key, its prefix included.
    let key = secret.trim().as_bytes();
    let content = format!("{time}.");
    let mac = mac(key, &[content.as_bytes(), signed.body]).ok_or(NO_KEY)?;
    let known = parts()
        .filter(|(name, _)| *name == "v1")
        .filter_map(|(_, signature)| hex(signature));
    if !any_fits(&mac, known) {
        return Err("no signature fits");
    }
    in_time(time, now_s, window)?;
    // A delivery that is tried again is signed anew; the event keeps its id.
    let event: Option<serde_json::Value> = serde_json::from_slice(signed.body).ok();
    let id = event.as_ref().and_then(|event| event.get("id")?.as_str());
    let id = id.filter(|id| !id.is_empty() && id.len() <= ID_BYTES_MAX);
    match id {
        Some(id) => Ok(id.to_owned()),
        None => Err("the event has no id"),
    }
}

fn in_time(time: &str, now_s: i64, window: Duration) -> Result<(), &'static str> {
    let digits = !time.is_empty() && time.bytes().all(|byte| byte.is_ascii_digit());
    let time: i64 = digits
        .then(|| time.parse().ok())
        .flatten()
        .ok_or("the time that was signed is none")?;
    if now_s.abs_diff(time) > window.as_secs() {
        return Err("the time that was signed is too far from now");
    }
    Ok(())
}

/// Bytes that are written in hexadecimal digits.
fn hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pairs = text.as_bytes().chunks(2).map(|pair| match pair {
        [high, low] => u8::try_from(digit(*high)? << 4 | digit(*low)?).ok(),
        _ => None,
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of the specifications themselves.
    const STANDARD_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const STANDARD_ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const STANDARD_TIME: i64 = 1_614_265_330;
    const STANDARD_BODY: &[u8] = br#"{"test": 2432232314}"#;
    const STANDARD_SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    const GITHUB_SECRET: &str = "It's a Secret to Everybody";
    const GITHUB_BODY: &[u8] = b"Hello, World!";
    const GITHUB_SIGNATURE: &str =
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b04e17e";

    fn check(
        kind: HookSignature,
        secret: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        now_s: i64,
    ) -> Result<String, &'static str> {
        let header = |name: &str| {
            let found = headers.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let signed = Signed {
            header: &header,
            body,
        };
        verify(kind, secret, &signed, now_s, Duration::from_secs(300))
    }

    #[test]
    fn standard_webhooks() {
        let signed = |id: &str, time: &str, signature: &str, body: &[u8], now_s| {
            let headers = [
                ("webhook-id", id),
                ("webhook-timestamp", time),
                ("webhook-signature", signature),
            ];
            check(
                HookSignature::Standard,
                STANDARD_SECRET,
                &headers,
                body,
                now_s,
            )
        };
        let (id, signature, body) = (STANDARD_ID, STANDARD_SIGNATURE, STANDARD_BODY);
        let (now, time) = (STANDARD_TIME, "1614265330");
        assert_eq!(signed(id, time, signature, body, now).as_deref(), Ok(id));
        let two = format!("v1,bm9uZQ== v2,x {signature}");
        assert_eq!(signed(id, time, &two, body, now).as_deref(), Ok(id));
        assert_eq!(
            signed(id, time, signature, body, now + 300).as_deref(),
            Ok(id)
        );
        for (id, time, signature, body, now) in [
            ("msg_other", time, signature, body, now),
            (id, "1614265331", signature, body, now),
            (id, time, "v1,bm9uZQ==", body, now),
            (id, time, signature.trim_start_matches("v1,"), body, now),
            (id, time, "", body, now),
            (id, time, signature, b"{}".as_slice(), now),
            (id, time, signature, body, now + 301),
            (id, time, signature, body, now - 301),
            (id, "soon", signature, body, now),
            ("a.b", time, signature, body, now),
            ("", time, signature, body, now),
        ] {
            assert!(signed(id, time, signature, body, now).is_err());
        }
        assert_eq!(
            sign(STANDARD_SECRET, id, STANDARD_TIME, body).as_deref(),
            Some(signature)
        );
        assert_eq!(sign("whsec_", id, STANDARD_TIME, body), None);
        assert_eq!(sign("whsec_!", id, STANDARD_TIME, body), None);
    }

    #[test]
    fn github() {
        let signed = |secret: &str, signature: &str, body: &[u8]| {
            let headers = [("x-hub-signature-256", signature)];
            check(HookSignature::Github, secret, &headers, body, 0)
        };
        let (secret, signature, body) = (GITHUB_SECRET, GITHUB_SIGNATURE, GITHUB_BODY);
        assert_eq!(signed(secret, signature, body).as_deref(), Ok(signature));
        // Another writing of the same is the same delivery.
        let large = signature.to_ascii_uppercase().replace("SHA256", "sha256");
        assert_eq!(signed(secret, &large, body).as_deref(), Ok(signature));
        for (secret, signature, body) in [
            ("other", signature, body),
            ("", signature, body),
            (secret, &signature[7..], body),
            (secret, &signature[..69], body),
            (secret, "sha256=", body),
            (secret, "sha1=00", body),
            (secret, signature, b"Hello, World?".as_slice()),
        ] {
            assert!(signed(secret, signature, body).is_err(), "{signature}");
        }
        assert!(check(HookSignature::Github, secret, &[], body, 0).is_err());
    }

    #[test]
    fn stripe() {
        let body = br#"{"id": "evt_1", "type": "charge.succeeded"}"#;
        let secret = "whsec_test";
        let signature = |time: &str| {
            let mac = mac(secret.as_bytes(), &[format!("{time}.").as_bytes(), body]).unwrap();
            let bytes = mac.finalize().into_bytes();
            bytes
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        };
        let signed = |header: &str, body: &[u8], now_s| {
            let headers = [("stripe-signature", header)];
            check(HookSignature::Stripe, secret, &headers, body, now_s)
        };
        let header = format!("t=1000,v0=00,v1={}", signature("1000"));
        assert_eq!(signed(&header, body, 1_000).as_deref(), Ok("evt_1"));
        // Tried again it has another time, and is the same event.
        let again = format!("t=1100,v1=00,v1={}", signature("1100"));
        assert_eq!(signed(&again, body, 1_200).as_deref(), Ok("evt_1"));
        for (header, now) in [
            (header.clone(), 1_301),
            (header.replace("t=1000", "t=1001"), 1_000),
            (format!("t=1000,{header}"), 1_000),
            (format!("v1={}", signature("1000")), 1_000),
            ("t=1000".to_owned(), 1_000),
        ] {
            assert!(signed(&header, body, now).is_err(), "{header}");
        }
        assert!(signed(&header, b"{}", 1_000).is_err());
    }
}
