//! The functions of the host, by target: inside a component they are its imports; in a native
//! build, where a plugin's own tests run, they are those of a host that grants and knows
//! nothing. Both sides have the signatures that the bindings generate.

#[cfg(target_family = "wasm")]
pub(crate) use crate::bindings::tools::portreeve::{
    host::{config, context},
    ui::progress,
};

#[cfg(not(target_family = "wasm"))]
pub(crate) use native::{config, context, progress};

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

    pub(crate) mod progress {
        use crate::error::{Code, Failure};

        pub(crate) fn report(
            _done: f64,
            _total: Option<f64>,
            _message: Option<&str>,
        ) -> Result<(), Failure> {
            Err(Failure {
                code: Code::PermissionDenied,
                reason: "no-host".to_owned(),
                message: "there is no host to report progress to: this is a native build"
                    .to_owned(),
                retry_after_ms: None,
                detail: None,
            })
        }
    }
}
