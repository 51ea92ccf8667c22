//! A table's columns with their Iceberg field ids.

use std::collections::HashSet;
use std::sync::Arc;

use iceberg::spec::{NestedField, Schema};
use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, ErrorKind, Result};
use crate::lake_type::LakeType;

/// One column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Iceberg field id: stays with the column through renames, and is never used again.
    pub field_id: i32,
    /// Name, as the user wrote it.
    pub name: String,
    /// Type.
    pub ty: LakeType,
    /// True for NOT NULL.
    pub required: bool,
}

/// The columns of a table, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableSchema {
    /// The columns.
    pub columns: Vec<Column>,
}

/// Names that no column may have: what DuckDB's `FIELD_IDS` option calls the id of a nested column, and what its
/// `read_parquet` and our statements call a row's file and position.
const RESERVED_NAMES: [&str; 6] = [
    "__duckdb_field_id",
    "file_index",
    "file_row_number",
    "_lake_file",
    "_lake_position",
    "_lake_deleted",
];

impl TableSchema {
    /// Checks what neither Iceberg nor DuckDB could hold.
    ///
    /// DuckDB compares column names without regard to (ASCII) case: a `SELECT` with both `a` and
    /// `A` comes out as `a` and `A_1`, and `FIELD_IDS {"a": …, "A": …}` is refused.
    pub fn validate(&self) -> Result<()> {
        let invalid = |message: String| Err(Error::new(ErrorKind::InvalidSchema, message));
        let mut ids = HashSet::new();
        let mut names = HashSet::new();
        for column in &self.columns {
            if RESERVED_NAMES
                .iter()
                .any(|name| column.name.eq_ignore_ascii_case(name))
            {
                return invalid(format!("column name \"{}\" is reserved", column.name));
            }
            if !names.insert(column.name.to_ascii_lowercase()) {
                return invalid(format!(
                    "column name \"{}\" differs from another one in upper and lower case only",
                    column.name
                ));
            }
            if let LakeType::List(list) = &column.ty {
                if matches!(list.element, LakeType::List(_)) {
                    return invalid(format!("column \"{}\" is a list of lists", column.name));
                }
                if list.element_id < 1 || !ids.insert(list.element_id) {
                    return invalid(format!(
                        "field id {} is not positive or used twice",
                        list.element_id
                    ));
                }
            }
            if column.field_id < 1 || !ids.insert(column.field_id) {
                return invalid(format!(
                    "field id {} is not positive or used twice",
                    column.field_id
                ));
            }
            let scalar = match &column.ty {
                LakeType::List(list) => &list.element,
                ty => ty,
            };
            if let LakeType::Decimal { precision, scale } = scalar
                && (*precision < 1 || *precision > 38 || scale > precision)
            {
                return invalid(format!(
                    "decimal({precision},{scale}) of column \"{}\" is out of range",
                    column.name
                ));
            }
        }
        Ok(())
    }

    /// The highest field id in use, list elements included; Iceberg's `last-column-id`.
    pub fn last_column_id(&self) -> i32 {
        let element_id = |column: &Column| match &column.ty {
            LakeType::List(list) => list.element_id,
            _ => 0,
        };
        self.columns
            .iter()
            .map(|c| c.field_id.max(element_id(c)))
            .max()
            .unwrap_or(0)
    }

    /// The value of DuckDB's `FIELD_IDS` option, such as
    /// `{"id": 1, "tags": {__duckdb_field_id: 2, element: 3}}`.
    pub fn field_ids_clause(&self) -> String {
        let fields: Vec<String> = self
            .columns
            .iter()
            .map(|column| {
                let name = quote_identifier(&column.name);
                let id = column.field_id;
                match &column.ty {
                    LakeType::List(list) => {
                        let element_id = list.element_id;
                        format!("{name}: {{__duckdb_field_id: {id}, element: {element_id}}}")
                    }
                    _ => format!("{name}: {id}"),
                }
            })
            .collect();
        format!("{{{}}}", fields.join(", "))
    }

    /// The schema in Iceberg's terms, with exactly these field ids.
    pub fn to_iceberg(&self, schema_id: i32) -> Result<Schema> {
        self.validate()?;
        let fields = self.columns.iter().map(|column| {
            let ty = column.ty.to_iceberg();
            Arc::new(NestedField::new(
                column.field_id,
                &column.name,
                ty,
                column.required,
            ))
        });
        Schema::builder()
            .with_schema_id(schema_id)
            .with_fields(fields)
            .build()
            .context(
                ErrorKind::InvalidSchema,
                "could not build the Iceberg schema",
            )
    }

    /// The reverse of [`TableSchema::to_iceberg`].
    pub fn from_iceberg(schema: &Schema) -> Result<Self> {
        let columns = schema
            .as_struct()
            .fields()
            .iter()
            .map(|field| {
                let ty = LakeType::from_iceberg(&field.field_type).map_err(|error| {
                    Error::new(error.kind(), format!("column \"{}\": {error}", field.name))
                })?;
                Ok(Column {
                    field_id: field.id,
                    name: field.name.clone(),
                    ty,
                    required: field.required,
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self { columns })
    }
}

/// `name` as a quoted identifier of SQL: also the form of names in DuckDB's `column_statistics`.
pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(field_id: i32, name: &str, ty: LakeType) -> Column {
        Column {
            field_id,
            name: name.into(),
            ty,
            required: false,
        }
    }

    #[test]
    fn field_ids_clause_quotes_names_and_descends_into_lists() {
        let schema = TableSchema {
            columns: vec![
                column(1, "id", LakeType::Long),
                column(2, "my \"tags\"", LakeType::list(3, LakeType::String)),
            ],
        };
        assert_eq!(
            schema.field_ids_clause(),
            r#"{"id": 1, "my ""tags""": {__duckdb_field_id: 2, element: 3}}"#
        );
        assert_eq!(schema.last_column_id(), 3);
    }

    #[test]
    fn the_given_field_ids_are_kept() {
        let schema = TableSchema {
            columns: vec![
                column(5, "b", LakeType::list(9, LakeType::String)),
                column(2, "a", LakeType::Int),
            ],
        };
        let iceberg = schema.to_iceberg(0).unwrap();
        assert_eq!(iceberg.field_by_id(9).unwrap().name, "element");
        assert_eq!(TableSchema::from_iceberg(&iceberg).unwrap(), schema);
    }

    #[test]
    fn unusable_schemas_are_refused() {
        let cases = [
            vec![column(1, "a", LakeType::Int), column(2, "A", LakeType::Int)],
            vec![column(1, "a", LakeType::Int), column(1, "b", LakeType::Int)],
            vec![column(1, "a", LakeType::list(1, LakeType::Int))],
            vec![column(
                1,
                "a",
                LakeType::list(2, LakeType::list(3, LakeType::Int)),
            )],
            vec![column(
                1,
                "a",
                LakeType::Decimal {
                    precision: 39,
                    scale: 0,
                },
            )],
            vec![column(0, "a", LakeType::Int)],
            vec![column(1, RESERVED_NAMES[0], LakeType::Int)],
        ];
        for columns in cases {
            let error = TableSchema { columns }.to_iceberg(0).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidSchema);
        }
    }
}
