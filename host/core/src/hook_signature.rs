//! How a webhook says who sent it: an HMAC (RFC 2104) with SHA-256 over its body, in the form of
//! Standard Webhooks, GitHub or Stripe.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use portreeve_manifest::settings::HookSignature;
use sha2::{Digest as _, Sha256};

/// What a key of Standard Webhooks begins with; the rest is base64.
const KEY_PREFIX: &str = "whsec_";

/// Longest id of a delivery, in bytes.
const ID_BYTES_MAX: usize = 128;

/// Signatures of one request that are looked at: senders that change their key send two.
const SIGNATURES_MAX: usize = 8;

/// A request, as far as its signature goes.
pub struct Signed<'a> {
    /// The value of a header, by its name in small letters.
    pub header: &'a (dyn Fn(&str) -> Option<String> + Sync),
    /// What it says.
    pub body: &'a [u8],
}

/// A request that is signed as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Under which it enters once.
    pub id: String,
    /// The place of the key that fits.
    pub key: usize,
}

/// What a request says of its signature, taken apart.
struct Claim {
    /// What is signed before the body.
    before: String,
    /// The time that is signed; GitHub signs none.
    time: Option<String>,
    signatures: Vec<Vec<u8>>,
    /// The id, where it is signed with a header.
    id: Option<String>,
}

/// Holds a request against the keys, one of which it must be signed with. `now_s` are seconds
/// since 1970, UTC.
///
/// # Errors
/// Why it is not taken for what it says it is.
pub fn verify(
    kind: HookSignature,
    keys: &[&str],
    signed: &Signed<'_>,
    now_s: i64,
    window: Duration,
) -> Result<Verified, &'static str> {
    let claim = match kind {
        HookSignature::Standard => standard(signed),
        HookSignature::Github => github(signed),
        HookSignature::Stripe => stripe(signed),
    }?;
    let macs = keys.iter().map(|key| {
        let key = match kind {
            HookSignature::Standard => standard_key(key)?,
            // The whole of it is the key; of Stripe's with its prefix.
            HookSignature::Github | HookSignature::Stripe => key.trim().as_bytes().to_vec(),
        };
        mac(&key, &[claim.before.as_bytes(), signed.body])
    });
    let macs: Vec<_> = macs.collect();
    if macs.iter().all(Option::is_none) {
        return Err("the secret of this webhook can't be used as its key");
    }
    let fits = |mac: &Option<Hmac<Sha256>>| {
        let mac = mac.as_ref();
        mac.is_some_and(|mac| any_fits(mac, &claim.signatures))
    };
    let key = macs.iter().position(fits).ok_or("no signature fits")?;
    if let Some(time) = &claim.time {
        in_time(time, now_s, window)?;
    }
    let id = match kind {
        HookSignature::Standard => claim.id.unwrap_or_default(),
        HookSignature::Github => body_id(signed.body),
        HookSignature::Stripe => event_id(signed.body)?,
    };
    Ok(Verified { id, key })
}

/// The signature of a request in the form of Standard Webhooks; none where the key is none.
pub fn sign(key: &str, id: &str, time_s: i64, body: &[u8]) -> Option<String> {
    let mac = mac(
        &standard_key(key)?,
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

/// Whether one of the signatures is right; comparing takes as long whatever is wrong.
fn any_fits(mac: &Hmac<Sha256>, signatures: &[Vec<u8>]) -> bool {
    signatures.iter().fold(false, |fits, signature| {
        mac.clone().verify_slice(signature).is_ok() | fits
    })
}

fn standard_key(secret: &str) -> Option<Vec<u8>> {
    let secret = secret.trim();
    let encoded = secret.strip_prefix(KEY_PREFIX).unwrap_or(secret);
    STANDARD.decode(encoded).ok()
}

fn standard(signed: &Signed<'_>) -> Result<Claim, &'static str> {
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
    let known = signatures
        .split(' ')
        .filter_map(|signature| signature.strip_prefix("v1,"))
        .filter_map(|signature| STANDARD.decode(signature).ok());
    Ok(Claim {
        before: format!("{id}.{time}."),
        time: Some(time),
        signatures: known.take(SIGNATURES_MAX).collect(),
        id: Some(id),
    })
}

fn github(signed: &Signed<'_>) -> Result<Claim, &'static str> {
    let signature = (signed.header)("x-hub-signature-256")
        .ok_or("the header `x-hub-signature-256` is missing")?;
    let given = signature.strip_prefix("sha256=").and_then(hex);
    Ok(Claim {
        before: String::new(),
        time: None,
        signatures: given.into_iter().collect(),
        id: None,
    })
}

fn stripe(signed: &Signed<'_>) -> Result<Claim, &'static str> {
    let header =
        (signed.header)("stripe-signature").ok_or("the header `stripe-signature` is missing")?;
    let parts = || header.split(',').filter_map(|part| part.split_once('='));
    let mut times = parts().filter(|(name, _)| *name == "t");
    let (time, None) = (times.next(), times.next()) else {
        return Err("the header `stripe-signature` has more than one time");
    };
    let (_, time) = time.ok_or("the header `stripe-signature` has no time")?;
    let known = parts()
        .filter(|(name, _)| *name == "v1")
        .filter_map(|(_, signature)| hex(signature));
    Ok(Claim {
        before: format!("{time}."),
        time: Some(time.to_owned()),
        signatures: known.take(SIGNATURES_MAX).collect(),
        id: None,
    })
}

/// GitHub's header with the id of a delivery is not signed: whoever sends a request again could
/// put another one there. What is signed is the body, whichever key it is signed with.
fn body_id(body: &[u8]) -> String {
    let digest = Sha256::digest(body);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A delivery of Stripe's that is tried again is signed anew; the event keeps its id.
fn event_id(body: &[u8]) -> Result<String, &'static str> {
    let event: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let id = event.as_ref().and_then(|event| event.get("id")?.as_str());
    match id.filter(|id| !id.is_empty() && id.len() <= ID_BYTES_MAX) {
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
    use proptest::prelude::*;
    use serde_json::json;

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
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    const WINDOW: Duration = Duration::from_secs(300);

    fn check_keys(
        kind: HookSignature,
        keys: &[&str],
        headers: &[(&str, &str)],
        body: &[u8],
        now_s: i64,
    ) -> Result<Verified, &'static str> {
        let header = |name: &str| {
            let found = headers.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let signed = Signed {
            header: &header,
            body,
        };
        verify(kind, keys, &signed, now_s, WINDOW)
    }

    fn check(
        kind: HookSignature,
        key: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        now_s: i64,
    ) -> Result<String, &'static str> {
        check_keys(kind, &[key], headers, body, now_s).map(|verified| verified.id)
    }

    fn hex_mac(key: &str, parts: &[&[u8]]) -> String {
        let mac = mac(key.as_bytes(), parts).unwrap();
        let bytes = mac.finalize().into_bytes();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
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
        let id = signed(secret, signature, body).unwrap();
        // Another writing of the same is the same delivery, and so is one by another key.
        let large = signature.to_ascii_uppercase().replace("SHA256", "sha256");
        assert_eq!(signed(secret, &large, body).as_ref(), Ok(&id));
        let other = format!("sha256={}", hex_mac("other", &[body]));
        assert_eq!(signed("other", &other, body).as_ref(), Ok(&id));
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
        let signature = |time: &str| hex_mac(secret, &[format!("{time}.").as_bytes(), body]);
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

    /// While one key takes the place of another, either will do; which one it was is known.
    #[test]
    fn any_of_several_keys_will_do() {
        let headers = [
            ("webhook-id", STANDARD_ID),
            ("webhook-timestamp", "1614265330"),
            ("webhook-signature", STANDARD_SIGNATURE),
        ];
        let (kind, other) = (HookSignature::Standard, "whsec_AAAA");
        for (keys, place) in [
            (&[STANDARD_SECRET, other][..], Some(0)),
            (&[other, STANDARD_SECRET], Some(1)),
            // One that is none is in nobody's way.
            (&["whsec_!", STANDARD_SECRET], Some(1)),
            (&[other, other], None),
            (&["whsec_!", "whsec_"], None),
            (&[], None),
        ] {
            let verified = check_keys(kind, keys, &headers, STANDARD_BODY, STANDARD_TIME);
            assert_eq!(
                verified.ok().map(|verified| verified.key),
                place,
                "{keys:?}"
            );
        }
        // A sender that signs with both is as good.
        let two = ["other".to_owned(), GITHUB_SECRET.to_owned()]
            .map(|key| format!("v1={}", hex_mac(&key, &[b"1.", br#"{"id": "e"}"#])));
        let header = format!("t=1,{}", two.join(","));
        let headers = [("stripe-signature", header.as_str())];
        let body = br#"{"id": "e"}"#;
        let verified = check_keys(
            HookSignature::Stripe,
            &["none", GITHUB_SECRET],
            &headers,
            body,
            1,
        );
        assert_eq!(verified.map(|verified| verified.key), Ok(1));
    }

    proptest! {
        /// What is signed is taken within its window and not outside, whatever stands beside the
        /// signature; what was changed is not.
        #[test]
        fn what_is_signed_is_taken(
            id in "[!-~&&[^.]]{1,128}",
            time in 0_i64..4_000_000_000,
            late in -400_i64..400,
            body in proptest::collection::vec(any::<u8>(), 0..64),
            beside in "[ -~]{0,20}",
            other in 0_u8..3,
        ) {
            let now = time + late;
            let in_time = late.unsigned_abs() <= WINDOW.as_secs();
            let keys = [STANDARD_SECRET, "whsec_AAAA"];
            let signature = sign(keys[usize::from(other % 2)], &id, time, &body).unwrap();
            let (signatures, at) = (format!("{beside} {signature}"), time.to_string());
            let headers = [
                ("webhook-id", id.as_str()),
                ("webhook-timestamp", &at),
                ("webhook-signature", &signatures),
            ];
            let kind = HookSignature::Standard;
            let verified = check_keys(kind, &keys, &headers, &body, now);
            prop_assert_eq!(verified.is_ok(), in_time);
            if let Ok(verified) = verified {
                prop_assert_eq!(verified, Verified { id: id.clone(), key: usize::from(other % 2) });
            }
            let mut changed = body.clone();
            changed.push(0);
            prop_assert!(check_keys(kind, &keys, &headers, &changed, now).is_err());

            let event = json!({"id": id, "beside": beside}).to_string();
            let v1 = hex_mac(GITHUB_SECRET, &[at.as_bytes(), b".", event.as_bytes()]);
            let header = format!("v0=x,t={at},v1=00,v1={v1}");
            let headers = [("stripe-signature", header.as_str())];
            let taken = check(HookSignature::Stripe, GITHUB_SECRET, &headers, event.as_bytes(), now);
            prop_assert_eq!(taken.is_ok(), in_time);
            let header = header.replace(&format!("t={at}"), &format!("t={}", time + 1));
            let headers = [("stripe-signature", header.as_str())];
            let taken = check(HookSignature::Stripe, GITHUB_SECRET, &headers, event.as_bytes(), now);
            prop_assert!(taken.is_err());
        }

        /// Whatever stands in the headers, nothing is taken that was not signed.
        #[test]
        fn no_header_is_taken_for_a_signature(
            values in proptest::collection::vec("(sha256=|v1,|t=1,v1=|t=1,t=2|v1=)?[ -~]{0,80}", 5),
            body in proptest::collection::vec(any::<u8>(), 0..32),
        ) {
            let names = [
                "webhook-id",
                "webhook-timestamp",
                "webhook-signature",
                "x-hub-signature-256",
                "stripe-signature",
            ];
            let values = values.iter().map(String::as_str);
            let headers: Vec<(&str, &str)> = names.into_iter().zip(values).collect();
            for kind in [HookSignature::Standard, HookSignature::Github, HookSignature::Stripe] {
                prop_assert!(check(kind, STANDARD_SECRET, &headers, &body, 1).is_err());
            }
        }
    }
}
