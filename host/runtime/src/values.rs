//! JSON to component values and back. What is accepted is exactly what
//! [`WitType::schema`] describes.

use portreeve_manifest::wit_type::{Case, Field, SAFE_INTEGER_MAX, WitType};
use serde_json::{Map, Number, Value};
use wasmtime::component::Val;

use crate::error::{CallError, ErrorCode};

/// The arguments of a bare function, in the order of its parameters.
///
/// # Errors
/// `invalid-argument`, naming the place (`items[3].name`), what is wanted and what was
/// given.
pub fn arguments(params: &[(String, WitType)], arguments: &Value) -> Result<Vec<Val>, CallError> {
    let fields = params.iter().map(|(name, ty)| (name.as_str(), ty));
    members(fields, arguments, "")
        .map(|values| values.into_iter().map(|(_, value)| value).collect())
        .map_err(|Wrong(message)| CallError::host(ErrorCode::InvalidArgument, "arguments", message))
}

/// One value.
///
/// # Errors
/// A sentence that names the place.
pub fn to_val(ty: &WitType, value: &Value) -> Result<Val, String> {
    convert(ty, value, "").map_err(|Wrong(message)| message)
}

/// What is wrong, as a sentence with its place.
struct Wrong(String);

fn convert(ty: &WitType, value: &Value, at: &str) -> Result<Val, Wrong> {
    Ok(match ty {
        WitType::Bool => Val::Bool(
            value
                .as_bool()
                .ok_or_else(|| wrong(at, "a boolean", value))?,
        ),
        WitType::S8 => Val::S8(integer(value, at)?),
        WitType::U8 => Val::U8(integer(value, at)?),
        WitType::S16 => Val::S16(integer(value, at)?),
        WitType::U16 => Val::U16(integer(value, at)?),
        WitType::S32 => Val::S32(integer(value, at)?),
        WitType::U32 => Val::U32(integer(value, at)?),
        WitType::S64 => Val::S64(wide(value, at)?),
        WitType::U64 => Val::U64(wide(value, at)?),
        WitType::F32 => Val::Float32(single(float(value, at)?, value, at)?),
        WitType::F64 => Val::Float64(float(value, at)?),
        WitType::Char => {
            let text = string(value, at, "a string of one character")?;
            let mut chars = text.chars();
            match (chars.next(), chars.next()) {
                (Some(c), None) => Val::Char(c),
                _ => return Err(wrong(at, "a string of one character", value)),
            }
        }
        WitType::String => Val::String(string(value, at, "a string")?.to_owned()),
        WitType::List(item) => Val::List(
            array(value, at)?
                .iter()
                .enumerate()
                .map(|(index, value)| convert(item, value, &format!("{at}[{index}]")))
                .collect::<Result<_, _>>()?,
        ),
        WitType::Record(fields) => Val::Record(members(
            fields
                .iter()
                .map(|Field { name, ty, .. }| (name.as_str(), ty)),
            value,
            at,
        )?),
        WitType::Tuple(types) => {
            let values = array(value, at)?;
            if values.len() != types.len() {
                let wanted = format!("an array of {} values", types.len());
                return Err(wrong(at, &wanted, value));
            }
            Val::Tuple(
                types
                    .iter()
                    .zip(values)
                    .enumerate()
                    .map(|(index, (ty, value))| convert(ty, value, &format!("{at}[{index}]")))
                    .collect::<Result<_, _>>()?,
            )
        }
        WitType::Variant(cases) => variant(cases, value, at)?,
        WitType::Enum(names) => {
            let name = string(value, at, "a string")?;
            if !names.iter().any(|known| known == name) {
                return Err(wrong(at, &one_of(names), value));
            }
            Val::Enum(name.to_owned())
        }
        WitType::Flags(names) => flags(names, value, at)?,
        WitType::Option(inner) => Val::Option(match value {
            Value::Null => None,
            value if inner.accepts_null() => {
                let inner_value = single_member(value, "some")
                    .ok_or_else(|| wrong(at, "null or {\"some\": value}", value))?;
                Some(Box::new(convert(
                    inner,
                    inner_value,
                    &format!("{at}.some"),
                )?))
            }
            value => Some(Box::new(convert(inner, value, at)?)),
        }),
        WitType::Result { ok, err } => {
            let payload = |name: &str, ty: &Option<Box<WitType>>| {
                single_member(value, name).map(|value| {
                    let at = format!("{at}.{name}");
                    match ty {
                        Some(ty) => Ok(Some(Box::new(convert(ty, value, &at)?))),
                        None if value.is_null() => Ok(None),
                        None => Err(wrong(&at, "null", value)),
                    }
                })
            };
            match (payload("ok", ok), payload("err", err)) {
                (Some(ok), _) => Val::Result(Ok(ok?)),
                (_, Some(err)) => Val::Result(Err(err?)),
                _ => return Err(wrong(at, "{\"ok\": value} or {\"err\": value}", value)),
            }
        }
    })
}

/// The members of an object by name: those of type `option` may be missing, unknown ones
/// are refused.
fn members<'a>(
    fields: impl Iterator<Item = (&'a str, &'a WitType)> + Clone,
    value: &Value,
    at: &str,
) -> Result<Vec<(String, Val)>, Wrong> {
    let given = value
        .as_object()
        .ok_or_else(|| wrong(at, "an object", value))?;
    if let Some(unknown) = given
        .keys()
        .find(|key| !fields.clone().any(|(name, _)| name == key.as_str()))
    {
        let names: Vec<_> = fields.map(|(name, _)| name.to_owned()).collect();
        let known = if names.is_empty() {
            "it takes none".to_owned()
        } else {
            format!("known are {}", quoted(&names))
        };
        return Err(Wrong(format!(
            "{}: there is no `{}`; {known}",
            place(at),
            shortened(unknown)
        )));
    }
    fields
        .map(|(name, ty)| {
            let at = if at.is_empty() {
                name.to_owned()
            } else {
                format!("{at}.{name}")
            };
            let value = match (given.get(name), ty) {
                (Some(value), ty) => convert(ty, value, &at)?,
                (None, WitType::Option(_)) => Val::Option(None),
                (None, _) => return Err(Wrong(format!("{at}: it is required, but missing"))),
            };
            Ok((name.to_owned(), value))
        })
        .collect()
}

fn variant(cases: &[Case], value: &Value, at: &str) -> Result<Val, Wrong> {
    let (name, payload) = match value {
        Value::String(name) => (name.as_str(), None),
        Value::Object(members) if members.len() == 1 => match members.iter().next() {
            Some((name, payload)) => (name.as_str(), Some(payload)),
            None => return Err(wrong(at, "a case", value)),
        },
        _ => return Err(wrong(at, "\"case\" or {\"case\": payload}", value)),
    };
    let Some(case) = cases.iter().find(|case| case.name == name) else {
        let names: Vec<_> = cases.iter().map(|case| case.name.clone()).collect();
        return Err(wrong(at, &one_of(&names), value));
    };
    match (&case.ty, payload) {
        (None, None) => Ok(Val::Variant(name.to_owned(), None)),
        (Some(ty), Some(payload)) => {
            let payload = convert(ty, payload, &format!("{at}.{name}"))?;
            Ok(Val::Variant(name.to_owned(), Some(Box::new(payload))))
        }
        (None, Some(_)) => Err(wrong(at, &format!("\"{name}\" without payload"), value)),
        (Some(_), None) => Err(wrong(at, &format!("{{\"{name}\": payload}}"), value)),
    }
}

fn flags(names: &[String], value: &Value, at: &str) -> Result<Val, Wrong> {
    let mut set: Vec<String> = Vec::new();
    for (index, value) in array(value, at)?.iter().enumerate() {
        let at = format!("{at}[{index}]");
        let name = string(value, &at, "a string")?;
        if !names.iter().any(|known| known == name) {
            return Err(wrong(&at, &one_of(names), value));
        }
        if set.iter().any(|known| known == name) {
            return Err(Wrong(format!("{at}: {name:?} stands there twice")));
        }
        set.push(name.to_owned());
    }
    Ok(Val::Flags(set))
}

fn integer<T: TryFrom<i64> + Bounded>(value: &Value, at: &str) -> Result<T, Wrong> {
    whole(value)
        .and_then(|number| i64::try_from(number).ok())
        .and_then(|number| T::try_from(number).ok())
        .ok_or_else(|| wrong(at, &format!("an integer in {}", T::RANGE), value))
}

/// A number of 64 bits: a JSON integer while that is exact for every reader, decimal text
/// beyond.
fn wide<T: TryFrom<i128> + std::str::FromStr + Bounded>(
    value: &Value,
    at: &str,
) -> Result<T, Wrong> {
    let number = match value {
        Value::String(text) if is_decimal(text) => text.parse::<T>().ok(),
        value => whole(value)
            .filter(|number| number.unsigned_abs() <= SAFE_INTEGER_MAX.unsigned_abs().into())
            .and_then(|number| T::try_from(number).ok()),
    };
    number.ok_or_else(|| {
        let wanted = format!(
            "an integer in {}, beyond ±{SAFE_INTEGER_MAX} as decimal text",
            T::RANGE
        );
        wrong(at, &wanted, value)
    })
}

/// Digits with at most a minus before them, as the schema's pattern has it.
fn is_decimal(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.len() <= 20 && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// An integer of JSON Schema's kind: `1.0` is one.
fn whole(value: &Value) -> Option<i128> {
    let number = value.as_number()?;
    if let Some(number) = number.as_i128() {
        return Some(number);
    }
    let number = number.as_f64()?;
    let exact = number.fract() == 0.0 && number.abs() <= SAFE_INTEGER_MAX as f64;
    // Exact: the value is whole and within 53 bits.
    exact.then_some(number as i128)
}

trait Bounded {
    const RANGE: &'static str;
}

macro_rules! bounded {
    ($($ty:ty: $range:literal),* $(,)?) => {$(
        impl Bounded for $ty {
            const RANGE: &'static str = $range;
        }
    )*};
}

bounded! {
    i8: "-128..127", u8: "0..255", i16: "-32768..32767", u16: "0..65535",
    i32: "-2147483648..2147483647", u32: "0..4294967295",
    i64: "-9223372036854775808..9223372036854775807", u64: "0..18446744073709551615",
}

fn float(value: &Value, at: &str) -> Result<f64, Wrong> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => match text.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        _ => None,
    }
    .ok_or_else(|| {
        wrong(
            at,
            "a number, \"NaN\", \"Infinity\" or \"-Infinity\"",
            value,
        )
    })
}

/// The nearest `f32`; a finite number never becomes an infinite one.
fn single(number: f64, value: &Value, at: &str) -> Result<f32, Wrong> {
    let nearest = number as f32;
    if number.is_finite() && !nearest.is_finite() {
        return Err(wrong(at, "a number that 32 bits can hold", value));
    }
    Ok(nearest)
}

fn string<'a>(value: &'a Value, at: &str, wanted: &str) -> Result<&'a str, Wrong> {
    value.as_str().ok_or_else(|| wrong(at, wanted, value))
}

fn array<'a>(value: &'a Value, at: &str) -> Result<&'a [Value], Wrong> {
    value
        .as_array()
        .map(Vec::as_slice)
        .ok_or_else(|| wrong(at, "an array", value))
}

fn single_member<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let members = value.as_object()?;
    members.get(name).filter(|_| members.len() == 1)
}

fn wrong(at: &str, wanted: &str, value: &Value) -> Wrong {
    Wrong(format!(
        "{}: it must be {wanted}, but is {}",
        place(at),
        shortened(&value.to_string())
    ))
}

fn place(at: &str) -> &str {
    if at.is_empty() { "the arguments" } else { at }
}

fn one_of(names: &[String]) -> String {
    format!("one of {}", quoted(names))
}

fn quoted(names: &[String]) -> String {
    const SHOWN_MAX: usize = 20;
    let shown = names
        .iter()
        .take(SHOWN_MAX)
        .map(|name| format!("\"{name}\""));
    let mut text = shown.collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN_MAX {
        text.push_str(", …");
    }
    text
}

/// The beginning of a value that may be long, cut between characters.
fn shortened(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    let mut short: String = text.chars().take(CHARS_MAX).collect();
    if text.chars().nth(CHARS_MAX).is_some() {
        short.push('…');
    }
    short
}

/// A component value as JSON.
///
/// # Errors
/// A sentence, where the value is not of `ty`.
pub fn from_val(ty: &WitType, value: &Val) -> Result<Value, String> {
    Ok(match (ty, value) {
        (WitType::Bool, Val::Bool(value)) => Value::Bool(*value),
        (WitType::S8, Val::S8(value)) => Value::from(*value),
        (WitType::U8, Val::U8(value)) => Value::from(*value),
        (WitType::S16, Val::S16(value)) => Value::from(*value),
        (WitType::U16, Val::U16(value)) => Value::from(*value),
        (WitType::S32, Val::S32(value)) => Value::from(*value),
        (WitType::U32, Val::U32(value)) => Value::from(*value),
        (WitType::S64, Val::S64(value)) => {
            if value.unsigned_abs() <= SAFE_INTEGER_MAX.unsigned_abs() {
                Value::from(*value)
            } else {
                Value::from(value.to_string())
            }
        }
        (WitType::U64, Val::U64(value)) => {
            if *value <= SAFE_INTEGER_MAX.unsigned_abs() {
                Value::from(*value)
            } else {
                Value::from(value.to_string())
            }
        }
        // Through the shortest decimal text, so that 0.1f32 is 0.1 and not 0.10000000149.
        (WitType::F32, Val::Float32(value)) => {
            json_float(value.to_string().parse().unwrap_or(f64::NAN))
        }
        (WitType::F64, Val::Float64(value)) => json_float(*value),
        (WitType::Char, Val::Char(value)) => Value::from(value.to_string()),
        (WitType::String, Val::String(value)) => Value::from(value.as_str()),
        (WitType::List(item), Val::List(values)) => Value::Array(
            values
                .iter()
                .map(|value| from_val(item, value))
                .collect::<Result<_, _>>()?,
        ),
        (WitType::Record(fields), Val::Record(values)) if fields.len() == values.len() => {
            Value::Object(
                fields
                    .iter()
                    .zip(values)
                    .map(|(field, (_, value))| {
                        Ok((field.name.clone(), from_val(&field.ty, value)?))
                    })
                    .collect::<Result<_, String>>()?,
            )
        }
        (WitType::Tuple(types), Val::Tuple(values)) if types.len() == values.len() => Value::Array(
            types
                .iter()
                .zip(values)
                .map(|(ty, value)| from_val(ty, value))
                .collect::<Result<_, _>>()?,
        ),
        (WitType::Variant(cases), Val::Variant(name, payload)) => {
            let case = cases
                .iter()
                .find(|case| case.name == *name)
                .ok_or_else(|| differs(ty))?;
            match (&case.ty, payload) {
                (None, None) => Value::from(name.as_str()),
                (Some(ty), Some(payload)) => object(name, from_val(ty, payload)?),
                _ => return Err(differs(ty)),
            }
        }
        (WitType::Enum(_), Val::Enum(name)) => Value::from(name.as_str()),
        (WitType::Flags(_), Val::Flags(names)) => Value::Array(
            names
                .iter()
                .map(|name| Value::from(name.as_str()))
                .collect(),
        ),
        (WitType::Option(_), Val::Option(None)) => Value::Null,
        (WitType::Option(inner), Val::Option(Some(value))) => {
            let value = from_val(inner, value)?;
            if inner.accepts_null() {
                object("some", value)
            } else {
                value
            }
        }
        (WitType::Result { ok, .. }, Val::Result(Ok(value))) => {
            object("ok", payload(ok.as_deref(), value.as_deref())?)
        }
        (WitType::Result { err, .. }, Val::Result(Err(value))) => {
            object("err", payload(err.as_deref(), value.as_deref())?)
        }
        _ => return Err(differs(ty)),
    })
}

/// The payload of a result's side; `null` where it has none.
pub(crate) fn payload(ty: Option<&WitType>, value: Option<&Val>) -> Result<Value, String> {
    match (ty, value) {
        (Some(ty), Some(value)) => from_val(ty, value),
        (None, None) => Ok(Value::Null),
        _ => Err("a result's payload is not of the type that was examined".to_owned()),
    }
}

fn object(name: &str, value: Value) -> Value {
    Value::Object(Map::from_iter([(name.to_owned(), value)]))
}

fn json_float(number: f64) -> Value {
    match Number::from_f64(number) {
        Some(number) => Value::Number(number),
        None if number.is_nan() => Value::from("NaN"),
        None if number > 0.0 => Value::from("Infinity"),
        None => Value::from("-Infinity"),
    }
}

fn differs(ty: &WitType) -> String {
    format!("the component's value is not of the type that was examined ({ty:?})")
}

#[cfg(test)]
mod tests;
