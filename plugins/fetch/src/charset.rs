//! From bytes to text, as the Encoding Standard says.

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};

/// How far a page is searched for its charset, in bytes; browsers search as far.
const SEARCHED_BYTES: usize = 1_024;

/// Decodes a text: by its byte order mark, by the charset of its `content-type`, by what the
/// page says of itself, as UTF-8 where it is that, or else as windows-1252. What is no text in
/// the encoding becomes U+FFFD.
pub(crate) fn decode(bytes: &[u8], charset: Option<&str>, html: bool) -> String {
    let told = charset
        .and_then(|label| Encoding::for_label(label.as_bytes()))
        .or_else(|| html.then(|| declared(bytes)).flatten());
    let encoding = match told {
        Some(encoding) => encoding,
        None if std::str::from_utf8(bytes).is_ok() => UTF_8,
        None => WINDOWS_1252,
    };
    encoding.decode(bytes).0.into_owned()
}

/// The encoding that a `<meta>` at the start of a page names.
fn declared(bytes: &[u8]) -> Option<&'static Encoding> {
    let head = bytes.get(..SEARCHED_BYTES).unwrap_or(bytes);
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let mut rest = head.as_str();
    loop {
        let comment = rest.find("<!--");
        let meta = rest.find("<meta")?;
        if let Some(comment) = comment.filter(|&comment| comment < meta) {
            let inside = rest.get(comment..)?;
            rest = inside.get(inside.find("-->")?..)?;
            continue;
        }
        rest = rest.get(meta + "<meta".len()..)?;
        let tag = rest.get(..rest.find('>').unwrap_or(rest.len()))?;
        if let Some(encoding) = label(tag).and_then(|label| Encoding::for_label(label.as_bytes())) {
            // A page whose tags could be read as ASCII isn't UTF-16, whatever it says.
            return Some(if encoding.is_ascii_compatible() {
                encoding
            } else {
                UTF_8
            });
        }
    }
}

/// What follows `charset=` in a tag, be it an attribute of its own or within `content`.
fn label(tag: &str) -> Option<&str> {
    tag.match_indices("charset").find_map(|(at, found)| {
        let after = tag.get(at + found.len()..)?.trim_ascii_start();
        let value = after.strip_prefix('=')?.trim_ascii_start();
        let value = value.strip_prefix(['"', '\'']).unwrap_or(value);
        value
            .split(|c: char| c.is_ascii_whitespace() || matches!(c, '"' | '\'' | ';' | '/'))
            .next()
            .filter(|label| !label.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn charsets_are_found_where_they_stand() {
        for (bytes, charset, text) in [
            (&b"caf\xc3\xa9"[..], None, "café"),
            (b"caf\xe9", None, "café"),
            (b"caf\xe9 \xd7", Some("ISO-8859-5"), "cafщ з"),
            (b"\xef\xbb\xbfcaf\xc3\xa9", Some("iso-8859-1"), "café"),
            (b"\xff\xfea\0\xe9\0", None, "aé"),
            (b"caf\xc3", Some("utf-8"), "caf\u{fffd}"),
            (
                b"<META CHARSET=Shift_JIS>\x82\xa0",
                None,
                "<META CHARSET=Shift_JIS>あ",
            ),
            (
                b"<meta http-equiv=content-type content='text/html; charset=koi8-r'>\xc1",
                None,
                "<meta http-equiv=content-type content='text/html; charset=koi8-r'>а",
            ),
            (
                b"<!-- <meta charset=koi8-r> --><meta charset = \"windows-1251\" >\xc1",
                None,
                "<!-- <meta charset=koi8-r> --><meta charset = \"windows-1251\" >Б",
            ),
            (
                b"<meta charset=utf-16>\xc3\xa9",
                None,
                "<meta charset=utf-16>é",
            ),
            (
                b"<meta charset=nonsense>\xc3\xa9",
                Some("none"),
                "<meta charset=nonsense>é",
            ),
        ] {
            assert_eq!(decode(bytes, charset, true), text);
        }
        // Only pages speak of themselves.
        assert_eq!(
            decode(b"<meta charset=koi8-r>\xc1", None, false),
            "<meta charset=koi8-r>Á"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded(bytes in any::<Vec<u8>>(), label in "\\PC{0,12}") {
            let text = decode(&bytes, Some(&label), true);
            prop_assert!(text.len() <= 3 * bytes.len());
        }
    }
}
