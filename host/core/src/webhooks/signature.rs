//! How senders of webhooks prove who they are: an HMAC over the body, under a secret that both
//! sides have.
//!
//! - Standard Webhooks: <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>
//! - GitHub: <https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries>
//! - Stripe: <https://docs.stripe.com/webhooks#verify-manually>

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use portreeve_manifest::settings::WebhookSignature;
use portreeve_supply::Digest;
use ring::hmac;
use serde_json::Value;
use zeroize::Zeroizing;

/// Most signatures of one request that are looked at: one for each secret that the sender has.
const SIGNATURES_MAX: usize = 8;

/// Longest id of a message.
const ID_BYTES_MAX: usize = 200;

/// What begins a secret of Standard Webhooks.
const STANDARD_PREFIX: &str = "whsec_";

/// Why a request is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Doubt {
    /// A field is missing or not of its form.
    #[error("the field `{0}` is missing, stands twice or is not of its form")]
    Field(&'static str),
    /// The signature is of another time.
    #[error("the signature's time is too far from now")]
    Time,
    /// No secret makes this signature.
    #[error("the signature is not of this body under any secret of this webhook")]
    Signature,
}

/// What a request claims, before its signature is looked at.
#[derive(Debug)]
pub(super) struct Claim {
    kind: WebhookSignature,
    /// What is signed before the body.
    prefix: String,
    signatures: Vec<Vec<u8>>,
    /// The sender's id of what it sends, where that is signed.
    id: Option<String>,
}

impl Claim {
    /// Reads the fields of a request. What costs more is done only for one that has them.
    pub(super) fn read(
        kind: WebhookSignature,
        headers: &HeaderMap,
        now_ms: i64,
        tolerance: Duration,
    ) -> Result<Claim, Doubt> {
        let timely = |seconds: i64| {
            let apart = now_ms.abs_diff(seconds.saturating_mul(1_000));
            let allowed = u64::try_from(tolerance.as_millis()).unwrap_or(u64::MAX);
            if apart <= allowed {
                Ok(())
            } else {
                Err(Doubt::Time)
            }
        };
        match kind {
            WebhookSignature::Standard => {
                let id = field(headers, "webhook-id")?;
                // The parts of what is signed are told apart by dots.
                if id.is_empty() || id.len() > ID_BYTES_MAX || id.contains('.') {
                    return Err(Doubt::Field("webhook-id"));
                }
                let time = field(headers, "webhook-timestamp")?;
                timely(seconds(time).ok_or(Doubt::Field("webhook-timestamp"))?)?;
                let written = field(headers, "webhook-signature")?.split(' ');
                let signatures = written.filter_map(|one| one.strip_prefix("v1,"));
                let signatures = signatures.filter_map(|one| STANDARD.decode(one).ok());
                Ok(Claim {
                    kind,
                    prefix: format!("{id}.{time}."),
                    signatures: signatures.take(SIGNATURES_MAX).collect(),
                    id: Some(id.to_owned()),
                })
            }
            WebhookSignature::Github => {
                const FIELD: &str = "x-hub-signature-256";
                let written = field(headers, FIELD)?.strip_prefix("sha256=");
                let signature = written.and_then(|one| hex::decode(one).ok());
                Ok(Claim {
                    kind,
                    prefix: String::new(),
                    signatures: vec![signature.ok_or(Doubt::Field(FIELD))?],
                    id: None,
                })
            }
            WebhookSignature::Stripe => {
                const FIELD: &str = "stripe-signature";
                let written = field(headers, FIELD)?;
                let parts = || written.split(',').filter_map(|part| part.split_once('='));
                let mut times = parts().filter(|(name, _)| name.trim() == "t");
                let (Some((_, time)), None) = (times.next(), times.next()) else {
                    return Err(Doubt::Field(FIELD));
                };
                timely(seconds(time).ok_or(Doubt::Field(FIELD))?)?;
                let signatures = parts().filter(|(name, _)| name.trim() == "v1");
                let signatures = signatures.filter_map(|(_, one)| hex::decode(one).ok());
                Ok(Claim {
                    kind,
                    prefix: format!("{time}."),
                    signatures: signatures.take(SIGNATURES_MAX).collect(),
                    id: None,
                })
            }
        }
    }

    /// Holds it against the secrets. What comes of it is the id under which the same thing
    /// enters a topic once: only what is signed is in it.
    pub(super) fn verify(
        self,
        secrets: &[Zeroizing<String>],
        body: &[u8],
    ) -> Result<String, Doubt> {
        let mut signed = self.prefix.into_bytes();
        signed.extend_from_slice(body);
        let is_made_by = |secret: &Zeroizing<String>| {
            key(self.kind, secret).is_some_and(|key| {
                let mut signatures = self.signatures.iter();
                signatures.any(|one| hmac::verify(&key, &signed, one).is_ok())
            })
        };
        if !secrets.iter().any(is_made_by) {
            return Err(Doubt::Signature);
        }
        let id = match self.kind {
            // Its events have ids, which stay when one is sent again under another time.
            WebhookSignature::Stripe => serde_json::from_slice::<Value>(body)
                .ok()
                .and_then(|event| Some(event.get("id")?.as_str()?.to_owned()))
                .filter(|id| !id.is_empty() && id.len() <= ID_BYTES_MAX),
            _ => self.id,
        };
        Ok(match id {
            Some(id) => format!("webhook {id}"),
            // GitHub signs the body alone: the id of a delivery could be another each time.
            None => format!("webhook {}", Digest::of(body)),
        })
    }
}

/// A field that stands once.
fn field<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<&'a str, Doubt> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().map_err(|_| Doubt::Field(name)),
        _ => Err(Doubt::Field(name)),
    }
}

/// Seconds since 1970, in digits alone.
fn seconds(text: &str) -> Option<i64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// The key that a secret is; none where it is not of the kind's form.
fn key(kind: WebhookSignature, secret: &str) -> Option<hmac::Key> {
    let bytes = match kind {
        WebhookSignature::Standard => {
            let encoded = secret.strip_prefix(STANDARD_PREFIX).unwrap_or(secret);
            Zeroizing::new(STANDARD.decode(encoded).ok()?)
        }
        WebhookSignature::Github | WebhookSignature::Stripe => {
            Zeroizing::new(secret.as_bytes().to_vec())
        }
    };
    // Whoever knows that there is none could sign with none.
    (!bytes.is_empty()).then(|| hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

/// Signs what is sent, as Standard Webhooks has it: the value of `webhook-signature`.
///
/// # Errors
/// A secret is not of the standard's form.
pub(super) fn sign(
    secrets: &[Zeroizing<String>],
    id: &str,
    seconds: i64,
    body: &[u8],
) -> Result<String, String> {
    let mut signed = format!("{id}.{seconds}.").into_bytes();
    signed.extend_from_slice(body);
    let signatures = secrets.iter().map(|secret| {
        let key = key(WebhookSignature::Standard, secret).ok_or_else(|| {
            "a secret is not of the form of Standard Webhooks: `whsec_` and then base64".to_owned()
        })?;
        let tag = hmac::sign(&key, &signed);
        Ok(format!("v1,{}", STANDARD.encode(tag.as_ref())))
    });
    Ok(signatures.collect::<Result<Vec<_>, String>>()?.join(" "))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW_MS: i64 = 1_614_265_330_000;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn check(
        kind: WebhookSignature,
        fields: &[(&'static str, &str)],
        secret: &str,
        body: &[u8],
    ) -> Result<String, Doubt> {
        let claim = Claim::read(kind, &headers(fields), NOW_MS, Duration::from_secs(300))?;
        claim.verify(&[Zeroizing::new(secret.to_owned())], body)
    }

    /// The example of the specification's own libraries.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: (&str, &str) = ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek");
    const TIME: (&str, &str) = ("webhook-timestamp", "1614265330");
    const SIGNATURE: (&str, &str) = (
        "webhook-signature",
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    );
    const BODY: &[u8] = br#"{"test": 2432232314}"#;

    #[test]
    fn the_examples_of_the_specifications_are_believed() {
        let standard = check(
            WebhookSignature::Standard,
            &[ID, TIME, SIGNATURE],
            SECRET,
            BODY,
        );
        assert_eq!(standard.unwrap(), "webhook msg_p5jXN8AQM9LWM0D4loKWxJek");
        assert_eq!(
            sign(
                &[Zeroizing::new(SECRET.to_owned())],
                ID.1,
                1_614_265_330,
                BODY
            )
            .unwrap(),
            SIGNATURE.1
        );
        // GitHub's documentation has this one.
        let github = check(
            WebhookSignature::Github,
            &[(
                "x-hub-signature-256",
                "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
            )],
            "It's a Secret to Everybody",
            b"Hello, World!",
        );
        assert!(github.unwrap().starts_with("webhook sha256:"));
    }

    fn stripe(time: i64, secret: &str, body: &[u8]) -> String {
        let mut signed = format!("{time}.").into_bytes();
        signed.extend_from_slice(body);
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let tag = hex::encode(hmac::sign(&key, &signed));
        format!("t={time},v1={},v1={tag},v0=aa", "00".repeat(32))
    }

    #[test]
    fn stripe_signs_time_and_body() {
        let body = br#"{"id":"evt_1"}"#;
        let good = stripe(NOW_MS / 1_000, "whsec_x", body);
        let field = |value: &str| {
            check(
                WebhookSignature::Stripe,
                &[("stripe-signature", value)],
                "whsec_x",
                body,
            )
        };
        assert_eq!(field(&good).unwrap(), "webhook evt_1");
        assert_eq!(field(&good.replace("v1=", "v2=")), Err(Doubt::Signature));
        let old = stripe(NOW_MS / 1_000 - 301, "whsec_x", body);
        assert_eq!(field(&old), Err(Doubt::Time));
        for wrong in ["", "t=x,v1=00", "v1=00", &format!("t=1,{good}")] {
            assert_eq!(
                field(wrong),
                Err(Doubt::Field("stripe-signature")),
                "{wrong}"
            );
        }
    }

    #[test]
    fn whatever_is_changed_is_not_believed() {
        let kind = WebhookSignature::Standard;
        for (fields, doubt) in [
            (
                vec![("webhook-id", "msg_other"), TIME, SIGNATURE],
                Doubt::Signature,
            ),
            (
                vec![("webhook-id", "a.b"), TIME, SIGNATURE],
                Doubt::Field("webhook-id"),
            ),
            (
                vec![ID, ("webhook-timestamp", "1614265331"), SIGNATURE],
                Doubt::Signature,
            ),
            (
                vec![ID, ("webhook-timestamp", "1614265630"), SIGNATURE],
                Doubt::Signature,
            ),
            (
                vec![ID, ("webhook-timestamp", "1614265631"), SIGNATURE],
                Doubt::Time,
            ),
            (
                vec![ID, ("webhook-timestamp", "1614265029"), SIGNATURE],
                Doubt::Time,
            ),
            (
                vec![ID, ("webhook-timestamp", "+1614265330"), SIGNATURE],
                Doubt::Field("webhook-timestamp"),
            ),
            (vec![ID, TIME], Doubt::Field("webhook-signature")),
            (
                vec![ID, TIME, SIGNATURE, SIGNATURE],
                Doubt::Field("webhook-signature"),
            ),
            (
                vec![ID, TIME, ("webhook-signature", "v1a,AAAA")],
                Doubt::Signature,
            ),
        ] {
            assert_eq!(check(kind, &fields, SECRET, BODY), Err(doubt), "{fields:?}");
        }
        let fields = [ID, TIME, SIGNATURE];
        assert_eq!(check(kind, &fields, SECRET, b"{}"), Err(Doubt::Signature));
        for secret in ["whsec_AAAA", "whsec_", "", "whsec_%"] {
            assert_eq!(
                check(kind, &fields, secret, BODY),
                Err(Doubt::Signature),
                "{secret}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_signed_is_believed_and_nothing_else(
            body in proptest::collection::vec(any::<u8>(), 0..64),
            other in proptest::collection::vec(any::<u8>(), 0..64),
            flip in 0_usize..32,
        ) {
            let secrets = [Zeroizing::new(SECRET.to_owned())];
            let time = NOW_MS / 1_000;
            let written = sign(&secrets, "m", time, &body).unwrap();
            let read = |written: &str, body: &[u8]| {
                let (stamp, id) = (time.to_string(), ("webhook-id", "m"));
                check(
                    WebhookSignature::Standard,
                    &[id, ("webhook-timestamp", &stamp), ("webhook-signature", written)],
                    SECRET,
                    body,
                )
            };
            prop_assert!(read(&written, &body).is_ok());
            prop_assert_eq!(read(&written, &other).is_ok(), other == body);
            let mut tag = STANDARD.decode(&written[3..]).unwrap();
            tag[flip] ^= 1;
            let flipped = format!("v1,{}", STANDARD.encode(tag));
            prop_assert!(read(&flipped, &body).is_err());
        }

        #[test]
        fn no_field_breaks_it(value in "[ -~]{0,80}") {
            for (kind, name) in [
                (WebhookSignature::Standard, "webhook-signature"),
                (WebhookSignature::Github, "x-hub-signature-256"),
                (WebhookSignature::Stripe, "stripe-signature"),
            ] {
                let read = check(kind, &[ID, TIME, (name, &value)], SECRET, BODY);
                prop_assert!(read.is_err());
            }
        }
    }
}
