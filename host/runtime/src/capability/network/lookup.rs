//! `wasi:sockets/ip-name-lookup`, all of it: only granted names are looked up, and by whoever
//! decides about connections, so that the addresses are those that were checked.

use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::vec;

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode as Code, IpAddress, Network};
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};
use wasmtime_wasi::runtime::{AbortOnDropJoinHandle, spawn};

use super::sockets::Sockets;
use crate::error::{ErrorCode, Failure};
use crate::guest::Guest;

/// Where the functions stand, at the version of wasmtime's WIT; a test holds them.
const LOOKUP: &str = "wasi:sockets/ip-name-lookup@0.2.12";
const STREAM: &str = "resolve-address-stream";

/// Longest name that is looked up: names have at most 253 bytes (RFC 1035, 3.1), somewhat more
/// with their other characters not yet encoded.
const NAME_BYTES_MAX: usize = 1024;

/// Most look-ups of one call that are on their way at once; others wait for their turn. As
/// many as a guest may have connections by default.
pub(crate) const LOOKUPS_AT_ONCE_MAX: usize = 16;

type Found = Result<vec::IntoIter<IpAddr>, Code>;

/// A look-up, on its way or done.
enum Lookup {
    Pending(AbortOnDropJoinHandle<Found>),
    Done(Found),
}

impl Lookup {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<&mut Found> {
        if let Lookup::Pending(task) = self {
            match Pin::new(task).poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(found) => *self = Lookup::Done(found),
            }
        }
        match self {
            Lookup::Done(found) => Poll::Ready(found),
            Lookup::Pending(_) => Poll::Pending,
        }
    }
}

#[async_trait::async_trait]
impl Pollable for Lookup {
    async fn ready(&mut self) {
        poll_fn(|context| self.poll(context).map(|_| ())).await;
    }
}

/// Looks a name up in its turn.
async fn find(sockets: Sockets, name: String) -> Found {
    // An address is its own; whether it may be used is asked when it is.
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(vec![address].into_iter());
    }
    if name.len() > NAME_BYTES_MAX {
        let failure = Failure::new(
            ErrorCode::InvalidArgument,
            "name",
            "the name to look up is longer than names can be",
        );
        return Err(sockets.refused(failure, Code::InvalidArgument));
    }
    let _turn = sockets.turns.acquire().await;
    match sockets.source().resolve(&name).await {
        Ok(addresses) => Ok(addresses.into_iter()),
        Err(failure) => {
            let code = match failure.code {
                ErrorCode::InvalidArgument => Code::InvalidArgument,
                ErrorCode::NotFound => Code::NameUnresolvable,
                ErrorCode::Timeout | ErrorCode::Unavailable => Code::TemporaryResolverFailure,
                _ => Code::AccessDenied,
            };
            Err(sockets.refused(failure, code))
        }
    }
}

pub(super) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut lookup = linker.instance(LOOKUP)?;
    lookup.resource(
        STREAM,
        ResourceType::host::<Lookup>(),
        |mut store, stream| {
            let stream = Resource::<Lookup>::new_own(stream);
            store.data_mut().table().delete(stream)?;
            Ok(())
        },
    )?;
    lookup.func_wrap(
        "resolve-addresses",
        |mut store: StoreContextMut<'_, Guest>,
         (network, name): (Resource<Network>, String)|
         -> wasmtime::Result<(Result<Resource<Lookup>, Code>,)> {
            let guest = store.data_mut();
            guest.table().get(&network)?;
            let task = spawn(find(guest.sockets.clone(), name));
            Ok((Ok(guest.table().push(Lookup::Pending(task))?),))
        },
    )?;
    lookup.func_wrap(
        "[method]resolve-address-stream.resolve-next-address",
        |mut store: StoreContextMut<'_, Guest>,
         (stream,): (Resource<Lookup>,)|
         -> wasmtime::Result<(Result<Option<IpAddress>, Code>,)> {
            let stream = store.data_mut().table().get_mut(&stream)?;
            let next = match stream.poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Pending => Err(Code::WouldBlock),
                Poll::Ready(Ok(addresses)) => Ok(addresses.next().map(IpAddress::from)),
                Poll::Ready(Err(code)) => Err(*code),
            };
            Ok((next,))
        },
    )?;
    lookup.func_wrap(
        "[method]resolve-address-stream.subscribe",
        |mut store: StoreContextMut<'_, Guest>,
         (stream,): (Resource<Lookup>,)|
         -> wasmtime::Result<(Resource<DynPollable>,)> {
            Ok((subscribe(store.data_mut().table(), stream)?,))
        },
    )
}
