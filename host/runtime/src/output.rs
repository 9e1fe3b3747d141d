//! What a guest writes to stdout and stderr: never the host's own, but records of a log,
//! line by line and bounded.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use portreeve_manifest::size::ByteSize;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// Longest line that becomes one record; a longer one is cut into several, between
/// characters.
const LINE_BYTES_MAX: usize = 8 * 1024;

/// What each line costs of the call's limit besides its own bytes: a record has a time, the
/// plugin and the call, so that empty lines are not free.
const LINE_COST: usize = 128;

/// Bytes that a guest may hand over in one write (and thus what the host allocates for
/// `write-zeroes`).
const WRITE_BYTES_MAX: usize = 64 * 1024;

/// Which of its two streams a guest wrote to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// `stdout` or `stderr`.
    pub fn as_str(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

/// Takes the lines that a guest writes. Called while the guest waits: it must not block.
pub trait OutputSink: Send + Sync {
    /// One line, without its end; bytes that are no UTF-8 are replaced.
    fn line(&self, stream: Stream, text: &str);
}

/// Both streams of one call, under one limit.
#[derive(Clone)]
pub(crate) struct Output {
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    sink: Arc<dyn OutputSink>,
    /// Bytes that may still be written.
    left: usize,
    written: u64,
    dropped: u64,
    pending: [Vec<u8>; 2],
}

impl Output {
    pub(crate) fn new(sink: Arc<dyn OutputSink>, bytes_max: usize) -> Output {
        Output {
            shared: Arc::new(Mutex::new(Shared {
                sink,
                left: bytes_max,
                written: 0,
                dropped: 0,
                pending: [Vec::new(), Vec::new()],
            })),
        }
    }

    /// Takes what another call writes, to its sink and under its limit: streams that the guest
    /// has kept go there as well.
    pub(crate) fn begin(&self, sink: Arc<dyn OutputSink>, bytes_max: usize) {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        *shared = Shared {
            sink,
            left: bytes_max,
            written: 0,
            dropped: 0,
            pending: [Vec::new(), Vec::new()],
        };
    }

    pub(crate) fn stream(&self, stream: Stream) -> GuestStream {
        GuestStream {
            output: self.clone(),
            stream,
        }
    }

    /// Passes on what has no line end yet, and says what was dropped. Returns how many
    /// bytes were written in all.
    pub(crate) fn finish(&self, limit: ByteSize) -> u64 {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        for stream in [Stream::Stdout, Stream::Stderr] {
            let rest = std::mem::take(shared.pending(stream));
            if !rest.is_empty() {
                shared.emit(stream, &rest);
            }
        }
        if shared.dropped > 0 {
            let note = format!(
                "[portreeve: {} more bytes dropped: the call's output limit is {limit}; the setting `output` in the plugin's `limits` raises it]",
                shared.dropped
            );
            shared.sink.line(Stream::Stderr, &note);
        }
        shared.written
    }
}

impl Shared {
    fn pending(&mut self, stream: Stream) -> &mut Vec<u8> {
        let [stdout, stderr] = &mut self.pending;
        match stream {
            Stream::Stdout => stdout,
            Stream::Stderr => stderr,
        }
    }

    fn emit(&mut self, stream: Stream, line: &[u8]) {
        self.left = self.left.saturating_sub(LINE_COST);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        self.sink.line(stream, &String::from_utf8_lossy(line));
    }

    fn write(&mut self, stream: Stream, bytes: &[u8]) {
        self.written = self.written.saturating_add(bytes.len() as u64);
        let mut pending = std::mem::take(self.pending(stream));
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (kept, dropped) = piece.split_at(piece.len().min(self.left));
            self.left -= kept.len();
            self.dropped = self.dropped.saturating_add(dropped.len() as u64);
            pending.extend_from_slice(kept);
            if pending.last() == Some(&b'\n') {
                pending.pop();
                self.emit_in_pieces(stream, &mut pending, true);
            } else {
                self.emit_in_pieces(stream, &mut pending, false);
            }
        }
        *self.pending(stream) = pending;
    }

    /// Emits `line` in pieces of at most [`LINE_BYTES_MAX`]; all of it if it is complete,
    /// else only full pieces.
    fn emit_in_pieces(&mut self, stream: Stream, line: &mut Vec<u8>, complete: bool) {
        while line.len() > LINE_BYTES_MAX {
            let rest = line.split_off(char_boundary(line, LINE_BYTES_MAX));
            self.emit(stream, line);
            *line = rest;
        }
        if complete {
            self.emit(stream, line);
            line.clear();
        }
    }
}

/// The last index up to `at` that does not cut a UTF-8 character in two; `at` itself where
/// the bytes are no UTF-8.
fn char_boundary(bytes: &[u8], at: usize) -> usize {
    (0..4)
        .filter_map(|back| at.checked_sub(back))
        .find(|index| {
            bytes
                .get(*index)
                .is_none_or(|byte| byte & 0b1100_0000 != 0b1000_0000)
        })
        .filter(|index| *index > 0)
        .unwrap_or(at)
}

/// One of the two streams, as WASI sees it.
#[derive(Clone)]
pub(crate) struct GuestStream {
    output: Output,
    stream: Stream,
}

impl GuestStream {
    fn take(&self, bytes: &[u8]) {
        self.output
            .shared
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write(self.stream, bytes);
    }
}

impl IsTerminal for GuestStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait::async_trait]
impl Pollable for GuestStream {
    async fn ready(&mut self) {}
}

impl OutputStream for GuestStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES_MAX)
    }
}

impl AsyncWrite for GuestStream {
    fn poll_write(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        self.take(bytes);
        std::task::Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn poll_shutdown(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Lines(Mutex<Vec<(Stream, String)>>);

    impl OutputSink for Lines {
        fn line(&self, stream: Stream, text: &str) {
            self.0.lock().unwrap().push((stream, text.to_owned()));
        }
    }

    fn written(bytes_max: usize, writes: &[(Stream, &[u8])]) -> Vec<(Stream, String)> {
        let lines = Arc::new(Lines::default());
        let output = Output::new(lines.clone(), bytes_max);
        for (stream, bytes) in writes {
            output.stream(*stream).take(bytes);
        }
        output.finish(ByteSize(64));
        let lines = lines.0.lock().unwrap();
        lines.clone()
    }

    #[test]
    fn lines_are_cut_at_their_ends_and_streams_kept_apart() {
        use Stream::{Stderr, Stdout};
        assert_eq!(
            written(
                10_000,
                &[
                    (Stdout, b"one\r\ntw"),
                    (Stderr, b"err"),
                    (Stdout, b"o\n\nx")
                ]
            ),
            [
                (Stdout, "one".to_owned()),
                (Stdout, "two".to_owned()),
                (Stdout, String::new()),
                (Stdout, "x".to_owned()),
                (Stderr, "err".to_owned()),
            ]
        );
    }

    #[test]
    fn empty_lines_are_not_free() {
        let lines = written(64 << 10, &[(Stream::Stdout, &[b'\n'; 100_000])]);
        assert!(lines.len() < 600, "{}", lines.len());
    }

    #[test]
    fn a_character_is_never_cut_in_two_by_a_long_line() {
        for shift in 0..4 {
            let text = format!("{}{}", "a".repeat(shift), "€".repeat(LINE_BYTES_MAX));
            let lines = written(usize::MAX, &[(Stream::Stdout, text.as_bytes())]);
            assert!(lines.len() > 2);
            assert!(lines.iter().all(|(_, line)| !line.contains('\u{fffd}')));
            assert_eq!(
                lines.into_iter().map(|(_, line)| line).collect::<String>(),
                text
            );
        }
    }

    #[test]
    fn what_goes_over_the_limit_is_dropped_and_said() {
        // The limit falls into the second of two three-byte characters.
        let lines = written(4, &[(Stream::Stdout, "€€€".as_bytes())]);
        let texts: Vec<_> = lines.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts.len(), 2);
        assert!(texts[0].starts_with('€'), "{texts:?}");
        assert!(texts[1].contains("5 more bytes dropped"), "{texts:?}");
        assert!(texts[1].contains("`output`"), "{texts:?}");
    }
}
