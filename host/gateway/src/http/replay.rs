//! What the streams of one session have told, for a client that lost its connection and comes
//! back for the rest.
//!
//! A stream is not its connection: a call goes on when its client's connection ends, and what
//! it tells meanwhile is kept. The client comes back with the id of the last event that it has
//! seen, and hears what came after it, of that stream and of no other.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portreeve_manifest::settings::ServeLimits;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::sync::CancellationToken;

use super::body::Room;

/// Events that wait for a client that reads slowly; then whoever tells them waits.
const WAITING_MAX: usize = 16;

/// Bytes that are counted for an event besides its text.
const OVERHEAD_BYTES: usize = 128;

/// What a stream is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// The answer to one request, and what comes before it.
    Answer,
    /// What a client is told unasked.
    Unasked,
}

/// A stream of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StreamId {
    pub(super) kind: Kind,
    number: u64,
}

/// An event's place among all of a session: its stream, and its place in that, from 1 on. The
/// place 0 is before the first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EventId {
    pub(super) stream: StreamId,
    index: u64,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.stream.kind {
            Kind::Answer => 'a',
            Kind::Unasked => 'u',
        };
        write!(f, "{kind}{}-{}", self.stream.number, self.index)
    }
}

impl FromStr for EventId {
    type Err = ();

    /// Reads what [`fmt::Display`] writes, and nothing else.
    fn from_str(text: &str) -> Result<EventId, ()> {
        let (kind, rest) = match (text.strip_prefix('a'), text.strip_prefix('u')) {
            (Some(rest), _) => (Kind::Answer, rest),
            (_, Some(rest)) => (Kind::Unasked, rest),
            _ => return Err(()),
        };
        let (number, index) = rest.split_once('-').ok_or(())?;
        let number = number.parse().map_err(|_| ())?;
        let id = EventId {
            stream: StreamId { kind, number },
            index: index.parse().map_err(|_| ())?,
        };
        if id.to_string() == text {
            Ok(id)
        } else {
            Err(())
        }
    }
}

/// Something that a client is told.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) id: EventId,
    /// A message, on one line.
    pub(super) text: Arc<str>,
}

/// How much is kept of one session, and for how long.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    events: usize,
    bytes: usize,
    age: Duration,
}

impl Bounds {
    pub(super) fn of(limits: &ServeLimits) -> Bounds {
        Bounds {
            events: usize::try_from(limits.replay_events).unwrap_or(usize::MAX),
            bytes: limits.replay.as_usize(),
            age: limits.replay_age,
        }
    }

    /// The latest time of what is too old now.
    fn too_old_ms(&self, now_ms: u64) -> Option<u64> {
        let age = u64::try_from(self.age.as_millis()).unwrap_or(u64::MAX);
        now_ms.checked_sub(age)
    }
}

/// What one connection tells of a stream.
pub(super) struct Connected {
    /// The last event that its client has seen.
    pub(super) after: EventId,
    /// What came after that.
    pub(super) kept: Vec<Event>,
    /// What is still to come; none where the stream has ended.
    pub(super) rest: Option<mpsc::Receiver<Event>>,
}

/// The streams of one session.
#[derive(Default)]
pub(super) struct Streams(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    /// The number of the last stream.
    last: u64,
    /// Those that have not ended.
    open: BTreeMap<StreamId, Open>,
    /// What was told, of all of them, in its order.
    kept: VecDeque<Kept>,
    /// Bytes that all of it counts for.
    bytes: usize,
}

struct Open {
    /// The place of the last event.
    index: u64,
    /// The one connection that tells of it; a client that comes back has another one.
    connection: mpsc::Sender<Event>,
    /// Ends whatever waits for that connection, once there is another one.
    replaced: CancellationToken,
    /// Since when that is known to have ended.
    left_ms: Option<u64>,
    /// What ends once its client has stayed away for too long; none where that goes on.
    left: Option<CancellationToken>,
}

struct Kept {
    event: Event,
    since_ms: u64,
    bytes: usize,
    /// Its part of the room that all sessions share.
    _room: OwnedSemaphorePermit,
}

impl Inner {
    fn forget_oldest(&mut self) -> bool {
        let Some(oldest) = self.kept.pop_front() else {
            return false;
        };
        self.bytes = self.bytes.saturating_sub(oldest.bytes);
        true
    }

    fn forget_old(&mut self, bounds: &Bounds, now_ms: u64) {
        let Some(too_old_ms) = bounds.too_old_ms(now_ms) else {
            return;
        };
        while self
            .kept
            .front()
            .is_some_and(|oldest| oldest.since_ms <= too_old_ms)
        {
            self.forget_oldest();
        }
    }

    /// Keeps an event; the oldest ones make room for it.
    fn keep(&mut self, event: &Event, bounds: &Bounds, room: &Room, now_ms: u64) {
        self.forget_old(bounds, now_ms);
        let bytes = event.text.len().saturating_add(OVERHEAD_BYTES);
        while self.kept.len() >= bounds.events || self.bytes.saturating_add(bytes) > bounds.bytes {
            if !self.forget_oldest() {
                tracing::debug!(bytes, "an event is larger than what is kept of a session");
                return;
            }
        }
        let room = loop {
            if let Some(room) = room.hold(bytes) {
                break room;
            }
            if !self.forget_oldest() {
                tracing::debug!("what is kept of all sessions has reached its limit");
                return;
            }
        };
        self.bytes = self.bytes.saturating_add(bytes);
        self.kept.push_back(Kept {
            event: event.clone(),
            since_ms: now_ms,
            bytes,
            _room: room,
        });
    }
}

impl Streams {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a stream, with its first connection. `left` ends when nobody comes back for it.
    pub(super) fn open(&self, kind: Kind, left: Option<CancellationToken>) -> Connected {
        let (connection, rest) = mpsc::channel(WAITING_MAX);
        let mut inner = self.inner();
        inner.last = inner.last.saturating_add(1);
        let number = inner.last;
        let stream = StreamId { kind, number };
        let open = Open {
            index: 0,
            connection,
            replaced: CancellationToken::new(),
            left_ms: None,
            left,
        };
        inner.open.insert(stream, open);
        Connected {
            after: EventId { stream, index: 0 },
            kept: Vec::new(),
            rest: Some(rest),
        }
    }

    /// Tells something on a stream: it is kept, and whoever listens hears it. Waits while that
    /// client reads slowly, and not where there is none.
    pub(super) async fn tell(
        &self,
        stream: StreamId,
        text: Arc<str>,
        bounds: &Bounds,
        room: &Room,
        now_ms: u64,
    ) {
        let (event, connection, replaced) = {
            let mut inner = self.inner();
            let Some(open) = inner.open.get_mut(&stream) else {
                return;
            };
            open.index = open.index.saturating_add(1);
            let index = open.index;
            let (connection, replaced) = (open.connection.clone(), open.replaced.clone());
            let id = EventId { stream, index };
            let event = Event { id, text };
            inner.keep(&event, bounds, room, now_ms);
            (event, connection, replaced)
        };
        // A client that has gone comes back for it.
        tokio::select! {
            () = replaced.cancelled() => {}
            _ = connection.send(event) => {}
        }
    }

    /// Ends a stream. What it told is kept for as long as the rest.
    pub(super) fn end(&self, stream: StreamId) {
        self.inner().open.remove(&stream);
    }

    /// Goes on with a stream after the last event that its client has seen, on a connection
    /// that takes the place of the one before. None where nothing is left of it.
    pub(super) fn resume(&self, after: EventId) -> Option<Connected> {
        let mut inner = self.inner();
        let is_after =
            |event: &Event| event.id.stream == after.stream && event.id.index > after.index;
        let kept: Vec<Event> = inner
            .kept
            .iter()
            .map(|kept| &kept.event)
            .filter(|event| is_after(event))
            .cloned()
            .collect();
        let rest = match inner.open.get_mut(&after.stream) {
            Some(open) if after.index > open.index => return None,
            Some(open) => {
                let (connection, rest) = mpsc::channel(WAITING_MAX);
                open.connection = connection;
                std::mem::take(&mut open.replaced).cancel();
                open.left_ms = None;
                Some(rest)
            }
            None if kept.is_empty() => return None,
            None => None,
        };
        Some(Connected { after, kept, rest })
    }

    /// Whether somebody hears a stream now.
    pub(super) fn is_heard(&self, stream: StreamId) -> bool {
        let inner = self.inner();
        let open = inner.open.get(&stream);
        open.is_some_and(|open| !open.connection.is_closed())
    }

    /// Forgets what is too old, and ends what nobody has come back for, for that long.
    pub(super) fn sweep(&self, bounds: &Bounds, now_ms: u64) {
        let mut inner = self.inner();
        inner.forget_old(bounds, now_ms);
        let too_old_ms = bounds.too_old_ms(now_ms);
        for open in inner.open.values_mut() {
            if !open.connection.is_closed() {
                open.left_ms = None;
                continue;
            }
            let left_ms = *open.left_ms.get_or_insert(now_ms);
            if too_old_ms.is_some_and(|too_old_ms| left_ms <= too_old_ms)
                && let Some(left) = &open.left
            {
                left.cancel();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portreeve_manifest::size::ByteSize;
    use proptest::prelude::*;

    fn bounds() -> Bounds {
        Bounds {
            events: 4,
            bytes: 10 * OVERHEAD_BYTES,
            age: Duration::from_secs(10),
        }
    }

    fn room() -> Room {
        Room::new(ByteSize::mib(1))
    }

    fn told(connected: Option<Connected>) -> Vec<String> {
        let events = connected.into_iter().flat_map(|connected| connected.kept);
        events
            .map(|event| format!("{} {}", event.id, event.text))
            .collect()
    }

    fn answer(number: u64) -> StreamId {
        let kind = Kind::Answer;
        StreamId { kind, number }
    }

    fn id(text: &str) -> EventId {
        text.parse().unwrap()
    }

    async fn tell(streams: &Streams, number: u64, text: &str, now_ms: u64) {
        let (bounds, room) = (bounds(), room());
        streams
            .tell(answer(number), text.into(), &bounds, &room, now_ms)
            .await;
    }

    #[tokio::test]
    async fn a_stream_goes_on_after_what_was_seen_and_no_other_one_is_heard() {
        let streams = Streams::default();
        let (first, second) = (
            streams.open(Kind::Answer, None),
            streams.open(Kind::Answer, None),
        );
        assert_eq!((first.after, second.after), (id("a1-0"), id("a2-0")));
        drop((first, second));
        for (stream, text) in [(1, "a"), (2, "b"), (1, "c")] {
            tell(&streams, stream, text, 0).await;
        }
        assert_eq!(told(streams.resume(id("a1-0"))), ["a1-1 a", "a1-2 c"]);
        assert_eq!(told(streams.resume(id("a1-1"))), ["a1-2 c"]);
        assert_eq!(told(streams.resume(id("a2-0"))), ["a2-1 b"]);
        // What is told after that comes on the new connection.
        let mut connected = streams.resume(id("a1-2")).unwrap();
        tell(&streams, 1, "d", 0).await;
        let heard = connected.rest.as_mut().unwrap().recv().await.unwrap();
        assert_eq!((heard.id, &*heard.text), (id("a1-3"), "d"));
        // A second one takes its place, and hears it again.
        let again = streams.resume(id("a1-2")).unwrap();
        assert!(connected.rest.unwrap().recv().await.is_none());
        assert_eq!(told(Some(again)), ["a1-3 d"]);
        // Its end ends the connection, and what it told is there still.
        let mut last = streams.resume(id("a1-3")).unwrap();
        streams.end(answer(1));
        assert!(last.rest.as_mut().unwrap().recv().await.is_none());
        let rest = streams.resume(id("a1-2")).unwrap();
        assert!(rest.rest.is_none());
        assert_eq!(told(Some(rest)), ["a1-3 d"]);
        for nothing in ["a1-3", "a1-9", "a2-2", "a3-0", "u2-0"] {
            assert!(streams.resume(id(nothing)).is_none(), "{nothing}");
        }
    }

    #[tokio::test]
    async fn events_bytes_and_ages_are_bounded() {
        let streams = Streams::default();
        drop(streams.open(Kind::Answer, None));
        for index in 1..=6 {
            tell(&streams, 1, "x", index).await;
        }
        let all = id("a1-0");
        let kept = told(streams.resume(all));
        assert_eq!(kept, ["a1-3 x", "a1-4 x", "a1-5 x", "a1-6 x"]);
        drop(streams.resume(all));
        // A large one takes the place of several.
        let large = "y".repeat(8 * OVERHEAD_BYTES);
        tell(&streams, 1, &large, 7).await;
        assert_eq!(told(streams.resume(all)), [format!("a1-7 {large}")]);
        drop(streams.resume(all));
        // One that is too large takes the place of all, and is not kept.
        tell(&streams, 1, &"z".repeat(10 * OVERHEAD_BYTES), 8).await;
        assert!(told(streams.resume(all)).is_empty());
        drop(streams.resume(all));
        tell(&streams, 1, "old", 9).await;
        tell(&streams, 1, "new", 5_000).await;
        streams.sweep(&bounds(), 10_009);
        assert_eq!(told(streams.resume(all)), ["a1-10 new"]);
        streams.sweep(&bounds(), 15_000);
        assert!(told(streams.resume(all)).is_empty());
        assert_eq!(streams.inner().bytes, 0);
    }

    #[tokio::test]
    async fn all_sessions_share_one_room() {
        let room = Room::new(ByteSize::kib(2));
        let (one, other) = (Streams::default(), Streams::default());
        drop((one.open(Kind::Answer, None), other.open(Kind::Answer, None)));
        let bounds = bounds();
        one.tell(answer(1), "a".into(), &bounds, &room, 0).await;
        one.tell(answer(1), "b".into(), &bounds, &room, 0).await;
        // There is no place, and nothing of its own that could give way.
        other.tell(answer(1), "c".into(), &bounds, &room, 0).await;
        assert!(told(other.resume(id("a1-0"))).is_empty());
        // There is none, and something of its own does.
        one.tell(answer(1), "d".into(), &bounds, &room, 0).await;
        assert_eq!(told(one.resume(id("a1-0"))), ["a1-2 b", "a1-3 d"]);
        drop(one);
        drop(other.resume(id("a1-0")));
        other.tell(answer(1), "e".into(), &bounds, &room, 0).await;
        assert_eq!(told(other.resume(id("a1-0"))), ["a1-2 e"]);
    }

    #[test]
    fn a_stream_that_nobody_comes_back_for_is_noticed() {
        let streams = Streams::default();
        let (left, others) = (CancellationToken::new(), CancellationToken::new());
        let connected = streams.open(Kind::Answer, Some(left.clone()));
        let other = streams.open(Kind::Answer, Some(others.clone()));
        drop(streams.open(Kind::Answer, None));
        let sweep = |now_ms| {
            streams.sweep(&bounds(), now_ms);
            left.is_cancelled()
        };
        assert!(!sweep(0));
        assert!(streams.is_heard(answer(1)));
        drop(connected);
        assert!(!streams.is_heard(answer(1)));
        assert!(!sweep(1_000));
        assert!(!sweep(10_999));
        let back = streams.resume(id("a1-0"));
        assert!(!sweep(11_000));
        drop(back);
        assert!(!sweep(12_000));
        assert!(sweep(22_000));
        // The other one is heard all the time.
        assert!(!others.is_cancelled());
        drop(other);
    }

    proptest! {
        #[test]
        fn ids_have_one_form(
            number: u64,
            index: u64,
            asked: bool,
            text in ".{0,12}|[au][-+0-9]{1,6}|[au][0-9]{1,3}-[0-9]{1,3}",
        ) {
            let kind = if asked { Kind::Answer } else { Kind::Unasked };
            let id = EventId { stream: StreamId { kind, number }, index };
            prop_assert_eq!(id.to_string().parse(), Ok(id));
            if let Ok(id) = text.parse::<EventId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }
}
