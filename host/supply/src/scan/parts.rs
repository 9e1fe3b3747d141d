//! The parts of a component that a scan looks at, borrowed from its bytes.

use std::fmt;

use portreeve_manifest::size::ByteSize;
use wasmparser::{Encoding, Parser, Payload};

use crate::sections::{DEPENDENCIES, LICENCES, MANIFEST, SBOMS, TOOLS};

/// A page of linear memory where a module doesn't say otherwise, as a power of two.
const PAGE_LOG2: u32 = 16;

/// Sections that say how code was made, or that other steps read: a component can't read
/// its own sections when it runs, so nothing in them can be put to use.
const UNREAD: [&str; 10] = [
    "name",
    "component-name",
    "producers",
    "target_features",
    "linking",
    "dylink.0",
    "sourceMappingURL",
    "package-docs",
    DEPENDENCIES,
    LICENCES,
];

/// The beginnings of such sections' names.
const UNREAD_PREFIXES: [&str; 3] = [".debug_", "reloc.", "component-type"];

/// A part of a component.
#[derive(Debug)]
pub(super) struct Part<'a> {
    pub(super) source: Source<'a>,
    /// Where it begins in the file.
    pub(super) offset: u64,
    pub(super) data: &'a [u8],
}

/// What a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source<'a> {
    /// What a module puts into its memory.
    Data { module: u32 },
    /// A section of another tool.
    Section(&'a str),
    /// A section that its author wrote for people and models.
    Papers(&'a str),
}

impl fmt::Display for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Data { module } => write!(f, "data of module {module}"),
            Source::Section(name) | Source::Papers(name) => write!(f, "section {name}"),
        }
    }
}

impl Part<'_> {
    /// Whether it is data as far as anybody knows, and no text of its author.
    pub(super) fn is_data(&self) -> bool {
        !matches!(self.source, Source::Papers(_))
    }

    /// The place of bytes of it.
    pub(super) fn place(&self, from: usize, length: usize) -> crate::finding::Place {
        crate::finding::Place::Bytes {
            part: self.source.to_string(),
            offset: self.offset.saturating_add(from as u64),
            length: length as u64,
        }
    }
}

/// What one look over a component shows.
#[derive(Debug, Default)]
pub(super) struct Parts<'a> {
    pub(super) parts: Vec<Part<'a>>,
    /// Modules with a start function, and where that is named.
    pub(super) starts: Vec<(u32, u64)>,
    /// What all modules declare of memory, in bytes.
    pub(super) memory: ByteSize,
    /// And of table elements.
    pub(super) elements: u64,
}

impl<'a> Parts<'a> {
    /// Looks a component over that was read before, and so is a valid one.
    pub(super) fn of(bytes: &'a [u8]) -> Parts<'a> {
        let mut found = Parts::default();
        // What can't be read is left: whoever read the component has said so.
        let _ = found.read(bytes);
        found
    }

    fn read(&mut self, bytes: &'a [u8]) -> wasmparser::Result<()> {
        let mut module = 0;
        for payload in Parser::new(0).parse_all(bytes) {
            match payload? {
                Payload::Version {
                    encoding: Encoding::Module,
                    ..
                } => module += 1,
                Payload::StartSection { range, .. } => {
                    self.starts.push((module, range.start as u64));
                }
                Payload::MemorySection(memories) => {
                    for memory in memories {
                        let memory = memory?;
                        let page = memory.page_size_log2.unwrap_or(PAGE_LOG2);
                        let size = memory.initial.checked_shl(page).unwrap_or(u64::MAX);
                        self.memory.0 = self.memory.0.saturating_add(size);
                    }
                }
                Payload::TableSection(tables) => {
                    for table in tables {
                        self.elements = self.elements.saturating_add(table?.ty.initial);
                    }
                }
                Payload::DataSection(segments) => {
                    for segment in segments {
                        let segment = segment?;
                        let before = segment.range.end.saturating_sub(segment.data.len());
                        self.parts.push(Part {
                            source: Source::Data { module },
                            offset: before as u64,
                            data: segment.data,
                        });
                    }
                }
                Payload::CustomSection(section) => {
                    if let Some(source) = source(section.name()) {
                        self.parts.push(Part {
                            source,
                            offset: section.data_offset() as u64,
                            data: section.data(),
                        });
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn source(name: &str) -> Option<Source<'_>> {
    let unread = UNREAD.contains(&name)
        || SBOMS.contains(&name)
        || UNREAD_PREFIXES
            .iter()
            .any(|prefix| name.starts_with(prefix));
    match name {
        _ if unread => None,
        MANIFEST | TOOLS => Some(Source::Papers(name)),
        _ => Some(Source::Section(name)),
    }
}
