//! Skips redundant parts of objects: managed fields and copies in annotations are most of an object, and are not
//! even decoded.

use std::fmt;

use serde::{
    Deserialize as _, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor},
};
use serde_json::{Map, Value};

/// Which part of a value is kept.
enum Part {
    All,
    Nothing,
    /// A map, some of whose fields are kept only in part.
    Fields(&'static [(&'static str, Part)]),
}

const OBJECT: Part = Part::Fields(&[("metadata", METADATA)]);
const METADATA: Part = Part::Fields(&[("managedFields", Part::Nothing), ("annotations", ANNOTATIONS)]);
const ANNOTATIONS: Part =
    Part::Fields(&[("kubectl.kubernetes.io/last-applied-configuration", Part::Nothing)]);

/// Decodes an object.
pub(super) fn read(text: &str) -> serde_json::Result<Value> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let object = OBJECT.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(object.unwrap_or_default())
}

impl<'de> DeserializeSeed<'de> for &Part {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<Value>, D::Error> {
        match self {
            Part::All => Value::deserialize(deserializer).map(Some),
            Part::Nothing => deserializer.deserialize_ignored_any(IgnoredAny).map(|_| None),
            Part::Fields(parts) => deserializer.deserialize_any(Fields(parts)).map(Some),
        }
    }
}

struct Fields(&'static [(&'static str, Part)]);

impl<'de> Visitor<'de> for Fields {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let part = self.0.iter().find(|(name, _)| *name == key);
            let part = part.map_or(&Part::All, |(_, part)| part);
            if let Some(value) = map.next_value_seed(part)? {
                fields.insert(key, value);
            }
        }
        Ok(Value::Object(fields))
    }
}
