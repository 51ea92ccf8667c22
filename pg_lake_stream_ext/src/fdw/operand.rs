//! One side of a comparison, and whether DuckDB compares two of them as PostgreSQL does.

use std::ffi::{CStr, c_char};

use pgrx::pg_sys;

use crate::fdw::literal::{self, Decimal, MAX_DECIMAL_DIGITS, ValueType};
use crate::fdw::scan_query::Sql;
use crate::types;

/// PostgreSQL adds this to a numeric's type modifier (`VARHDRSZ`, utils/adt/numeric.c).
const TYPMOD_OFFSET: i32 = 4;

/// One side of a comparison.
pub struct Operand {
    /// Its SQL.
    pub sql: Sql,
    /// Its type's family.
    pub value_type: ValueType,
    /// Where its value comes from.
    pub kind: OperandKind,
    /// If it is a numeric.
    pub digits: Digits,
    /// Whether a value other than a column's is, or may turn out to be, zero.
    zero: bool,
}

/// Where an operand's value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperandKind {
    /// A column of the table.
    Column,
    /// A constant; `ordinary` unless it is a date outside the years 1 to 9999.
    Constant {
        /// See above.
        ordinary: bool,
    },
    /// A value that is known when the scan begins.
    Param,
}

/// Most digits before and after the point that a numeric operand has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Digits {
    integer: usize,
    scale: usize,
}

impl Digits {
    /// Digits for values of both.
    pub fn union(self, other: Digits) -> Digits {
        Digits {
            integer: self.integer.max(other.integer),
            scale: self.scale.max(other.scale),
        }
    }

    /// DuckDB compares decimals as one decimal that holds both; if there is none it fails or rounds.
    pub fn fits(self) -> bool {
        self.integer + self.scale <= MAX_DECIMAL_DIGITS
    }
}

/// The operators of the families, the same in both languages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `<>`
    NotEqual,
    /// Any of the others.
    Order(&'static str),
}

impl Operand {
    /// A column of this type, or `None` if it is of another family.
    pub fn column(sql: Sql, var: &pg_sys::Var) -> Option<Self> {
        let value_type = ValueType::from_oid(var.vartype)?;
        let digits = match value_type {
            ValueType::Numeric => numeric_digits(var.vartypmod)?,
            _ => Digits::default(),
        };
        Some(Self {
            sql,
            value_type,
            kind: OperandKind::Column,
            digits,
            zero: false,
        })
    }

    /// A value that is known when the scan begins. How many digits a numeric will have then is not known now, so neither is
    /// whether DuckDB can compare it: `None`.
    pub fn param(sql: Sql, value_type: ValueType) -> Option<Self> {
        let kind = OperandKind::Param;
        (value_type != ValueType::Numeric).then(|| Self {
            sql,
            value_type,
            kind,
            digits: Digits::default(),
            zero: true,
        })
    }

    /// What an expression with columns comes to.
    pub fn computed(sql: Sql, value_type: ValueType) -> Self {
        Self {
            sql,
            value_type,
            kind: OperandKind::Column,
            digits: Digits::default(),
            zero: false,
        }
    }

    /// A constant of a type, or NULL.
    ///
    /// # Safety
    /// `value` is a valid value of the type.
    pub unsafe fn constant(value_type: ValueType, value: Option<pg_sys::Datum>) -> Option<Self> {
        let mut operand = Self {
            sql: Sql::from(literal::null(value_type)),
            value_type,
            kind: OperandKind::Constant { ordinary: true },
            digits: Digits::default(),
            zero: false,
        };
        let Some(value) = value else {
            return Some(operand);
        };
        if value_type == ValueType::Numeric {
            // SAFETY: as promised by the caller; here and below.
            let decimal = unsafe { Decimal::new(value)? };
            operand.digits = Digits {
                integer: decimal.integer_digits,
                scale: decimal.scale,
            };
        }
        if value_type == ValueType::Date {
            operand.kind = OperandKind::Constant {
                ordinary: literal::is_ordinary_date(value),
            };
        }
        operand.zero = literal::is_float_zero(value_type, value);
        // SAFETY: as above.
        operand.sql = Sql::from(unsafe { literal::value(value_type, value)? });
        Some(operand)
    }

    /// Whether this is a float constant that is zero, or a float value that may be. DuckDB looks a single value up in a
    /// file's Bloom filter by its bits, and so does not find -0 as 0 (seen in 1.5.5); ranges are compared as numbers.
    pub fn may_be_float_zero(&self) -> bool {
        self.value_type.is_float() && self.zero
    }
}

/// Whether DuckDB's comparison of two operands is PostgreSQL's.
pub fn comparable(
    comparison: Comparison,
    collation: pg_sys::Oid,
    left: &Operand,
    right: &Operand,
) -> bool {
    let (a, b) = (left.value_type, right.value_type);
    match (a, b) {
        (ValueType::Text, ValueType::Text) => is_text_comparable(comparison, collation),
        (ValueType::Numeric, ValueType::Numeric) => left.digits.union(right.digits).fits(),
        (ValueType::Date, ValueType::Timestamp) => can_become_timestamp(left),
        (ValueType::Timestamp, ValueType::Date) => can_become_timestamp(right),
        _ => a == b || (a.is_integer() && b.is_integer()) || (a.is_float() && b.is_float()),
    }
}

/// Whether DuckDB can make a timestamp of a date operand: it fails for far years.
fn can_become_timestamp(operand: &Operand) -> bool {
    matches!(
        operand.kind,
        OperandKind::Column | OperandKind::Constant { ordinary: true }
    )
}

/// DuckDB compares UTF-8 bytes; so do PostgreSQL's equality under deterministic collations and its order under C.
fn is_text_comparable(comparison: Comparison, collation: pg_sys::Oid) -> bool {
    // SAFETY: plain look-ups of a collation that the planner has given.
    unsafe {
        if collation == pg_sys::InvalidOid {
            return false;
        }
        match comparison {
            Comparison::Equal | Comparison::NotEqual => {
                pg_sys::get_collation_isdeterministic(collation)
            }
            Comparison::Order(_) => is_c_collation(collation),
        }
    }
}

/// Whether a collation orders text by its bytes.
#[cfg(not(feature = "pg18"))]
pub fn is_c_collation(collation: pg_sys::Oid) -> bool {
    unsafe extern "C-unwind" {
        // utils/adt/pg_locale.c; not in pgrx's bindings.
        fn lc_collate_is_c(collation: pg_sys::Oid) -> bool;
    }
    // SAFETY: a look-up of a collation that exists.
    unsafe { lc_collate_is_c(collation) }
}

/// PostgreSQL 18 has no function that tells; the two collations that are C in every database are known by their OIDs.
#[cfg(feature = "pg18")]
pub fn is_c_collation(collation: pg_sys::Oid) -> bool {
    /// `C_COLLATION_OID` and `POSIX_COLLATION_OID` (catalog/pg_collation.dat).
    const C_COLLATIONS: [u32; 2] = [950, 951];
    C_COLLATIONS.contains(&collation.to_u32())
}

/// The comparison that a built-in operator is; its meaning follows from the types of its operands.
pub fn comparison_operator(opno: pg_sys::Oid) -> Option<Comparison> {
    if opno.to_u32() >= pg_sys::FirstGenbkiObjectId {
        return None;
    }
    // SAFETY: null or a palloc'd C string.
    let name: *mut c_char = unsafe { pg_sys::get_opname(opno) };
    if name.is_null() {
        return None;
    }
    // SAFETY: not null.
    match unsafe { CStr::from_ptr(name) }.to_bytes() {
        b"=" => Some(Comparison::Equal),
        b"<>" => Some(Comparison::NotEqual),
        b"<" => Some(Comparison::Order("<")),
        b"<=" => Some(Comparison::Order("<=")),
        b">" => Some(Comparison::Order(">")),
        b">=" => Some(Comparison::Order(">=")),
        _ => None,
    }
}

/// Digits of a column `numeric(p,s)`, as it is stored (see [`types::lake_type`]).
fn numeric_digits(typmod: i32) -> Option<Digits> {
    if typmod < TYPMOD_OFFSET {
        return None;
    }
    match types::lake_type(pg_sys::NUMERICOID, typmod, None)? {
        lake_iceberg::LakeType::Decimal { precision, scale } => Some(Digits {
            integer: usize::from(precision - scale),
            scale: usize::from(scale),
        }),
        _ => None,
    }
}

/// The elements of an array value, in order, of all dimensions; `None` if it is of no array type.
///
/// # Safety
/// `array` is a valid value of `array_type`.
pub unsafe fn array_elements(
    array_type: pg_sys::Oid,
    array: pg_sys::Datum,
) -> Option<Vec<Option<pg_sys::Datum>>> {
    let element_type = types::array_element(array_type)?;
    let (mut length, mut by_value, mut align) = (0, false, 0);
    let (mut values, mut nulls, mut count) = (std::ptr::null_mut(), std::ptr::null_mut(), 0);
    // SAFETY: an array of this element type, as promised; deconstruct_array allocates `count` values and null flags.
    unsafe {
        pg_sys::get_typlenbyvalalign(element_type, &mut length, &mut by_value, &mut align);
        pg_sys::deconstruct_array(
            pg_sys::pg_detoast_datum(array.cast_mut_ptr()).cast(),
            element_type,
            length.into(),
            by_value,
            align,
            &mut values,
            &mut nulls,
            &mut count,
        );
        let count = count as usize;
        Some(
            (0..count)
                .map(|i| (!*nulls.add(i)).then(|| *values.add(i)))
                .collect(),
        )
    }
}
