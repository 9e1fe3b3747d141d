//! Why a part of WASI last failed in a call: its error codes carry no sentence.

use std::sync::{Mutex, PoisonError};

use crate::error::Failure;

/// The last failure, until the guest has taken it.
#[derive(Debug, Default)]
pub(crate) struct LastFailure(Mutex<Option<Failure>>);

impl LastFailure {
    pub(crate) fn set(&self, failure: Failure) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
    }

    pub(crate) fn clear(&self) {
        self.take();
    }

    pub(crate) fn take(&self) -> Option<Failure> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
