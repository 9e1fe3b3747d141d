//! The items of a TOML array, each with the comments that belong to it.
//!
//! `toml_edit` keeps a comment with the item *after* it; for people it belongs to the item
//! before it on its line. A comment at the wrong grant would be worse than none.

use toml_edit::{Array, Value};

/// The items of an array, as lines.
pub(super) struct Lines {
    /// What stands behind the opening bracket, on its line.
    head: String,
    lines: Vec<Line>,
    /// What stands before the closing bracket, from the line after the last item's on.
    foot: String,
    comma: bool,
}

struct Line {
    /// What stands before the item, from the line after the last item's on.
    before: String,
    item: Value,
    /// What stands behind its comma, on the same line.
    after: String,
}

impl Lines {
    pub(super) fn of(array: &Array) -> Lines {
        let mut lines = Lines {
            head: String::new(),
            lines: Vec::new(),
            foot: String::new(),
            comma: array.trailing_comma(),
        };
        let text = |raw: Option<&toml_edit::RawString>| -> String {
            raw.and_then(|raw| raw.as_str())
                .unwrap_or_default()
                .to_owned()
        };
        // Without a comma what follows the last item is taken for a part of it.
        let mut rest = String::new();
        for item in array {
            let decor = item.decor();
            if !rest.contains('#') {
                rest.clear();
            }
            let before = lines.take_rest_of_line(&(rest + &text(decor.prefix())));
            rest = text(decor.suffix());
            let mut item = item.clone();
            item.decor_mut().clear();
            lines.lines.push(Line {
                before,
                item,
                after: String::new(),
            });
        }
        rest += array.trailing().as_str().unwrap_or_default();
        lines.foot = lines.take_rest_of_line(&rest);
        lines
    }

    /// Gives what stands up to the end of the line to what stands there before it.
    fn take_rest_of_line(&mut self, text: &str) -> String {
        // Spaces between items of one line belong to the next one.
        let Some((here, _)) = text.split_once('\n') else {
            return text.to_owned();
        };
        match self.lines.last_mut() {
            Some(line) => line.after.push_str(here),
            None => self.head.push_str(here),
        }
        text.get(here.len()..).unwrap_or_default().to_owned()
    }

    pub(super) fn items(&self) -> impl Iterator<Item = &Value> {
        self.lines.iter().map(|line| &line.item)
    }

    /// Keeps some items and drops the others, with their comments.
    pub(super) fn retain(&mut self, keep: impl Fn(&Value) -> bool) {
        let front = self.lines.first().map(|line| line.before.clone());
        self.lines.retain(|line| keep(&line.item));
        // The first of a line stands where the first one stood.
        if let (Some(first), Some(front)) = (self.lines.first_mut(), front)
            && !first.before.contains('\n')
        {
            first.before = front;
        }
    }

    /// Adds an item as the last one is set: on a line of its own, where that is.
    pub(super) fn push(&mut self, item: Value) {
        let before = match self.lines.last() {
            None => String::new(),
            Some(last) => match last.before.rsplit_once('\n') {
                Some((_, indent)) => format!("\n{indent}"),
                None => " ".to_owned(),
            },
        };
        self.lines.push(Line {
            before,
            item,
            after: String::new(),
        });
    }

    pub(super) fn write(self, array: &mut Array) {
        /// What stands on a line, and the lines after it: a comment ends with its line.
        fn join(here: &str, below: &str) -> String {
            let open = here.contains('#') && !below.contains('\n');
            format!("{here}{}{below}", if open { "\n" } else { "" })
        }
        array.clear();
        let mut here = self.head;
        for line in self.lines {
            let mut item = line.item;
            item.decor_mut().set_prefix(join(&here, &line.before));
            array.push_formatted(item);
            here = line.after;
        }
        // A comment stands behind a comma.
        array.set_trailing_comma(!array.is_empty() && (self.comma || here.contains('#')));
        array.set_trailing(join(&here, &self.foot));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn comments_stay_with_their_items() {
        let shown: String = [
            "[]",
            "['a']",
            "[ 'a', 'b' ]",
            "['b', 'a']",
            "[\n  'a', # first\n  # about b\n  'b', # second\n]",
            "[ # list\n  'b', # second\n  'a' # first\n  # end\n]",
            "[ # none\n]",
            "['a' # first\n, 'b'\n]",
            "[\r\n  'a', # first\r\n  'b', # second\r\n]",
        ]
        .into_iter()
        .map(|text| {
            let mut array = text.parse::<Value>().unwrap().as_array().unwrap().clone();
            let mut lines = Lines::of(&array);
            lines.retain(|item| item.as_str() != Some("b"));
            lines.push("c".into());
            lines.write(&mut array);
            let written = array.to_string();
            let again: Value = written.parse().unwrap();
            let items = again.as_array().unwrap();
            let wanted = if text.contains("'a'") {
                vec!["a", "c"]
            } else {
                vec!["c"]
            };
            assert!(
                items.iter().filter_map(Value::as_str).eq(wanted),
                "{written}"
            );
            format!("{written:?}\n")
        })
        .collect();
        expect![[r#"
            "[\"c\"]"
            "['a', \"c\"]"
            "[ 'a', \"c\" ]"
            "['a', \"c\"]"
            "[\n  'a', # first\n  \"c\",\n]"
            "[ # list\n  'a', # first\n  \"c\"\n  # end\n]"
            "[ # none\n\"c\"\n]"
            "['a', # first\n \"c\"\n]"
            "[\n  'a', # first\n  \"c\",\n]"
        "#]]
        .assert_eq(&shown);
    }

    #[test]
    fn what_is_not_changed_stays_as_it_is() {
        for text in [
            "[]",
            "[ ]",
            "['a']",
            "[ 'a', 'b' ]",
            "['a',]",
            "[\n  'a', # first\n  # about b\n  'b', # second\n  # end\n]",
            "[ # list\n  'b',\n  'a'\n]",
            "[ # none\n]",
        ] {
            let mut array = text.parse::<Value>().unwrap().as_array().unwrap().clone();
            Lines::of(&array).write(&mut array);
            assert_eq!(array.to_string(), text);
        }
    }
}
