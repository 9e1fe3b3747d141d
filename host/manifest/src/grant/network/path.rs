//! Which paths.

use std::fmt;
use std::str::{FromStr, Split};

use url::Url;

/// Most segments of a pattern and most segments of it that have a `*`: what is matched
/// costs their product with the length of the path at most.
const SEGMENTS_MAX: usize = 64;
const STARS_MAX: usize = 16;

/// A pattern of paths, from its first `/` on.
///
/// `*` stands for any characters within one segment, and alone for any segment that is not
/// empty; `**`, as a whole segment, stands for any number of segments, none included. A path
/// that servers read in several ways ([`is_ambiguous`]) is matched by `/**` alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    text: String,
    ambiguous: bool,
}

/// Every path.
const ALL: &str = "/**";

impl PathPattern {
    /// Every path.
    pub fn all() -> PathPattern {
        PathPattern {
            text: ALL.to_owned(),
            ambiguous: false,
        }
    }

    /// The pattern of one path alone: one that [`normal`] made, without `*`.
    pub(super) fn exact(path: &str) -> PathPattern {
        PathPattern {
            ambiguous: path.split('/').any(is_ambiguous),
            text: path.to_owned(),
        }
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is a path that `/**` alone matches.
    pub(super) fn is_ambiguous(&self) -> bool {
        self.ambiguous
    }

    fn segments(&self) -> Split<'_, char> {
        let mut segments = self.text.split('/');
        segments.next();
        segments
    }

    /// Whether it has every path of `other`.
    ///
    /// Never wrongly yes. It says no where `other`'s `**` would have to be covered by
    /// something else than a `**`: `/*/**` is not seen to be covered by `/**/*`.
    pub fn covers(&self, other: &PathPattern) -> bool {
        if self.text == ALL || self.text == other.text {
            return true;
        }
        !other.ambiguous && line_up(self.segments(), other.segments(), segment_covers)
    }

    /// Whether both have some path.
    pub fn overlaps(&self, other: &PathPattern) -> bool {
        if self.text == ALL || other.text == ALL {
            return true;
        }
        if self.ambiguous || other.ambiguous {
            return self.text == other.text;
        }
        let endless = |pattern: &PathPattern| pattern.segments().any(|segment| segment == "**");
        match (endless(self), endless(other)) {
            (_, false) => line_up(self.segments(), other.segments(), segments_overlap),
            (false, true) => line_up(other.segments(), self.segments(), segments_overlap),
            // What stands between the first and the last `**` of one is taken by the other's.
            (true, true) => {
                let ends = |(one, other): (&str, &str)| segments_overlap(one, other);
                let open = |segment: &&str| *segment != "**";
                let front = self.segments().take_while(open);
                let back = self.segments().rev().take_while(open);
                front.zip(other.segments().take_while(open)).all(ends)
                    && back.zip(other.segments().rev().take_while(open)).all(ends)
            }
        }
    }

    /// The leading segments without a `*`: all of its paths start with them.
    pub(super) fn literal_front(&self) -> &str {
        let Some(star) = self.text.find('*') else {
            return &self.text;
        };
        let front = self.text.get(..star).unwrap_or_default();
        front
            .rfind('/')
            .and_then(|end| front.get(..end))
            .unwrap_or_default()
    }
}

/// Whether segments line up, where each `**` of `wide` takes any number of those of `narrow`.
///
/// Greedy: where what follows a `**` fits nowhere, an earlier `**` could not help, since it
/// leaves less. So only the last one is tried again.
fn line_up<'a>(
    mut wide: Split<'a, char>,
    mut narrow: Split<'a, char>,
    fits: fn(&str, &str) -> bool,
) -> bool {
    let mut again: Option<(Split<'a, char>, Split<'a, char>)> = None;
    loop {
        let mut rest = wide.clone();
        match rest.next() {
            Some("**") => {
                again = Some((rest.clone(), narrow.clone()));
                wide = rest;
                continue;
            }
            Some(pattern) => {
                let mut after = narrow.clone();
                let Some(segment) = after.next() else {
                    return false;
                };
                if fits(pattern, segment) {
                    (wide, narrow) = (rest, after);
                    continue;
                }
            }
            None if narrow.clone().next().is_none() => return true,
            None => {}
        }
        let Some((after, from)) = &mut again else {
            return false;
        };
        if from.next().is_none() {
            return false;
        }
        (wide, narrow) = (after.clone(), from.clone());
    }
}

/// Whether one segment's pattern, not `**`, has every segment of another.
///
/// The other's `*` is read as a letter that no pattern names: only a `*` can take it, and
/// what takes it takes anything in its place. So this is exact.
fn segment_covers(wide: &str, narrow: &str) -> bool {
    if wide == "*" {
        return !narrow.is_empty() && narrow != "**";
    }
    let mut pieces = wide.split('*');
    let Some(mut rest) = pieces.next().and_then(|first| narrow.strip_prefix(first)) else {
        return false;
    };
    let Some(last) = pieces.next_back() else {
        return rest.is_empty();
    };
    let Some(middle) = rest.strip_suffix(last) else {
        return false;
    };
    rest = middle;
    for piece in pieces {
        let Some((_, after)) = rest.split_once(piece) else {
            return false;
        };
        rest = after;
    }
    true
}

/// Whether two segments' patterns, neither `**`, have some segment in common.
fn segments_overlap(one: &str, other: &str) -> bool {
    let ends = |text: &'_ str| -> Option<(usize, usize)> {
        Some((text.find('*')?, text.len() - text.rfind('*')? - 1))
    };
    match (ends(one), ends(other)) {
        (_, None) => segment_covers(one, other),
        (None, Some(_)) => segment_covers(other, one),
        // What stands between is taken by the other's `*`.
        (Some((front, back)), Some((other_front, other_back))) => {
            let front = front.min(other_front);
            let back = back.min(other_back);
            one.get(..front) == other.get(..front)
                && one.get(one.len() - back..) == other.get(other.len() - back..)
        }
    }
}

/// A path in the form in which it is compared and sent: percent-encoded where it must be and
/// nowhere else, escapes in capitals, dot segments resolved.
///
/// # Errors
/// A sentence: `%` without two hexadecimal digits.
pub(super) fn normal(path: &str) -> Result<String, &'static str> {
    let mut normal = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        normal.push_str(before);
        let digits = after
            .get(..2)
            .filter(|two| two.bytes().all(|b| b.is_ascii_hexdigit()));
        let Some((digits, byte)) =
            digits.and_then(|two| Some((two, u8::from_str_radix(two, 16).ok()?)))
        else {
            return Err("`%` in the path must be followed by two hexadecimal digits");
        };
        // Unreserved characters (RFC 3986, section 2.3) mean the same either way.
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            normal.push(char::from(byte));
        } else {
            normal.push('%');
            normal.push_str(&digits.to_ascii_uppercase());
        }
        rest = after.get(2..).unwrap_or_default();
    }
    normal.push_str(rest);
    // Rules stand in commands that operators copy into a shell.
    if normal.contains('\'') {
        normal = normal.replace('\'', "%27");
    }
    Ok(normal)
}

/// Whether servers read a segment in several ways: it has an escaped `/`, `\` or NUL, or is a
/// dot segment once its parameters (`;…`) are gone, or after it is decoded again.
fn is_ambiguous(segment: &str) -> bool {
    /// Rounds of decoding that are looked at; more escapes within escapes are none's honest use.
    const ROUNDS: usize = 3;
    let is_read_otherwise = |bytes: &[u8]| {
        let name = bytes.split(|b| *b == b';').next().unwrap_or_default();
        bytes.iter().any(|b| matches!(b, b'/' | b'\\' | 0)) || matches!(name, b"." | b"..")
    };
    if !segment.contains('%') {
        return is_read_otherwise(segment.as_bytes());
    }
    let mut bytes = segment.as_bytes().to_vec();
    for _ in 0..ROUNDS {
        if is_read_otherwise(&bytes) {
            return true;
        }
        let decoded = decode(&bytes);
        if decoded == bytes {
            return false;
        }
        bytes = decoded;
    }
    true
}

/// Takes one layer of percent-encoding away.
fn decode(bytes: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        let escaped = match (first, after) {
            (b'%', [high, low, after @ ..]) => char::from(*high)
                .to_digit(16)
                .zip(char::from(*low).to_digit(16))
                .and_then(|(high, low)| u8::try_from(high * 16 + low).ok())
                .map(|byte| (byte, after)),
            _ => None,
        };
        let (byte, after) = escaped.unwrap_or((*first, after));
        decoded.push(byte);
        rest = after;
    }
    decoded
}

impl FromStr for PathPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("the path has characters that must be percent-encoded".into());
        }
        let text = normal(text)?;
        let mut path = String::with_capacity(text.len());
        let mut last = "";
        let (mut segments, mut stars) = (0, 0);
        for segment in text.split('/').skip(1) {
            if segment == "." || segment == ".." {
                return Err("the path must not contain `.` or `..`".into());
            }
            if is_ambiguous(segment) {
                return Err(
                    "servers read this path in several ways (%2F, %5C, %00, or dots before `;`); only /** matches such paths".into(),
                );
            }
            if segment.contains("**") && segment != "**" {
                return Err("`**` must be a whole segment of the path, as in /a/**".into());
            }
            if segment == "**" && last == "**" {
                continue;
            }
            path.push('/');
            path.push_str(segment);
            last = segment;
            segments += 1;
            stars += segment.bytes().filter(|b| *b == b'*').count();
        }
        if segments > SEGMENTS_MAX || stars > STARS_MAX {
            return Err(format!(
                "the path has more than {SEGMENTS_MAX} segments or {STARS_MAX} `*`; name less of it, and `**` for the rest"
            ));
        }
        // As the URL standard escapes it, which is how a request's path is compared.
        let mut url = Url::parse("https://x").map_err(|error| error.to_string())?;
        url.set_path(&path);
        Ok(PathPattern {
            text: url.path().to_owned(),
            ambiguous: false,
        })
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}
