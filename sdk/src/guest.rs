//! What `plugin!` builds on: a plugin's tools and hooks, and their form in the contract.

use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::bindings::handler::exports::portreeve::messages::handler;
use crate::bindings::lifecycle::exports::portreeve::lifecycle::lifecycle;
use crate::bindings::responder::exports::portreeve::messages::responder;
use crate::bindings::tools::exports::portreeve::tools::provider;
use crate::error::Failure;
use crate::messages::{self, Answer, Handled, Message};
use crate::{Code, Error, Outcome, Tool, tool};

/// A tool behind plain function pointers.
pub struct Entry {
    name: &'static str,
    describe: fn() -> Result<serde_json::Value, Error>,
    call: fn(&str) -> Result<Outcome, Error>,
}

impl Entry {
    /// The entry of a tool.
    pub const fn of<T: Tool>() -> Self {
        Self {
            name: T::NAME,
            describe: tool::describe::<T>,
            call: tool::call::<T>,
        }
    }
}

/// What `plugin!` implements.
pub trait Plugin {
    /// The tools, in the order in which they are listed.
    const TOOLS: &'static [Entry];

    /// See `portreeve:lifecycle/lifecycle`.
    fn start(_config: &str) -> Result<(), Error> {
        Ok(())
    }

    /// See `portreeve:lifecycle/lifecycle`.
    fn stop(_deadline: Duration) {}

    /// See `portreeve:lifecycle/lifecycle`.
    fn health() -> Result<(), Error> {
        Ok(())
    }

    /// See `portreeve:lifecycle/lifecycle`.
    fn migrate(_from_version: &str) -> Result<(), Error> {
        Ok(())
    }

    /// See `portreeve:messages/handler`.
    fn handle(_message: Message) -> Result<Handled, Error> {
        Err(Error::new(
            Code::Unsupported,
            "this plugin handles no messages",
        ))
    }

    /// See `portreeve:messages/responder`.
    fn respond(_request: Message) -> Result<Answer, Error> {
        Err(Error::new(
            Code::Unsupported,
            "this plugin answers no requests",
        ))
    }
}

/// Stops the build where two tools have one name.
#[allow(clippy::panic, reason = "it is evaluated while compiling")]
pub const fn assert_unique(tools: &[Entry]) {
    let mut rest = tools;
    while let [tool, others @ ..] = rest {
        let mut later = others;
        while let [other, more @ ..] = later {
            assert!(
                !same(tool.name.as_bytes(), other.name.as_bytes()),
                "two tools of this plugin have the same name"
            );
            later = more;
        }
        rest = others;
    }
}

const fn same(mut a: &[u8], mut b: &[u8]) -> bool {
    loop {
        match (a, b) {
            ([], []) => return true,
            ([x, a_rest @ ..], [y, b_rest @ ..]) if *x == *y => {
                a = a_rest;
                b = b_rest;
            }
            _ => return false,
        }
    }
}

/// Runs a `start` hook with the configuration in the type that it wants.
pub fn start<C: DeserializeOwned, E: Into<Error>>(
    config: &str,
    hook: impl FnOnce(C) -> Result<(), E>,
) -> Result<(), Error> {
    let config =
        serde_json::from_str(config).map_err(|error| crate::config::misfit(None, &error))?;
    hook(config).map_err(Into::into)
}

impl<P: Plugin> provider::Guest for P {
    fn list_tools() -> Result<Vec<String>, Failure> {
        P::TOOLS
            .iter()
            .map(|tool| (tool.describe)().map(|document| document.to_string()))
            .collect::<Result<_, _>>()
            .map_err(Error::into_failure)
    }

    fn call_tool(name: String, arguments: String) -> Result<provider::Outcome, Failure> {
        let tool = P::TOOLS.iter().find(|tool| tool.name == name);
        let tool = tool.ok_or_else(|| {
            Error::not_found(format_args!("this plugin has no tool `{name}`"))
                .reason("unknown-tool")
                .into_failure()
        })?;
        (tool.call)(&arguments)
            .and_then(Outcome::into_wire)
            .map_err(Error::into_failure)
    }
}

impl<P: Plugin> lifecycle::Guest for P {
    fn start(config: String) -> Result<(), Failure> {
        P::start(&config).map_err(Error::into_failure)
    }

    fn stop(deadline_ms: u64) {
        P::stop(Duration::from_millis(deadline_ms));
    }

    fn health() -> Result<(), Failure> {
        P::health().map_err(Error::into_failure)
    }

    fn migrate(from_version: String) -> Result<(), Failure> {
        P::migrate(&from_version).map_err(Error::into_failure)
    }
}

impl<P: Plugin> handler::Guest for P {
    fn handle(message: handler::Message, attempt: u32) -> Result<handler::Outcome, Failure> {
        messages::handle(message, attempt, P::handle).map_err(Error::into_failure)
    }
}

impl<P: Plugin> responder::Guest for P {
    fn respond(request: responder::Message) -> Result<responder::Answer, Failure> {
        messages::respond(request, P::respond).map_err(Error::into_failure)
    }
}
