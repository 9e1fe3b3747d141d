//! Scopes: what a caller may read of the host itself, besides what plugins offer.
//!
//! They are a closed set. An operator gives them to callers by the way on which these come, under
//! `[serve]`; nobody has any otherwise.

use std::fmt;
use std::str::FromStr;

use crate::grant::{Topic, TopicPattern};
use crate::text::{quoted, written_as_string};

/// The scope of papers.
const PAPERS: &str = "papers:read";
/// The scope of all topics, and what that of some begins with.
const TOPICS: &str = "topics:read";

/// Something that a caller may read.
///
/// ```
/// use portreeve_manifest::scope::Scope;
///
/// let some: Scope = "topics:read:builds.>".parse()?;
/// assert_eq!(some.to_string(), "topics:read:builds.>");
/// // All of them, in its one form.
/// assert_eq!("topics:read:>".parse::<Scope>()?.to_string(), "topics:read");
/// # Ok::<(), portreeve_manifest::scope::ScopeError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// `papers:read`: what is known of plugins: who made them, of what, under which terms, and
    /// what was found in them.
    Papers,
    /// `topics:read` and `topics:read:PATTERN`: messages in these topics.
    Topics(TopicPattern),
}

/// Why something is no scope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} is no scope; there are \"papers:read\", \"topics:read\" (of all topics) and such as \"topics:read:builds.>\" (of some)", quoted(.0)
)]
pub struct ScopeError(String);

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Scope, ScopeError> {
        let none = || ScopeError(text.to_owned());
        if text == PAPERS {
            return Ok(Scope::Papers);
        }
        let pattern = match text.strip_prefix(TOPICS).ok_or_else(none)? {
            "" => ">",
            some => some.strip_prefix(':').ok_or_else(none)?,
        };
        let pattern = pattern.parse().map_err(|_| none())?;
        Ok(Scope::Topics(pattern))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::Papers => f.pad(PAPERS),
            Scope::Topics(pattern) if pattern.as_str() == ">" => f.pad(TOPICS),
            Scope::Topics(pattern) => write!(f, "{TOPICS}:{pattern}"),
        }
    }
}

written_as_string!(Scope, {
    "type": "string",
    "description": "\"papers:read\", \"topics:read\", or such as \"topics:read:builds.>\".",
    "pattern": r"^(papers:read|topics:read(:(([a-z0-9_-]+|\*)\.)*([a-z0-9_-]+|\*|>))?)$",
    "maxLength": 300,
});

/// The scopes of a caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scopes(Vec<Scope>);

impl Scopes {
    /// Whether papers may be read.
    pub fn papers(&self) -> bool {
        self.0.contains(&Scope::Papers)
    }

    /// Whether a topic may be read.
    pub fn topic(&self, topic: &Topic) -> bool {
        self.patterns().any(|pattern| pattern.matches(topic))
    }

    /// Whether any topic may be read.
    pub fn topics(&self) -> bool {
        self.patterns().next().is_some()
    }

    fn patterns(&self) -> impl Iterator<Item = &TopicPattern> {
        self.0.iter().filter_map(|scope| match scope {
            Scope::Topics(pattern) => Some(pattern),
            Scope::Papers => None,
        })
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Scopes {
        let mut scopes: Vec<Scope> = scopes.into_iter().collect();
        scopes.sort();
        scopes.dedup();
        Scopes(scopes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scopes(texts: &[&str]) -> Scopes {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn scopes_are_told_from_other_text() {
        for good in [
            "papers:read",
            "topics:read",
            "topics:read:a.*",
            "topics:read:a.b",
        ] {
            assert_eq!(good.parse::<Scope>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "papers",
            "papers:write",
            "papers:read:notes",
            "topics:read:",
            "topics:read:A",
            "topics:read:>.a",
            "topics:reading",
            "topics:write",
            " papers:read",
            "*",
        ] {
            let why = bad.parse::<Scope>().unwrap_err().to_string();
            assert!(why.contains("is no scope"), "{why}");
        }
    }

    #[test]
    fn a_scope_lets_read_what_it_names_and_nothing_else() {
        let topic = |text: &str| text.parse::<Topic>().unwrap();
        let none = Scopes::default();
        assert!(!none.papers() && !none.topics() && !none.topic(&topic("a")));
        let papers = scopes(&["papers:read"]);
        assert!(papers.papers() && !papers.topics() && !papers.topic(&topic("a")));
        let some = scopes(&["topics:read:builds.>", "topics:read:feeds.*.new"]);
        assert!(some.topics() && !some.papers());
        for (name, may) in [
            ("builds.failed", true),
            ("builds.linux.failed", true),
            ("builds", false),
            ("buildss.failed", false),
            ("feeds.a.new", true),
            ("feeds.a.b.new", false),
        ] {
            assert_eq!(some.topic(&topic(name)), may, "{name}");
        }
        assert!(scopes(&["topics:read"]).topic(&topic("any.thing")));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(text in "(papers|topics):read(:[a-c*>.]{0,8})?") {
            if let Ok(scope) = text.parse::<Scope>() {
                prop_assert_eq!(scope.to_string().parse::<Scope>(), Ok(scope));
            }
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = text.parse::<Scope>();
        }
    }
}
