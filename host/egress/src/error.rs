//! Why something did not get through the gate.

use std::net::IpAddr;
use std::time::Duration;

/// Why a request, a connection or a look-up did not get through the gate: a kind for code,
/// and a sentence for people that says what happened and what to do. It holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct GateError {
    kind: GateErrorKind,
    message: Box<str>,
}

/// What kind of thing happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GateErrorKind {
    /// No rule allows it.
    Refused,
    /// The address that it leads to may not be reached.
    AddressRefused {
        /// What would have to be granted.
        address: IpAddr,
    },
    /// No URL that can be sent.
    InvalidUrl,
    /// No request that can be sent: a header that is none, a length that is not the body's.
    InvalidRequest,
    /// The name leads nowhere, or nobody says where.
    Dns,
    /// Nothing answers at the address.
    Connect,
    /// The other side is not who it should be, or speaks no TLS.
    Tls,
    /// It took too long.
    Timeout(Phase),
    /// A budget is used up.
    Budget {
        /// The setting that raises it.
        setting: &'static str,
        /// What is allowed, in bytes or as a count.
        allowed: u64,
        /// What would have been used.
        used: u64,
    },
    /// The operator lets fewer requests through.
    RateLimited {
        /// When one will be let through.
        retry_after: Duration,
    },
    /// The origin failed too often and is left alone for a while.
    CircuitOpen {
        /// When it is tried again.
        retry_after: Duration,
    },
    /// A head has too many fields, or too long ones.
    HeadTooLarge,
    /// A body is larger than may be.
    BodyTooLarge,
    /// The connection ended before the message did.
    Incomplete,
    /// The other side doesn't speak HTTP as it should.
    Protocol,
    /// A server sends the host to where it does not go.
    Redirect,
    /// A credential can't be had or can't be used.
    Credential,
    /// The gate itself can't be set up as it is configured.
    Setup,
}

/// What was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// A connection: look-up, TCP and TLS.
    Connect,
    /// The head of the response, once the request was sent.
    FirstByte,
    /// More of the body.
    BetweenBytes,
    /// All of it.
    Total,
}

impl GateError {
    /// An error of a kind, with a sentence for people.
    pub fn new(kind: GateErrorKind, message: impl Into<String>) -> GateError {
        GateError {
            kind,
            message: message.into().into_boxed_str(),
        }
    }

    /// What kind of thing happened.
    pub fn kind(&self) -> &GateErrorKind {
        &self.kind
    }

    /// That the way out can't be set up as it is configured.
    pub fn setup(message: impl Into<String>) -> GateError {
        GateError::new(GateErrorKind::Setup, message)
    }

    pub(crate) fn request(message: impl Into<String>) -> GateError {
        GateError::new(GateErrorKind::InvalidRequest, message)
    }

    /// That something took too long.
    pub(crate) fn late(phase: Phase, allowed: Duration) -> GateError {
        let what = match phase {
            Phase::Connect => "no connection came about",
            Phase::FirstByte => "no response came",
            Phase::BetweenBytes => "nothing more of the body came",
            Phase::Total => "the exchange did not end",
        };
        GateError::new(
            GateErrorKind::Timeout(phase),
            format!("{what} within {:.1} s", allowed.as_secs_f64()),
        )
    }

    /// What went wrong between here and the server, in an error of hyper's: one of ours where
    /// a body of ours caused it.
    pub(crate) fn exchange(error: &hyper::Error) -> GateError {
        let causes =
            || std::iter::successors(std::error::Error::source(error), |cause| cause.source());
        if let Some(ours) = causes().find_map(|cause| cause.downcast_ref::<GateError>()) {
            return ours.clone();
        }
        let why = causes().fold(error.to_string(), |why, cause| format!("{why}: {cause}"));
        let (kind, what) = if error.is_parse() && why.contains("head is too large") {
            (
                GateErrorKind::HeadTooLarge,
                "the response's head is larger than is taken",
            )
        } else if error.is_parse() {
            (GateErrorKind::Protocol, "the response is no HTTP")
        } else if error.is_user() {
            (GateErrorKind::InvalidRequest, "the request can't be sent")
        } else if error.is_incomplete_message()
            || error.is_closed()
            || error.is_canceled()
            || causes().any(|cause| cause.is::<std::io::Error>())
        {
            (
                GateErrorKind::Incomplete,
                "the connection ended before the response did",
            )
        } else {
            (GateErrorKind::Protocol, "the server broke the exchange off")
        };
        GateError::new(kind, format!("{what}: {why}"))
    }
}
