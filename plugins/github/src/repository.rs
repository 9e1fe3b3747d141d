//! Which repository is meant.

use std::fmt;

use portreeve_sdk::Error;

/// A repository whose names can stand in a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Repository {
    /// Whose it is.
    pub(crate) owner: String,
    /// Its name.
    pub(crate) name: String,
}

impl Repository {
    /// Reads `OWNER/NAME`, or `NAME` where there is an owner by default.
    ///
    /// # Errors
    /// It is no name of a repository, or whose it is stays open.
    pub(crate) fn read(text: &str, default_owner: Option<&str>) -> Result<Repository, Error> {
        let refuse = |why: &str| {
            Error::invalid_argument(format_args!(
                "`repository` {why}; write OWNER/NAME, as in rust-lang/cargo"
            ))
            .reason("invalid-repository")
        };
        let (owner, name) = match (text.split_once('/'), default_owner) {
            (Some((owner, name)), _) => (owner, name),
            (None, Some(owner)) => (owner, text),
            (None, None) => {
                return Err(refuse(
                    "names no owner, and none is set by default (the setting `owner`)",
                ));
            }
        };
        // Names of managed users have an underscore.
        let is_owner = (1..=39).contains(&owner.len())
            && owner
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        let is_name = (1..=100).contains(&name.len())
            && !matches!(name, "." | "..")
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if !is_owner || !is_name {
            return Err(refuse("is no name of a repository"));
        }
        Ok(Repository {
            owner: owner.to_owned(),
            name: name.to_owned(),
        })
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read() {
        let read = |text, owner| Repository::read(text, owner).map(|known| known.to_string());
        assert_eq!(read("acme/site.x", None).unwrap(), "acme/site.x");
        assert_eq!(read("site", Some("acme")).unwrap(), "acme/site");
        assert_eq!(read("o/site", Some("acme")).unwrap(), "o/site");
        let error = read("site", None).unwrap_err();
        assert!(error.message().contains("names no owner"), "{error}");
        for text in [
            "", "/", "a/", "/a", "a/b/c", "a/..", "a/.", "../b", "a/b?c", "a/b#c", "a/b%2fc",
            "a/b c", "ä/b",
        ] {
            let error = read(text, Some("acme")).unwrap_err();
            assert!(error.message().contains("OWNER/NAME"), "{text}: {error}");
        }
        assert!(read(&format!("a/{}", "b".repeat(101)), None).is_err());
    }
}
