//! From the types that the validator knows to the [`WitType`]s of tools.
//!
//! A component's types may share parts, so that a few bytes describe a type which is
//! astronomically large when it is written out, as a JSON Schema is. Every conversion
//! therefore has a depth and a budget.

use std::collections::HashMap;

use portreeve_manifest::wit_type::{Case, Field, WitType};
use wasmparser::PrimitiveValType;
use wasmparser::component_types::{
    ComponentAnyTypeId, ComponentDefinedType, ComponentDefinedTypeId, ComponentEntityType,
    ComponentItem, ComponentValType,
};
use wasmparser::types::TypesRef;

use crate::docs::Docs;

/// What one part of a type takes in a JSON Schema, at least, in bytes. Names are added.
const PART_BYTES: u64 = 16;

/// Converts the types of one scope: an exported interface, or the root.
pub(crate) struct Converter<'t> {
    types: TypesRef<'t>,
    docs: &'t Docs,
    /// The label of the interface, as the documentation names it.
    interface: Option<&'t str>,
    /// What the scope calls its types.
    names: HashMap<ComponentDefinedTypeId, &'t str>,
    depth_max: u32,
}

impl<'t> Converter<'t> {
    pub(crate) fn new(
        types: TypesRef<'t>,
        docs: &'t Docs,
        interface: Option<&'t str>,
        exports: impl Iterator<Item = (&'t str, &'t ComponentItem)>,
        depth_max: u32,
    ) -> Converter<'t> {
        let names = exports
            .filter_map(|(name, item)| match item.ty {
                ComponentEntityType::Type {
                    created: ComponentAnyTypeId::Defined(id),
                    ..
                } => Some((id, name)),
                _ => None,
            })
            .collect();
        Converter {
            types,
            docs,
            interface,
            names,
            depth_max,
        }
    }

    /// Converts one type. `budget` is what is left for the schema, in bytes.
    ///
    /// # Errors
    /// Why it can't be offered, as the end of "it …".
    pub(crate) fn convert(
        &self,
        ty: ComponentValType,
        budget: &mut u64,
    ) -> Result<WitType, String> {
        self.value(ty, 1, budget)
    }

    fn value(&self, ty: ComponentValType, depth: u32, budget: &mut u64) -> Result<WitType, String> {
        if depth > self.depth_max {
            return Err(format!(
                "has a type that is more than {} levels deep",
                self.depth_max
            ));
        }
        spend(budget, 0)?;
        match ty {
            ComponentValType::Primitive(primitive) => self.primitive(primitive),
            ComponentValType::Type(id) => self.defined(id, depth + 1, budget),
        }
    }

    fn primitive(&self, primitive: PrimitiveValType) -> Result<WitType, String> {
        Ok(match primitive {
            PrimitiveValType::Bool => WitType::Bool,
            PrimitiveValType::S8 => WitType::S8,
            PrimitiveValType::U8 => WitType::U8,
            PrimitiveValType::S16 => WitType::S16,
            PrimitiveValType::U16 => WitType::U16,
            PrimitiveValType::S32 => WitType::S32,
            PrimitiveValType::U32 => WitType::U32,
            PrimitiveValType::S64 => WitType::S64,
            PrimitiveValType::U64 => WitType::U64,
            PrimitiveValType::F32 => WitType::F32,
            PrimitiveValType::F64 => WitType::F64,
            PrimitiveValType::Char => WitType::Char,
            PrimitiveValType::String => WitType::String,
            PrimitiveValType::ErrorContext => return Err(no("an error-context")),
        })
    }

    fn defined(
        &self,
        id: ComponentDefinedTypeId,
        depth: u32,
        budget: &mut u64,
    ) -> Result<WitType, String> {
        let Some(defined) = self.types.get(id) else {
            return Err("has a type that the component doesn't define".to_owned());
        };
        Ok(match defined {
            ComponentDefinedType::Primitive(primitive) => self.primitive(*primitive)?,
            ComponentDefinedType::Record(record) => {
                let mut fields = Vec::with_capacity(record.fields.len());
                for (name, ty) in &record.fields {
                    let docs = self.item(id, name.as_str());
                    spend(budget, name.len() + docs.as_ref().map_or(0, String::len))?;
                    fields.push(Field {
                        name: name.to_string(),
                        ty: self.value(*ty, depth, budget)?,
                        docs,
                    });
                }
                WitType::Record(fields)
            }
            ComponentDefinedType::Variant(variant) => {
                let mut cases = Vec::with_capacity(variant.cases.len());
                for (name, case) in &variant.cases {
                    let docs = self.item(id, name.as_str());
                    spend(budget, name.len() + docs.as_ref().map_or(0, String::len))?;
                    cases.push(Case {
                        name: name.to_string(),
                        ty: self.optional(case.ty, depth, budget)?,
                        docs,
                    });
                }
                WitType::Variant(cases)
            }
            ComponentDefinedType::List { element, .. } => {
                WitType::List(Box::new(self.value(*element, depth, budget)?))
            }
            ComponentDefinedType::Tuple(tuple) => WitType::Tuple(
                tuple
                    .types
                    .iter()
                    .map(|ty| self.value(*ty, depth, budget))
                    .collect::<Result<_, _>>()?,
            ),
            ComponentDefinedType::Flags(names) => WitType::Flags(labels(names, budget)?),
            ComponentDefinedType::Enum(names) => WitType::Enum(labels(names, budget)?),
            ComponentDefinedType::Option { ty, .. } => {
                WitType::Option(Box::new(self.value(*ty, depth, budget)?))
            }
            ComponentDefinedType::Result { ok, err, .. } => WitType::Result {
                ok: self.optional(*ok, depth, budget)?.map(Box::new),
                err: self.optional(*err, depth, budget)?.map(Box::new),
            },
            ComponentDefinedType::Map { .. } => return Err(no("a map")),
            ComponentDefinedType::FixedLengthList { .. } => {
                return Err(no("a list of fixed length"));
            }
            ComponentDefinedType::Own(_) | ComponentDefinedType::Borrow(_) => {
                return Err(no("a resource"));
            }
            ComponentDefinedType::Future { .. } => return Err(no("a future")),
            ComponentDefinedType::Stream { .. } => return Err(no("a stream")),
        })
    }

    fn optional(
        &self,
        ty: Option<ComponentValType>,
        depth: u32,
        budget: &mut u64,
    ) -> Result<Option<WitType>, String> {
        ty.map(|ty| self.value(ty, depth, budget)).transpose()
    }

    /// The documentation of a field or case, by the name that the scope gives its type.
    fn item(&self, id: ComponentDefinedTypeId, item: &str) -> Option<String> {
        self.docs.item(self.interface, self.names.get(&id)?, item)
    }
}

fn labels<'n, N>(
    names: impl IntoIterator<Item = &'n N>,
    budget: &mut u64,
) -> Result<Vec<String>, String>
where
    N: std::ops::Deref<Target = str> + 'n,
{
    names
        .into_iter()
        .map(|name| {
            spend(budget, name.len())?;
            Ok(name.to_string())
        })
        .collect()
}

fn spend(budget: &mut u64, text: usize) -> Result<(), String> {
    *budget = budget
        .checked_sub(PART_BYTES + text as u64)
        .ok_or("has types that are too large to describe as a JSON Schema")?;
    Ok(())
}

fn no(what: &str) -> String {
    format!("takes or returns {what}, which JSON can't carry")
}
