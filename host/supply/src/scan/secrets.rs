//! Keys and credentials: what they look like, and what only looks like them.
//!
//! A form that is found too easily is worse than none, so these are those of services whose
//! credentials can't be taken for anything else, and of private keys that are there whole.

use crate::finding::{Rule, rules};

/// How far a key may go, in bytes: one of RSA with 16,384 bits has 13 KiB in PEM.
pub(super) const KEY_BYTES_MAX: usize = 16 << 10;

/// Different characters that what was drawn at random has at least; placeholders such as
/// `xxxxxxxx` have fewer.
const VARIETY_MIN: usize = 8;

/// Characters of base64 that the body of a key has at least: one of Ed25519 has 64.
const BODY_BYTES_MIN: usize = 60;

/// A form of a credential.
pub(super) struct Form {
    pub(super) rule: &'static Rule,
    /// What it is.
    pub(super) what: &'static str,
    /// What it begins with, at least three bytes.
    pub(super) begins: &'static [&'static str],
    /// The whole of it, from its first byte on.
    pub(super) form: &'static str,
    check: Check,
}

/// What else must hold.
#[derive(Clone, Copy)]
enum Check {
    /// It looks drawn at random.
    Random,
    /// The same, and it stands by itself: what it begins with is found in any base64.
    Alone,
    /// It is followed by the body and the end of a key.
    Body(&'static str),
}

/// All of them.
pub(super) const FORMS: &[Form] = &[
    Form {
        rule: &rules::PRIVATE_KEY,
        what: "a private key in PEM",
        begins: &["-----BEGIN "],
        form: r"(?-u)\A-----BEGIN (?:[A-Z0-9]{1,16} ){0,3}PRIVATE KEY(?: BLOCK)?-----",
        check: Check::Body("-----END "),
    },
    Form {
        rule: &rules::PRIVATE_KEY,
        what: "a private key of PuTTY",
        begins: &["PuTTY-User-Key-File-"],
        form: r"(?-u)\APuTTY-User-Key-File-[123]: ",
        check: Check::Body("Private-MAC:"),
    },
    secret(
        &rules::PRIVATE_KEY,
        "a private key of age",
        &["AGE-SECRET-KEY-1"],
        r"(?-u)\AAGE-SECRET-KEY-1[02-9AC-HJ-NP-Z]{58}",
    ),
    secret(
        &rules::PRIVATE_KEY,
        "a secret key of minisign",
        &["RWRTY0Iy"],
        r"(?-u)\ARWRTY0Iy[A-Za-z0-9+/]{203,204}",
    ),
    Form {
        rule: &rules::SECRET,
        what: "an access key of AWS",
        begins: &["AKIA", "ASIA"],
        form: r"(?-u)\AA[KS]IA[A-Z2-7]{16}(?:[^A-Za-z0-9+/=]|\z)",
        check: Check::Alone,
    },
    Form {
        rule: &rules::SECRET,
        what: "an API key of Google",
        begins: &["AIza"],
        form: r"(?-u)\AAIza[A-Za-z0-9_-]{35}(?:[^A-Za-z0-9_+/=-]|\z)",
        check: Check::Alone,
    },
    secret(
        &rules::SECRET,
        "a token of GitHub",
        &["ghp_", "gho_", "ghu_", "ghs_", "ghr_"],
        r"(?-u)\Agh[pousr]_[A-Za-z0-9]{36}",
    ),
    secret(
        &rules::SECRET,
        "a token of GitHub",
        &["github_pat_"],
        r"(?-u)\Agithub_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}",
    ),
    secret(
        &rules::SECRET,
        "a token of GitLab",
        &["glpat-"],
        r"(?-u)\Aglpat-[A-Za-z0-9_-]{20}",
    ),
    secret(
        &rules::SECRET,
        "a token of Slack",
        &["xoxb-", "xoxp-", "xoxa-", "xoxr-", "xoxs-"],
        r"(?-u)\Axox[abprs]-[0-9]{10,13}-[0-9A-Za-z-]{20,80}",
    ),
    secret(
        &rules::SECRET,
        "a webhook of Slack",
        &["hooks.slack.com/services/"],
        r"(?-u)\Ahooks\.slack\.com/services/T[A-Z0-9]{8,12}/B[A-Z0-9]{8,12}/[A-Za-z0-9]{24}",
    ),
    secret(
        &rules::SECRET,
        "a live key of Stripe",
        &["sk_live_", "rk_live_"],
        r"(?-u)\A[sr]k_live_[0-9A-Za-z]{24,99}",
    ),
    secret(
        &rules::SECRET,
        "a token of npm",
        &["npm_"],
        r"(?-u)\Anpm_[A-Za-z0-9]{36}",
    ),
    secret(
        &rules::SECRET,
        "a token of PyPI",
        &["pypi-AgEIcHlwaS5vcmc"],
        r"(?-u)\Apypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50,}",
    ),
    secret(
        &rules::SECRET,
        "a key of SendGrid",
        &["SG."],
        r"(?-u)\ASG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}",
    ),
    secret(
        &rules::SECRET,
        "a key of Anthropic",
        &["sk-ant-"],
        r"(?-u)\Ask-ant-[a-z0-9]{3,8}-[A-Za-z0-9_-]{80,}",
    ),
    secret(
        &rules::SECRET,
        "a key of OpenAI",
        &["T3BlbkFJ"],
        r"(?-u)\AT3BlbkFJ[A-Za-z0-9_-]{20,}",
    ),
    secret(
        &rules::SECRET,
        "a token of DigitalOcean",
        &["dop_v1_"],
        r"(?-u)\Adop_v1_[a-f0-9]{64}",
    ),
    secret(
        &rules::SECRET,
        "a token of HashiCorp Vault",
        &["hvs."],
        r"(?-u)\Ahvs\.[A-Za-z0-9_-]{90,}",
    ),
];

const fn secret(
    rule: &'static Rule,
    what: &'static str,
    begins: &'static [&'static str],
    form: &'static str,
) -> Form {
    Form {
        rule,
        what,
        begins,
        form,
        check: Check::Random,
    }
}

impl Form {
    /// Whether what has the form is more than an example of it. `before` is the byte before
    /// it, `far` what begins with it. Gives its length in bytes.
    pub(super) fn is_real(&self, before: Option<u8>, found: &[u8], far: &[u8]) -> Option<usize> {
        match self.check {
            Check::Random => looks_random(found).then_some(found.len()),
            Check::Alone => {
                let within = |byte: u8| byte.is_ascii_alphanumeric() || b"+/_-".contains(&byte);
                let alone = !before.is_some_and(within);
                // The byte after it is found as well.
                let length = found.iter().take_while(|byte| within(**byte)).count();
                (alone && looks_random(found)).then_some(length)
            }
            Check::Body(end) => body(found, far, end),
        }
    }
}

fn looks_random(found: &[u8]) -> bool {
    let mut seen = [false; 256];
    for byte in found.iter().skip(4) {
        if let Some(seen) = seen.get_mut(usize::from(*byte)) {
            *seen = true;
        }
    }
    let variety = seen.iter().filter(|seen| **seen).count();
    let text = String::from_utf8_lossy(found).to_ascii_lowercase();
    let placeholder = ["example", "xxxx", "0000", "1234567890"];
    variety >= VARIETY_MIN && !placeholder.iter().any(|word| text.contains(word))
}

/// A key with all that belongs to it: a body of base64, between a head and an end.
fn body(head: &[u8], far: &[u8], end: &str) -> Option<usize> {
    let rest = far.get(head.len()..)?;
    let finder = memchr::memmem::Finder::new(end);
    let length = finder.find(rest)?;
    let body = rest.get(..length)?;
    let mut bytes = 0;
    for byte in body {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' | b'=' => bytes += 1,
            // Line ends, also escaped ones, and fields of a head (`Proc-Type: 4,ENCRYPTED`).
            b'\n' | b'\r' | b' ' | b'\t' | b'\\' | b'"' | b'-' | b':' | b',' | b'.' | b'@'
            | b'_' => {}
            _ => return None,
        }
    }
    (bytes >= BODY_BYTES_MIN && looks_random(body)).then_some(head.len() + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_random() {
        for (text, expected) in [
            ("ghp_x7Kq2mZp9RtY4wVn8LbC1dFg6HjS3aQe5UoI", true),
            ("ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", false),
            ("AKIAIOSFODNN7EXAMPLE", false),
            ("ghp_1234567890abcdefghijklmnopqrstuvwxyz", false),
        ] {
            assert_eq!(looks_random(text.as_bytes()), expected, "{text}");
        }
    }
}
