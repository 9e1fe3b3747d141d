//! What is put on record.

use std::str::FromStr;

use serde_json::{Map, Value};

use crate::rows::Holder;

/// Something that happened.
///
/// What `body` holds is up to whoever writes it, but for the keys that [`super::report()`] reads:
/// `tool` (of a call, a refusal or a limit), `code` (the error's code; none where it went
/// well), `capability` (of a refusal) and `setting` (of a limit).
#[derive(Clone, Debug, PartialEq)]
pub struct AuditEvent {
    /// Whom it is about.
    pub holder: Holder,
    /// What it is.
    pub kind: AuditKind,
    /// Who did it, or for whom it was done.
    pub caller: String,
    /// The call's id; empty outside of calls.
    pub call: String,
    /// The rest.
    pub body: Map<String, Value>,
}

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $kind:ident = $name:literal,)*) => {
        /// The kinds of events.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum AuditKind {
            $($(#[doc = $doc])+ $kind,)*
        }

        impl AuditKind {
            /// All of them.
            pub const ALL: &'static [AuditKind] = &[$(AuditKind::$kind),*];

            /// Its name in the log, such as `secret-set`.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(AuditKind::$kind => $name,)*
                }
            }
        }

        impl FromStr for AuditKind {
            type Err = String;

            fn from_str(name: &str) -> Result<AuditKind, String> {
                match name {
                    $($name => Ok(AuditKind::$kind),)*
                    _ => Err(format!(
                        "there is no such kind of record; the kinds are {}",
                        [$($name),*].join(", ")
                    )),
                }
            }
        }
    };
}

kinds! {
    /// The host started.
    Started = "started",
    /// The host stopped, with everything before on record.
    Stopped = "stopped",
    /// Something is not on record, or not as it should be: see [`GapReason`].
    Gap = "gap",
    /// A plugin was installed.
    Add = "add",
    /// A plugin was removed.
    Remove = "remove",
    /// A plugin may do more.
    Grant = "grant",
    /// A plugin may do less.
    Revoke = "revoke",
    /// The operator's file was changed by hand.
    Edit = "edit",
    /// A secret was set.
    SecretSet = "secret-set",
    /// A secret got a new value.
    SecretRotate = "secret-rotate",
    /// A secret was removed.
    SecretRemove = "secret-remove",
    /// A secret was used for a plugin, which did not see it.
    SecretUse = "secret-use",
    /// A secret was shown to a plugin.
    SecretReveal = "secret-reveal",
    /// The vault's key was changed.
    VaultRotate = "vault-rotate",
    /// A tool was called.
    Call = "call",
    /// A plugin or a caller was refused something.
    Refusal = "refusal",
    /// A limit was hit.
    Limit = "limit",
    /// Somebody could not say who they are.
    LoginFailed = "login-failed",
    /// A threshold was passed.
    Alert = "alert",
    /// Old records were removed.
    Prune = "prune",
}

impl AuditKind {
    /// Whether it changes what may be done. The log's head is exported after each.
    pub const fn is_administrative(self) -> bool {
        matches!(
            self,
            AuditKind::Add
                | AuditKind::Remove
                | AuditKind::Grant
                | AuditKind::Revoke
                | AuditKind::Edit
                | AuditKind::SecretSet
                | AuditKind::SecretRotate
                | AuditKind::SecretRemove
                | AuditKind::VaultRotate
                | AuditKind::Prune
        )
    }
}

/// Why there is a `gap` record: the `reason` in its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapReason {
    /// The host ended without closing the log: up to 50 ms of calls before it are missing.
    Crash,
    /// The log could not be written for a while.
    Unwritable,
    /// More was to be recorded than the disk could take.
    Overflow,
    /// The wall clock was set, or the machine slept.
    Clock,
    /// Records that were exported are gone.
    Truncated,
    /// Records are not those that were exported or written.
    Changed,
    /// The key was lost, and the chain starts anew.
    Renewed,
}

impl GapReason {
    /// Its name in the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            GapReason::Crash => "crash",
            GapReason::Unwritable => "unwritable",
            GapReason::Overflow => "overflow",
            GapReason::Clock => "clock",
            GapReason::Truncated => "truncated",
            GapReason::Changed => "changed",
            GapReason::Renewed => "renewed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_names_of_their_own() {
        for kind in AuditKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(*kind));
        }
        let error = "grants".parse::<AuditKind>().unwrap_err();
        assert!(error.contains("secret-reveal"), "{error}");
    }
}
