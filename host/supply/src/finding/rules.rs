//! The table of rules: the one place that says what is looked for, how bad it is, how sure,
//! and how many points it takes. `host/README.md` publishes it, and a test holds both together.
//!
//! [`VERSION`] changes with the table and with whatever a rule finds: what was found by
//! another version is not believed, but looked for again.

use portreeve_manifest::policy::Severity::{Critical, High, Info, Low, Medium};

use super::Aspect::{Content, LeastAuthority, Provenance, Transparency, Vulnerabilities};
use super::Certainty::{Fact, Heuristic};
use super::Rule;

/// The version of the rules.
pub const VERSION: u32 = 3;

/// The rule with this name.
pub fn find(id: &str) -> Option<&'static Rule> {
    ALL.iter().copied().find(|rule| rule.id == id)
}

macro_rules! table {
    ($($name:ident $id:literal $aspect:ident $severity:ident $certainty:ident $points:literal $why:literal)*) => {
        $(
            #[doc = concat!("`", $id, "`: ", $why)]
            pub static $name: Rule = Rule {
                id: $id,
                aspect: $aspect,
                severity: $severity,
                certainty: $certainty,
                points: $points,
                why: $why,
            };
        )*

        /// All rules, in the order of the table.
        pub static ALL: &[&Rule] = &[$(&$name),*];
    };
}

table! {
    UNSIGNED "unsigned" Provenance Low Fact 20
        "nobody who is listed under [policy.signatures] has signed it, so that its maker is its word alone"

    IMPORT_UNREQUESTED "import-unrequested" LeastAuthority Low Fact 10
        "its code uses an interface that its plugin.toml doesn't request: it will be refused, and was perhaps not to be seen"
    IMPORT_DOUBTFUL "import-doubtful" LeastAuthority Info Heuristic 0
        "it imports an interface that it doesn't request, as its language does whether it is used or not"
    IMPORT_FOREIGN "import-foreign" LeastAuthority Medium Fact 10
        "it imports what no interface of WASI or Portreeve is: it was made for another host, or for none"
    REQUEST_UNNEEDED "request-unneeded" LeastAuthority Low Fact 10
        "it requests what nothing in it can use: don't grant it"
    EXPORT_FOREIGN "export-foreign" LeastAuthority Low Fact 5
        "it exports what no world of Portreeve has: nothing calls it here, but another host may"
    START_FUNCTION "start-function" LeastAuthority Low Fact 5
        "a module of it has code that runs when it is started, before anything is called"
    MEMORY_DECLARED "memory-declared" LeastAuthority Medium Fact 5
        "it wants more memory at its start than a plugin has by default"
    TABLE_DECLARED "table-declared" LeastAuthority Medium Fact 5
        "it wants more table elements at its start than a plugin has by default"
    HINT_CONTRADICTED "hint-contradicted" LeastAuthority Medium Heuristic 10
        "what it says of its tools (read-only, works without the outside) does not go with what it requests"

    ADVISORY_CRITICAL "advisory-critical" Vulnerabilities Critical Fact 25
        "a package that it was made from has a published weakness: take a version without it"
    ADVISORY_HIGH "advisory-high" Vulnerabilities High Fact 15
        "a package that it was made from has a published weakness: take a version without it"
    ADVISORY_MEDIUM "advisory-medium" Vulnerabilities Medium Fact 10
        "a package that it was made from has a published weakness: take a version without it"
    ADVISORY_LOW "advisory-low" Vulnerabilities Low Fact 5
        "a package that it was made from has a published weakness: take a version without it"
    ADVISORY_UNRATED "advisory-unrated" Vulnerabilities High Fact 15
        "a package that it was made from has a published weakness that nobody has rated: it counts as high"
    ADVISORY_UNCERTAIN "advisory-uncertain" Vulnerabilities Medium Heuristic 5
        "a package that it was made from may have a published weakness: its version can't be compared"
    PACKAGE_MALICIOUS "package-malicious" Vulnerabilities Critical Fact 25
        "a package that it was made from was published to do harm"
    ADVISORY_NOTICE "advisory-notice" Vulnerabilities Low Fact 2
        "there is a notice about a package that it was made from: that nobody looks after it any more, or the like"

    MANIFEST_INFERRED "manifest-inferred" Transparency Info Fact 2
        "it carries no plugin.toml, so that who it is was read from other tools' notes and its file's name"
    DEPENDENCIES_UNKNOWN "dependencies-unknown" Transparency Info Fact 3
        "it doesn't say what it was made from, so that nobody can tell whether that is well"
    DEPENDENCIES_UNREAD "dependencies-unread" Transparency Low Fact 3
        "a list of what it was made from can't be read whole"
    TOOLS_UNRECORDED "tools-unrecorded" Transparency Info Fact 2
        "its tools aren't recorded, so that it has to run before they can be looked at"
    LICENCE_UNKNOWN "licence-unknown" Transparency Low Fact 3
        "it doesn't say under which terms it comes"
    LICENCE_TEXT "licence-text" Transparency Low Fact 3
        "a licence text that is packed with it is another one than it declares"
    LICENCE_TEXT_MISSING "licence-text-missing" Transparency Info Fact 1
        "no licence text is packed with it, which most licences ask for"
    LICENCE_TEXT_UNKNOWN "licence-text-unknown" Transparency Info Heuristic 0
        "a licence text that is packed with it is like none that is known"
    LICENCE_WRITTEN "licence-written" Transparency Info Fact 0
        "a licence is not written as SPDX has it, and was read as what it most likely means"
    LICENCE_CONFLICT "licence-conflict" Transparency Low Heuristic 3
        "by a table that people have made, two licences in it don't go together: for review, and no legal advice"

    SCAN_CUT "scan-cut" Content Medium Fact 5
        "so much of it looks like one of the patterns that not all was looked at"
    PRIVATE_KEY "private-key" Content High Fact 10
        "a private key lies in it, for everybody who has it"
    SECRET "secret" Content High Fact 10
        "what has the form of a service's credential lies in it, for everybody who has it"
    PASSWORD_IN_URL "password-in-url" Content Medium Heuristic 3
        "an address in it carries a name and a password"
    MINER "miner" Content High Heuristic 10
        "it speaks of what programs that mine currencies speak of"
    REVERSE_SHELL "reverse-shell" Content High Heuristic 10
        "it holds a command that opens a shell to somebody elsewhere"
    DROPPER "dropper" Content Medium Heuristic 5
        "it holds a command that fetches a program and runs it"
    CREDENTIAL_PATH "credential-path" Content Medium Heuristic 3
        "it names places where people and machines keep their credentials"
    METADATA_ADDRESS "metadata-address" Content Low Heuristic 2
        "it names the address at which clouds hand out credentials to their machines"
    DROP_HOST "drop-host" Content Medium Heuristic 3
        "it names a service that is mostly used to take in, unseen, what is sent there"
    ADDRESS_IN_URL "address-in-url" Content Low Heuristic 1
        "it names a server by its number, as those do that have no name to lose"
    URL_UNREQUESTED "url-unrequested" Content Info Heuristic 0
        "it names a server that its requests don't: most such addresses are documentation"
    PROGRAM_EMBEDDED "program-embedded" Content Medium Heuristic 5
        "a program of another system lies in its data"
    DATA_PACKED "data-packed" Content Low Heuristic 2
        "much of its data is compressed, encrypted or random, so that nobody can see what it is"
    DATA_ENCODED "data-encoded" Content Info Heuristic 0
        "a long text in base64 lies in its data, so that what it is can't be seen at once"

    TEXT_HIDDEN "text-hidden" Content High Fact 10
        "a text holds characters that people don't see and models do"
    TEXT_CONFUSABLE "text-confusable" Content Medium Heuristic 5
        "a word mixes letters of several alphabets that look alike, as names do that stand in for others"
    TEXT_OVERRIDES "text-overrides" Content High Heuristic 10
        "a text tells the model to set other instructions aside"
    TEXT_CONCEALS "text-conceals" Content High Heuristic 10
        "a text tells the model to keep something from its user"
    TEXT_STEERS "text-steers" Content Medium Heuristic 5
        "a text tells the model when to prefer this tool to others, or what to do besides calling it"
    TEXT_MARKUP "text-markup" Content Medium Heuristic 5
        "a text holds marks by which prompts are told apart, as if it were one"
    TEXT_COLLECTS "text-collects" Content Medium Heuristic 5
        "a text asks the model for its conversation, its instructions, or files that the tool does not need"
    HEADER_SECRET "header-secret" Content Medium Heuristic 5
        "clients repeat an argument that looks like a secret in a header, which what stands between reads and logs"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Aspect;

    #[test]
    fn the_table_is_sound() {
        let total: u32 = Aspect::ALL.iter().map(|aspect| aspect.points()).sum();
        assert_eq!(total, 100);
        let mut ids: Vec<_> = ALL.iter().map(|rule| rule.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), ALL.len());
        for rule in ALL {
            assert!(rule.points <= rule.aspect.points(), "{}", rule.id);
            assert_eq!(find(rule.id), Some(*rule));
            // What is worth no more than a look takes little.
            assert!(rule.severity != Info || rule.points <= 3, "{}", rule.id);
        }
        assert_eq!(find("no-such-rule"), None);
    }
}
