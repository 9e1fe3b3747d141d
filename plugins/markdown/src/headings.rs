//! The headings of a Markdown text.

use pulldown_cmark::{Event, HeadingLevel, Parser, Tag, TagEnd};
use schemars::JsonSchema;
use serde::Serialize;

/// The headings of a text.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Outline {
    /// The headings, in order.
    pub(crate) headings: Vec<Heading>,
}

/// A heading.
#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Heading {
    /// 1 for a title, 2 for a section, up to 6.
    #[schemars(range(min = 1, max = 6))]
    pub(crate) level: u8,
    /// Its text without markup.
    pub(crate) text: String,
    /// The line it begins on, from 1.
    pub(crate) line: usize,
}

/// Lists the headings down to a level.
pub(crate) fn of(markdown: &str, depth: u8) -> Outline {
    let mut headings: Vec<Heading> = Vec::new();
    let mut current: Option<Heading> = None;
    // Lines are counted along with the events, whose places only grow.
    let (mut line, mut counted) = (1, 0);
    for (event, range) in Parser::new_ext(markdown, crate::options()).into_offset_iter() {
        match event {
            Event::Start(Tag::Heading { level, .. }) => {
                let passed = markdown.get(counted..range.start).unwrap_or_default();
                line += passed.matches('\n').count();
                counted = range.start.max(counted);
                current = Some(Heading {
                    level: number(level),
                    text: String::new(),
                    line,
                });
            }
            Event::End(TagEnd::Heading(_)) => {
                headings.extend(current.take().filter(|heading| heading.level <= depth));
            }
            Event::Text(text) | Event::Code(text) => {
                if let Some(heading) = &mut current {
                    heading.text.push_str(&text);
                }
            }
            Event::SoftBreak | Event::HardBreak => {
                if let Some(heading) = &mut current {
                    heading.text.push(' ');
                }
            }
            _ => {}
        }
    }
    Outline { headings }
}

fn number(level: HeadingLevel) -> u8 {
    match level {
        HeadingLevel::H1 => 1,
        HeadingLevel::H2 => 2,
        HeadingLevel::H3 => 3,
        HeadingLevel::H4 => 4,
        HeadingLevel::H5 => 5,
        HeadingLevel::H6 => 6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_with_their_lines() {
        let text = "# A *b* `c`\n\ntext\n# not\r\n\nD\ne\n===\n\n```\n# code\n```\n> ## F\n\n###### [G](x) ######\n";
        let found: Vec<(u8, String, usize)> = of(text, 6)
            .headings
            .into_iter()
            .map(|heading| (heading.level, heading.text, heading.line))
            .collect();
        let expected = [
            (1, "A b c", 1),
            (1, "not", 4),
            (1, "D e", 6),
            (2, "F", 13),
            (6, "G", 15),
        ];
        assert_eq!(
            found,
            expected.map(|(level, text, line)| (level, text.to_owned(), line))
        );
        assert_eq!(of(text, 1).headings.len(), 3);
        assert_eq!(of("", 6).headings, []);
    }

    #[test]
    fn many_headings_are_counted_in_one_pass() {
        let outline = of(&"# a\n\n".repeat(50_000), 6);
        assert_eq!(outline.headings.len(), 50_000);
        assert_eq!(outline.headings[49_999].line, 99_999);
    }
}
