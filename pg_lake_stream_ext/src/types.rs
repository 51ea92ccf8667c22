//! Which PostgreSQL types a lake table can have, and what they are in Iceberg.

use std::ffi::CStr;

use lake_iceberg::{LakeType, ListType};
use pgrx::pg_sys;

use crate::error::LakeError;

/// PostgreSQL adds this to the precision and scale in a numeric's type modifier (`VARHDRSZ`, utils/adt/numeric.c).
const TYPMOD_OFFSET: i32 = 4;
/// Most digits of an Iceberg decimal.
const MAX_PRECISION: i32 = 38;

/// The Iceberg type of a column, or `None` if there is none that keeps every value.
///
/// `element_id` is the field id of an array's element; it must be given for arrays.
pub fn lake_type(type_oid: pg_sys::Oid, typmod: i32, element_id: Option<i32>) -> Option<LakeType> {
    if let Some(scalar) = scalar_type(type_oid, typmod) {
        return Some(scalar);
    }
    let element = scalar_type(array_element(type_oid)?, typmod)?;
    Some(LakeType::List(Box::new(ListType {
        element_id: element_id?,
        element,
    })))
}

/// The element type of an array type, or `None` for any other type.
pub fn array_element(type_oid: pg_sys::Oid) -> Option<pg_sys::Oid> {
    // SAFETY: a syscache look-up; InvalidOid if it is not a true array type.
    let element = unsafe { pg_sys::get_element_type(type_oid) };
    (element != pg_sys::InvalidOid).then_some(element)
}

fn scalar_type(type_oid: pg_sys::Oid, typmod: i32) -> Option<LakeType> {
    Some(match type_oid {
        pg_sys::BOOLOID => LakeType::Boolean,
        pg_sys::INT2OID | pg_sys::INT4OID => LakeType::Int,
        pg_sys::INT8OID => LakeType::Long,
        pg_sys::FLOAT4OID => LakeType::Float,
        pg_sys::FLOAT8OID => LakeType::Double,
        pg_sys::NUMERICOID => decimal_type(typmod)?,
        pg_sys::DATEOID => LakeType::Date,
        pg_sys::TIMEOID => LakeType::Time,
        pg_sys::TIMESTAMPOID => LakeType::Timestamp,
        pg_sys::TIMESTAMPTZOID => LakeType::Timestamptz,
        pg_sys::TEXTOID
        | pg_sys::VARCHAROID
        | pg_sys::BPCHAROID
        | pg_sys::JSONOID
        | pg_sys::JSONBOID => LakeType::String,
        pg_sys::UUIDOID => LakeType::Uuid,
        pg_sys::BYTEAOID => LakeType::Binary,
        _ => return None,
    })
}

/// `numeric(p,s)` as a decimal. A negative scale becomes integer digits, a scale above the precision its precision
/// (utils/adt/numeric.c, `numerictypmodin`).
fn decimal_type(typmod: i32) -> Option<LakeType> {
    if typmod < TYPMOD_OFFSET {
        return None;
    }
    let packed = typmod - TYPMOD_OFFSET;
    let precision = (packed >> 16) & 0xffff;
    // Since PostgreSQL 15 the scale is an 11-bit two's complement number.
    let scale = ((packed & 0x7ff) ^ 1024) - 1024;
    let precision = if scale < 0 {
        precision - scale
    } else {
        precision.max(scale)
    };
    let scale = scale.max(0);
    (precision <= MAX_PRECISION).then_some(LakeType::Decimal {
        precision: precision as u8,
        scale: scale as u8,
    })
}

/// The error for a column whose type has no Iceberg type: 0A000.
pub fn unsupported(column: &str, type_oid: pg_sys::Oid, typmod: i32) -> LakeError {
    // SAFETY: format_type_extended returns a palloc'd C string for any OID.
    let name = unsafe {
        CStr::from_ptr(pg_sys::format_type_extended(
            type_oid,
            typmod,
            pg_sys::FORMAT_TYPE_TYPEMOD_GIVEN as u16,
        ))
    };
    let name = name.to_string_lossy();
    let error = LakeError::unsupported(format!(
        "column \"{column}\" has type {name}, which Iceberg tables do not support"
    ));
    if type_oid == pg_sys::NUMERICOID || array_element(type_oid) == Some(pg_sys::NUMERICOID) {
        return error
            .hint("Give the column a precision of at most 38 digits, for example numeric(38,9).");
    }
    error
}
