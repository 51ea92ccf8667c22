//! A lake table as the code above the catalogs sees it: where it lives and what its columns are.

use lake_iceberg::{Column, TableSchema};
use pgrx::{PgRelation, pg_sys};

use crate::catalog::{fields, tables};
use crate::error::{LakeError, Result};
use crate::pg::spi::Visibility;
use crate::types;

/// One lake table.
#[derive(Debug, Clone)]
pub struct LakeTable {
    /// The foreign table's OID.
    pub relid: pg_sys::Oid,
    /// Where it lives.
    pub location: String,
    /// The columns that are not dropped, in order.
    pub columns: Vec<TableColumn>,
}

/// One column, on both sides.
#[derive(Debug, Clone)]
pub struct TableColumn {
    /// PostgreSQL's attribute number, from 1.
    pub attnum: i16,
    /// PostgreSQL's type.
    pub type_oid: pg_sys::Oid,
    /// PostgreSQL's type modifier.
    pub typmod: i32,
    /// The column in Iceberg.
    pub iceberg: Column,
}

impl LakeTable {
    /// Reads a table from the catalogs. The relation must be locked by the caller's statement.
    pub fn open(relid: pg_sys::Oid) -> Result<Self> {
        let row = tables::find(relid, Visibility::Transaction)?.ok_or_else(|| {
            LakeError::internal(format!("relation {} is not a lake table", relid.to_u32()))
        })?;
        let ids = fields::of_table(relid)?;
        // SAFETY: the relation exists and is locked.
        let relation = unsafe { PgRelation::open(relid) };
        let mut columns = Vec::new();
        for attribute in relation.tuple_desc().iter().filter(|a| !a.attisdropped) {
            let ids = ids.get(&attribute.attnum).ok_or_else(|| {
                LakeError::internal(format!(
                    "column \"{}\" has no Iceberg field",
                    attribute.name()
                ))
            })?;
            columns.push(TableColumn {
                attnum: attribute.attnum,
                type_oid: attribute.atttypid,
                typmod: attribute.atttypmod,
                iceberg: Column {
                    field_id: ids.column,
                    name: attribute.name().to_owned(),
                    ty: types::lake_type(attribute.atttypid, attribute.atttypmod, ids.element)
                        .ok_or_else(|| {
                            types::unsupported(
                                attribute.name(),
                                attribute.atttypid,
                                attribute.atttypmod,
                            )
                        })?,
                    required: attribute.attnotnull,
                },
            });
        }
        Ok(Self {
            relid,
            location: row.location,
            columns,
        })
    }

    /// The table's schema in Iceberg.
    pub fn schema(&self) -> TableSchema {
        TableSchema {
            columns: self
                .columns
                .iter()
                .map(|column| column.iceberg.clone())
                .collect(),
        }
    }
}
