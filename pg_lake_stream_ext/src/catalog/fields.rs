//! `lake_table.field_id_mappings`: which Iceberg field a column (or an array's element) is.

use std::collections::HashMap;

use pgrx::pg_sys;

use crate::error::{LakeError, Result};
use crate::pg::spi::{self, Arg, Visibility};

/// The field ids of one column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldIds {
    /// Id of the column.
    pub column: i32,
    /// Id of the element, if the column is an array.
    pub element: Option<i32>,
}

/// Enters the ids of a new table's column.
pub fn insert(
    relid: pg_sys::Oid,
    attnum: i16,
    ids: FieldIds,
    type_oid: pg_sys::Oid,
    typmod: i32,
) -> Result<()> {
    let fields = [(Some(ids.column), None), (ids.element, Some(ids.column))];
    for (field_id, parent) in fields {
        let Some(field_id) = field_id else { continue };
        let parent = parent.map(|id: i32| id.to_string());
        spi::run(
            "INSERT INTO lake_table.field_id_mappings \
             (table_name, field_id, pg_attnum, parent_field_id, field_pg_type, field_pg_typemod) \
             VALUES ($1::regclass, $2::int4, $3::int2, $4::int4, $5::regtype, $6::int4)",
            &[
                Arg::Oid(relid),
                Arg::Int8(field_id.into()),
                Arg::Int8(attnum.into()),
                Arg::OptText(parent.as_deref()),
                Arg::Oid(type_oid),
                Arg::Int8(typmod.into()),
            ],
            Visibility::Transaction,
        )?;
    }
    Ok(())
}

/// The ids of all columns of a table, by attribute number.
pub fn of_table(relid: pg_sys::Oid) -> Result<HashMap<i16, FieldIds>> {
    let rows = spi::run(
        "SELECT c.pg_attnum, c.field_id, e.field_id FROM lake_table.field_id_mappings c \
         LEFT JOIN lake_table.field_id_mappings e ON e.table_name = c.table_name AND e.parent_field_id = c.field_id \
         WHERE c.table_name = $1::regclass AND c.parent_field_id IS NULL",
        &[Arg::Oid(relid)],
        Visibility::Transaction,
    )?;
    let number = |text: &Option<String>| text.as_deref().and_then(|text| text.parse::<i32>().ok());
    rows.iter()
        .map(|row| {
            let attnum = number(&row[0]).and_then(|n| i16::try_from(n).ok());
            match (attnum, number(&row[1])) {
                (Some(attnum), Some(column)) => Ok((
                    attnum,
                    FieldIds {
                        column,
                        element: number(&row[2]),
                    },
                )),
                _ => Err(LakeError::internal(
                    "broken row in lake_table.field_id_mappings",
                )),
            }
        })
        .collect()
}
