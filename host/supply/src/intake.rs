//! The one pass over a component's bytes: is it what it should be, is it within bounds,
//! and where are the parts that are worth reading?

use portreeve_manifest::size::ByteSize;
use wasmparser::types::Types;
use wasmparser::{
    ComponentInstance, FuncValidatorAllocations, Parser, Payload, ValidPayload, Validator,
    WasmFeatures,
};

use crate::linkage::{Linkage, Makers};
use crate::sections::Sections;
use crate::{Error, IntakeLimits, nesting};

/// What the runtime runs: WebAssembly 2 with extended constant expressions, and components.
/// Without gc (and the reference types that need it), typed function references, exceptions,
/// threads, 64-bit and several memories, relaxed SIMD, tail calls and wide arithmetic, as
/// the runtime's engine is set.
const FEATURES: WasmFeatures = WasmFeatures::WASM2
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::COMPONENT_MODEL)
    .difference(WasmFeatures::GC_TYPES);

/// What the pass found.
pub(crate) struct Intake<'a> {
    /// The names that the component imports, in its order.
    pub(crate) imports: Vec<String>,
    /// The names that the component exports, in its order.
    pub(crate) exports: Vec<String>,
    /// Everything the validator knows of its types.
    pub(crate) types: Types,
    /// Whether it needs the component model's asynchronous side (streams, futures, async
    /// functions), as WASI 0.3 does.
    pub(crate) asynchronous: bool,
    /// Whether it imports only what its code uses.
    pub(crate) linkage: Linkage,
    /// Its outermost custom sections, as far as they mean something to us.
    pub(crate) sections: Sections<'a>,
}

/// Reads a component once, from the first byte to the last.
pub(crate) fn read<'a>(bytes: &'a [u8], limits: &'a IntakeLimits) -> Result<Intake<'a>, Error> {
    if bytes.len() as u64 > limits.component.0 {
        return Err(file_too_large(bytes.len() as u64, limits));
    }
    recognise(bytes)?;
    match Pass::new(bytes, FEATURES, limits).run() {
        Ok(intake) => Ok(intake),
        Err(Stop::Ours(error)) => Err(error),
        // Few components are asynchronous: look again only when something was missed.
        Err(Stop::Validator(error)) => {
            let features = FEATURES.union(WasmFeatures::CM_ASYNC);
            let asynchronous = error.missing_wasm_feature() == Some(WasmFeatures::CM_ASYNC);
            let error = match asynchronous.then(|| Pass::new(bytes, features, limits).run()) {
                Some(Ok(intake)) => {
                    return Ok(Intake {
                        asynchronous: true,
                        ..intake
                    });
                }
                Some(Err(Stop::Ours(error))) => return Err(error),
                Some(Err(Stop::Validator(error))) => error,
                None => error,
            };
            Err(Error::from_validator(&error, bytes))
        }
    }
}

/// The error for a file over its limit.
pub(crate) fn file_too_large(size: u64, limits: &IntakeLimits) -> Error {
    Error::too_many_bytes(
        "the file has",
        size,
        limits.component,
        "strip its debug information (`wasm-tools strip`) or build it for size",
    )
}

/// Tells a component from everything else that people point at, by its first bytes.
fn recognise(bytes: &[u8]) -> Result<(), Error> {
    const MAGIC: &[u8] = b"\0asm";
    const SNIFFED: usize = 512;
    if bytes.is_empty() {
        return Err(Error::Empty);
    }
    if Parser::is_component(bytes) {
        return Ok(());
    }
    if Parser::is_core_wasm(bytes) {
        return Err(Error::CoreModule);
    }
    if let Some(version) = bytes.strip_prefix(MAGIC) {
        return Err(match version.get(..4) {
            Some(version) => Error::UnknownVersion(hex(version)),
            None => Error::Truncated {
                offset: bytes.len() as u64,
            },
        });
    }
    if MAGIC.starts_with(bytes) {
        return Err(Error::Truncated {
            offset: bytes.len() as u64,
        });
    }
    let start = bytes.get(..SNIFFED).unwrap_or(bytes);
    Err(match as_text(start) {
        Some(text) if is_wat(text) => Error::Wat,
        Some(text) => Error::Text(text.trim_start().chars().take(16).map(printable).collect()),
        None => Error::NotWasm(hex(start.get(..4).unwrap_or(start))),
    })
}

/// The beginning of a file as text, if it is some: UTF-8, perhaps cut within a character,
/// without control characters.
fn as_text(start: &[u8]) -> Option<&str> {
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(start.get(..error.valid_up_to())?).ok()?
        }
        Err(_) => return None,
    };
    let textual = !text.is_empty() && text.chars().all(|c| !c.is_control() || c.is_whitespace());
    textual.then_some(text)
}

/// Whether a text is WebAssembly's: its first line that is no comment opens a form of it.
fn is_wat(text: &str) -> bool {
    let code = text
        .lines()
        .map(str::trim_start)
        .find(|line| !line.is_empty() && !line.starts_with(";;"));
    code.is_some_and(|code| {
        ["(module", "(component", "(;"]
            .iter()
            .any(|form| code.starts_with(form))
    })
}

fn printable(c: char) -> char {
    if c.is_control() { ' ' } else { c }
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Why a pass ended early.
enum Stop {
    /// Something of ours: a bound, a section.
    Ours(Error),
    /// The format's own rules.
    Validator(wasmparser::Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Ours(error)
    }
}

impl From<wasmparser::Error> for Stop {
    fn from(error: wasmparser::Error) -> Stop {
        Stop::Validator(error)
    }
}

/// One pass: the validator and what is counted beside it. Every bound is checked before
/// the validator sees what it bounds.
struct Pass<'a> {
    bytes: &'a [u8],
    limits: &'a IntakeLimits,
    validator: Validator,
    features: WasmFeatures,
    allocations: FuncValidatorAllocations,
    depth: u32,
    sections: u32,
    definitions: u32,
    declarations: u64,
    instantiations: u64,
    resources: u32,
    resource_copies: u32,
    imports: Vec<String>,
    exports: Vec<String>,
}

impl<'a> Pass<'a> {
    fn new(bytes: &'a [u8], features: WasmFeatures, limits: &'a IntakeLimits) -> Pass<'a> {
        Pass {
            bytes,
            limits,
            validator: Validator::new_with_features(features),
            features,
            allocations: FuncValidatorAllocations::default(),
            depth: 0,
            sections: 0,
            definitions: 0,
            declarations: 0,
            instantiations: 0,
            resources: 0,
            resource_copies: 0,
            imports: Vec::new(),
            exports: Vec::new(),
        }
    }

    fn run(mut self) -> Result<Intake<'a>, Stop> {
        let mut parser = Parser::new(0);
        parser.set_features(self.features);
        let mut sections = Sections::default();
        let mut makers = Makers::default();
        let mut types = None;
        for payload in parser.parse_all(self.bytes) {
            let payload = payload?;
            self.measure(&payload)?;
            makers.note(&payload);
            if let Payload::CustomSection(section) = &payload {
                sections.note_list(section.name(), section.data(), self.limits);
                if self.depth == 1 {
                    sections.note(section.name(), section.data(), self.limits)?;
                }
            }
            match self.validator.payload(&payload)? {
                ValidPayload::Ok | ValidPayload::Parser(_) => {}
                ValidPayload::Func(function, body) => {
                    if self.limits.check_code {
                        let mut function = function.into_validator(self.allocations);
                        function.validate(&body)?;
                        self.allocations = function.into_allocations();
                    }
                }
                ValidPayload::End(found) => types = Some(found),
            }
        }
        // The parser ends with the outermost `End`, so the types are those of the whole.
        let types = types.ok_or(Error::Truncated {
            offset: self.bytes.len() as u64,
        })?;
        Ok(Intake {
            imports: self.imports,
            exports: self.exports,
            types,
            asynchronous: false,
            linkage: makers.linkage(),
            sections,
        })
    }

    /// Holds what comes next against the limits.
    fn measure(&mut self, payload: &Payload<'_>) -> Result<(), Stop> {
        if payload.as_section().is_some() {
            self.sections += 1;
            if self.sections > self.limits.sections {
                return Err(over("its sections:", self.sections, self.limits.sections));
            }
        }
        match payload {
            Payload::Version { .. } => {
                self.depth += 1;
                if self.depth > self.limits.nesting {
                    return Err(over(
                        "components within components, levels:",
                        self.depth,
                        self.limits.nesting,
                    ));
                }
            }
            Payload::End(_) => self.depth = self.depth.saturating_sub(1),

            Payload::TypeSection(s) => self.define(s.count())?,
            Payload::ImportSection(s) => self.define(s.count())?,
            Payload::FunctionSection(s) => self.define(s.count())?,
            Payload::TableSection(s) => self.define(s.count())?,
            Payload::MemorySection(s) => self.define(s.count())?,
            Payload::TagSection(s) => self.define(s.count())?,
            Payload::GlobalSection(s) => self.define(s.count())?,
            Payload::ExportSection(s) => self.define(s.count())?,
            Payload::ElementSection(s) => self.define(s.count())?,
            Payload::DataSection(s) => self.define(s.count())?,

            Payload::InstanceSection(s) => self.declare(s.count(), s.range())?,
            Payload::CoreTypeSection(s) => self.declare(s.count(), s.range())?,
            Payload::ComponentTypeSection(s) => {
                self.declare(s.count(), s.range())?;
                let section = self.bytes.get(s.range()).unwrap_or_default();
                let shape = nesting::of_types(section, s.range().start, self.limits.nesting)?;
                if shape.levels > self.limits.nesting {
                    return Err(over(
                        "types within types, levels:",
                        shape.levels,
                        self.limits.nesting,
                    ));
                }
                self.resources = self.resources.saturating_add(shape.resources);
            }
            Payload::ComponentAliasSection(s) => self.declare(s.count(), s.range())?,
            Payload::ComponentCanonicalSection(s) => self.declare(s.count(), s.range())?,
            Payload::ComponentInstanceSection(s) => {
                self.declare(s.count(), s.range())?;
                self.copy_resources(s.count())?;
                for instance in s.clone() {
                    if let ComponentInstance::Instantiate { .. } = instance? {
                        self.instantiate()?;
                    }
                }
            }
            Payload::ComponentImportSection(s) => {
                self.declare(s.count(), s.range())?;
                self.copy_resources(s.count())?;
                if self.depth == 1 {
                    bound(
                        "its imports:",
                        self.imports.len(),
                        s.count(),
                        self.limits.imports,
                    )?;
                    for import in s.clone() {
                        self.imports.push(self.name(import?.name.name)?);
                    }
                }
            }
            Payload::ComponentExportSection(s) => {
                self.declare(s.count(), s.range())?;
                self.copy_resources(s.count())?;
                if self.depth == 1 {
                    bound(
                        "its exports:",
                        self.exports.len(),
                        s.count(),
                        self.limits.exports,
                    )?;
                    for export in s.clone() {
                        self.exports.push(self.name(export?.name.name)?);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Counts the entries of a section of a core module.
    fn define(&mut self, count: u32) -> Result<(), Stop> {
        self.definitions = self.definitions.saturating_add(count);
        if self.definitions > self.limits.definitions {
            return Err(over(
                "its definitions (types, functions, …):",
                self.definitions,
                self.limits.definitions,
            ));
        }
        Ok(())
    }

    /// Counts the entries and the bytes of a section of a component.
    fn declare(&mut self, count: u32, range: std::ops::Range<usize>) -> Result<(), Stop> {
        self.declarations = self.declarations.saturating_add(range.len() as u64);
        within(
            "its component-level declarations have",
            self.declarations,
            self.limits.declarations,
        )?;
        self.define(count)
    }

    /// Counts what the validator copies for an instance of a nested component: at most all
    /// that was declared so far.
    fn instantiate(&mut self) -> Result<(), Stop> {
        self.instantiations = self.instantiations.saturating_add(self.declarations);
        within(
            "its instances of nested components copy",
            self.instantiations,
            self.limits.instantiations,
        )
    }

    /// Counts what the validator makes anew for instances that are imported, exported or
    /// made: at most all resources that were declared so far, for each.
    fn copy_resources(&mut self, instances: u32) -> Result<(), Stop> {
        let copies = self.resources.saturating_mul(instances);
        self.resource_copies = self.resource_copies.saturating_add(copies);
        if self.resource_copies > self.limits.resource_copies {
            return Err(over(
                "its resource types, for all instances together:",
                self.resource_copies,
                self.limits.resource_copies,
            ));
        }
        Ok(())
    }

    fn name(&self, name: &str) -> Result<String, Stop> {
        bound(
            "the length of a name that it imports or exports:",
            name.len(),
            0,
            self.limits.name,
        )?;
        Ok(name.to_owned())
    }
}

const OUT_OF_PROPORTION: &str = "no tool for plugins makes such components; split it into smaller ones or look for what inflates it";

fn over(what: &'static str, found: u32, limit: u32) -> Stop {
    Error::too_many(what, found, limit, OUT_OF_PROPORTION).into()
}

fn within(what: &'static str, found: u64, limit: ByteSize) -> Result<(), Stop> {
    if found > limit.0 {
        return Err(Error::too_many_bytes(what, found, limit, OUT_OF_PROPORTION).into());
    }
    Ok(())
}

fn bound(what: &'static str, so_far: usize, more: u32, limit: u32) -> Result<(), Stop> {
    let found = (so_far as u64).saturating_add(u64::from(more));
    if found > u64::from(limit) {
        return Err(Error::too_many(what, found, limit, OUT_OF_PROPORTION).into());
    }
    Ok(())
}
