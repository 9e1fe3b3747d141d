//! Texts in data that somebody should look at: a table of what they begin with and how they
//! go on.
//!
//! One pass finds every beginning (Aho-Corasick); only there it is looked whether the rest
//! fits, within so many bytes. So the time grows with the data and not with the table.

use std::sync::OnceLock;

use aho_corasick::AhoCorasick;
use portreeve_manifest::grant::Requests;
use regex::bytes::Regex;

use super::parts::Part;
use super::{secrets, urls};
use crate::finding::{Finding, Findings, Rule, rules};

/// How far a pattern is followed, in bytes: more than any address or command line has, and
/// less than a page of text.
const FOLLOWED: usize = 1 << 10;

/// Beginnings of one pattern that are looked at in one part; more are no texts of people.
/// With [`FOLLOWED`] it bounds the time that a part can take to some tenths of a second.
const LOOKED_AT_MAX: u32 = 4_096;

/// Characters of what was found that are shown.
const SHOWN_BYTES_MAX: usize = 80;

/// What to look for.
struct Pattern {
    /// What it begins with, whatever the case.
    begin: &'static str,
    /// What it is then.
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    /// The beginning says enough.
    Words(&'static Rule),
    /// What begins there has this form, from its first byte on.
    Form(&'static Rule, &'static str),
    /// A key or a credential: which, and its form.
    Secret(&'static secrets::Form),
    /// A service to which only those go that requested it.
    Service,
    /// The `://` of an address.
    Url,
    /// The end of a name of the Tor network.
    Onion,
}

/// What programs that mine, shells that are opened to others, and those that fetch programs
/// hold. Taken from what public collections of rules agree on; `host/README.md` names them.
const WORDS: &[(&Rule, &[&str])] = &[
    (
        &rules::MINER,
        &[
            "stratum+tcp://",
            "stratum+ssl://",
            "stratum2+tcp://",
            "\"mining.subscribe\"",
            "\"mining.authorize\"",
            "xmrig",
            "cryptonight",
            "coinhive",
            "minexmr.com",
            "supportxmr.com",
            "nanopool.org",
            "2miners.com",
            "moneroocean.stream",
            "hashvault.pro",
        ],
    ),
    (
        &rules::REVERSE_SHELL,
        &[
            "bash -i >&",
            "sh -i >&",
            "import socket,subprocess,os",
            "new-object system.net.sockets.tcpclient",
            "socat exec:",
            "socat tcp-connect:",
        ],
    ),
    (
        &rules::DROPPER,
        &[
            "powershell -enc",
            "powershell -e ",
            "powershell.exe -nop",
            "new-object net.webclient).downloadstring",
            "certutil -urlcache",
            "certutil.exe -urlcache",
            "bitsadmin /transfer",
            "chmod +x /tmp/",
            "base64 -d | sh",
            "base64 -d | bash",
            "base64 --decode | sh",
            "base64 --decode | bash",
        ],
    ),
    (
        &rules::CREDENTIAL_PATH,
        &[
            "/.ssh/id_",
            "/.aws/credentials",
            "/.docker/config.json",
            "/.kube/config",
            "/.git-credentials",
            "/.config/gcloud/",
            "/.azure/accesstokens",
            "/etc/shadow",
            "/proc/self/environ",
            "wallet.dat",
            "/default/login data",
            "cookies.sqlite",
            "/library/keychains/",
        ],
    ),
    (
        &rules::METADATA_ADDRESS,
        &[
            "169.254.169.254",
            "metadata.google.internal",
            "fd00:ec2::254",
            "100.100.100.200",
        ],
    ),
];

/// The same, where more than the beginning has to fit.
const FORMS: &[(&Rule, &str, &str)] = &[
    (
        &rules::REVERSE_SHELL,
        "/dev/tcp/",
        r"(?-u)\A/dev/[tT][cC][pP]/[A-Za-z0-9.$\{][A-Za-z0-9._${}-]{0,253}/[0-9$\{]",
    ),
    (
        &rules::REVERSE_SHELL,
        "nc ",
        r"(?i-u)\Anc (?:-[a-z]+ ){0,4}(?:[a-z0-9.-]{1,253} [0-9]{1,5} )?-[a-z]{0,4}e ?(?:/bin/|cmd|sh\b|bash\b)",
    ),
    (
        &rules::REVERSE_SHELL,
        "mkfifo /tmp/",
        r"(?i-u)\Amkfifo /tmp/[^\n]{1,200}\bn(?:c|cat) ",
    ),
    (
        &rules::DROPPER,
        "curl ",
        r"(?i-u)\Acurl [^\n|`]{1,400}\| ?(?:sudo )?(?:ba|z|da|k)?sh\b",
    ),
    (
        &rules::DROPPER,
        "wget ",
        r"(?i-u)\Awget [^\n|`]{1,400}\| ?(?:sudo )?(?:ba|z|da|k)?sh\b",
    ),
];

/// Services that take in what anybody sends there, for somebody to read.
const SERVICES: &[&str] = &[
    "webhook.site",
    "requestbin.",
    "pipedream.net",
    "beeceptor.com",
    "ngrok.io",
    "ngrok-free.app",
    "ngrok.app",
    "trycloudflare.com",
    "oastify.com",
    "burpcollaborator.net",
    "interact.sh",
    "oast.fun",
    "oast.pro",
    "oast.live",
    "dnslog.cn",
    "transfer.sh",
    "pastebin.com/raw",
    "discord.com/api/webhooks/",
    "discordapp.com/api/webhooks/",
    "api.telegram.org/bot",
];

/// The table, ready to be used.
struct Table {
    begins: AhoCorasick,
    patterns: Vec<Pattern>,
    /// Of those with a form, by their place in the table.
    forms: Vec<Option<Regex>>,
}

impl Table {
    /// None where the table itself is wrong, which a test rules out.
    fn make() -> Option<Table> {
        let words = WORDS.iter().flat_map(|(rule, words)| {
            words.iter().map(|begin| Pattern {
                begin,
                kind: Kind::Words(rule),
            })
        });
        let forms = FORMS.iter().map(|(rule, begin, form)| Pattern {
            begin,
            kind: Kind::Form(rule, form),
        });
        let secrets = secrets::FORMS.iter().flat_map(|form| {
            form.begins.iter().map(move |begin| Pattern {
                begin,
                kind: Kind::Secret(form),
            })
        });
        let services = SERVICES.iter().map(|begin| Pattern {
            begin,
            kind: Kind::Service,
        });
        let others = [
            Pattern {
                begin: "://",
                kind: Kind::Url,
            },
            Pattern {
                begin: ".onion",
                kind: Kind::Onion,
            },
        ];
        let patterns: Vec<Pattern> = words
            .chain(forms)
            .chain(secrets)
            .chain(services)
            .chain(others)
            .collect();
        let forms = patterns
            .iter()
            .map(|pattern| match pattern.kind {
                Kind::Form(_, form) => Regex::new(form).map(Some),
                Kind::Secret(secret) => Regex::new(secret.form).map(Some),
                _ => Ok(None),
            })
            .collect::<Result<_, _>>()
            .ok()?;
        let begins = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .build(patterns.iter().map(|pattern| pattern.begin))
            .ok()?;
        Some(Table {
            begins,
            patterns,
            forms,
        })
    }

    fn get() -> Option<&'static Table> {
        static TABLE: OnceLock<Option<Table>> = OnceLock::new();
        TABLE.get_or_init(Table::make).as_ref()
    }
}

/// Looks through a part. What its author requests of services is expected in it.
pub(super) fn look(part: &Part<'_>, requests: &Requests, findings: &mut Findings) {
    let Some(table) = Table::get() else {
        return;
    };
    let mut looked_at = vec![0_u32; table.patterns.len()];
    let mut cut = false;
    for begin in table.begins.find_overlapping_iter(part.data) {
        let number = begin.pattern().as_usize();
        let (Some(pattern), Some(form), Some(count)) = (
            table.patterns.get(number),
            table.forms.get(number),
            looked_at.get_mut(number),
        ) else {
            continue;
        };
        if *count >= LOOKED_AT_MAX {
            cut = true;
            continue;
        }
        *count += 1;
        let hit = Hit {
            part,
            start: begin.start(),
            end: begin.end(),
        };
        hit.look(pattern, form.as_ref(), requests, findings);
    }
    if cut {
        let what = format!(
            "more than {LOOKED_AT_MAX} places look like one of the patterns; the rest was not looked at"
        );
        findings.push(Finding::new(
            &rules::SCAN_CUT,
            part.place(0, part.data.len()),
            what,
        ));
    }
}

/// A place where a pattern begins.
pub(super) struct Hit<'a> {
    part: &'a Part<'a>,
    start: usize,
    end: usize,
}

impl<'a> Hit<'a> {
    fn look(
        &self,
        pattern: &Pattern,
        form: Option<&Regex>,
        requests: &Requests,
        findings: &mut Findings,
    ) {
        match pattern.kind {
            Kind::Words(rule) => {
                let line = self.line();
                findings.push(self.finding(rule, line.len(), &format!("`{}`", shown(line))));
            }
            Kind::Form(rule, _) => {
                if let Some(found) = form.and_then(|form| form.find(self.rest())) {
                    let text = shown(found.as_bytes());
                    findings.push(self.finding(rule, found.len(), &format!("`{text}`")));
                }
            }
            Kind::Secret(secret) => {
                let found = form.and_then(|form| form.find(self.rest()));
                if let Some(found) = found
                    && let Some(length) =
                        secret.is_real(self.before(), found.as_bytes(), self.far())
                {
                    // Never the secret itself: findings are shown, kept and sent.
                    let start = shown(found.as_bytes().get(..4).unwrap_or_default());
                    let what = format!("{}: `{start}…`, {length} bytes", secret.what);
                    findings.push(self.finding(secret.rule, length, &what));
                }
            }
            Kind::Service => {
                let line = self.line();
                if !urls::is_requested(
                    requests,
                    pattern.begin.split('/').next().unwrap_or_default(),
                ) {
                    let what = format!("`{}`", shown(line));
                    findings.push(self.finding(&rules::DROP_HOST, line.len(), &what));
                }
            }
            Kind::Url => {
                let from = self.start.saturating_sub(urls::SCHEME_BYTES_MAX);
                let before = self.part.data.get(from..self.start).unwrap_or_default();
                let Some(url) = urls::Found::read(before, self.after()) else {
                    return;
                };
                let start = self.start.saturating_sub(url.scheme.len());
                let length = (self.end - start).saturating_add(url.length);
                let papers = !self.part.is_data();
                for (rule, what) in url.findings(requests, papers) {
                    findings.push(Finding::new(rule, self.part.place(start, length), what));
                }
            }
            Kind::Onion => {
                if let Some(name) =
                    urls::onion(self.part.data.get(..self.start).unwrap_or_default())
                {
                    let start = self.start - name.len();
                    let what = format!("`{}.onion`, a server of the Tor network", shown(name));
                    let place = self.part.place(start, self.end - start);
                    findings.push(Finding::new(&rules::DROP_HOST, place, what));
                }
            }
        }
    }

    fn finding(&self, rule: &'static Rule, length: usize, what: &str) -> Finding {
        Finding::new(rule, self.part.place(self.start, length), what)
    }

    /// The byte before.
    fn before(&self) -> Option<u8> {
        let at = self.start.checked_sub(1)?;
        self.part.data.get(at).copied()
    }

    /// From its beginning on, as far as patterns are followed.
    fn rest(&self) -> &'a [u8] {
        bounded(self.part.data, self.start, FOLLOWED)
    }

    /// The same, after what it begins with.
    fn after(&self) -> &'a [u8] {
        bounded(self.part.data, self.end, FOLLOWED)
    }

    /// The same, as far as a key goes.
    fn far(&self) -> &'a [u8] {
        bounded(self.part.data, self.start, secrets::KEY_BYTES_MAX)
    }

    /// From its beginning to the end of the text, or as much as is shown.
    fn line(&self) -> &'a [u8] {
        let rest = bounded(self.part.data, self.start, SHOWN_BYTES_MAX);
        let end = rest.iter().position(|byte| !(b' '..=b'~').contains(byte));
        let end = end.unwrap_or(rest.len()).max(self.end - self.start);
        rest.get(..end).unwrap_or(rest)
    }
}

fn bounded(data: &[u8], from: usize, length_max: usize) -> &[u8] {
    let rest = data.get(from..).unwrap_or_default();
    rest.get(..length_max).unwrap_or(rest)
}

/// Bytes as a line shows them.
pub(super) fn shown(bytes: &[u8]) -> String {
    let bytes = bytes.get(..SHOWN_BYTES_MAX).unwrap_or(bytes);
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_can_be_made() {
        let table = Table::make().unwrap();
        for pattern in &table.patterns {
            assert!(
                pattern.begin.is_ascii() && pattern.begin.len() >= 3,
                "{}",
                pattern.begin
            );
        }
    }
}
