//! How long an encoded Avro value is: a schema, as far as it takes to step over a value and to find
//! the fields of a record (Avro specification, "Schema Declaration").

use std::collections::HashMap;

use serde_json::Value;

use crate::avro_bytes::ByteReader;

/// A type, without what does not change the encoding.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Layout {
    Null,
    Boolean,
    /// An int, a long or an enum.
    Long,
    /// A fixed number of bytes.
    Fixed(usize),
    /// Bytes or a string.
    Bytes,
    Array(Box<Layout>),
    /// The layout of a map's values.
    Map(Box<Layout>),
    Union(Vec<Layout>),
    /// Fields by name.
    Record(Vec<(String, Layout)>),
}

impl Layout {
    /// The layout of the values of an `avro.schema`; none if it is not understood.
    pub(crate) fn parse(schema_json: &[u8]) -> Option<Self> {
        let schema = serde_json::from_slice(schema_json).ok()?;
        Self::of(&schema, &mut HashMap::new())
    }

    fn of(schema: &Value, named: &mut HashMap<String, Layout>) -> Option<Self> {
        let definition = match schema {
            Value::String(name) => {
                return Self::primitive(name).or_else(|| named.get(name).cloned());
            }
            Value::Array(branches) => {
                let branches = branches.iter().map(|branch| Self::of(branch, named));
                return Some(Self::Union(branches.collect::<Option<_>>()?));
            }
            Value::Object(definition) => definition,
            _ => return None,
        };
        let name = definition.get("name").and_then(Value::as_str);
        let layout = match definition.get("type")? {
            Value::String(ty) => match ty.as_str() {
                "record" => {
                    let fields = definition.get("fields")?.as_array()?.iter().map(|field| {
                        let name = field.get("name")?.as_str()?.to_owned();
                        Some((name, Self::of(field.get("type")?, named)?))
                    });
                    Self::Record(fields.collect::<Option<_>>()?)
                }
                "array" => Self::Array(Box::new(Self::of(definition.get("items")?, named)?)),
                "map" => Self::Map(Box::new(Self::of(definition.get("values")?, named)?)),
                "enum" => Self::Long,
                "fixed" => Self::Fixed(definition.get("size")?.as_u64()?.try_into().ok()?),
                primitive => Self::primitive(primitive)?,
            },
            nested => Self::of(nested, named)?,
        };
        if let Some(name) = name {
            named.insert(name.to_owned(), layout.clone());
        }
        Some(layout)
    }

    fn primitive(name: &str) -> Option<Self> {
        Some(match name {
            "null" => Self::Null,
            "boolean" => Self::Boolean,
            "int" | "long" => Self::Long,
            "float" => Self::Fixed(4),
            "double" => Self::Fixed(8),
            "bytes" | "string" => Self::Bytes,
            _ => return None,
        })
    }

    /// Whether 0 stands for null.
    pub(crate) fn is_nullable(&self) -> bool {
        matches!(self, Self::Union(branches) if branches.first() == Some(&Self::Null))
    }

    /// Steps over one value.
    pub(crate) fn skip(&self, reader: &mut ByteReader<'_>) -> Option<()> {
        match self {
            Self::Null => Some(()),
            Self::Boolean => reader.boolean().map(drop),
            Self::Long => reader.long().map(drop),
            Self::Fixed(length) => reader.take(*length).map(drop),
            Self::Bytes => reader.bytes().map(drop),
            Self::Array(item) => reader.items(|reader| item.skip(reader)),
            Self::Map(value) => reader.items(|reader| {
                reader.bytes()?;
                value.skip(reader)
            }),
            Self::Union(branches) => {
                let branch = usize::try_from(reader.long()?).ok()?;
                branches.get(branch)?.skip(reader)
            }
            Self::Record(fields) => fields.iter().try_for_each(|(_, field)| field.skip(reader)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_stepped_over() {
        let schema = br#"{"type": "record", "name": "r", "fields": [
            {"name": "a", "type": ["null", "string"], "default": null},
            {"name": "b", "type": {"type": "array", "items": {"type": "record", "name": "kv",
                "fields": [{"name": "k", "type": "int"}, {"name": "v", "type": "bytes"}]}}},
            {"name": "c", "type": {"type": "map", "values": "boolean"}},
            {"name": "d", "type": {"type": "fixed", "name": "f", "size": 3}},
            {"name": "e", "type": {"type": "enum", "name": "s", "symbols": ["x"]}},
            {"name": "f", "type": [{"type": "long", "logicalType": "timestamp-micros"}, "kv"]},
            {"name": "g", "type": "double"}, {"name": "h", "type": "float"},
            {"name": "i", "type": "null"}, {"name": "j", "type": "f"}]}"#;
        let layout = Layout::parse(schema).unwrap();
        let value = [
            &[2_u8, 4, b'h', b'i'][..], // a: "hi"
            &[2, 1, 2, b'v', 0],        // b: [(-1, "v")]
            &[2, 2, b'k', 1, 0],        // c: {"k": true}
            &[1, 2, 3],                 // d
            &[0],                       // e
            &[2, 0, 0],                 // f: (0, "")
            &[0; 8],
            &[0; 4],
            &[7, 8, 9], // j
        ]
        .concat();
        let mut reader = ByteReader::new(&value);
        assert_eq!(layout.skip(&mut reader), Some(()));
        assert!(reader.is_at_end());
        for length in 0..value.len() {
            assert_eq!(layout.skip(&mut ByteReader::new(&value[..length])), None);
        }
    }

    #[test]
    fn what_is_not_understood_has_no_layout() {
        for schema in [
            "{",
            r#""decimal""#,
            r#"{"type": "array"}"#,
            r#"["null", "x"]"#,
        ] {
            assert_eq!(Layout::parse(schema.as_bytes()), None, "{schema}");
        }
    }
}
