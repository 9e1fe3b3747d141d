//! Software bills of materials as they come in: CycloneDX and SPDX 2, both as JSON.

use portreeve_manifest::json::{self, JsonLimits};
use serde_json::Value;

use super::{Dependency, Ecosystem, plain, too_many};
use crate::IntakeLimits;

/// Bills nest components within components; more levels than these are nobody's.
const DEPTH_MAX: usize = 32;

/// What a bill lists.
pub(super) struct Bill {
    pub(super) list: Vec<Dependency>,
    /// Whether it says of itself that there is more.
    pub(super) whole: bool,
}

/// Reads a section; what it is stands in it.
pub(super) fn read(data: &[u8], limits: &IntakeLimits) -> (&'static str, Result<Bill, String>) {
    let value = match parse(data, limits) {
        Ok(value) => value,
        Err(why) => return ("bill of materials", Err(why)),
    };
    if value.get("bomFormat").and_then(Value::as_str) == Some("CycloneDX") {
        let mut list = Vec::new();
        let read = cyclonedx(&value, &mut list, limits).map(|()| Bill {
            list,
            whole: is_whole(&value),
        });
        return ("CycloneDX", read);
    }
    if value.get("spdxVersion").and_then(Value::as_str).is_some() {
        let read = spdx(&value, limits).map(|list| Bill { list, whole: true });
        return ("SPDX", read);
    }
    let why = "it is neither CycloneDX nor SPDX 2 in JSON".to_owned();
    ("bill of materials", Err(why))
}

fn parse(data: &[u8], limits: &IntakeLimits) -> Result<Value, String> {
    if data.len() as u64 > limits.sbom.0 {
        return Err(format!(
            "it has {} bytes, where {} are read (`sbom`)",
            data.len(),
            limits.sbom
        ));
    }
    let text = std::str::from_utf8(data).map_err(|_| "it is not UTF-8".to_owned())?;
    let bounds = JsonLimits {
        bytes_max: limits.sbom.as_usize(),
        depth_max: DEPTH_MAX,
    };
    json::parse(text, &bounds).map_err(|error| error.to_string())
}

/// Whether a bill doesn't say of itself that something is missing in it.
fn is_whole(value: &Value) -> bool {
    let compositions = value.get("compositions").and_then(Value::as_array);
    let mut aggregates = compositions
        .into_iter()
        .flatten()
        .filter_map(|composition| composition.get("aggregate")?.as_str());
    !aggregates.any(|aggregate| aggregate.starts_with("incomplete"))
}

/// Components, and those within them: the depth of the JSON bounds the recursion.
fn cyclonedx(
    value: &Value,
    list: &mut Vec<Dependency>,
    limits: &IntakeLimits,
) -> Result<(), String> {
    for component in value
        .get("components")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        if list.len() >= limits.dependencies as usize {
            return Err(too_many(limits));
        }
        let text = |key: &str| component.get(key).and_then(Value::as_str);
        if let (Some(name), Some(version)) = (text("name"), text("version")) {
            let group = text("group").filter(|group| !group.is_empty());
            let name = group.map_or(name.to_owned(), |group| format!("{group}/{name}"));
            list.push(Dependency {
                ecosystem: ecosystem(text("purl")),
                name: plain(&name)?,
                version: plain(version)?,
                build_only: text("scope") == Some("excluded"),
                license: cyclonedx_licence(component)
                    .map(|licence| plain(&licence))
                    .transpose()?,
            });
        }
        cyclonedx(component, list, limits)?;
    }
    Ok(())
}

/// An expression, or all the licences that are listed.
fn cyclonedx_licence(component: &Value) -> Option<String> {
    let choices = component.get("licenses")?.as_array()?;
    let licences: Vec<&str> = choices
        .iter()
        .filter_map(|choice| {
            let licence = choice.get("license");
            choice
                .get("expression")
                .or_else(|| licence?.get("id"))
                .or_else(|| licence?.get("name"))?
                .as_str()
        })
        .collect();
    match licences.as_slice() {
        [] => None,
        [only] => Some((*only).to_owned()),
        several => Some(
            several
                .iter()
                .map(|licence| format!("({licence})"))
                .collect::<Vec<_>>()
                .join(" AND "),
        ),
    }
}

fn spdx(value: &Value, limits: &IntakeLimits) -> Result<Vec<Dependency>, String> {
    let mut list = Vec::new();
    let described: Vec<&str> = value
        .get("relationships")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter(|r| r.get("relationshipType").and_then(Value::as_str) == Some("DESCRIBES"))
        .filter_map(|r| r.get("relatedSpdxElement")?.as_str())
        .collect();
    for package in value
        .get("packages")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        if list.len() >= limits.dependencies as usize {
            return Err(too_many(limits));
        }
        let text = |key: &str| package.get(key).and_then(Value::as_str);
        if text("SPDXID").is_some_and(|id| described.contains(&id)) {
            continue;
        }
        let (Some(name), Some(version)) = (text("name"), text("versionInfo")) else {
            continue;
        };
        let said =
            |key: &str| text(key).filter(|licence| !["NOASSERTION", "NONE", ""].contains(licence));
        let purl = package
            .get("externalRefs")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .find(|r| r.get("referenceType").and_then(Value::as_str) == Some("purl"))
            .and_then(|r| r.get("referenceLocator")?.as_str());
        list.push(Dependency {
            ecosystem: ecosystem(purl),
            name: plain(name)?,
            version: plain(version)?,
            build_only: false,
            license: said("licenseConcluded")
                .or_else(|| said("licenseDeclared"))
                .map(plain)
                .transpose()?,
        });
    }
    Ok(list)
}

fn ecosystem(purl: Option<&str>) -> Ecosystem {
    let kind = purl
        .and_then(|purl| purl.strip_prefix("pkg:"))
        .and_then(|purl| purl.split_once('/'))
        .map_or("", |(kind, _)| kind);
    Ecosystem::of_purl(kind)
}

/// The package URL of a dependency.
pub(crate) fn purl(dependency: &Dependency) -> String {
    let escaped = |text: &str| {
        let mut out = String::new();
        for byte in text.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' | b'/' => {
                    out.push(char::from(byte));
                }
                _ => out.push_str(&format!("%{byte:02X}")),
            }
        }
        out
    };
    let name = match dependency.ecosystem {
        Ecosystem::Pypi => dependency.name.to_lowercase().replace('_', "-"),
        _ => dependency.name.clone(),
    };
    format!(
        "pkg:{}/{}@{}",
        dependency.ecosystem,
        escaped(&name),
        escaped(&dependency.version)
    )
}
