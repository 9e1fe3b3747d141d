//! Why the broker refuses or fails.

use portreeve_state::StateError;

use crate::message::Refusal;

/// Why the broker refuses or fails.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// What was asked for can't be.
    #[error("{0}")]
    Invalid(String),
    /// Too much for now: of the publisher's own quota or of the topic's.
    #[error(
        "{what}: {used} of {allowed} are used; try again in {retry_ms} ms, or raise `{setting}`"
    )]
    Limited {
        /// What there is too much of.
        what: String,
        /// How much is used.
        used: u64,
        /// How much may be.
        allowed: u64,
        /// The setting that raises it.
        setting: &'static str,
        /// When it may be tried again, in milliseconds.
        retry_ms: u64,
    },
    /// More than may ever be.
    #[error("{what}: {used}, but at most {allowed}; raise `{setting}`")]
    Quota {
        /// What there is too much of.
        what: String,
        /// How much there is.
        used: u64,
        /// How much may be.
        allowed: u64,
        /// The setting that raises it.
        setting: &'static str,
    },
    /// It isn't there.
    #[error("{0}")]
    NotFound(String),
    /// Nobody answers requests on this topic.
    #[error("nobody answers on `{0}`: no plugin that runs has subscribed to it as a responder")]
    NobodyAnswers(String),
    /// Those who answer requests on this topic are such that may not be asked now.
    #[error("none of those who answer on `{0}` may be asked now")]
    NobodyMayAnswer(String),
    /// No answer came in time.
    #[error("no answer came within {0} ms")]
    Timeout(u64),
    /// Whoever answers says that it failed.
    #[error("{}", .0.message)]
    Refused(Box<Refusal>),
    /// Whoever had the request gave it up without a word.
    #[error("the request was given up by the plugin that had it")]
    GivenUp,
    /// The delivery is no longer this consumer's: its time was over, and the message was given
    /// to another, or is settled.
    #[error("the delivery is no longer held; the message may have been given to another consumer")]
    Stale,
    /// The state can't be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// The broker was closed.
    #[error("the broker was closed")]
    Closed,
}
