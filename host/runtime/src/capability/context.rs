//! `portreeve:host/context`: what a guest may know about its own call.

use crate::bindings::portreeve::host::context::Host;
use crate::guest::Guest;

impl Host for Guest {
    fn call_id(&mut self) -> String {
        self.context.call_id.clone()
    }

    fn caller(&mut self) -> String {
        self.context.caller.clone()
    }

    fn deadline_ms(&mut self) -> u64 {
        u64::try_from(self.clock.left().as_millis()).unwrap_or(u64::MAX)
    }

    fn is_cancelled(&mut self) -> bool {
        self.context.cancel.is_cancelled()
    }

    fn fuel_left(&mut self) -> u64 {
        self.fuel_left
    }
}
