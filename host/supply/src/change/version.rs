//! The step between two version numbers, and what it announces.

use std::cmp::Ordering;

use semver::Version;
use serde::Serialize;

use super::Class;

/// The step from one version to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// There is none, except perhaps in the number of the build.
    Same,
    /// It goes up, and announces at most this.
    Up(Class),
    /// It goes back, which announces nothing.
    Back,
}

/// The step between two versions, as Cargo understands semver.org: below 1.0.0 the second
/// number announces what breaks and the third what is new; below 0.1.0 anything may break
/// with each version, and so it may after a pre-release.
pub(super) fn step(before: &Version, now: &Version) -> Step {
    match now.cmp_precedence(before) {
        Ordering::Equal => Step::Same,
        Ordering::Less => Step::Back,
        Ordering::Greater => Step::Up(if !before.pre.is_empty() || now.major != before.major {
            Class::Major
        } else if now.major == 0 {
            if now.minor != before.minor || now.minor == 0 {
                Class::Major
            } else {
                Class::Minor
            }
        } else if now.minor != before.minor {
            Class::Minor
        } else {
            Class::Patch
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps() {
        for (before, now, expected) in [
            ("1.4.0", "1.4.0", Step::Same),
            ("1.4.0+a", "1.4.0+b", Step::Same),
            ("1.4.0", "1.4.1", Step::Up(Class::Patch)),
            ("1.4.0", "1.5.0", Step::Up(Class::Minor)),
            ("1.4.3", "2.0.0", Step::Up(Class::Major)),
            ("1.4.3", "1.5.0-rc.1", Step::Up(Class::Minor)),
            ("1.5.0-rc.1", "1.5.0-rc.2", Step::Up(Class::Major)),
            ("1.5.0-rc.1", "1.5.0", Step::Up(Class::Major)),
            ("0.4.1", "0.4.2", Step::Up(Class::Minor)),
            ("0.4.1", "0.5.0", Step::Up(Class::Major)),
            ("0.0.1", "0.0.2", Step::Up(Class::Major)),
            ("0.0.1", "0.1.0", Step::Up(Class::Major)),
            ("0.9.0", "1.0.0", Step::Up(Class::Major)),
            ("1.4.0", "1.3.9", Step::Back),
            ("1.4.0", "1.4.0-rc.1", Step::Back),
        ] {
            let (before, now) = (before.parse().unwrap(), now.parse().unwrap());
            assert_eq!(step(&before, &now), expected, "{before} {now}");
        }
    }
}
