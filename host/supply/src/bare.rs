//! Tools out of plain exported functions, for components that know nothing of Portreeve.

use std::collections::BTreeMap;

use portreeve_manifest::tool::{NAME_BYTES_MAX, Tool, ToolExecution, ToolMeta};
use portreeve_manifest::wit_type::{BareFunction, ExportRef, Field, WitType};
use serde_json::{Map, Value};
use wasmparser::component_types::{
    ComponentEntityType, ComponentFuncType, ComponentFuncTypeId, ComponentItem,
};
use wasmparser::names::{ComponentName, ComponentNameKind};
use wasmparser::types::TypesRef;

use crate::docs::Docs;
use crate::intake::Intake;
use crate::types::Converter;
use crate::{Digest, Error, IntakeLimits};

/// Derives the tools of a bare component. What can't be offered goes to `skipped`.
///
/// # Errors
/// More functions than a component may offer.
pub(crate) fn functions(
    intake: &Intake<'_>,
    limits: &IntakeLimits,
    skipped: &mut Vec<(String, String)>,
) -> Result<Vec<BareFunction>, Error> {
    let docs = Docs::read(intake.sections.docs);
    let types = intake.types.as_ref();
    let mut gathered = Gathered {
        types,
        limits,
        budget: limits.schemas.0,
        candidates: Vec::new(),
        skipped,
    };

    let root = || {
        intake
            .exports
            .iter()
            .filter_map(|name| Some((name.as_str(), types.component_item_for_export(name)?)))
    };
    gathered.scope(&Scope::ROOT, &docs, root)?;
    for (name, item) in root() {
        match item.ty {
            ComponentEntityType::Instance(id) => {
                let Some(instance) = types.get(id) else {
                    continue;
                };
                if let Some(why) = set_aside(name, instance.exports.keys()) {
                    gathered.skip(name, why);
                    continue;
                }
                let exports = || {
                    instance
                        .exports
                        .iter()
                        .map(|(name, item)| (name.as_str(), item))
                };
                gathered.scope(&Scope::interface(name), &docs, exports)?;
            }
            ComponentEntityType::Component(_) => gathered.skip(name, "a component, not a function"),
            ComponentEntityType::Module(_) => gathered.skip(name, "a core module, not a function"),
            ComponentEntityType::Value(_) => gathered.skip(name, "a value, not a function"),
            ComponentEntityType::Func(_) | ComponentEntityType::Type { .. } => {}
        }
    }
    Ok(name(gathered.candidates))
}

/// Interfaces whose functions are no tools.
fn set_aside<'n>(
    name: &str,
    mut functions: impl ExactSizeIterator<Item = &'n String>,
) -> Option<&'static str> {
    if name.starts_with("wasi:") {
        return Some("an interface of WASI, made for other kinds of hosts");
    }
    let only_init =
        functions.len() == 1 && functions.next().is_some_and(|function| function == "init");
    (name == "exports" && only_init)
        .then_some("how componentize-py prepares Python; no function of the component's own")
}

/// Where functions are exported: at the root or in an interface.
struct Scope<'n> {
    /// The whole name of the interface.
    interface: Option<&'n str>,
    /// Its parts, from the label outwards: `interface`, `package`, `namespace`, `version`.
    parts: [&'n str; 4],
}

impl<'n> Scope<'n> {
    const ROOT: Scope<'static> = Scope {
        interface: None,
        parts: [""; 4],
    };

    fn interface(name: &'n str) -> Scope<'n> {
        let (path, version) = name.split_once('@').unwrap_or((name, ""));
        let (package, label) = path.rsplit_once('/').unwrap_or(("", path));
        let (namespace, package) = package.rsplit_once(':').unwrap_or(("", package));
        Scope {
            interface: Some(name),
            parts: [label, package, namespace, version],
        }
    }

    fn label(&self) -> Option<&'n str> {
        let [label, ..] = self.parts;
        self.interface.map(|_| label)
    }

    /// The names that a function's tool may have, the shortest first.
    fn names(&self, function: &str) -> Vec<String> {
        if self.interface.is_none() {
            return vec![function.to_owned()];
        }
        let [label, package, namespace, version] = self.parts;
        let mut names = vec![format!("{label}_{function}")];
        if !package.is_empty() {
            names.push(format!("{package}_{label}_{function}"));
            names.push(format!("{namespace}_{package}_{label}_{function}"));
            names.push(format!(
                "{namespace}_{package}_{label}_{version}_{function}"
            ));
        }
        names
    }
}

/// A function that can be a tool, and the names that it may get.
struct Candidate {
    names: Vec<String>,
    function: BareFunction,
}

/// What was found so far.
struct Gathered<'t, 's> {
    types: TypesRef<'t>,
    limits: &'t IntakeLimits,
    /// Bytes of JSON Schemas that may still be made.
    budget: u64,
    candidates: Vec<Candidate>,
    skipped: &'s mut Vec<(String, String)>,
}

impl<'t> Gathered<'t, '_> {
    fn skip(&mut self, name: impl Into<String>, why: impl Into<String>) {
        self.skipped.push((name.into(), why.into()));
    }

    /// Takes the functions of one scope.
    fn scope<I>(
        &mut self,
        scope: &Scope<'t>,
        docs: &'t Docs,
        exports: impl Fn() -> I,
    ) -> Result<(), Error>
    where
        I: Iterator<Item = (&'t str, &'t ComponentItem)>,
    {
        let converter = Converter::new(
            self.types,
            docs,
            scope.label(),
            exports(),
            self.limits.type_depth,
        );
        for (count, (name, item)) in exports().enumerate() {
            if count >= self.limits.exports as usize {
                return Err(too_many(
                    "the functions and types of an interface that it exports:",
                    self.limits.exports,
                ));
            }
            let ComponentEntityType::Func(id) = item.ty else {
                continue;
            };
            match self.function(scope, &converter, docs, name, id) {
                Ok(candidate) if self.candidates.len() < self.limits.bare_functions as usize => {
                    self.candidates.push(candidate);
                }
                Ok(_) => {
                    return Err(too_many(
                        "the functions that it exports:",
                        self.limits.bare_functions,
                    ));
                }
                Err(why) => {
                    let name = scope
                        .interface
                        .map_or(name.to_owned(), |interface| format!("{interface}#{name}"));
                    self.skip(name, why);
                }
            }
        }
        Ok(())
    }

    /// Makes a tool of a function, or says why not.
    fn function(
        &mut self,
        scope: &Scope<'t>,
        converter: &Converter<'t>,
        docs: &Docs,
        name: &str,
        id: ComponentFuncTypeId,
    ) -> Result<Candidate, String> {
        plain(name)?;
        let Some(ty) = self.types.get(id) else {
            return Err("it has no type".to_owned());
        };
        if ty.async_ {
            return Err("it is asynchronous, which needs WASI 0.3".to_owned());
        }
        let allowed = self.limits.schema.0.min(self.budget);
        let mut left = allowed;
        let converted = signature(converter, ty, &mut left);
        // What was spent stays spent, so that refused functions can't take for ever.
        self.budget = self.budget.saturating_sub(allowed.saturating_sub(left));
        let (params, result) = converted.map_err(|why| format!("it {why}"))?;

        let tool = Tool {
            name: String::new(),
            title: None,
            description: docs.function(scope.label(), name),
            input_schema: input_schema(&params),
            output_schema: result.as_ref().and_then(output_schema),
            annotations: None,
            icons: Vec::new(),
            execution: ToolExecution::default(),
            meta: ToolMeta::default(),
        };
        let size = size_of_json(&tool);
        if size > self.limits.schema.0 {
            return Err(format!(
                "its JSON Schemas have {size} bytes, more than {}",
                self.limits.schema
            ));
        }
        let export = ExportRef {
            interface: scope.interface.map(str::to_owned),
            function: name.to_owned(),
        };
        Ok(Candidate {
            names: scope.names(name),
            function: BareFunction {
                tool,
                export,
                params,
                result,
            },
        })
    }
}

fn too_many(what: &'static str, limit: u32) -> Error {
    Error::too_many(
        what,
        format!("more than {limit}"),
        limit,
        "export fewer, or split the component",
    )
}

/// Refuses the functions of resources: they need a handle, which JSON can't carry.
fn plain(name: &str) -> Result<(), String> {
    let parsed =
        ComponentName::new(name, 0).map_err(|_| "its name is of an unknown kind".to_owned())?;
    match parsed.kind() {
        ComponentNameKind::Label(_) => Ok(()),
        ComponentNameKind::Constructor(resource) => {
            Err(format!("it makes the resource `{}`", resource.as_str()))
        }
        ComponentNameKind::Method(of) | ComponentNameKind::Static(of) => Err(format!(
            "it belongs to the resource `{}`",
            of.resource().as_str()
        )),
        _ => Err("its name is of an unknown kind".to_owned()),
    }
}

type Signature = (Vec<(String, WitType)>, Option<WitType>);

fn signature(
    converter: &Converter<'_>,
    ty: &ComponentFuncType,
    budget: &mut u64,
) -> Result<Signature, String> {
    let params = ty
        .params
        .iter()
        .map(|(name, ty)| Ok((name.to_string(), converter.convert(*ty, budget)?)))
        .collect::<Result<_, String>>()?;
    let result = ty
        .result
        .map(|ty| converter.convert(ty, budget))
        .transpose()?;
    Ok((params, result))
}

/// The parameters as an object, by name.
fn input_schema(params: &[(String, WitType)]) -> Map<String, Value> {
    let fields = params.iter().map(|(name, ty)| Field {
        name: name.clone(),
        ty: ty.clone(),
        docs: None,
    });
    object(&WitType::Record(fields.collect()))
}

/// The answer as an object: a record as it is, anything else as the member `result`. Of a
/// `result` only what `ok` carries; `err` becomes an error of the tool.
fn output_schema(result: &WitType) -> Option<Map<String, Value>> {
    let answer = match result {
        WitType::Result { ok, .. } => ok.as_deref()?,
        other => other,
    };
    Some(match answer {
        WitType::Record(_) => object(answer),
        other => object(&WitType::Record(vec![Field {
            name: "result".to_owned(),
            ty: other.clone(),
            docs: None,
        }])),
    })
}

/// The schema of a record, which is an object.
fn object(record: &WitType) -> Map<String, Value> {
    match record.schema() {
        Value::Object(schema) => schema,
        _ => Map::new(),
    }
}

fn size_of_json(tool: &Tool) -> u64 {
    serde_json::to_vec(tool).map_or(u64::MAX, |json| json.len() as u64)
}

/// Gives every candidate the shortest of its names that no other has. The order of the
/// exports plays no part.
fn name(candidates: Vec<Candidate>) -> Vec<BareFunction> {
    let mut level = vec![0; candidates.len()];
    loop {
        let chosen: Vec<&str> = candidates
            .iter()
            .zip(&level)
            .map(|(candidate, level)| candidate.at(*level))
            .collect();
        let mut uses = BTreeMap::new();
        for name in &chosen {
            *uses.entry(*name).or_insert(0) += 1;
        }
        let mut changed = false;
        for ((candidate, level), name) in candidates.iter().zip(&mut level).zip(&chosen) {
            if uses.get(name).is_some_and(|uses| *uses > 1) && *level + 1 < candidate.names.len() {
                *level += 1;
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    let named = candidates.into_iter().zip(level).map(|(candidate, level)| {
        let name = fit(candidate.at(level));
        let mut function = candidate.function;
        function.tool.name = name;
        function
    });
    named.collect()
}

impl Candidate {
    fn at(&self, level: usize) -> &str {
        self.names.get(level).map_or("", String::as_str)
    }
}

/// A name within the length and the characters of tool names. One that had to change
/// carries a hash of what it was, so that two never become one.
fn fit(name: &str) -> String {
    const HASH_DIGITS: usize = 8;
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.len() <= NAME_BYTES_MAX && name.chars().all(allowed) {
        return name.to_owned();
    }
    let kept = name
        .chars()
        .map(|c| if allowed(c) { c } else { '_' })
        .take(NAME_BYTES_MAX - HASH_DIGITS - 1);
    let hash = Digest::of(name.as_bytes()).hex();
    kept.chain(['_'])
        .chain(hash.chars().take(HASH_DIGITS))
        .collect()
}
