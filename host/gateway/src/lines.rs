//! Lines of bounded length from a byte stream.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// Bytes that are read at once: a message of usual size with one system call.
const BUFFER_BYTES: usize = 32 << 10;

/// Memory that is kept for the next line; what a longer one needed is given back.
const KEPT_BYTES_MAX: usize = 256 << 10;

/// Reads lines and drops those that are too long.
pub(crate) struct Lines<R> {
    reader: BufReader<R>,
    bytes_max: usize,
    line: Vec<u8>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// `line` holds the beginning of the next line.
    Reading,
    /// `line` was handed out.
    HandedOut,
    /// The rest of a line that was too long is dropped.
    Dropping,
}

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// A line without its end.
    Bytes(&'a [u8]),
    /// A line that was too long; it is dropped.
    TooLong,
    /// There is no more.
    End,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(crate) fn new(reader: R, bytes_max: usize) -> Lines<R> {
        Lines {
            reader: BufReader::with_capacity(BUFFER_BYTES, reader),
            bytes_max,
            line: Vec::new(),
            state: State::Reading,
        }
    }

    /// The next line. The last one need not have an end.
    ///
    /// Dropping the future loses nothing: what was read stays here.
    pub(crate) async fn next(&mut self) -> io::Result<Line<'_>> {
        if self.state == State::HandedOut {
            self.line.clear();
            self.line.shrink_to(KEPT_BYTES_MAX);
            self.state = State::Reading;
        }
        loop {
            let read = self.reader.fill_buf().await?;
            if read.is_empty() {
                if self.line.is_empty() {
                    return Ok(Line::End);
                }
                break;
            }
            let end = memchr::memchr(b'\n', read);
            let (part, taken) = match end.and_then(|end| read.split_at_checked(end)) {
                Some((part, _)) => (part, part.len().saturating_add(1)),
                None => (read, read.len()),
            };
            let mut too_long = false;
            if self.state == State::Reading {
                too_long = self.line.len().saturating_add(part.len()) > self.bytes_max;
                if !too_long {
                    self.line.extend_from_slice(part);
                }
            }
            self.reader.consume(taken);
            if too_long {
                self.line = Vec::new();
                if end.is_none() {
                    self.state = State::Dropping;
                }
                return Ok(Line::TooLong);
            }
            if end.is_some() {
                if self.state == State::Reading {
                    break;
                }
                self.state = State::Reading;
            }
        }
        self.state = State::HandedOut;
        Ok(Line::Bytes(&self.line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt;

    async fn all(reader: impl AsyncRead + Unpin, bytes_max: usize) -> Vec<String> {
        let mut lines = Lines::new(reader, bytes_max);
        let mut read = Vec::new();
        loop {
            match lines.next().await.unwrap() {
                Line::Bytes(line) => read.push(String::from_utf8_lossy(line).into_owned()),
                Line::TooLong => read.push("(too long)".to_owned()),
                Line::End => return read,
            }
        }
    }

    #[tokio::test]
    async fn lines_are_told_apart() {
        async fn check(text: &str, expected: Expect) {
            expected.assert_eq(&format!("{:?}", all(text.as_bytes(), 5).await));
        }
        check("", expect!["[]"]).await;
        check("a\nb\n", expect![[r#"["a", "b"]"#]]).await;
        check("a\n\nb", expect![[r#"["a", "", "b"]"#]]).await;
        check(
            "12345\n123456\nc\n",
            expect![[r#"["12345", "(too long)", "c"]"#]],
        )
        .await;
        check("1234567890", expect![[r#"["(too long)"]"#]]).await;
        check("1234567890\nc", expect![[r#"["(too long)", "c"]"#]]).await;
    }

    #[tokio::test]
    async fn a_line_that_never_ends_takes_no_memory() {
        let (client, server) = tokio::io::duplex(4 << 10);
        let (_, mut client) = tokio::io::split(client);
        let sender = tokio::spawn(async move {
            for _ in 0..1_000 {
                client.write_all(&[b'x'; 4 << 10]).await.unwrap();
            }
            client.write_all(b"\nend\n").await.unwrap();
        });
        let mut lines = Lines::new(server, 10 << 10);
        assert_eq!(lines.next().await.unwrap(), Line::TooLong);
        assert!(lines.line.capacity() <= KEPT_BYTES_MAX);
        assert_eq!(lines.next().await.unwrap(), Line::Bytes(b"end"));
        sender.await.unwrap();
    }

    proptest! {
        #[test]
        fn it_agrees_with_splitting(
            text in "[ab\n]{0,64}",
            bytes_max in 1_usize..8,
            chunk in 1_usize..8,
        ) {
            let mut expected: Vec<String> = text.split('\n').map(|line| {
                if line.len() > bytes_max { "(too long)".to_owned() } else { line.to_owned() }
            }).collect();
            // After the last line end there is no line.
            if expected.last().is_some_and(String::is_empty) {
                expected.pop();
            }
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let read = runtime.block_on(async {
                let (mut client, server) = tokio::io::duplex(chunk);
                let (read, ()) = tokio::join!(all(server, bytes_max), async {
                    client.write_all(text.as_bytes()).await.unwrap();
                    drop(client);
                });
                read
            });
            prop_assert_eq!(read, expected);
        }
    }
}
