//! Reads a value as Go's decoder does, where that is more lenient than serde: the letters of a field's name may be of any
//! case, and where a text is expected, a number or a boolean is one.

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{Deserializer, IntoDeserializer, Visitor};
use serde_json::{Error, Map, Value};

/// A value to be read.
pub(crate) struct Lenient(pub(crate) Value);

impl IntoDeserializer<'_, Error> for Lenient {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl Lenient {
    fn map<'de, V: Visitor<'de>>(object: Map<String, Value>, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(MapDeserializer::new(object.into_iter().map(|(key, value)| (key, Lenient(value)))))
    }

    fn text<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Bool(_) | Value::Number(_) => visitor.visit_string(self.0.to_string()),
            Value::Null => visitor.visit_string(String::new()),
            Value::String(_) | Value::Array(_) | Value::Object(_) => self.deserialize_any(visitor),
        }
    }
}

impl<'de> Deserializer<'de> for Lenient {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(items) => visitor.visit_seq(SeqDeserializer::new(items.into_iter().map(Lenient))),
            Value::Object(object) => Lenient::map(object, visitor),
            scalar @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
                scalar.deserialize_any(visitor)
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.0 {
            Value::Object(object) => {
                let named = |(key, value): (String, Value)| {
                    let same = |field: &&&str| field.eq_ignore_ascii_case(&key);
                    let name = if fields.contains(&key.as_str()) { None } else { fields.iter().find(same) };
                    (name.map_or(key.clone(), |name| (*name).to_owned()), value)
                };
                Lenient::map(object.into_iter().map(named).collect(), visitor)
            }
            // as Go has it, a struct of which nothing is said
            Value::Null => Lenient::map(Map::new(), visitor),
            other @ (Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
                other.deserialize_any(visitor)
            }
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.text(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.text(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        // nothing, where a list may be
        let value = if self.0.is_null() { Value::Array(Vec::new()) } else { self.0 };
        Lenient(value).deserialize_any(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let value = if self.0.is_null() { Value::Object(Map::new()) } else { self.0 };
        Lenient(value).deserialize_any(visitor)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct
        enum identifier ignored_any
    }
}
