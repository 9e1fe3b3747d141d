//! Where a plugin comes from: what stands behind `source`.

use std::fmt;
use std::str::FromStr;

use semver::Version;
use url::{Host, Url};

use crate::integrity::Integrity;
use crate::text::quoted;

/// The longest source, in bytes.
const SOURCE_BYTES_MAX: usize = 4_096;

/// The longest name of a repository, its registry included, as clients of registries have it.
const REPOSITORY_BYTES_MAX: usize = 255;

/// The longest tag (OCI distribution specification, "Pulling manifests").
const TAG_BYTES_MAX: usize = 128;

/// Where a plugin comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PluginSource {
    /// A file, or a directory that holds one; relative to the project's directory.
    Local(String),
    /// An artifact in an OCI registry: `oci://registry/repository`.
    Oci(OciReference),
    /// A file on a web server: `https://…#sha256=…`.
    Https(HttpsSource),
}

/// A file on a web server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpsSource {
    /// Its address, without a fragment.
    pub url: Url,
    /// What its bytes hash to: the URL's fragment. Nothing is installed without one.
    pub integrity: Option<Integrity>,
}

/// An artifact in an OCI registry: `oci://registry/repository[:tag][@sha256:digest]`.
///
/// There is no registry by default, and nothing is mended: what is written is what is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OciReference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<String>,
}

impl PluginSource {
    /// Reads what stands behind `source`.
    ///
    /// # Errors
    /// A sentence: it is empty, too long, of an unknown scheme, or wrong for its scheme.
    pub fn parse(text: &str) -> Result<PluginSource, String> {
        if text.trim().is_empty() {
            return Err("the source is empty; write the path of a component".into());
        }
        if text.len() > SOURCE_BYTES_MAX || text.chars().any(char::is_control) {
            return Err("the source is too long or has control characters".into());
        }
        let authority = text.split_once("://").map(|(_, rest)| rest);
        let authority = authority.and_then(|rest| rest.split(['/', '?', '#']).next());
        if authority.is_some_and(|authority| authority.contains('@')) {
            // Not quoted: there may be a password in it.
            return Err(
                "a source carries no user name and no password: it is shown and logged; log in with `docker login` or `podman login`"
                    .into(),
            );
        }
        match text.split_once("://") {
            None => Ok(PluginSource::Local(text.to_owned())),
            Some(("oci", _)) => text.parse().map(PluginSource::Oci),
            Some(("https", _)) => text.parse().map(PluginSource::Https),
            Some((scheme, _)) => Err(format!(
                "{} is no kind of source; write the path of a component, https://… or oci://…",
                quoted(&format!("{scheme}://"))
            )),
        }
    }

    /// What a component from there is called that doesn't say so itself; none for a path,
    /// whose file has a name.
    pub fn name(&self) -> Option<&str> {
        match self {
            PluginSource::Local(_) => None,
            PluginSource::Oci(reference) => reference.repository.rsplit('/').next(),
            PluginSource::Https(source) => {
                let last = source.url.path().rsplit('/').next()?;
                Some(last.strip_suffix(".wasm").unwrap_or(last))
            }
        }
    }

    /// Whether it comes over a network.
    pub fn is_remote(&self) -> bool {
        !matches!(self, PluginSource::Local(_))
    }
}

impl fmt::Display for PluginSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PluginSource::Local(text) => f.pad(text),
            PluginSource::Oci(reference) => f.pad(&reference.to_string()),
            PluginSource::Https(source) => f.pad(&source.to_string()),
        }
    }
}

impl FromStr for HttpsSource {
    type Err = String;

    fn from_str(text: &str) -> Result<HttpsSource, String> {
        let wrong = |why: &str| Err(format!("{} can't be fetched: {why}", quoted(text)));
        let mut url = match Url::parse(text) {
            Ok(url) if url.scheme() == "https" => url,
            Ok(_) => return wrong("it must begin with https://"),
            Err(error) => return wrong(&error.to_string()),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return wrong(
                "an address carries no user name and no password: it is shown and logged",
            );
        }
        let integrity = match url.fragment() {
            None => None,
            Some(fragment) => {
                // `#sha256=…` is how packages are pinned elsewhere.
                let written = fragment.replacen('=', ":", usize::from(is_pin(fragment)));
                match written.parse() {
                    Ok(integrity) => Some(integrity),
                    Err(error) => {
                        return wrong(&format!("behind `#` stands its digest, and {error}"));
                    }
                }
            }
        };
        url.set_fragment(None);
        Ok(HttpsSource { url, integrity })
    }
}

/// Whether a fragment begins as `sha256=` does.
fn is_pin(fragment: &str) -> bool {
    fragment
        .split_once('=')
        .is_some_and(|(algorithm, _)| ["sha256", "sha512"].contains(&algorithm))
}

impl fmt::Display for HttpsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.url.as_str())?;
        match &self.integrity {
            None => Ok(()),
            Some(integrity) => write!(f, "#{}", integrity.to_string().replacen(':', "=", 1)),
        }
    }
}

impl OciReference {
    /// The registry: a host, and a port where it has one of its own.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository within the registry.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, where one is written.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest of the manifest, as `sha256:…`, where one is written.
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// The same repository at the tag of a version. A tag can't hold a `+`, and has a `_` for
    /// it, as with other packages in registries.
    #[must_use]
    pub fn at_version(&self, version: &Version) -> OciReference {
        OciReference {
            tag: Some(version.to_string().replace('+', "_")),
            digest: None,
            ..self.clone()
        }
    }

    /// The same repository at the digest of a manifest.
    ///
    /// # Errors
    /// When it is no digest by SHA-256.
    pub fn at_digest(&self, digest: &str) -> Result<OciReference, String> {
        check_digest(digest)?;
        Ok(OciReference {
            digest: Some(digest.to_owned()),
            ..self.clone()
        })
    }

    /// The version that a tag stands for, if it does; see [`at_version`](Self::at_version).
    pub fn version_of(tag: &str) -> Option<Version> {
        if tag.contains('+') {
            return None;
        }
        Version::parse(&tag.replacen('_', "+", 1)).ok()
    }
}

impl FromStr for OciReference {
    type Err = String;

    fn from_str(text: &str) -> Result<OciReference, String> {
        let wrong = |why: &str| {
            format!(
                "{} is no artifact: {why}; write it as oci://registry.example.com/owner/name:1.0.0",
                quoted(text)
            )
        };
        let rest = text
            .strip_prefix("oci://")
            .ok_or_else(|| wrong("it must begin with oci://"))?;
        let (registry, rest) = rest
            .split_once('/')
            .ok_or_else(|| wrong("it has no repository"))?;
        check_registry(registry).map_err(|why| wrong(&why))?;
        let (name, digest) = match rest.split_once('@') {
            None => (rest, None),
            Some((name, digest)) => {
                check_digest(digest).map_err(|why| wrong(&why))?;
                (name, Some(digest.to_owned()))
            }
        };
        let (repository, tag) = match name.split_once(':') {
            None => (name, None),
            Some((repository, tag)) => {
                check_tag(tag).map_err(wrong)?;
                (repository, Some(tag.to_owned()))
            }
        };
        check_repository(repository).map_err(wrong)?;
        if registry.len() + 1 + repository.len() > REPOSITORY_BYTES_MAX {
            return Err(wrong("its name is too long"));
        }
        Ok(OciReference {
            registry: registry.to_owned(),
            repository: repository.to_owned(),
            tag,
            digest,
        })
    }
}

/// A place that is asked before a registry: its host, and what its repositories begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    registry: String,
    prefix: String,
}

impl Mirror {
    /// Its host, and its port where it has one of its own.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// What its repositories begin with; often nothing.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }
}

impl FromStr for Mirror {
    type Err = String;

    /// Reads `mirror.example.com` or `mirror.example.com/prefix`.
    fn from_str(text: &str) -> Result<Mirror, String> {
        let (_, prefix) = text.split_once('/').unwrap_or((text, ""));
        let whole = if prefix.is_empty() {
            format!("oci://{text}/x")
        } else {
            format!("oci://{text}")
        };
        let read: OciReference = whole.parse()?;
        if read.tag().is_some() || read.digest().is_some() {
            return Err("a mirror has no tag and no digest".to_owned());
        }
        Ok(Mirror {
            registry: read.registry().to_owned(),
            prefix: prefix.to_owned(),
        })
    }
}

impl fmt::Display for OciReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "oci://{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// A registry is a host in the one form in which it is compared and shown: a look-alike of
/// other letters must be written as `xn--…`, and can be seen.
fn check_registry(registry: &str) -> Result<(), String> {
    if registry.contains('@') {
        return Err("its registry has a user name".into());
    }
    if !registry.is_ascii() {
        return Err(
            "its registry has letters that look like others; write the name in ASCII".into(),
        );
    }
    let read = Url::parse(&format!("https://{registry}/")).map_err(|error| error.to_string())?;
    let host = match read.host() {
        Some(Host::Domain(name)) if is_name(name) => name.to_owned(),
        Some(Host::Ipv4(address)) => address.to_string(),
        Some(Host::Ipv6(address)) => format!("[{address}]"),
        _ => return Err("its registry is no host".into()),
    };
    let same = match read.port() {
        Some(port) => format!("{host}:{port}"),
        None => host,
    };
    if same == registry {
        Ok(())
    } else {
        Err(format!("its registry must be written as {}", quoted(&same)))
    }
}

/// Whether a name is one that is looked up as it is written.
fn is_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    name.split('.').all(is_label)
}

/// Parts of a-z and 0-9 with `.`, `_`, `__` or hyphens between, separated by `/`.
fn check_repository(repository: &str) -> Result<(), &'static str> {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_part = |part: &str| {
        let inner = part.bytes().all(|b| is_word(b) || b"._-".contains(&b));
        let ends = [part.bytes().next(), part.bytes().last()];
        // What stands between two words.
        let between = part.split(|c: char| c.is_ascii_alphanumeric());
        inner
            && ends.iter().all(|end| end.is_some_and(is_word))
            && between
                .into_iter()
                .all(|gap| matches!(gap, "" | "." | "_" | "__") || gap.bytes().all(|b| b == b'-'))
    };
    if repository.split('/').all(is_part) {
        Ok(())
    } else {
        Err("its repository is not of a-z and 0-9 with single `.`, `_` or `-` and `/` between them")
    }
}

fn check_tag(tag: &str) -> Result<(), &'static str> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if tag.bytes().next().is_some_and(is_word)
        && tag.bytes().all(|b| is_word(b) || b".-".contains(&b))
        && tag.len() <= TAG_BYTES_MAX
    {
        Ok(())
    } else {
        Err("its tag is not of A-Z, a-z, 0-9, `_`, `.` and `-`")
    }
}

fn check_digest(digest: &str) -> Result<(), String> {
    match digest.parse() {
        Ok(Integrity::Sha256(_)) if digest.starts_with("sha256:") => Ok(()),
        Ok(_) => Err("behind `@` stands `sha256:` and 64 hexadecimal digits".into()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use proptest::prelude::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn sources_read_back() {
        for text in [
            "plugins/issues".to_owned(),
            "oci://registry.example.com/acme/github-issues".to_owned(),
            "oci://registry.example.com:5000/a:1.4.0".to_owned(),
            format!("oci://localhost:5000/a/b/c__d.e_f--g:1.4.0-rc.1_x@sha256:{HEX}"),
            format!("oci://[::1]:5000/a@sha256:{HEX}"),
            "oci://127.0.0.1/a:_".to_owned(),
            "oci://xn--e1afmkfd.example/a".to_owned(),
            "https://example.com/a.wasm".to_owned(),
            format!("https://example.com/a.wasm?x=%2F#sha256={HEX}"),
            format!("https://example.com/#sha512={HEX}{HEX}"),
        ] {
            let source = PluginSource::parse(&text).unwrap();
            assert_eq!(source.to_string(), text);
            assert_eq!(source.is_remote(), text.contains("://"));
        }
        let spelt = "https://example.com/a#sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        let same = format!("https://example.com/a#sha256={HEX}");
        assert_eq!(PluginSource::parse(spelt).unwrap().to_string(), same);
        let colon = same.replace('=', ":");
        assert_eq!(PluginSource::parse(&colon).unwrap().to_string(), same);
    }

    #[test]
    fn refused_sources() {
        let long = "a".repeat(300);
        let shown: String = [
            "oci://",
            "oci://example.com",
            "oci://example.com/",
            "oci:///a",
            "oci://Example.com/a",
            "oci://exаmple.com/a",
            "oci://user:password@example.com/a",
            "oci://example.com:443/a",
            "oci://example.com:99999/a",
            "oci://example..com/a",
            "oci://0x7f.1/a",
            "oci://example.com/A",
            "oci://example.com/a/../b",
            "oci://example.com/a//b",
            "oci://example.com/a/",
            "oci://example.com/a__-b",
            "oci://example.com/аcme",
            "oci://example.com/a?b",
            "oci://example.com/a%2e%2e/b",
            "oci://example.com/a:",
            "oci://example.com/a:-1",
            "oci://example.com/a:1:2",
            "oci://example.com/a:1/2",
            "oci://example.com/a@sha256:00",
            &format!("oci://example.com/a@sha512:{HEX}{HEX}"),
            &format!("oci://example.com/a@sha256:{HEX}@sha256:{HEX}"),
            &format!("oci://example.com/a@sha256:{HEX}:1"),
            &format!("oci://example.com/{long}"),
            &format!("oci://example.com/a:{long}"),
            "https://",
            "https://user@example.com/a",
            "https://example.com/a#md5=00",
            "https://example.com/a#sha256=00",
            "https://example.com/a#",
            "http://example.com/a",
            "ftp://example.com/a",
        ]
        .iter()
        .map(|text| PluginSource::parse(text).unwrap_err())
        .map(|line| {
            line.replace(
                "; write it as oci://registry.example.com/owner/name:1.0.0",
                "",
            ) + "\n"
        })
        .collect();
        expect![[r#"
            `oci://` is no artifact: it has no repository
            `oci://example.com` is no artifact: it has no repository
            `oci://example.com/` is no artifact: its repository is not of a-z and 0-9 with single `.`, `_` or `-` and `/` between them
            `oci:///a` is no artifact: empty host
            `oci://Example.com/a` is no artifact: its registry must be written as `example.com`
            `oci://exаmple.com/a` is no artifact: its registry has letters that look like others; write the name in ASCII
            a source carries no user name and no password: it is shown and logged; log in with `docker login` or `podman login`
            `oci://example.com:443/a` is no artifact: its registry must be written as `example.com`
            `oci://example.com:99999/a` is no artifact: invalid port number
            `oci://example..com/a` is no artifact: its registry is no host
            `oci://0x7f.1/a` is no artifact: its registry must be written as `127.0.0.1`
            `oci://example.com/A` is no artifact: its repository is not of a-z and 0-9 with single `.`, `_` or `-` and `/` between them
            `oci://example.com/a/../b` is no artifact: its repository is not of a-z and 0-9 with single `.`, `_` or `-` and `/` between them
            `oci://example.com/a//b` is no artifact: its repository is not of a-z and 0-9 with single `.`, `_` or `-` and `/` between them
            `oci://example.com/a/` is no artifact: its repository is not of a-z and 0-9 with single `.`, `_` or `-` and `/` between them
            `oci://example.com/a__-b` is no artifact: its repository is not of a-z and 0-9 with single `.`, `_` or `-` and `/` between them
            `oci://example.com/аcme` is no artifact: its repository is not of a-z and 0-9 with single `.`, `_` or `-` and `/` between them
            `oci://example.com/a?b` is no artifact: its repository is not of a-z and 0-9 with single `.`, `_` or `-` and `/` between them
            `oci://example.com/a%2e%2e/b` is no artifact: its repository is not of a-z and 0-9 with single `.`, `_` or `-` and `/` between them
            `oci://example.com/a:` is no artifact: its tag is not of A-Z, a-z, 0-9, `_`, `.` and `-`
            `oci://example.com/a:-1` is no artifact: its tag is not of A-Z, a-z, 0-9, `_`, `.` and `-`
            `oci://example.com/a:1:2` is no artifact: its tag is not of A-Z, a-z, 0-9, `_`, `.` and `-`
            `oci://example.com/a:1/2` is no artifact: its tag is not of A-Z, a-z, 0-9, `_`, `.` and `-`
            `oci://example.com/a@sha256:00` is no artifact: `sha256:00` is no digest: a sha256 has 64 hexadecimal digits, or 44 characters of base64
            `oci://example.com/a@sha512:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855e3b0c4429…` is no artifact: behind `@` stands `sha256:` and 64 hexadecimal digits
            `oci://example.com/a@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855@sha256:e…` is no artifact: `sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855@sha256:e3b0c44298fc1c149afbf…` is no digest: a sha256 has 64 hexadecimal digits, or 44 characters of base64
            `oci://example.com/a@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855:1` is no artifact: `sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855:1` is no digest: a sha256 has 64 hexadecimal digits, or 44 characters of base64
            `oci://example.com/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…` is no artifact: its name is too long
            `oci://example.com/a:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…` is no artifact: its tag is not of A-Z, a-z, 0-9, `_`, `.` and `-`
            `https://` can't be fetched: empty host
            a source carries no user name and no password: it is shown and logged; log in with `docker login` or `podman login`
            `https://example.com/a#md5=00` can't be fetched: behind `#` stands its digest, and `md5=00` is no digest: write `sha256:` or `sha512:` and lower-case hexadecimal digits, or `sha256-` or `sha512-` and base64
            `https://example.com/a#sha256=00` can't be fetched: behind `#` stands its digest, and `sha256:00` is no digest: a sha256 has 64 hexadecimal digits, or 44 characters of base64
            `https://example.com/a#` can't be fetched: behind `#` stands its digest, and `` is no digest: write `sha256:` or `sha512:` and lower-case hexadecimal digits, or `sha256-` or `sha512-` and base64
            `http://` is no kind of source; write the path of a component, https://… or oci://…
            `ftp://` is no kind of source; write the path of a component, https://… or oci://…
        "#]].assert_eq(&shown);
    }

    #[test]
    fn tags_of_versions() {
        let reference: OciReference = "oci://example.com/a:latest".parse().unwrap();
        for (tag, version) in [
            ("1.4.0", Some("1.4.0")),
            ("1.4.0-rc.1", Some("1.4.0-rc.1")),
            ("1.4.0_build.5", Some("1.4.0+build.5")),
            ("latest", None),
            ("1.4", None),
            ("v1.4.0", None),
            ("1.4.0+x", None),
            (&format!("sha256-{HEX}"), None),
        ] {
            let read = OciReference::version_of(tag);
            assert_eq!(read.as_ref().map(Version::to_string).as_deref(), version);
            if let Some(version) = read {
                assert_eq!(reference.at_version(&version).tag(), Some(tag));
            }
        }
        let pinned = reference.at_digest(&format!("sha256:{HEX}")).unwrap();
        assert_eq!(
            pinned.to_string(),
            format!("oci://example.com/a:latest@sha256:{HEX}")
        );
        assert!(reference.at_digest("latest").is_err());
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_the_same(
            text in "(oci://)?[a-z0-9.:\\[\\]-]{1,12}/[a-z0-9._/-]{1,12}(:[A-Za-z0-9._-]{1,6})?|.{0,30}"
        ) {
            if let Ok(reference) = text.parse::<OciReference>() {
                prop_assert_eq!(reference.to_string(), text);
                prop_assert!(!reference.repository().split('/').any(|part| part.is_empty() || part == ".." || part == "."));
            }
        }

        #[test]
        fn nothing_panics(text in "(https|oci|http)://.{0,40}") {
            let _ = PluginSource::parse(&text);
        }
    }
}
