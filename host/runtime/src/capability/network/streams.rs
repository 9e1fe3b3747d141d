//! The bytes of sockets, in both directions, counted towards the budget of the call.

use std::mem;
use std::net::SocketAddr;

use bytes::Bytes;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceTable};
use wasmtime_wasi::p2::bindings::sockets::network::ErrorCode as Code;
use wasmtime_wasi::p2::bindings::sockets::tcp::HostTcpSocket;
use wasmtime_wasi::p2::bindings::sockets::udp::{
    HostIncomingDatagramStream, HostOutgoingDatagramStream, IncomingDatagramStream,
    OutgoingDatagram, OutgoingDatagramStream,
};
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, InputStream, OutputStream, Pollable, StreamError,
    StreamResult, TcpSocket,
};
use wasmtime_wasi::sockets::WasiSocketsView as _;

use super::sockets::{SocketUse, Sockets, TCP, UDP, told};
use crate::error::Failure;
use crate::guest::Guest;

/// A stream whose bytes count.
struct Counted<S> {
    stream: S,
    sockets: Sockets,
}

/// What a stream fails with where the budget does: `last-operation-failed` with the sentence.
fn over(sockets: &Sockets, failure: Failure) -> StreamError {
    let error = wasmtime::Error::msg(failure.message.clone());
    sockets.last_failure.set(failure);
    StreamError::LastOperationFailed(error)
}

#[async_trait::async_trait]
impl Pollable for Counted<DynInputStream> {
    async fn ready(&mut self) {
        self.stream.ready().await;
    }
}

#[async_trait::async_trait]
impl InputStream for Counted<DynInputStream> {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let bytes = self.stream.read(size)?;
        if !bytes.is_empty() {
            let counted = self.sockets.source().received(bytes.len() as u64);
            counted.map_err(|failure| over(&self.sockets, failure))?;
        }
        Ok(bytes)
    }

    async fn cancel(&mut self) {
        self.stream.cancel().await;
    }
}

#[async_trait::async_trait]
impl Pollable for Counted<DynOutputStream> {
    async fn ready(&mut self) {
        self.stream.ready().await;
    }
}

#[async_trait::async_trait]
impl OutputStream for Counted<DynOutputStream> {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if !bytes.is_empty() {
            let counted = self.sockets.source().sent(bytes.len() as u64);
            counted.map_err(|failure| over(&self.sockets, failure))?;
        }
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.stream.flush()
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.stream.check_write()
    }

    async fn cancel(&mut self) {
        self.stream.cancel().await;
    }
}

/// Stands in for a stream while it is wrapped.
struct Gone;

#[async_trait::async_trait]
impl Pollable for Gone {
    async fn ready(&mut self) {}
}

impl InputStream for Gone {
    fn read(&mut self, _: usize) -> StreamResult<Bytes> {
        Err(StreamError::Closed)
    }
}

impl OutputStream for Gone {
    fn write(&mut self, _: Bytes) -> StreamResult<()> {
        Err(StreamError::Closed)
    }

    fn flush(&mut self) -> StreamResult<()> {
        Err(StreamError::Closed)
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Err(StreamError::Closed)
    }
}

/// Wraps the streams of a connection where they lie.
fn count(
    table: &mut ResourceTable,
    sockets: &Sockets,
    input: &Resource<DynInputStream>,
    output: &Resource<DynOutputStream>,
) -> wasmtime::Result<()> {
    let input = table.get_mut(input)?;
    let stream = mem::replace(input, Box::new(Gone));
    *input = Box::new(Counted {
        stream,
        sockets: sockets.clone(),
    });
    let output = table.get_mut(output)?;
    let stream = mem::replace(output, Box::new(Gone));
    *output = Box::new(Counted {
        stream,
        sockets: sockets.clone(),
    });
    Ok(())
}

pub(super) fn add_to_linker(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut tcp = linker.instance(TCP)?;
    tcp.func_wrap(
        "[method]tcp-socket.finish-connect",
        |mut store: StoreContextMut<'_, Guest>, (socket,): (Resource<TcpSocket>,)| {
            let guest = store.data_mut();
            let connected = told(guest.sockets().finish_connect(socket))?;
            if let Ok((input, output)) = &connected {
                let sockets = guest.sockets.clone();
                count(guest.table(), &sockets, input, output)?;
            }
            Ok((connected,))
        },
    )?;
    tcp.func_wrap(
        "[method]tcp-socket.accept",
        |mut store: StoreContextMut<'_, Guest>, (socket,): (Resource<TcpSocket>,)| {
            let guest = store.data_mut();
            let accepted = told(guest.sockets().accept(socket))?;
            let Ok((socket, input, output)) = accepted else {
                return Ok((accepted,));
            };
            let sockets = guest.sockets.clone();
            match sockets.room() {
                Ok(room) => guest.rooms.accepted(&socket, room),
                Err(code) => {
                    let table = guest.table();
                    table.delete(input)?;
                    table.delete(output)?;
                    table.delete(socket)?;
                    return Ok((Err(code),));
                }
            }
            count(guest.table(), &sockets, &input, &output)?;
            Ok((Ok((socket, input, output)),))
        },
    )?;
    let mut udp = linker.instance(UDP)?;
    udp.func_wrap(
        "[method]incoming-datagram-stream.receive",
        |mut store: StoreContextMut<'_, Guest>,
         (stream, most): (Resource<IncomingDatagramStream>, u64)| {
            let guest = store.data_mut();
            let received = told(guest.sockets().receive(stream, most))?;
            let Ok(datagrams) = &received else {
                return Ok((received,));
            };
            let bytes: usize = datagrams.iter().map(|datagram| datagram.data.len()).sum();
            let counted = guest.sockets.source().received(bytes as u64);
            Ok((match counted {
                Ok(()) => received,
                Err(failure) => Err(guest.sockets.refused(failure, Code::AccessDenied)),
            },))
        },
    )?;
    udp.func_wrap_async(
        "[method]outgoing-datagram-stream.send",
        |mut store: StoreContextMut<'_, Guest>,
         (stream, datagrams): (Resource<OutgoingDatagramStream>, Vec<OutgoingDatagram>)| {
            Box::new(async move {
                let guest = store.data_mut();
                let sockets = guest.sockets.clone();
                if let Err(failure) = may_send(&sockets, &datagrams).await {
                    return Ok((Err(sockets.refused(failure, Code::AccessDenied)),));
                }
                Ok((told(guest.sockets().send(stream, datagrams))?,))
            })
        },
    )
}

/// Whether datagrams may go out, and counts them. wasmtime asks about their addresses once
/// more, but where the answer takes time it tells a refusal with the next datagram only, and
/// who waits for a reply has none.
async fn may_send(sockets: &Sockets, datagrams: &[OutgoingDatagram]) -> Result<(), Failure> {
    for datagram in datagrams {
        if let Some(address) = datagram.remote_address {
            let address = SocketAddr::from(address);
            sockets
                .source()
                .permits(SocketUse::UdpSend, address)
                .await?;
        }
    }
    let bytes: usize = datagrams.iter().map(|datagram| datagram.data.len()).sum();
    sockets.source().sent(bytes as u64)
}
