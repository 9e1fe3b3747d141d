//! Where the host sends what it has to tell: a webhook, a program.

use url::{Host, Url};

use crate::limits::LimitError;
use crate::text::quoted;

/// Longest part of a command, and most parts.
const COMMAND_BYTES_MAX: usize = 4_096;
const COMMAND_PARTS_MAX: usize = 64;

/// Longest address of a webhook.
const URL_BYTES_MAX: usize = 2_048;

/// Where the host sends what it has to tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutletSettings {
    /// Gets JSON in POST requests.
    pub webhook: Option<Url>,
    /// A program with its arguments; empty for none. Gets lines of JSON.
    pub command: Vec<String>,
}

impl OutletSettings {
    /// Whether nothing is sent anywhere.
    pub fn is_empty(&self) -> bool {
        self.webhook.is_none() && self.command.is_empty()
    }
}

/// Whether a host is this machine by its name alone.
pub fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

/// Reads the address of a webhook: https, or http on this machine, without a user.
pub(super) fn check_webhook(written: Option<&str>, wrong: &mut Vec<LimitError>) -> Option<Url> {
    let written = written?;
    let url = Url::parse(written).ok().filter(|url| {
        let local = url.host().is_some_and(|host| is_loopback(&host));
        let scheme = url.scheme() == "https" || url.scheme() == "http" && local;
        scheme
            && url.host().is_some()
            && url.username().is_empty()
            && url.password().is_none()
            && url.fragment().is_none()
            && written.len() <= URL_BYTES_MAX
    });
    if url.is_none() {
        wrong.push(LimitError {
            setting: "webhook",
            value: quoted(written),
            allowed: format!(
                "an https:// address (http:// only for this machine) without user, password and fragment, of {URL_BYTES_MAX} bytes at most"
            ),
        });
    }
    url
}

/// Looks whether a command could be run at all.
pub(super) fn check_command(command: &[String], wrong: &mut Vec<LimitError>) {
    let unusable = command
        .iter()
        .any(|part| part.is_empty() || part.len() > COMMAND_BYTES_MAX || part.contains('\0'));
    if unusable || command.len() > COMMAND_PARTS_MAX {
        wrong.push(LimitError {
            setting: "command",
            value: format!("a list of {}", command.len()),
            allowed: format!(
                "at most {COMMAND_PARTS_MAX} parts that are not empty, of {COMMAND_BYTES_MAX} bytes at most"
            ),
        });
    }
}
