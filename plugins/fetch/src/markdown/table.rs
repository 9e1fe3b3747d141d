//! Tables: those of data as tables of Markdown, those that only place things as what lies in
//! them.

use crate::tree::Node;

use super::Writer;

/// A table with more columns is written as what lies in its cells.
const COLUMNS_MAX: usize = 32;

impl<'a> Writer<'a> {
    pub(super) fn table(&mut self, node: Node<'a>, depth: usize) {
        self.end_paragraph();
        let rows = self.rows(node);
        let columns = rows.iter().map(|row| columns(row)).max().unwrap_or(0);
        if !(2..=COLUMNS_MAX).contains(&columns) || self.only_places(node) {
            self.children(node, depth);
            self.end_paragraph();
            return;
        }
        for caption in node.children().filter(|child| child.name() == "caption") {
            self.node(caption, depth);
        }
        let mut lines: Vec<String> = Vec::new();
        let mut bytes = self.out.len();
        for (index, row) in rows.iter().enumerate() {
            if bytes > self.bytes_max {
                break;
            }
            let heads = row.iter().any(|cell| cell.name() == "th");
            if index == 0 && !heads {
                // Every table of Markdown has a head.
                lines.push(line(&[], columns));
            }
            if lines.len() == 1 {
                lines.push(format!("|{}", " --- |".repeat(columns)));
            }
            let mut cells = Vec::new();
            for cell in row {
                // Within code too: cells are parted before anything else is read.
                cells.push(self.line_of(*cell, depth).replace('|', "\\|"));
                cells.extend((1..span(*cell)).map(|_| String::new()));
            }
            if index == 0 || cells.iter().any(|cell| !cell.is_empty()) {
                let line = line(&cells, columns);
                bytes += line.len();
                lines.push(line);
            }
        }
        if lines.len() == 1 {
            lines.push(format!("|{}", " --- |".repeat(columns)));
        }
        self.block(&lines.join("\n"));
    }

    /// The cells of each row that isn't empty, without those of tables within.
    fn rows(&self, table: Node<'a>) -> Vec<Vec<Node<'a>>> {
        let mut rows = Vec::new();
        for node in table.walk(|node| {
            self.article.skips(node)
                || (node.id() != table.id() && matches!(node.name(), "table" | "caption"))
        }) {
            if node.name() == "tr" {
                let cells: Vec<_> = node
                    .children()
                    .filter(|cell| matches!(cell.name(), "td" | "th") && !self.article.skips(*cell))
                    .collect();
                if !cells.is_empty() {
                    rows.push(cells);
                }
            }
        }
        rows
    }

    /// Whether a table only places what lies in it: its cells hold blocks.
    fn only_places(&self, table: Node<'a>) -> bool {
        let presentation = table
            .attribute("role")
            .is_some_and(|role| matches!(role, "presentation" | "none"));
        presentation
            || table
                .walk(|node| self.article.skips(node))
                .skip(1)
                .any(|node| {
                    matches!(
                        node.name(),
                        "table"
                            | "h1"
                            | "h2"
                            | "h3"
                            | "h4"
                            | "blockquote"
                            | "pre"
                            | "ol"
                            | "hr"
                            | "article"
                            | "section"
                            | "form"
                    )
                })
    }
}

fn columns(row: &[Node<'_>]) -> usize {
    row.iter().map(|cell| span(*cell)).sum()
}

fn span(cell: Node<'_>) -> usize {
    cell.attribute("colspan")
        .and_then(|span| span.trim().parse::<usize>().ok())
        .unwrap_or(1)
        .clamp(1, COLUMNS_MAX + 1)
}

fn line(cells: &[String], columns: usize) -> String {
    let mut line = String::from("|");
    for index in 0..columns {
        line.push(' ');
        line.push_str(cells.get(index).map_or("", String::as_str));
        line.push_str(if line.ends_with(' ') { "|" } else { " |" });
    }
    line
}
