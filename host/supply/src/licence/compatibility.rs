//! Which licences go together in one component: a table that people have made, for review.

use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;

use serde::Serialize;
use spdx::{Expression, LicenseReq};

/// The table that Portreeve carries; `data/README.md` says whose it is.
const OSADL: &str = include_str!("../../data/osadl-matrix.csv");

/// Where the carried table comes from, for those who read an answer.
const OSADL_SOURCE: &str =
    "OSADL licence compatibility matrix of 2024-05-22, © OSADL eG, CC-BY-4.0";

/// The largest table that is read, in bytes; the carried one has 52 KiB.
pub const TABLE_BYTES_MAX: u64 = 4 << 20;

/// Whether code under one licence can be a part of a component under another. What a table
/// says, for review by somebody who knows; no legal advice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// The table says yes.
    Fine,
    /// The table doesn't know one of them, or is not sure.
    Unknown,
    /// The table says no.
    Conflict,
}

/// A table of which licences go together.
#[derive(Debug)]
pub struct Compatibility {
    source: String,
    known: HashSet<String>,
    /// The licence of the whole, then that of a part.
    pairs: HashMap<(String, String), Answer>,
}

impl Compatibility {
    /// The table that Portreeve carries.
    pub fn carried() -> &'static Compatibility {
        static TABLE: OnceLock<Compatibility> = OnceLock::new();
        TABLE.get_or_init(|| {
            Compatibility::parse(OSADL, OSADL_SOURCE).unwrap_or_else(|why| Compatibility {
                // A test reads it; without it every answer is `unknown`.
                source: format!("none: {why}"),
                known: HashSet::new(),
                pairs: HashMap::new(),
            })
        })
    }

    /// Reads a table of OSADL's form: a first row of licences, then a row for each licence of
    /// a whole, with `Yes`, `No`, `Same` and others for each part. `source` says whose it is.
    ///
    /// # Errors
    /// Rows that don't fit the first.
    pub fn parse(text: &str, source: &str) -> Result<Compatibility, String> {
        let mut lines = text.lines().filter(|line| !line.trim().is_empty());
        let parts: Vec<&str> = lines
            .next()
            .ok_or("the table is empty")?
            .split(',')
            .skip(1)
            .map(str::trim)
            .collect();
        let mut pairs = HashMap::new();
        for (row, line) in lines.enumerate() {
            let mut cells = line.split(',').map(str::trim);
            let whole = cells.next().unwrap_or_default();
            let answers: Vec<&str> = cells.collect();
            if whole.is_empty() || answers.len() != parts.len() {
                return Err(format!(
                    "its row {} has {} answers for {} licences",
                    row + 2,
                    answers.len(),
                    parts.len()
                ));
            }
            for (part, answer) in parts.iter().zip(answers) {
                let answer = match answer {
                    "Yes" | "Same" => Answer::Fine,
                    "No" => Answer::Conflict,
                    _ => Answer::Unknown,
                };
                pairs.insert((whole.to_owned(), (*part).to_owned()), answer);
            }
        }
        if pairs.is_empty() {
            return Err("the table has no rows".to_owned());
        }
        Ok(Compatibility {
            source: source.to_owned(),
            known: parts.into_iter().map(str::to_owned).collect(),
            pairs,
        })
    }

    /// Whose table it is, and of when.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether a part under `part` can be in a component under `whole`. Who may choose a
    /// licence of several takes the one that fits.
    pub fn check(&self, whole: &Expression, part: &Expression) -> Answer {
        let at_most = |worst: Answer| {
            whole.evaluate(|whole| part.evaluate(|part| self.pair(whole, part) <= worst))
        };
        if at_most(Answer::Fine) {
            Answer::Fine
        } else if at_most(Answer::Unknown) {
            Answer::Unknown
        } else {
            Answer::Conflict
        }
    }

    fn pair(&self, whole: &LicenseReq, part: &LicenseReq) -> Answer {
        let (whole, part) = (whole.to_string(), part.to_string());
        if whole == part {
            return Answer::Fine;
        }
        let known = self.known.contains(&part);
        match self.pairs.get(&(whole, part)) {
            Some(answer) if known => *answer,
            _ => Answer::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(whole: &str, part: &str) -> Answer {
        let parse = |text| Expression::parse(text).unwrap();
        Compatibility::carried().check(&parse(whole), &parse(part))
    }

    #[test]
    fn pairs() {
        for (whole, part, expected) in [
            ("MIT", "MIT", Answer::Fine),
            ("Apache-2.0", "MIT", Answer::Fine),
            ("Apache-2.0", "GPL-2.0-only", Answer::Conflict),
            ("GPL-3.0-only", "Apache-2.0", Answer::Fine),
            ("GPL-2.0-only", "Apache-2.0", Answer::Conflict),
            ("MIT", "LicenseRef-ours", Answer::Unknown),
            ("MIT", "GPL-3.0-only OR MIT", Answer::Fine),
            ("MIT", "GPL-3.0-only AND MIT", Answer::Conflict),
            ("MIT", "GPL-3.0-only OR LicenseRef-ours", Answer::Unknown),
            ("GPL-3.0-only OR MIT", "GPL-3.0-only", Answer::Fine),
        ] {
            assert_eq!(check(whole, part), expected, "{part} in {whole}");
        }
    }

    #[test]
    fn tables() {
        assert_eq!(Compatibility::carried().known.len(), 110);
        for (text, expected) in [
            ("", "empty"),
            ("x,MIT\n", "no rows"),
            ("x,MIT\nMIT,Same,Yes\n", "row 2"),
        ] {
            let error = Compatibility::parse(text, "test").unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
