//! Licences against the operator's policy.

use portreeve_manifest::id::Alias;
use portreeve_manifest::policy::LicensePolicy;
use serde::Serialize;
use spdx::LicenseReq;

use super::Declared;

/// What the policy says of one licence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
pub enum Verdict {
    /// There is no policy.
    Unjudged,
    /// The policy allows it.
    Allowed,
    /// An exception allows it.
    Exception {
        /// The reason that the operator wrote.
        reason: String,
    },
    /// It is not allowed.
    Denied {
        /// What about it.
        why: String,
    },
    /// It isn't known, so that the policy can't say.
    Unknown {
        /// Why not.
        why: String,
    },
}

impl Verdict {
    /// In a word or two, for tables.
    pub fn word(&self) -> &'static str {
        match self {
            Verdict::Unjudged => "no policy",
            Verdict::Allowed => "allowed",
            Verdict::Exception { .. } => "exception",
            Verdict::Denied { .. } => "denied",
            Verdict::Unknown { .. } => "unknown",
        }
    }
}

/// Holds a licence against the policy for the plugin with this alias.
pub(super) fn judge(policy: Option<&LicensePolicy>, alias: &Alias, said: &Declared) -> Verdict {
    let Some(policy) = policy else {
        return Verdict::Unjudged;
    };
    let exceptions = || {
        let mut all = policy.exceptions.iter();
        std::iter::from_fn(move || all.find(|exception| exception.plugin == *alias))
    };
    let expression = match said {
        Declared::Strict(expression) | Declared::Lax { expression, .. } => expression,
        Declared::Unknown(why) => {
            return match exceptions().find(|exception| exception.unlicensed) {
                Some(exception) => Verdict::Exception {
                    reason: exception.reason.to_string(),
                },
                None => Verdict::Unknown { why: why.clone() },
            };
        }
    };
    let allowed = |req: &LicenseReq| {
        policy.allow.iter().any(|one| one.get().satisfies(req))
            && !policy.deny.iter().any(|one| one.get().satisfies(req))
    };
    let failures = match expression.evaluate_with_failures(allowed) {
        Ok(()) => return Verdict::Allowed,
        Err(failures) => failures,
    };
    for exception in exceptions() {
        let excepted = |req: &LicenseReq| {
            allowed(req) || exception.allow.iter().any(|one| one.get().satisfies(req))
        };
        if expression.evaluate(excepted) {
            return Verdict::Exception {
                reason: exception.reason.to_string(),
            };
        }
    }
    let mut names: Vec<String> = failures.iter().map(|f| f.req.to_string()).collect();
    names.dedup();
    Verdict::Denied {
        why: format!("{} is not allowed", names.join(" nor ")),
    }
}
