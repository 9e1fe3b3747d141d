//! The bodies of requests: bounded in size, in time, and all of them together.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http_body::Body as _;
use http_body_util::BodyExt;
use portreeve_manifest::settings::ServeLimits;
use portreeve_manifest::size::ByteSize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::checks::Refused;

/// Bytes are counted in units of this many.
const UNIT_BYTES: usize = 1 << 10;

/// Bytes that an object takes up once it is read, besides its text: room for several members.
const OBJECT_BYTES: usize = 640;

/// The same for each further member or item.
const VALUE_BYTES: usize = 64;

/// The room for the bodies of all requests that are being worked on, or for something else
/// that all clients share.
pub(super) struct Room {
    units: Arc<Semaphore>,
    size: ByteSize,
}

/// A body, and its room.
pub(super) struct Held {
    pub(super) bytes: Bytes,
    pub(super) room: OwnedSemaphorePermit,
}

impl Room {
    pub(super) fn new(size: ByteSize) -> Room {
        Room {
            units: Arc::new(Semaphore::new(size.as_usize() / UNIT_BYTES)),
            size,
        }
    }

    /// Reads a body to its end.
    pub(super) async fn read(&self, body: Body, limits: &ServeLimits) -> Result<Held, Refused> {
        match timeout(limits.body_time, self.collect(body, limits.body)).await {
            Ok(read) => read,
            Err(_) => Err(too_slow(limits.body_time)),
        }
    }

    async fn collect(&self, mut body: Body, size_max: ByteSize) -> Result<Held, Refused> {
        let announced = body.size_hint().lower();
        if announced > size_max.bytes() {
            return Err(too_large(size_max));
        }
        let mut room = self.take(usize::try_from(announced).unwrap_or(usize::MAX).max(1))?;
        let mut collected = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| {
                Refused::closing(
                    StatusCode::BAD_REQUEST,
                    "the body did not arrive as its head says",
                )
            })?;
            // Trailers say nothing that is of use here.
            let Ok(data) = frame.into_data() else {
                continue;
            };
            let bytes = collected.len().saturating_add(data.len());
            if bytes > size_max.as_usize() {
                return Err(too_large(size_max));
            }
            let held = room.num_permits().saturating_mul(UNIT_BYTES);
            if bytes > held {
                room.merge(self.take(bytes.saturating_sub(held))?);
            }
            collected.extend_from_slice(&data);
        }
        let (bytes, held) = (read_bytes(&collected), room.num_permits());
        let held = held.saturating_mul(UNIT_BYTES);
        if bytes > self.size.as_usize() {
            return Err(too_much(bytes, self.size));
        }
        if bytes > held {
            room.merge(self.take(bytes.saturating_sub(held))?);
        }
        Ok(Held {
            bytes: collected.freeze(),
            room,
        })
    }

    /// Room for so many bytes, if there is that much.
    pub(super) fn hold(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
        self.units.clone().try_acquire_many_owned(units).ok()
    }

    fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Refused> {
        self.hold(bytes).ok_or_else(|| {
            Refused::closing(
                StatusCode::SERVICE_UNAVAILABLE,
                format!(
                    "busy: the messages that are being worked on have {} together, as many as `bodies` under [serve] limits allows; send this again later",
                    self.size
                ),
            )
        })
    }
}

/// What a JSON text takes up at most once it is read: many times its length where it has many
/// small objects. Those that only stand in its strings count, too.
fn read_bytes(text: &[u8]) -> usize {
    let many = |byte, bytes: usize| {
        memchr::memchr_iter(byte, text)
            .count()
            .saturating_mul(bytes)
    };
    let objects = many(b'{', OBJECT_BYTES);
    let values = many(b',', VALUE_BYTES);
    text.len().saturating_add(objects).saturating_add(values)
}

fn too_much(bytes: usize, size: ByteSize) -> Refused {
    let bytes = ByteSize(u64::try_from(bytes).unwrap_or(u64::MAX));
    Refused::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!(
            "the message would take up {bytes} once it is read, and all together may take up {size}; send fewer objects at once, or the operator raises `bodies` under [serve] limits"
        ),
    )
}

fn too_large(size_max: ByteSize) -> Refused {
    Refused::closing(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!(
            "the message is longer than {size_max}; send less at once, or the operator raises `body` under [serve] limits"
        ),
    )
}

fn too_slow(time_max: Duration) -> Refused {
    Refused::closing(
        StatusCode::REQUEST_TIMEOUT,
        format!(
            "the message did not arrive within {}; `body-time` under [serve] limits says how long it may take",
            portreeve_manifest::duration::HumanDuration(time_max)
        ),
    )
}
