//! Topics and patterns of them: the one matcher that grants, subscriptions and the broker share.

use std::fmt;
use std::str::FromStr;

use super::terms::TermError;
use crate::text::{quoted, written_as_string};

/// The longest topic or pattern, in bytes: it is part of every key of the broker's tables.
pub const TOPIC_BYTES_MAX: usize = 256;

/// What stands for one name.
const ONE: &str = "*";

/// What stands for the rest, which is one name at least.
const REST: &str = ">";

/// The name of a topic: names of a-z, 0-9, `-` and `_`, parted by dots, as in `issues.opened`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(String);

impl Topic {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Topic {
    type Err = TermError;

    fn from_str(text: &str) -> Result<Self, TermError> {
        if text.len() > TOPIC_BYTES_MAX || !text.split('.').all(is_name) {
            return Err(TermError::new(format!(
                "{} is no topic; write names of a-z, 0-9, - and _ parted by dots, as in \"builds.failed\", at most {TOPIC_BYTES_MAX} bytes",
                quoted(text)
            )));
        }
        Ok(Topic(text.to_owned()))
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

written_as_string!(Topic, {
    "type": "string",
    "description": "Names parted by dots, as in \"builds.failed\".",
    "pattern": r"^[a-z0-9_-]+(\.[a-z0-9_-]+)*$",
    "maxLength": TOPIC_BYTES_MAX,
});

/// A pattern of topics, as in `"issues.opened"`; `*` stands for one name and `>`, at the end, for
/// the rest: one name or more.
///
/// ```
/// use portreeve_manifest::grant::{Topic, TopicPattern};
///
/// let pattern: TopicPattern = "builds.>".parse()?;
/// let failed: Topic = "builds.linux.failed".parse()?;
/// assert!(pattern.matches(&failed));
/// assert!(pattern.covers(&"builds.*.failed".parse()?));
/// # Ok::<(), portreeve_manifest::grant::TermError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPattern(String);

impl TopicPattern {
    /// The pattern.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a topic is one of these.
    pub fn matches(&self, topic: &Topic) -> bool {
        covers(&self.0, &topic.0)
    }

    /// Whether all topics of another pattern are among these.
    pub fn covers(&self, other: &TopicPattern) -> bool {
        covers(&self.0, &other.0)
    }

    /// The topic, where the pattern names one.
    pub fn topic(&self) -> Option<Topic> {
        self.0.parse().ok()
    }
}

impl From<&Topic> for TopicPattern {
    fn from(topic: &Topic) -> TopicPattern {
        TopicPattern(topic.0.clone())
    }
}

/// A topic is the pattern that matches nothing but it, so that matching and comparing are one.
fn covers(pattern: &str, other: &str) -> bool {
    let mut names = pattern.split('.');
    let mut others = other.split('.');
    loop {
        match (names.next(), others.next()) {
            (None, None) => return true,
            (Some(REST), Some(_)) => return true,
            (Some(ONE), Some(name)) if name != REST => {}
            (Some(name), Some(other)) if name == other => {}
            _ => return false,
        }
    }
}

fn is_name(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    !name.is_empty() && name.bytes().all(fits)
}

impl FromStr for TopicPattern {
    type Err = TermError;

    fn from_str(text: &str) -> Result<Self, TermError> {
        let mut names = text.split('.').peekable();
        let mut fits = text.len() <= TOPIC_BYTES_MAX;
        while let Some(name) = names.next() {
            let last = names.peek().is_none();
            fits &= name == ONE || (name == REST && last) || is_name(name);
        }
        if !fits {
            return Err(TermError::new(format!(
                "{} is no pattern of topics; write names of a-z, 0-9, - and _ parted by dots, as in \"builds.failed\", \"builds.*\" (one name) or \"builds.>\" (the rest)",
                quoted(text)
            )));
        }
        Ok(TopicPattern(text.to_owned()))
    }
}

impl fmt::Display for TopicPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

written_as_string!(TopicPattern, {
    "type": "string",
    "description": "Names parted by dots; `*` stands for one, `>` at the end for the rest.",
    "pattern": r"^(([a-z0-9_-]+|\*)\.)*([a-z0-9_-]+|\*|>)$",
    "maxLength": TOPIC_BYTES_MAX,
});

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> TopicPattern {
        text.parse().unwrap()
    }

    #[test]
    fn topics_and_patterns_are_told_from_other_text() {
        for good in ["a", "issues.opened", "a-b.c_d.0", &"a".repeat(256)] {
            assert!(good.parse::<Topic>().is_ok(), "{good}");
            assert!(good.parse::<TopicPattern>().is_ok(), "{good}");
        }
        for wild in ["*", ">", "a.*", "*.a", "a.>", "*.>", "*.*"] {
            assert!(wild.parse::<Topic>().is_err(), "{wild}");
            assert!(wild.parse::<TopicPattern>().is_ok(), "{wild}");
        }
        for bad in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "A",
            "a b",
            "a.>.b",
            "a*",
            "**",
            "a.b>",
            "\u{e9}",
            &"a".repeat(257),
        ] {
            assert!(bad.parse::<Topic>().is_err(), "{bad}");
            assert!(bad.parse::<TopicPattern>().is_err(), "{bad}");
        }
    }

    #[test]
    fn patterns_match() {
        for (text, topic, matches) in [
            ("builds.failed", "builds.failed", true),
            ("builds.failed", "builds.passed", false),
            ("builds.*", "builds.failed", true),
            ("builds.*", "builds", false),
            ("builds.*", "builds.linux.failed", false),
            ("builds.>", "builds.linux.failed", true),
            ("builds.>", "builds", false),
            (">", "a", true),
            ("*", "a.b", false),
            ("*.b", "a.b", true),
            ("a", "a.b", false),
        ] {
            let topic = topic.parse().unwrap();
            assert_eq!(pattern(text).matches(&topic), matches, "{text} {topic}");
        }
    }

    /// All that there is to be matched with two names, up to four of them.
    fn universe() -> Vec<Topic> {
        let mut all = vec![String::new()];
        let mut level = vec![String::new()];
        for _ in 0..4 {
            level = level
                .iter()
                .flat_map(|start| ["a", "b", "c"].map(|name| format!("{start}.{name}")))
                .collect();
            all.extend(level.clone());
        }
        let named = all.iter().filter_map(|text| text.strip_prefix('.'));
        named.map(|text| text.parse().unwrap()).collect()
    }

    /// The slow one: tries every way of giving the topic's names to the pattern's.
    fn slowly(pattern: &[&str], topic: &[&str]) -> bool {
        match pattern {
            [] => topic.is_empty(),
            [">"] => (1..=topic.len()).any(|taken| topic.get(taken..) == Some(&[])),
            ["*", rest @ ..] => !topic.is_empty() && slowly(rest, &topic[1..]),
            [name, rest @ ..] => topic.first() == Some(name) && slowly(rest, &topic[1..]),
        }
    }

    fn any_pattern() -> impl Strategy<Value = TopicPattern> {
        let names = proptest::collection::vec(proptest::sample::select(vec!["a", "b", "*"]), 0..3);
        let last = proptest::sample::select(vec!["a", "b", "*", ">"]);
        (names, last).prop_map(|(mut names, last)| {
            names.push(last);
            pattern(&names.join("."))
        })
    }

    proptest! {
        #[test]
        fn the_matcher_of_topics_agrees_with_the_slow_one(pattern in any_pattern()) {
            let names: Vec<&str> = pattern.as_str().split('.').collect();
            for topic in universe() {
                let parts: Vec<&str> = topic.as_str().split('.').collect();
                prop_assert_eq!(pattern.matches(&topic), slowly(&names, &parts), "{}", topic);
            }
        }

        /// The universe has a name that no pattern has, and one more level than any: there what
        /// is not covered shows.
        #[test]
        fn a_pattern_covers_another_if_it_matches_all_of_it(a in any_pattern(), b in any_pattern()) {
            let all = universe().iter().filter(|topic| b.matches(topic)).all(|topic| a.matches(topic));
            prop_assert_eq!(a.covers(&b), all, "{} {}", a, b);
        }

        #[test]
        fn any_text_is_refused_or_read_back(text in "[ab.*>]{0,9}|.{0,20}") {
            if let Ok(pattern) = text.parse::<TopicPattern>() {
                prop_assert_eq!(pattern.to_string(), text);
                prop_assert!(pattern.covers(&pattern));
            }
        }
    }
}
