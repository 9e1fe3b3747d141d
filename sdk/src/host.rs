//! The functions of the host, by target: inside a component they are its imports; in a native
//! build, where a plugin's own tests run, they are those of a host that grants and knows
//! nothing. Both sides have the signatures that the bindings generate.

#[cfg(target_family = "wasm")]
pub(crate) use crate::bindings::tools::portreeve::{
    client::{inputs, log, roots, sampling},
    content::changes,
    host::{config, context},
    messages::bus,
    network::failures,
    prompt::{notices, questions},
    secrets::{inject, reveal, store},
    storage::kv,
    ui::progress,
};

#[cfg(target_family = "wasm")]
pub(crate) mod files {
    pub(crate) use crate::bindings::tools::portreeve::directories::failures::take_last;

    pub(crate) fn mounted() -> Vec<String> {
        let mounted = wasip2::filesystem::preopens::get_directories().into_iter();
        mounted.map(|(_, path)| path).collect()
    }
}

#[cfg(not(target_family = "wasm"))]
pub(crate) use native::{
    bus, changes, config, context, files, inject, inputs, kv, log, no_host, notices, progress,
    questions, reveal, roots, sampling, store,
};

#[cfg(not(target_family = "wasm"))]
mod native {
    pub(crate) mod changes {
        use super::Failure;

        pub(crate) fn updated(_uri: &str) -> Result<(), Failure> {
            Ok(())
        }

        pub(crate) fn list_changed() {}
    }

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

    pub(crate) mod files {
        use super::Failure;

        pub(crate) fn take_last() -> Option<Failure> {
            None
        }

        pub(crate) fn mounted() -> Vec<String> {
            Vec::new()
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

    pub(crate) mod kv {
        use super::{Failure, no_host};
        use crate::bindings::tools::portreeve::storage::kv::{
            Entry, Expected, Info, Page, Usage, Version,
        };

        fn none<T>() -> Result<T, Failure> {
            Err(no_host("keep anything"))
        }

        pub(crate) fn get(_key: &str) -> Result<Option<Entry>, Failure> {
            none()
        }

        pub(crate) fn stat(_key: &str) -> Result<Option<Info>, Failure> {
            none()
        }

        pub(crate) fn set(
            _key: &str,
            _value: &[u8],
            _ttl_ms: Option<u64>,
            _expected: Expected,
        ) -> Result<Version, Failure> {
            none()
        }

        pub(crate) fn delete(_key: &str, _expected: Expected) -> Result<bool, Failure> {
            none()
        }

        pub(crate) fn increment(_key: &str, _delta: i64) -> Result<i64, Failure> {
            none()
        }

        pub(crate) fn list_keys(
            _prefix: &str,
            _cursor: Option<&str>,
            _limit: u32,
        ) -> Result<Page, Failure> {
            none()
        }

        pub(crate) fn used() -> Result<Usage, Failure> {
            none()
        }
    }

    pub(crate) mod bus {
        use super::{Failure, no_host};
        use crate::bindings::tools::portreeve::messages::bus::{Answer, Published};

        /// What is set goes nowhere.
        #[derive(Debug)]
        pub(crate) struct Options;

        impl Options {
            pub(crate) fn new() -> Options {
                Options
            }

            pub(crate) fn set_content_type(&self, _content_type: &str) {}

            pub(crate) fn set_header(&self, _name: &str, _value: &str) {}

            pub(crate) fn set_key(&self, _key: &str) {}

            pub(crate) fn set_dedup_id(&self, _id: &str) {}

            pub(crate) fn set_delay_ms(&self, _delay_ms: u64) {}

            pub(crate) fn set_ttl_ms(&self, _ttl_ms: u64) {}

            pub(crate) fn set_timeout_ms(&self, _timeout_ms: u64) {}
        }

        pub(crate) fn publish(
            _topic: &str,
            _payload: &[u8],
            _options: Option<&Options>,
        ) -> Result<Published, Failure> {
            Err(no_host("publish to"))
        }

        pub(crate) fn request(
            _topic: &str,
            _payload: &[u8],
            _options: Option<&Options>,
        ) -> Result<Answer, Failure> {
            Err(no_host("ask"))
        }
    }

    pub(crate) mod notices {
        use super::{Failure, no_host};
        use crate::bindings::tools::portreeve::prompt::notices::Notice;

        pub(crate) fn notify(_notice: &Notice) -> Result<(), Failure> {
            Err(no_host("tell people anything"))
        }
    }

    pub(crate) mod questions {
        use super::{Failure, no_host};
        use crate::bindings::tools::portreeve::prompt::questions::{Answer, Question};

        pub(crate) fn ask_many(_questions: &[Question]) -> Result<Vec<Answer>, Failure> {
            Err(no_host("ask people anything"))
        }
    }

    pub(crate) mod sampling {
        use super::{Failure, no_host};
        use crate::bindings::tools::portreeve::client::types::{Reply, Request};

        pub(crate) fn create_message(_request: &Request) -> Result<Reply, Failure> {
            Err(no_host("ask a model"))
        }
    }

    pub(crate) mod roots {
        use super::{Failure, no_host};
        use crate::bindings::tools::portreeve::client::types::Root;

        pub(crate) fn list_roots() -> Result<Vec<Root>, Failure> {
            Err(no_host("ask where a client works"))
        }
    }

    pub(crate) mod log {
        use super::{Failure, no_host};
        use crate::bindings::tools::portreeve::client::log::Level;

        pub(crate) fn write(_level: Level, _data: &str) -> Result<(), Failure> {
            Err(no_host("write to a client's log"))
        }
    }

    pub(crate) mod inputs {
        use super::{Failure, no_host};
        use crate::bindings::tools::portreeve::client::inputs::{Given, Input, Kind};

        pub(crate) fn can(_kind: Kind) -> bool {
            false
        }

        pub(crate) fn gather(_inputs: &[Input]) -> Result<Vec<Given>, Failure> {
            Err(no_host("ask a client"))
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
