//! Lines that may hold secrets, read without leaving them behind.

use std::io::{Error, ErrorKind};

use bytes::BytesMut;
use tokio_util::codec::Decoder;
use zeroize::{Zeroize, Zeroizing};

/// Takes lines out of a buffer and overwrites where they stood. What a buffer leaves behind
/// when it has to grow is out of its reach.
#[derive(Debug)]
pub(crate) struct HiddenLines {
    bytes_max: usize,
    /// Bytes that are known to have no line end.
    seen: usize,
}

impl HiddenLines {
    /// Lines of `bytes_max` bytes at most.
    pub(crate) fn new(bytes_max: usize) -> HiddenLines {
        HiddenLines { bytes_max, seen: 0 }
    }
}

impl Decoder for HiddenLines {
    type Item = Zeroizing<String>;
    type Error = Error;

    fn decode(&mut self, from: &mut BytesMut) -> Result<Option<Zeroizing<String>>, Error> {
        let mut unseen = from.iter().skip(self.seen);
        let end = unseen.position(|byte| *byte == b'\n');
        let length = end.map_or(from.len(), |end| self.seen.saturating_add(end));
        if length > self.bytes_max {
            let why = format!("a line has more than {} bytes", self.bytes_max);
            return Err(Error::new(ErrorKind::InvalidData, why));
        }
        if end.is_none() {
            self.seen = length;
            return Ok(None);
        }
        self.seen = 0;
        let mut line = from.split_to(length.saturating_add(1));
        let text = line
            .get(..length)
            .and_then(|text| std::str::from_utf8(text).ok())
            .map(|text| Zeroizing::new(text.to_owned()));
        line.zeroize();
        text.map(Some)
            .ok_or_else(|| Error::new(ErrorKind::InvalidData, "a line is no text"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_as_they_are_and_leave_nothing() {
        let mut lines = HiddenLines::new(8);
        let mut buffer = BytesMut::with_capacity(64);
        let mut next = |buffer: &mut BytesMut, more: &str| {
            buffer.extend_from_slice(more.as_bytes());
            lines
                .decode(buffer)
                .map(|line| line.map(|line| line.to_string()))
        };
        assert_eq!(next(&mut buffer, "CAN").unwrap(), None);
        assert_eq!(
            next(&mut buffer, "ARY\nx").unwrap(),
            Some("CANARY".to_owned())
        );
        assert_eq!(next(&mut buffer, "\n\n").unwrap(), Some("x".to_owned()));
        assert_eq!(next(&mut buffer, "").unwrap(), Some(String::new()));
        assert_eq!(
            next(&mut buffer, "12345678\n").unwrap(),
            Some("12345678".to_owned())
        );
        assert!(next(&mut buffer, "123456789").is_err());
        let mut lines = HiddenLines::new(8);
        let mut bytes = BytesMut::from(&b"\xff\n"[..]);
        assert!(lines.decode(&mut bytes).is_err());
        // The storage is given back once the line is dropped: it has been overwritten.
        let mut bytes = BytesMut::from(&b"CANARY\n"[..]);
        drop(lines.decode(&mut bytes).unwrap());
        assert!(bytes.try_reclaim(7));
        bytes.resize(7, b'.');
        assert!(!bytes.windows(6).any(|part| part == b"CANARY"));
    }
}
