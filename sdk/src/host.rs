//! The functions of the host, by target: inside a component they are its imports; in a native
//! build, where a plugin's own tests run, they are those of a host that grants and knows
//! nothing. Both sides have the signatures that the bindings generate.

#[cfg(target_family = "wasm")]
pub(crate) use crate::bindings::tools::portreeve::{
    host::{config, context},
    network::failures,
    secrets::{inject, reveal, store},
    ui::progress,
};

#[cfg(not(target_family = "wasm"))]
pub(crate) use native::{config, context, inject, no_host, progress, reveal, store};

#[cfg(not(target_family = "wasm"))]
mod native {
    pub(crate) mod context {
        pub(crate) fn call_id() -> String {
            String::new()
        }

        pub(crate) fn caller() -> String {
            "local".to_owned()
        }

        pub(crate) fn deadline_ms() -> u64 {
            u64::MAX
        }

        pub(crate) fn is_cancelled() -> bool {
            false
        }

        pub(crate) fn fuel_left() -> u64 {
            u64::MAX
        }
    }

    pub(crate) mod config {
        pub(crate) fn get(_key: &str) -> Option<String> {
            None
        }

        pub(crate) fn all() -> String {
            "{}".to_owned()
        }
    }

    use crate::error::{Code, Failure};

    pub(crate) fn no_host(what: &str) -> Failure {
        Failure {
            code: Code::PermissionDenied,
            reason: "no-host".to_owned(),
            message: format!("there is no host to {what}: this is a native build"),
            retry_after_ms: None,
            detail: None,
        }
    }

    pub(crate) mod store {
        use super::{Failure, no_host};

        /// There is none.
        #[derive(Debug)]
        pub(crate) enum Secret {}

        impl Secret {
            pub(crate) fn name(&self) -> String {
                match *self {}
            }

            pub(crate) fn kind(&self) -> String {
                match *self {}
            }

            pub(crate) fn expires_ms(&self) -> Option<u64> {
                match *self {}
            }
        }

        pub(crate) fn get(_name: &str) -> Result<Secret, Failure> {
            Err(no_host("keep secrets"))
        }
    }

    pub(crate) mod inject {
        use super::{Failure, store::Secret};

        pub(crate) fn placeholder(secret: &Secret) -> Result<String, Failure> {
            match *secret {}
        }
    }

    pub(crate) mod reveal {
        use super::{Failure, store::Secret};

        pub(crate) fn value(secret: &Secret) -> Result<String, Failure> {
            match *secret {}
        }
    }

    pub(crate) mod progress {
        use super::{Failure, no_host};

        pub(crate) fn report(
            _done: f64,
            _total: Option<f64>,
            _message: Option<&str>,
        ) -> Result<(), Failure> {
            Err(no_host("report progress to"))
        }
    }
}
