//! From a parsed TOML value to a type, by reference and with the span of every error.
//!
//! `toml`'s own deserializer consumes the tree, gives an error within an array the span of
//! the whole array, and takes an array for a struct, so that `[true, true]` would be two
//! grants.

use std::fmt;
use std::ops::Range;

use serde::Deserializer;
use serde::de::{self, DeserializeSeed, IntoDeserializer, Unexpected, Visitor};
use serde::forward_to_deserialize_any;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Why a value is not of the wanted type, and where.
#[derive(Clone, Debug)]
pub(crate) struct ReadError {
    pub(crate) message: String,
    pub(crate) span: Option<Range<usize>>,
}

impl ReadError {
    /// Gives an error a place, unless it has a closer one.
    fn at(mut self, span: Range<usize>) -> Self {
        self.span.get_or_insert(span);
        self
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ReadError {}

impl de::Error for ReadError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        ReadError {
            message: message.to_string(),
            span: None,
        }
    }
}

/// Reads a table.
pub(crate) struct TableReader<'a, 't>(pub(crate) &'a DeTable<'t>);

impl<'de> Deserializer<'de> for TableReader<'_, '_> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_map(Members {
            rest: self.0.iter(),
            value: None,
        })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        option unit unit_struct newtype_struct seq tuple tuple_struct map struct enum
        identifier ignored_any
    }
}

/// Reads a value.
struct ValueReader<'a, 't>(&'a Spanned<DeValue<'t>>);

impl ValueReader<'_, '_> {
    fn read<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, ReadError> {
        match self.0.get_ref() {
            DeValue::String(text) => visitor.visit_str(text),
            DeValue::Integer(number) => {
                let (digits, radix) = (number.as_str(), number.radix());
                if let Ok(number) = i64::from_str_radix(digits, radix) {
                    visitor.visit_i64(number)
                } else if let Ok(number) = u64::from_str_radix(digits, radix) {
                    visitor.visit_u64(number)
                } else {
                    Err(de::Error::custom("the number does not fit into 64 bits"))
                }
            }
            DeValue::Float(number) => match number.as_str().parse() {
                Ok(number) => visitor.visit_f64(number),
                Err(_) => Err(de::Error::custom("this is no number")),
            },
            DeValue::Boolean(flag) => visitor.visit_bool(*flag),
            DeValue::Datetime(_) => Err(de::Error::custom(
                "dates and times of TOML are not used here; write a string",
            )),
            DeValue::Array(array) => visitor.visit_seq(Items(array.iter())),
            DeValue::Table(table) => TableReader(table).deserialize_any(visitor),
        }
    }

    /// What stands there, for a message.
    fn found(&self) -> Unexpected<'_> {
        match self.0.get_ref() {
            DeValue::String(text) => Unexpected::Str(text),
            DeValue::Integer(_) | DeValue::Float(_) => Unexpected::Other("a number"),
            DeValue::Boolean(flag) => Unexpected::Bool(*flag),
            DeValue::Datetime(_) => Unexpected::Other("a date"),
            DeValue::Array(_) => Unexpected::Seq,
            DeValue::Table(_) => Unexpected::Map,
        }
    }
}

impl<'de> Deserializer<'de> for ValueReader<'_, '_> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.read(visitor).map_err(|error| error.at(self.0.span()))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        if !self.0.get_ref().is_table() {
            let error: ReadError = de::Error::invalid_type(self.found(), &"a table");
            return Err(error.at(self.0.span()));
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let result: Result<V::Value, ReadError> = match self.0.get_ref() {
            DeValue::String(text) => visitor.visit_enum(text.as_ref().into_deserializer()),
            _ => Err(de::Error::invalid_type(self.found(), &"a string")),
        };
        result.map_err(|error| error.at(self.0.span()))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct seq tuple tuple_struct map identifier ignored_any
    }
}

/// The members of a table.
struct Members<'a, 't, I> {
    rest: I,
    value: Option<&'a Spanned<DeValue<'t>>>,
}

impl<'de, 'a, 't: 'a, I> de::MapAccess<'de> for Members<'a, 't, I>
where
    I: Iterator<
        Item = (
            &'a Spanned<std::borrow::Cow<'t, str>>,
            &'a Spanned<DeValue<'t>>,
        ),
    >,
{
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, ReadError> {
        let Some((key, value)) = self.rest.next() else {
            return Ok(None);
        };
        self.value = Some(value);
        let name: de::value::StrDeserializer<'_, ReadError> =
            key.get_ref().as_ref().into_deserializer();
        seed.deserialize(name)
            .map(Some)
            .map_err(|error| error.at(key.span()))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, ReadError> {
        match self.value.take() {
            Some(value) => read_with(seed, value),
            None => Err(de::Error::custom("a value was read before its key")),
        }
    }
}

/// The items of an array.
struct Items<I>(I);

impl<'de, 'a, 't: 'a, I: Iterator<Item = &'a Spanned<DeValue<'t>>>> de::SeqAccess<'de>
    for Items<I>
{
    type Error = ReadError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, ReadError> {
        self.0.next().map(|item| read_with(seed, item)).transpose()
    }
}

fn read_with<'de, S: DeserializeSeed<'de>>(
    seed: S,
    value: &Spanned<DeValue<'_>>,
) -> Result<S::Value, ReadError> {
    seed.deserialize(ValueReader(value))
        .map_err(|error| error.at(value.span()))
}
