//! The shape of a section of component-level types, found before the parser sees it.
//!
//! The parser reads a component or instance type that contains another by calling itself,
//! without a bound, so that a few kilobytes exhaust the stack and end the process. And the
//! validator makes every resource of an instance type anew for each import and export of
//! such an instance, so that a few kilobytes keep it busy for minutes. This walks the same
//! grammar with a list of its own and only counts.

use wasmparser::{
    BinaryReader, ComponentAlias, ComponentExternName, ComponentImport, ComponentType,
    ComponentTypeRef, CoreType, Result, TypeBounds,
};

/// What was counted in a type section.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Levels of component and instance types within each other.
    pub(crate) levels: u32,
    /// Resource types that are declared.
    pub(crate) resources: u32,
}

/// Counts in the entries of a type section. It ends early where there are more levels than
/// `levels_max`.
///
/// # Errors
/// What the parser says of entries that it can't read; of some it will say it later.
pub(crate) fn of_types(section: &[u8], offset: usize, levels_max: u32) -> Result<Shape> {
    let mut reader = BinaryReader::new(section, offset);
    // Entries that are left, of the section and of each type around the current one.
    let mut left = vec![reader.read_var_u32()?];
    let mut shape = Shape::default();
    while let Some(entries) = left.last_mut() {
        let Some(fewer) = entries.checked_sub(1) else {
            left.pop();
            continue;
        };
        *entries = fewer;
        if left.len() > 1 && !is_type(&mut reader, &mut shape)? {
            continue;
        }
        match reader.clone().read_u8()? {
            // A component type or an instance type: how many declarations, then these.
            0x41 | 0x42 => {
                reader.read_u8()?;
                shape.levels = shape.levels.max(left.len() as u32);
                if shape.levels > levels_max {
                    return Ok(shape);
                }
                left.push(reader.read_var_u32()?);
            }
            _ => {
                if let ComponentType::Resource { .. } = reader.read()? {
                    shape.resources += 1;
                }
            }
        }
    }
    Ok(shape)
}

/// Reads a declaration up to the type in it, or to its end when it has none.
fn is_type(reader: &mut BinaryReader<'_>, shape: &mut Shape) -> Result<bool> {
    let fresh = ComponentTypeRef::Type(TypeBounds::SubResource);
    match reader.read_u8()? {
        0x00 => {
            reader.read::<CoreType<'_>>()?;
        }
        0x01 => return Ok(true),
        0x02 => {
            reader.read::<ComponentAlias<'_>>()?;
        }
        0x03 => {
            let import: ComponentImport<'_> = reader.read()?;
            shape.resources += u32::from(import.ty == fresh);
        }
        // An export. Any other kind is unknown to the parser too, which then says so.
        _ => {
            reader.read::<ComponentExternName<'_>>()?;
            let export: ComponentTypeRef = reader.read()?;
            shape.resources += u32::from(export == fresh);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use wasmparser::{Parser, Payload};

    use super::*;

    fn shape(text: &str, levels_max: u32) -> (u32, u32) {
        let component = wat::parse_str(text).unwrap();
        let mut total = (0, 0);
        for payload in Parser::new(0).parse_all(&component) {
            if let Payload::ComponentTypeSection(section) = payload.unwrap() {
                let range = section.range();
                let section = &component[range.clone()];
                let shape = of_types(section, range.start, levels_max).unwrap();
                total = (total.0.max(shape.levels), total.1 + shape.resources);
            }
        }
        total
    }

    #[test]
    fn levels_and_resources() {
        const EVERYTHING: &str = r#"(component
            (type u8)
            (type (func async (param "x" u8) (result string)))
            (type (instance
                (type (record (field "a" u8)))
                (export "a" (type (eq 0)))
                (alias outer 1 0 (type))
                (core type (func (param i32)))
                (core type (module (import "a" "b" (func)) (export "c" (memory 1))))
                (export "r" (type (sub resource)))))
            (type (resource (rep i32)))
            (type (component
                (import "i" (instance (export "f" (func))))
                (type (instance (type (component (import "x" (func))))))
                (export "e" (func (type 0))))))"#;
        for (text, expected) in [
            ("(component)", (0, 0)),
            ("(component (type u8))", (0, 0)),
            ("(component (type (instance)))", (1, 0)),
            (
                "(component (type (instance)) (type (component (type (instance)))) (type u8))",
                (2, 0),
            ),
            (EVERYTHING, (3, 2)),
        ] {
            assert_eq!(shape(text, 10), expected, "{text}");
        }
        assert_eq!(shape(EVERYTHING, 1).0, 2);
    }
}
