//! TCP and UDP of one call.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portreeve_manifest::grant::SocketProtocol;
use url::Host;

use crate::address;
use crate::connect::Reach;
use crate::error::{GateError, GateErrorKind};
use crate::gate::{CallPolicy, Gate};

/// Addresses with the names that led to them, that one call has looked up.
const KNOWN_MAX: usize = 1_024;

/// What a socket is about to be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketUse {
    /// Binding to an address of this machine, which comes before each of the others.
    TcpBind,
    /// Taking connections on an address of this machine.
    TcpListen,
    /// Connecting.
    TcpConnect,
    /// Taking a connection from a peer, which listening was allowed for.
    TcpAccept,
    /// Binding to an address of this machine.
    UdpBind,
    /// Choosing a peer.
    UdpConnect,
    /// Sending a datagram.
    UdpSend,
    /// Taking a datagram from a peer.
    UdpReceive,
}

/// The sockets of one call: which names it may look up, which addresses it may use, and how
/// much passes.
///
/// A rule that names a host allows the addresses that this call was given for the name, and no
/// others. Whoever opens a socket takes its place among the connections of the plugin: see
/// [`Budget::try_connection`](crate::Budget::try_connection).
pub struct SocketGate {
    gate: Gate,
    call: Arc<dyn CallPolicy>,
    known: Mutex<HashMap<IpAddr, Vec<Box<str>>>>,
}

impl std::fmt::Debug for SocketGate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SocketGate(…)")
    }
}

impl SocketGate {
    /// The sockets of a new call.
    pub fn new(gate: Gate, call: Arc<dyn CallPolicy>) -> SocketGate {
        SocketGate {
            gate,
            call,
            known: Mutex::default(),
        }
    }

    /// The addresses of a name that may be connected to. It counts as a request: names below a
    /// granted one can carry what is to be told to its server.
    ///
    /// # Errors
    /// When no rule is about the name, or it leads nowhere that may be reached.
    pub async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, GateError> {
        let written = name.strip_suffix('.').unwrap_or(name);
        let host = Host::parse(written)
            .map_err(|_| GateError::new(GateErrorKind::Dns, "this is no name of a host"))?;
        let name = match host {
            Host::Ipv4(address) => return Ok(vec![address.into()]),
            Host::Ipv6(address) => return Ok(vec![address.into()]),
            Host::Domain(name) => name,
        };
        if !self.call.sockets().may_resolve(&name) {
            return Err(GateError::new(
                GateErrorKind::Refused,
                format!("{name} may not be looked up: no granted socket is of that name"),
            ));
        }
        self.call.budget().request()?;
        let granted = self.call.addresses();
        let gate = &self.gate;
        let patience = gate.timeouts().connect;
        let host = Host::Domain(name.as_str());
        let connector = gate.connector();
        let finding = connector.addresses(&host, Reach::Granted(&granted));
        let found = tokio::time::timeout(patience, finding)
            .await
            .map_err(|_| GateError::late(crate::Phase::Connect, patience))??;
        let mut known = lock(&self.known);
        for address in &found {
            let count: usize = known.values().map(Vec::len).sum();
            let names = known.entry(*address).or_default();
            if names.iter().any(|known| **known == *name) {
                continue;
            }
            if count >= KNOWN_MAX {
                return Err(GateError::new(
                    GateErrorKind::Refused,
                    format!("a call may look up names with {KNOWN_MAX} addresses at most"),
                ));
            }
            names.push(name.as_str().into());
        }
        Ok(found)
    }

    /// Looks whether a socket may be used; asked at each use. A connection is counted.
    ///
    /// # Errors
    /// When no rule allows it, the address is one that is refused, or the budget is used up.
    pub fn permit(&self, used: SocketUse, address: SocketAddr) -> Result<(), GateError> {
        let ip = address.ip();
        let literal = match ip {
            IpAddr::V4(ip) => Host::Ipv4(ip),
            IpAddr::V6(ip) => Host::Ipv6(ip),
        };
        let policy = self.call.sockets();
        let port = address.port();
        let refused = |what: &str, protocol: &str| {
            Err(GateError::new(
                GateErrorKind::Refused,
                format!("no granted socket {what} {protocol} {address}"),
            ))
        };
        let protocol = match used {
            SocketUse::TcpBind
            | SocketUse::TcpListen
            | SocketUse::TcpConnect
            | SocketUse::TcpAccept => SocketProtocol::Tcp,
            SocketUse::UdpBind
            | SocketUse::UdpConnect
            | SocketUse::UdpSend
            | SocketUse::UdpReceive => SocketProtocol::Udp,
        };
        let word = match protocol {
            SocketProtocol::Tcp => "tcp",
            SocketProtocol::Udp => "udp",
        };
        match used {
            SocketUse::TcpBind | SocketUse::UdpBind | SocketUse::TcpListen => {
                // What goes out is bound to nothing in particular first.
                let outgoing = used != SocketUse::TcpListen && port == 0 && ip.is_unspecified();
                if outgoing || policy.decide(protocol, &literal, port, true) {
                    return Ok(());
                }
                refused("listens on", word)
            }
            // Whom it listens to is whoever comes.
            SocketUse::TcpAccept | SocketUse::UdpReceive if policy.may_listen(protocol) => Ok(()),
            SocketUse::TcpAccept => refused("takes connections from", word),
            SocketUse::TcpConnect
            | SocketUse::UdpConnect
            | SocketUse::UdpSend
            | SocketUse::UdpReceive => {
                let allows = |host: &Host<&str>| policy.decide(protocol, host, port, false);
                let known = || {
                    let known = lock(&self.known);
                    let names = known.get(&ip).into_iter().flatten();
                    names.into_iter().any(|name| allows(&Host::Domain(name)))
                };
                if !allows(&literal) && !known() {
                    return refused("connects to", word);
                }
                address::permit(ip, &self.call.addresses())?;
                if used == SocketUse::TcpConnect {
                    self.call.budget().request()?;
                }
                Ok(())
            }
        }
    }

    /// Counts bytes that are about to be sent.
    ///
    /// # Errors
    /// When the call or its plugin may send no more.
    pub fn sent(&self, bytes: u64) -> Result<(), GateError> {
        self.call.budget().sent(bytes)
    }

    /// Counts bytes that were received.
    ///
    /// # Errors
    /// When the call or its plugin may receive no more.
    pub fn received(&self, bytes: u64) -> Result<(), GateError> {
        self.call.budget().received(bytes)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
