//! Directories: what of one is asked for and granted, and which of this machine's can't be
//! granted at all.

use std::fmt;
use std::str::FromStr;

use super::terms::{GuestPath, HostPath, TermError};
use crate::text::quoted;

/// A directory as a plugin sees it, and what may be done with it: `/notes (read and write)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryRule {
    /// Where the plugin sees it.
    pub path: GuestPath,
    /// Whether what is in it may be changed.
    pub write: bool,
    /// Whether files with several names may be used, and further names be made where it may be
    /// changed.
    pub hard_links: bool,
}

impl DirectoryRule {
    /// Whether it allows all that another one does.
    pub fn covers(&self, other: &DirectoryRule) -> bool {
        self.path == other.path && self.write >= other.write && self.hard_links >= other.hard_links
    }

    /// What grants it on a command line, where `from` stands behind it.
    pub fn argument(&self, from: &str) -> String {
        let write = if self.write { ":write" } else { "" };
        let hard_links = if self.hard_links { ":hard-links" } else { "" };
        format!("directories={}:{from}{write}{hard_links}", self.path)
    }

    /// What grants it in the operator's file.
    pub fn entry(&self, from: &str) -> String {
        let write = if self.write { ", write = true" } else { "" };
        let hard_links = if self.hard_links {
            ", hard-links = true"
        } else {
            ""
        };
        let path = &self.path;
        format!("{{ path = \"{path}\", from = \"{from}\"{write}{hard_links} }}")
    }

    fn mode(&self) -> &'static str {
        match (self.write, self.hard_links) {
            (false, false) => "read",
            (false, true) => "read, hard links",
            (true, false) => "read and write",
            (true, true) => "read and write, hard links",
        }
    }
}

impl fmt::Display for DirectoryRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.path, self.mode())
    }
}

impl FromStr for DirectoryRule {
    type Err = TermError;

    fn from_str(text: &str) -> Result<Self, TermError> {
        let unread = || {
            TermError(format!(
                "{} names no directory; write \"/PATH (read)\" or \"/PATH (read and write)\"",
                quoted(text)
            ))
        };
        let (path, mode) = text
            .strip_suffix(')')
            .and_then(|text| text.rsplit_once(" ("))
            .ok_or_else(unread)?;
        let (mode, hard_links) = match mode.strip_suffix(", hard links") {
            Some(mode) => (mode, true),
            None => (mode, false),
        };
        let write = match mode {
            "read" => false,
            "read and write" => true,
            _ => return Err(unread()),
        };
        Ok(DirectoryRule {
            path: path.parse()?,
            write,
            hard_links,
        })
    }
}

/// A directory that a plugin may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// Where it sees it and what it may do.
    pub rule: DirectoryRule,
    /// Which directory of this machine stands behind it.
    pub from: HostPath,
}

/// Most directories that one plugin may ask for or be granted: each is opened for a call that
/// uses any.
pub const DIRECTORIES_MAX: usize = 32;

/// What a relative path leads to that no plugin may have; none where the text alone doesn't
/// tell. Links and absolute paths are looked at when a directory is opened.
pub(crate) fn forbidden(from: &HostPath) -> Option<&'static str> {
    let text = from.as_str();
    if text.starts_with('/') {
        return (text.trim_matches('/').is_empty()).then_some("it contains everything");
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => match parts.last() {
                Some(&last) if last != ".." => {
                    parts.pop();
                }
                _ => parts.push(".."),
            },
            part => parts.push(part),
        }
    }
    match parts.as_slice() {
        [".portreeve", ..] => Some("the project's state lies there"),
        parts if parts.iter().all(|part| *part == "..") => {
            Some("it contains portreeve.toml, from which all grants come")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use proptest::prelude::*;

    #[test]
    fn rules_are_read_as_they_are_shown() {
        for (write, hard_links) in [(false, false), (false, true), (true, false), (true, true)] {
            let rule = DirectoryRule {
                path: "/a (b)/c".parse().unwrap(),
                write,
                hard_links,
            };
            assert_eq!(rule.to_string().parse(), Ok(rule.clone()));
            assert!(rule.covers(&rule));
        }
        for none in [
            "/a",
            "/a (write)",
            "a (read)",
            "/a (read",
            "/a (, hard links)",
        ] {
            assert!(none.parse::<DirectoryRule>().is_err(), "{none}");
        }
    }

    #[test]
    fn more_covers_less() {
        let covers = |a: &str, b: &str| {
            let [a, b] = [a, b].map(|text| text.parse::<DirectoryRule>().unwrap());
            a.covers(&b)
        };
        assert!(covers("/a (read and write)", "/a (read)"));
        assert!(covers("/a (read, hard links)", "/a (read)"));
        assert!(!covers("/a (read)", "/a (read and write)"));
        assert!(!covers("/a (read and write)", "/a (read, hard links)"));
        assert!(!covers("/a (read and write)", "/a/b (read)"));
    }

    #[test]
    fn the_projects_own_files_are_no_plugins() {
        let shown: String = [
            ".",
            "./",
            "a/..",
            "..",
            "../..",
            "../other",
            "a/../../b",
            ".portreeve",
            "./.portreeve/logs",
            "a/../.portreeve",
            "notes",
            "notes/.portreeve",
            "..a",
            "/",
            "//",
            "/srv/notes",
        ]
        .into_iter()
        .map(|from| format!("{from}: {:?}\n", forbidden(&from.parse().unwrap())))
        .collect();
        expect![[r#"
            .: Some("it contains portreeve.toml, from which all grants come")
            ./: Some("it contains portreeve.toml, from which all grants come")
            a/..: Some("it contains portreeve.toml, from which all grants come")
            ..: Some("it contains portreeve.toml, from which all grants come")
            ../..: Some("it contains portreeve.toml, from which all grants come")
            ../other: None
            a/../../b: None
            .portreeve: Some("the project's state lies there")
            ./.portreeve/logs: Some("the project's state lies there")
            a/../.portreeve: Some("the project's state lies there")
            notes: None
            notes/.portreeve: None
            ..a: None
            /: Some("it contains everything")
            //: Some("it contains everything")
            /srv/notes: None
        "#]]
        .assert_eq(&shown);
    }

    /// The slow one: goes the way name by name, from a project that lies deep. What is above it
    /// has names that no path says.
    fn slowly(from: &str) -> bool {
        let project: Vec<String> = (0..16).map(|level| format!("#{level}")).collect();
        let mut at = project.clone();
        for part in from.split('/').filter(|part| !matches!(*part, "" | ".")) {
            match part {
                ".." => drop(at.pop()),
                name => at.push(name.to_owned()),
            }
        }
        let state = [project.as_slice(), &[".portreeve".to_owned()]].concat();
        project.starts_with(&at) || at.starts_with(&state)
    }

    fn any_rule() -> impl Strategy<Value = DirectoryRule> {
        let path = "(/(a|b|x \\(read\\)|, hard links)){1,2}";
        (path, any::<bool>(), any::<bool>()).prop_map(|(path, write, hard_links)| DirectoryRule {
            path: path.parse().unwrap(),
            write,
            hard_links,
        })
    }

    proptest! {
        #[test]
        fn what_the_text_tells_agrees_with_going_the_way(
            parts in proptest::collection::vec(
                proptest::sample::select(vec!["", ".", "..", "..", ".portreeve", "a", "..a"]),
                1..10,
            )
        ) {
            let from = parts.join("/");
            if let Some(path) = from.parse::<HostPath>().ok().filter(|_| !from.starts_with('/')) {
                prop_assert_eq!(forbidden(&path).is_some(), slowly(&from), "{}", from);
            }
        }

        /// What a rule covers is what may be done under it, each thing by itself.
        #[test]
        fn a_rule_covers_another_if_it_allows_all_of_it(a in any_rule(), b in any_rule()) {
            let uses = |rule: &DirectoryRule| {
                let mut uses = vec![format!("read {}", rule.path)];
                uses.extend(rule.write.then(|| format!("write {}", rule.path)));
                uses.extend(rule.hard_links.then(|| format!("link {}", rule.path)));
                uses
            };
            let all = uses(&b).iter().all(|used| uses(&a).contains(used));
            prop_assert_eq!(a.covers(&b), all);
            prop_assert_eq!(a.to_string().parse::<DirectoryRule>(), Ok(a));
        }

        #[test]
        fn any_text_is_refused_or_read_back(text in "/a \\((read|, hard links| and write|\\)| ){1,5}|.{0,20}") {
            if let Ok(rule) = text.parse::<DirectoryRule>() {
                prop_assert_eq!(rule.to_string(), text);
            }
        }
    }
}
