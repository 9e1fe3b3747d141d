//! `wasi:sockets`: wasmtime makes the sockets, the call's [`SocketSource`] decides about each
//! use of one.

use std::any::Any;
use std::collections::HashMap;
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use async_trait::async_trait;
use tokio::sync::Semaphore;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode as Code, IpAddressFamily};
use wasmtime_wasi::p2::bindings::sockets::tcp::HostTcpSocket;
use wasmtime_wasi::p2::bindings::sockets::udp::HostUdpSocket;
use wasmtime_wasi::p2::bindings::sockets::{tcp_create_socket, udp_create_socket};
use wasmtime_wasi::p2::{SocketResult, TcpSocket, UdpSocket};
use wasmtime_wasi::sockets::{SocketAddrUse, WasiSocketsView as _};

use super::LastFailure;
use super::lookup::LOOKUPS_AT_ONCE_MAX;
use crate::error::{ErrorCode, Failure};
use crate::guest::Guest;

/// Where the functions stand, at the version of wasmtime's WIT; a test holds each.
pub(super) const TCP: &str = "wasi:sockets/tcp@0.2.12";
pub(super) const UDP: &str = "wasi:sockets/udp@0.2.12";
const CREATE_TCP: &str = "wasi:sockets/tcp-create-socket@0.2.12";
const CREATE_UDP: &str = "wasi:sockets/udp-create-socket@0.2.12";

/// What a guest does with an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketUse {
    /// Connects to it by TCP.
    TcpConnect,
    /// Listens on it, which is its own, by TCP.
    TcpListen,
    /// Takes a connection that comes from it to a TCP socket that listens.
    TcpAccept,
    /// Waits on it, which is its own, for datagrams from anyone. Any free port of its own
    /// (`0.0.0.0:0`), as who only asks and is answered has it, is not asked about.
    UdpListen,
    /// Sends a datagram to it.
    UdpSend,
    /// Takes a datagram that comes from it.
    UdpReceive,
}

/// Room for one socket, kept as long as the guest has the socket.
pub type SocketRoom = Box<dyn Any + Send>;

/// Decides about sockets. Each use asks again: grants may have changed.
#[async_trait]
pub trait SocketSource: Send + Sync {
    /// Makes room for one more socket.
    ///
    /// # Errors
    /// No sockets are granted at all, or there are as many as may be.
    fn open(&self) -> Result<SocketRoom, Failure>;

    /// The addresses of a name that is granted, which may be connected to.
    ///
    /// # Errors
    /// It is not granted, or not found.
    async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, Failure>;

    /// Whether an address may be used.
    ///
    /// # Errors
    /// It may not.
    async fn permits(&self, used: SocketUse, address: SocketAddr) -> Result<(), Failure>;

    /// Counts bytes before they are sent.
    ///
    /// # Errors
    /// They are more than may be sent.
    fn sent(&self, bytes: u64) -> Result<(), Failure>;

    /// Counts bytes that were received, before the guest sees them.
    ///
    /// # Errors
    /// They are more than may be received.
    fn received(&self, bytes: u64) -> Result<(), Failure>;
}

/// Where nothing is granted.
#[derive(Clone, Copy, Debug)]
pub struct NoSockets;

fn none() -> Failure {
    Failure::new(
        ErrorCode::PermissionDenied,
        "listing",
        "tools are listed without any grant, and so without sockets",
    )
}

#[async_trait]
impl SocketSource for NoSockets {
    fn open(&self) -> Result<SocketRoom, Failure> {
        Err(none())
    }

    async fn resolve(&self, _: &str) -> Result<Vec<IpAddr>, Failure> {
        Err(none())
    }

    async fn permits(&self, _: SocketUse, _: SocketAddr) -> Result<(), Failure> {
        Err(none())
    }

    fn sent(&self, _: u64) -> Result<(), Failure> {
        Err(none())
    }

    fn received(&self, _: u64) -> Result<(), Failure> {
        Err(none())
    }
}

/// The sockets of one guest.
#[derive(Clone)]
pub(crate) struct Sockets {
    /// That of the call that runs: what a guest has kept asks it as well.
    source: Arc<RwLock<Arc<dyn SocketSource>>>,
    pub(super) last_failure: Arc<LastFailure>,
    /// Of look-ups.
    pub(super) turns: Arc<Semaphore>,
}

impl Sockets {
    pub(crate) fn new(source: Arc<dyn SocketSource>, last_failure: Arc<LastFailure>) -> Sockets {
        Sockets {
            source: Arc::new(RwLock::new(source)),
            last_failure,
            turns: Arc::new(Semaphore::new(LOOKUPS_AT_ONCE_MAX)),
        }
    }

    /// Who decides now.
    pub(super) fn source(&self) -> Arc<dyn SocketSource> {
        let source = self.source.read();
        source.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has another one decide from now on.
    pub(crate) fn set_source(&self, source: Arc<dyn SocketSource>) {
        *self.source.write().unwrap_or_else(PoisonError::into_inner) = source;
    }

    /// Keeps why the host refused, beside the code that stands for it.
    pub(super) fn refused(&self, failure: Failure, code: Code) -> Code {
        self.last_failure.set(failure);
        code
    }

    /// Room for one more socket.
    pub(super) fn room(&self) -> Result<SocketRoom, Code> {
        self.source().open().map_err(|failure| {
            let code = match failure.code {
                ErrorCode::QuotaExceeded => Code::NewSocketLimit,
                _ => Code::AccessDenied,
            };
            self.refused(failure, code)
        })
    }

    /// What wasmtime asks before it uses an address.
    pub(crate) async fn check(self, address: SocketAddr, used: SocketAddrUse) -> bool {
        let any = address.ip().is_unspecified() && address.port() == 0;
        let used = match used {
            // Every socket has some port: this one is nobody's business, and to listen on it
            // is asked about by itself.
            SocketAddrUse::TcpBind | SocketAddrUse::UdpBind if any => return true,
            SocketAddrUse::TcpBind | SocketAddrUse::TcpListen => SocketUse::TcpListen,
            SocketAddrUse::TcpAccept => SocketUse::TcpAccept,
            SocketAddrUse::TcpConnect => SocketUse::TcpConnect,
            SocketAddrUse::UdpBind => SocketUse::UdpListen,
            SocketAddrUse::UdpSend => SocketUse::UdpSend,
            SocketAddrUse::UdpReceive => SocketUse::UdpReceive,
        };
        match self.source().permits(used, address).await {
            Ok(()) => true,
            Err(failure) => {
                self.last_failure.set(failure);
                false
            }
        }
    }

    /// The same in the form that wasmtime wants: a future that can be shared.
    pub(crate) fn checking(
        &self,
        address: SocketAddr,
        used: SocketAddrUse,
    ) -> Pin<Box<dyn Future<Output = bool> + Send + Sync>> {
        let mut check = Mutex::new(Box::pin(self.clone().check(address, used)));
        Box::pin(poll_fn(move |context| {
            let check = check.get_mut().unwrap_or_else(PoisonError::into_inner);
            check.as_mut().poll(context)
        }))
    }
}

/// The rooms of a guest's sockets, by their handles in the host.
#[derive(Default)]
pub(crate) struct Rooms {
    tcp: HashMap<u32, SocketRoom>,
    udp: HashMap<u32, SocketRoom>,
}

/// A WASI result as it goes to the guest.
pub(super) fn told<T>(result: SocketResult<T>) -> wasmtime::Result<Result<T, Code>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(error) => Ok(Err(error.downcast()?)),
    }
}

pub(super) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.instance(CREATE_TCP)?.func_wrap(
        "create-tcp-socket",
        |mut store: StoreContextMut<'_, Guest>, (family,): (IpAddressFamily,)| {
            let guest = store.data_mut();
            let room = match guest.sockets.room() {
                Ok(room) => room,
                Err(code) => return Ok((Err(code),)),
            };
            let mut wasi = guest.sockets();
            let socket = told(tcp_create_socket::Host::create_tcp_socket(
                &mut wasi, family,
            ))?;
            if let Ok(socket) = &socket {
                guest.rooms.tcp.insert(socket.rep(), room);
            }
            Ok((socket,))
        },
    )?;
    linker.instance(CREATE_UDP)?.func_wrap_async(
        "create-udp-socket",
        |mut store: StoreContextMut<'_, Guest>, (family,): (IpAddressFamily,)| {
            Box::new(async move {
                let guest = store.data_mut();
                let room = match guest.sockets.room() {
                    Ok(room) => room,
                    Err(code) => return Ok((Err(code),)),
                };
                let mut wasi = guest.sockets();
                let socket = udp_create_socket::Host::create_udp_socket(&mut wasi, family).await;
                let socket = told(socket)?;
                if let Ok(socket) = &socket {
                    guest.rooms.udp.insert(socket.rep(), room);
                }
                Ok((socket,))
            })
        },
    )?;
    linker.instance(TCP)?.resource(
        "tcp-socket",
        ResourceType::host::<TcpSocket>(),
        |mut store, socket| {
            let guest = store.data_mut();
            guest.rooms.tcp.remove(&socket);
            HostTcpSocket::drop(&mut guest.sockets(), Resource::new_own(socket))
        },
    )?;
    linker.instance(UDP)?.resource(
        "udp-socket",
        ResourceType::host::<UdpSocket>(),
        |mut store, socket| {
            let guest = store.data_mut();
            guest.rooms.udp.remove(&socket);
            HostUdpSocket::drop(&mut guest.sockets(), Resource::new_own(socket))
        },
    )
}

impl Rooms {
    /// Keeps the room of a socket that was accepted.
    pub(super) fn accepted(&mut self, socket: &Resource<TcpSocket>, room: SocketRoom) {
        self.tcp.insert(socket.rep(), room);
    }
}
