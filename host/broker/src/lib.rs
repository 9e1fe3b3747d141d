//! Messages between plugins.
//!
//! [`Broker`] is what a broker promises, guarantee by guarantee; the conformance suite in `tests/`
//! holds every one of them, and is what another implementation has to pass. [`Embedded`] keeps
//! its promises in one process on the project's state.
//!
//! - A **topic** is one log. A **subscription** is a cursor for each topic that its patterns match,
//!   plus the exceptions: messages before the cursor that are not settled.
//! - **At least once**: a message is on disk before `publish` returns, and it stays until every
//!   subscription has settled it.
//! - **Nothing is dropped uncounted**: what ends otherwise than by being handled is a dead letter
//!   or a count, written in the transaction that ends it.
//!
//! **Architecture invariant:** knows neither plugins nor grants. Who may publish or subscribe is
//! decided before a call comes here; the broker is told whose it is.
#![deny(missing_docs)]

mod broker;
mod cloud_event;
mod embedded;
mod error;
mod limits;
mod message;

pub use broker::{
    ANYBODY, Broker, Counted, DeadFilter, DeadLetter, Delivery, From, Look, Outcome, Published,
    Retry, Start, Stats, Subscription, SubscriptionStats, Tail, TopicStats, Whom,
};
pub use cloud_event::{EventError, from_event, to_event};
pub use embedded::{Answering, Embedded, Request, Responder};
pub use error::BrokerError;
pub use limits::{Clock, Limits, TopicSettings, system_clock};
pub use message::{Answer, Message, Publish, Refusal, Reply, Sender};
pub use portreeve_state::Holder;
