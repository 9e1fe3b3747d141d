//! Lock files of JavaScript and Python: which packages they pin, and where those lie.

use std::collections::BTreeMap;

use portreeve_supply::dependencies::{Dependency, Ecosystem};
use serde::Deserialize;

/// A package that a lock file names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Locked {
    pub(super) dependency: Dependency,
    /// Where it lies, relative to the lock file, where that says so.
    pub(super) place: Option<String>,
}

/// What a lock file says.
#[derive(Debug, Default)]
pub(super) struct Lock {
    pub(super) packages: Vec<Locked>,
    /// What it names without a version: the list is not whole then.
    pub(super) open: Vec<String>,
}

pub(super) type ReadLock = fn(&str) -> anyhow::Result<Lock>;

/// Lock files of JavaScript, then those of Python, the most precise first: of each language
/// one is read.
pub(super) const LOCK_FILES: [&[(&str, ReadLock)]; 2] = [
    &[("package-lock.json", npm), ("npm-shrinkwrap.json", npm)],
    &[
        ("uv.lock", python),
        ("poetry.lock", python),
        ("requirements.txt", requirements),
    ],
];

/// `package-lock.json` of npm 7 and later.
fn npm(text: &str) -> anyhow::Result<Lock> {
    #[derive(Deserialize)]
    struct File {
        packages: Option<BTreeMap<String, Entry>>,
    }
    #[derive(Deserialize)]
    struct Entry {
        version: Option<String>,
        license: Option<serde_json::Value>,
        #[serde(default)]
        dev: bool,
        #[serde(default)]
        link: bool,
    }
    let file: File = serde_json::from_str(text)?;
    let Some(packages) = file.packages else {
        anyhow::bail!(
            "it is of npm 6 or older: `npm install --package-lock-only` writes a new one"
        );
    };
    let mut lock = Lock::default();
    for (place, entry) in packages.into_iter().filter(|(_, entry)| !entry.link) {
        let Some((_, name)) = place.rsplit_once("node_modules/") else {
            continue;
        };
        let Some(version) = entry.version else {
            lock.open.push(name.to_owned());
            continue;
        };
        let license = entry
            .license
            .and_then(|licence| Some(licence.as_str()?.to_owned()));
        lock.packages.push(Locked {
            dependency: Dependency {
                ecosystem: Ecosystem::Npm,
                name: name.to_owned(),
                version,
                build_only: entry.dev,
                license,
            },
            place: Some(place),
        });
    }
    Ok(lock)
}

/// `uv.lock` and `poetry.lock`. They name no licences.
fn python(text: &str) -> anyhow::Result<Lock> {
    #[derive(Deserialize)]
    struct File {
        #[serde(default)]
        package: Vec<Entry>,
    }
    #[derive(Deserialize)]
    struct Entry {
        name: String,
        version: Option<String>,
        source: Option<toml::Table>,
        /// Of poetry 2.
        groups: Option<Vec<String>>,
        /// Of poetry 1.
        category: Option<String>,
    }
    let file: File = toml::from_str(text)?;
    let own = |entry: &Entry| {
        let source = entry.source.as_ref();
        source
            .is_some_and(|source| source.contains_key("virtual") || source.contains_key("editable"))
    };
    let mut lock = Lock::default();
    for entry in file.package.into_iter().filter(|entry| !own(entry)) {
        let main = |groups: &Vec<String>| groups.iter().any(|group| group == "main");
        let build_only = entry.groups.as_ref().is_some_and(|groups| !main(groups))
            || entry.category.as_deref() == Some("dev");
        match entry.version {
            Some(version) => lock.packages.push(pypi(entry.name, version, build_only)),
            None => lock.open.push(entry.name),
        }
    }
    Ok(lock)
}

/// `requirements.txt`: what is pinned is taken, anything else is said to be open.
fn requirements(text: &str) -> anyhow::Result<Lock> {
    let mut lock = Lock::default();
    // A line that ends so goes on in the next one: hashes, mostly.
    let text = text.replace("\\\r\n", " ").replace("\\\n", " ");
    for line in text.lines() {
        // A comment stands at the beginning or after a space: `#` is also in addresses.
        let line = line.split(" #").next().unwrap_or_default().trim();
        if line.is_empty() || line.starts_with('#') || line.starts_with("--") {
            continue;
        }
        let wanted = line.split(';').next().unwrap_or_default();
        let pinned = wanted.split_once("==").filter(|(name, version)| {
            let name = name.trim_end_matches('=');
            !name.contains(['<', '>', '!', '~', ',', '@']) && !version.contains([',', '*'])
        });
        let pinned = pinned.and_then(|(name, version)| {
            let name = name.split('[').next()?.trim();
            let version = version.trim_start_matches('=').split_whitespace().next()?;
            (!name.is_empty()).then(|| pypi(name.to_owned(), version.to_owned(), false))
        });
        match pinned {
            Some(package) => lock.packages.push(package),
            None => lock.open.push(line.chars().take(80).collect()),
        }
    }
    Ok(lock)
}

fn pypi(name: String, version: String, build_only: bool) -> Locked {
    Locked {
        dependency: Dependency {
            ecosystem: Ecosystem::Pypi,
            name,
            version,
            build_only,
            license: None,
        },
        place: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(lock: &Lock) -> Vec<String> {
        let label = |locked: &Locked| {
            let found = &locked.dependency;
            let licence = found.license.as_deref().unwrap_or("-");
            format!(
                "{} {} {licence} {}",
                found.ecosystem,
                found.label(),
                found.build_only
            )
        };
        lock.packages.iter().map(label).collect()
    }

    #[test]
    fn lock_files() {
        let text = r#"{"packages": {"": {"name": "me", "version": "1.0.0"},
            "node_modules/left-pad": {"version": "1.3.0", "license": "WTFPL"},
            "node_modules/a/node_modules/@b/c": {"version": "2.0.0", "dev": true},
            "node_modules/odd": {},
            "node_modules/linked": {"link": true}}}"#;
        let lock = npm(text).unwrap();
        assert_eq!(
            labels(&lock),
            ["npm @b/c 2.0.0 - true", "npm left-pad 1.3.0 WTFPL false"]
        );
        assert_eq!(
            lock.packages[0].place.as_deref(),
            Some("node_modules/a/node_modules/@b/c")
        );
        assert_eq!(lock.open, ["odd"]);
        let old = npm(r#"{"dependencies": {"a": {"version": "1.0.0"}}}"#);
        assert!(old.unwrap_err().to_string().contains("npm 6"));

        let uv = "version = 1\n[[package]]\nname = 'me'\nversion = '0.1'\nsource = { virtual = '.' }\n\
                  [[package]]\nname = 'idna'\nversion = '3.7'\nsource = { registry = 'x' }\n";
        assert_eq!(labels(&python(uv).unwrap()), ["pypi idna 3.7 - false"]);
        let poetry = "[[package]]\nname = 'idna'\nversion = '3.7'\ngroups = ['main', 'dev']\n\
                      [[package]]\nname = 'pytest'\nversion = '8.0'\ngroups = ['dev']\n\
                      [[package]]\nname = 'mypy'\nversion = '1.0'\ncategory = 'dev'\n";
        assert_eq!(
            labels(&python(poetry).unwrap()),
            [
                "pypi idna 3.7 - false",
                "pypi pytest 8.0 - true",
                "pypi mypy 1.0 - true"
            ]
        );
        assert!(npm("{").is_err() && python("[").is_err());
    }

    #[test]
    fn requirements_are_pinned_or_open() {
        let text = "# pinned\n--index-url https://example.com\nidna==3.7 \\\n    --hash=sha256:x \\\n    --hash=sha256:y\n\
                    uvicorn[standard]==0.30.1 ; python_version > '3'\nexact===1.0  # why\n\
                    loose>=1\nrange>=1,==1.*\nbare\n-r other.txt\nlocal @ file:///x#egg==1\n";
        let lock = requirements(text).unwrap();
        assert_eq!(
            labels(&lock),
            [
                "pypi idna 3.7 - false",
                "pypi uvicorn 0.30.1 - false",
                "pypi exact 1.0 - false"
            ]
        );
        assert_eq!(
            lock.open,
            [
                "loose>=1",
                "range>=1,==1.*",
                "bare",
                "-r other.txt",
                "local @ file:///x#egg==1"
            ]
        );
    }
}
