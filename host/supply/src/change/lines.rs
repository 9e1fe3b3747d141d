//! A change as people read it.

use super::{Change, Class, Concern, Finding, Presence, Step, ToolChange, Turn, quoted, shown};

/// Lines of a text that are shown of each side.
const TEXT_LINES_MAX: usize = 40;

impl Change {
    /// The change as lines: `+` what is new, `-` what is gone, `~` what is different. They
    /// are safe to print.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![self.headline()];
        if let Some(id) = &self.id {
            lines.push(format!("~ this is another plugin: {}", turn(id)));
        }
        if let Some(signer) = &self.signer {
            lines.push(format!("~ another signer: {}", turn(signer)));
        }
        if let Some(license) = &self.license {
            lines.push(format!("~ another licence: {}", turn(license)));
        }
        lines.extend(self.requests.lines().iter().map(|line| shown(line)));
        if !self.tools_compared {
            lines.push(
                "~ tools: not compared, since not both versions record their list".to_owned(),
            );
        }
        for tool in &self.tools {
            tool_lines(tool, &mut lines);
        }
        let rest = self.surface.iter().chain(&self.config);
        lines.extend(rest.map(|finding| format!("~ {}", line(finding))));
        if self.class == Class::Same && lines.len() == 1 {
            lines.push("  no difference in tools, requests, licence or signer".to_owned());
        }
        lines
    }

    fn headline(&self) -> String {
        let versions = format!("{} -> {}", self.from, self.to);
        let content = match self.class {
            Class::Same => "nothing has changed for callers".to_owned(),
            class => format!("a {class} change"),
        };
        let says = match self.step {
            Step::Back => "and the version goes back".to_owned(),
            Step::Same if self.understated() => "but the version is the same".to_owned(),
            Step::Same => "and the version is the same".to_owned(),
            Step::Up(step) if self.understated() => {
                format!("but the version announces a {step} one")
            }
            Step::Up(step) => format!("and the version allows a {step} one"),
        };
        format!("{versions}: {content}, {says}")
    }
}

impl Concern {
    /// The concern as a sentence.
    pub const fn words(self) -> &'static str {
        match self {
            Concern::OtherId => "it is another plugin, by its id",
            Concern::OtherSigner => "it was signed by another, or by nobody",
            Concern::MoreRequests => "it asks for more than you agreed to",
            Concern::OtherLicense => "it has another licence",
            Concern::Understated => "its version announces less than has changed",
            Concern::Downgrade => "its version goes back",
        }
    }
}

fn tool_lines(tool: &ToolChange, lines: &mut Vec<String>) {
    let name = quoted(&tool.name);
    let sign = match tool.presence {
        Presence::New => '+',
        Presence::Gone => '-',
        Presence::Changed => '~',
    };
    match tool.presence {
        Presence::Changed => {}
        _ => lines.push(format!("{sign} tool {name} [{}]", tool.class)),
    }
    if tool.presence == Presence::Gone {
        return;
    }
    for (what, turn) in [("title", &tool.title), ("description", &tool.description)] {
        let Some(turn) = turn else { continue };
        lines.push(format!("{sign} tool {name}: {what} [patch]"));
        text_lines(turn, lines);
    }
    lines.extend(
        tool.findings
            .iter()
            .map(|finding| format!("~ tool {name}: {}", line(finding))),
    );
}

fn line(finding: &Finding) -> String {
    format!("{} {} [{}]", finding.what, finding.how, finding.class)
}

fn turn(turn: &Turn) -> String {
    let shown = |side: &Option<String>| match side {
        None => "none".to_owned(),
        Some(text) => shown(text),
    };
    format!("{}, before {}", shown(&turn.now), shown(&turn.before))
}

/// The lines of a text that differ, without those that both have at the start and the end.
fn text_lines(turn: &Turn, lines: &mut Vec<String>) {
    let split = |side: &Option<String>| -> Vec<String> {
        let text = side.as_deref().unwrap_or_default();
        text.lines().map(shown).collect()
    };
    let (before, now) = (split(&turn.before), split(&turn.now));
    let pairs = || before.iter().zip(&now);
    let start = pairs().take_while(|(a, b)| a == b).count();
    let room = before.len().min(now.len()) - start;
    let from_end = before.iter().rev().zip(now.iter().rev());
    let end = from_end.take_while(|(a, b)| a == b).count().min(room);
    for (sign, side) in [('-', &before), ('+', &now)] {
        let changed = side.get(start..side.len() - end).unwrap_or_default();
        let shown = changed.iter().take(TEXT_LINES_MAX);
        lines.extend(shown.map(|line| format!("    {sign} {line}")));
        if changed.len() > TEXT_LINES_MAX {
            lines.push(format!(
                "    {sign} … {} lines more",
                changed.len() - TEXT_LINES_MAX
            ));
        }
    }
}
