//! The types that a lake table's column may have: a closed set, each of which DuckDB, Parquet and
//! Iceberg hold exactly.

use std::sync::Arc;

use iceberg::spec::{ListType as IcebergList, NestedField, PrimitiveType, Type};
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// The type of a column or of a list's elements.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LakeType {
    /// True or false.
    Boolean,
    /// 32-bit integer.
    Int,
    /// 64-bit integer.
    Long,
    /// 32-bit IEEE 754.
    Float,
    /// 64-bit IEEE 754.
    Double,
    /// Exact decimal of `1 <= precision <= 38` digits, `scale <= precision` of them after the point.
    Decimal {
        /// Number of digits.
        precision: u8,
        /// Number of digits after the point.
        scale: u8,
    },
    /// Calendar date.
    Date,
    /// Time of day, microseconds, without a zone.
    Time,
    /// Date and time, microseconds, without a zone.
    Timestamp,
    /// Point in time, microseconds since 1970 in UTC.
    Timestamptz,
    /// UTF-8 text.
    String,
    /// UUID.
    Uuid,
    /// Bytes.
    Binary,
    /// List of values of one scalar type; elements may be null.
    List(Box<ListType>),
}

/// A list's element: its type, and its field id (elements have ids of their own in Iceberg).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListType {
    /// Field id of the element.
    pub element_id: i32,
    /// Type of the element; never a list.
    pub element: LakeType,
}

impl LakeType {
    /// A list type.
    pub fn list(element_id: i32, element: LakeType) -> Self {
        LakeType::List(Box::new(ListType {
            element_id,
            element,
        }))
    }

    /// The type's name in DuckDB SQL, such as `DECIMAL(12,2)` or `INTEGER[]`.
    pub fn duckdb_name(&self) -> String {
        match self {
            LakeType::Boolean => "BOOLEAN".into(),
            LakeType::Int => "INTEGER".into(),
            LakeType::Long => "BIGINT".into(),
            LakeType::Float => "FLOAT".into(),
            LakeType::Double => "DOUBLE".into(),
            LakeType::Decimal { precision, scale } => format!("DECIMAL({precision},{scale})"),
            LakeType::Date => "DATE".into(),
            LakeType::Time => "TIME".into(),
            LakeType::Timestamp => "TIMESTAMP".into(),
            LakeType::Timestamptz => "TIMESTAMPTZ".into(),
            LakeType::String => "VARCHAR".into(),
            LakeType::Uuid => "UUID".into(),
            LakeType::Binary => "BLOB".into(),
            LakeType::List(list) => format!("{}[]", list.element.duckdb_name()),
        }
    }

    /// The type in Iceberg's terms.
    pub fn to_iceberg(&self) -> Type {
        match self {
            LakeType::List(list) => Type::List(IcebergList::new(Arc::new(
                NestedField::list_element(list.element_id, list.element.to_iceberg(), false),
            ))),
            scalar => Type::Primitive(scalar.primitive()),
        }
    }

    /// The reverse of [`LakeType::to_iceberg`]. Types outside the set are an error that names them.
    pub fn from_iceberg(iceberg_type: &Type) -> Result<Self> {
        let unsupported = || {
            Error::new(
                ErrorKind::Unsupported,
                format!("type {iceberg_type} is not supported"),
            )
        };
        Ok(match iceberg_type {
            Type::Primitive(primitive) => match primitive {
                PrimitiveType::Boolean => LakeType::Boolean,
                PrimitiveType::Int => LakeType::Int,
                PrimitiveType::Long => LakeType::Long,
                PrimitiveType::Float => LakeType::Float,
                PrimitiveType::Double => LakeType::Double,
                PrimitiveType::Decimal { precision, scale } => LakeType::Decimal {
                    precision: u8::try_from(*precision).map_err(|_| unsupported())?,
                    scale: u8::try_from(*scale).map_err(|_| unsupported())?,
                },
                PrimitiveType::Date => LakeType::Date,
                PrimitiveType::Time => LakeType::Time,
                PrimitiveType::Timestamp => LakeType::Timestamp,
                PrimitiveType::Timestamptz => LakeType::Timestamptz,
                PrimitiveType::String => LakeType::String,
                PrimitiveType::Uuid => LakeType::Uuid,
                PrimitiveType::Binary => LakeType::Binary,
                _ => return Err(unsupported()),
            },
            Type::List(list) => {
                let field = &list.element_field;
                match LakeType::from_iceberg(&field.field_type)? {
                    LakeType::List(_) => return Err(unsupported()),
                    element => LakeType::list(field.id, element),
                }
            }
            _ => return Err(unsupported()),
        })
    }

    /// The Iceberg primitive of a scalar; of a list, that of its element.
    pub(crate) fn primitive(&self) -> PrimitiveType {
        match self {
            LakeType::Boolean => PrimitiveType::Boolean,
            LakeType::Int => PrimitiveType::Int,
            LakeType::Long => PrimitiveType::Long,
            LakeType::Float => PrimitiveType::Float,
            LakeType::Double => PrimitiveType::Double,
            LakeType::Decimal { precision, scale } => PrimitiveType::Decimal {
                precision: u32::from(*precision),
                scale: u32::from(*scale),
            },
            LakeType::Date => PrimitiveType::Date,
            LakeType::Time => PrimitiveType::Time,
            LakeType::Timestamp => PrimitiveType::Timestamp,
            LakeType::Timestamptz => PrimitiveType::Timestamptz,
            LakeType::String => PrimitiveType::String,
            LakeType::Uuid => PrimitiveType::Uuid,
            LakeType::Binary => PrimitiveType::Binary,
            LakeType::List(list) => list.element.primitive(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_type() -> Vec<LakeType> {
        let mut types = vec![
            LakeType::Boolean,
            LakeType::Int,
            LakeType::Long,
            LakeType::Float,
            LakeType::Double,
            LakeType::Decimal {
                precision: 38,
                scale: 10,
            },
            LakeType::Date,
            LakeType::Time,
            LakeType::Timestamp,
            LakeType::Timestamptz,
            LakeType::String,
            LakeType::Uuid,
            LakeType::Binary,
        ];
        let lists: Vec<_> = types
            .iter()
            .map(|ty| LakeType::list(7, ty.clone()))
            .collect();
        types.extend(lists);
        types
    }

    #[test]
    fn every_type_survives_the_way_to_iceberg_and_back() {
        for ty in every_type() {
            assert_eq!(LakeType::from_iceberg(&ty.to_iceberg()).unwrap(), ty);
        }
    }

    #[test]
    fn duckdb_names() {
        assert_eq!(
            LakeType::Decimal {
                precision: 12,
                scale: 2
            }
            .duckdb_name(),
            "DECIMAL(12,2)"
        );
        assert_eq!(LakeType::list(2, LakeType::Int).duckdb_name(), "INTEGER[]");
    }

    #[test]
    fn a_foreign_type_is_named_in_the_error() {
        let error = LakeType::from_iceberg(&Type::Primitive(PrimitiveType::Fixed(4))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.message().contains("fixed(4)"), "{error}");
    }
}
