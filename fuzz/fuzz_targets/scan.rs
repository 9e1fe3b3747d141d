//! Scans: no bytes, in data, sections or texts of tools, make one panic, hang, or find more than
//! its bounds; what it finds is read again as it was written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portreeve_manifest::id::Alias;
use portreeve_manifest::size::ByteSize;
use portreeve_manifest::tool::Tool;
use portreeve_supply::finding::{Findings, OF_A_RULE_MAX, rules};
use portreeve_supply::scan::{self, Report};
use portreeve_supply::{IntakeLimits, Package};

/// A component with a custom section: the body is what is fuzzed.
fn with_section(name: &str, data: &[u8]) -> Vec<u8> {
    let mut component = b"\0asm\x0d\0\x01\0".to_vec();
    let mut section = vec![name.len() as u8];
    section.extend(name.bytes());
    section.extend(data);
    component.push(0);
    let mut size = section.len();
    loop {
        let byte = (size & 0x7f) as u8;
        size >>= 7;
        component.push(if size > 0 { byte | 0x80 } else { byte });
        if size == 0 {
            break;
        }
    }
    component.extend(section);
    component
}

fn check(findings: &Findings) {
    assert!(findings.list.len() <= OF_A_RULE_MAX * rules::ALL.len());
    let text = serde_json::to_string(findings).unwrap();
    assert_eq!(&serde_json::from_str::<Findings>(&text).unwrap(), findings);
}

fn scan(bytes: &[u8]) {
    let limits = IntakeLimits {
        component: ByteSize::mib(1),
        ..IntakeLimits::default()
    };
    let Ok(package) = Package::read(bytes, "fuzz", &limits) else {
        return;
    };
    let examined = scan::scan(bytes, &package);
    check(&examined.findings);
    let report = Report::new(examined, None, &Alias::new("fuzz").unwrap());
    assert!(report.score.score <= 100 && report.score.held >= report.score.score);
}

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, rest)) = bytes.split_first() else {
        return;
    };
    match kind % 8 {
        0 => scan(rest),
        1 => scan(&with_section("portreeve:manifest", rest)),
        2 => scan(&with_section("portreeve:licences", rest)),
        3 => scan(&with_section(".dep-v0", rest)),
        4 => scan(&with_section("sbom", rest)),
        5 => {
            // The texts of a tool, whatever they are.
            let text = String::from_utf8_lossy(rest);
            let (name, about) = text.split_once('\n').unwrap_or((&text, &text));
            let document = serde_json::json!({
                "name": "tool",
                "title": name.chars().take(60).collect::<String>(),
                "description": about,
                "inputSchema": { "type": "object", "properties": {
                    name: { "type": "string", "description": about, "x-mcp-header": "A" },
                } },
            });
            if let Ok(tool) = Tool::parse(&document.to_string()) {
                let manifest = Package::read(&with_section("x", b""), "fuzz", &IntakeLimits::default());
                check(&scan::read_tools(&manifest.unwrap().manifest, &[tool]));
            }
        }
        _ => scan(&with_section("data", rest)),
    }
});
