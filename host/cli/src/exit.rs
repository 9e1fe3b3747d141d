//! How the process ends.

use std::process::ExitCode;

/// The exit codes, which scripts rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Something failed.
    Failed = 1,
    /// The arguments make no sense.
    Usage = 2,
    /// Something is forbidden: by a grant that is missing, or by papers that are not in order.
    Refused = 3,
}

impl Exit {
    /// The kind of error, as `--json` names it.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Exit::Failed => "failed",
            Exit::Usage => "usage",
            Exit::Refused => "refused",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}
