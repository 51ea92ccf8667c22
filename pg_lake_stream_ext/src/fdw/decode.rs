//! From the server's binary results to datums: one decoder a column, chosen when the scan begins.
//!
//! Types of fixed width, text, bytea, numeric and uuid are decoded without calling into PostgreSQL; their varlenas lie in
//! the row's [`RowMemory`]. jsonb and arrays are built by PostgreSQL in the current memory context.

use std::ffi::CString;

use pgrx::{direct_function_call_as_datum, pg_sys};

use crate::error::{LakeError, Result};
use crate::fdw::row_memory::RowMemory;
use crate::types;

/// Decodes the values of one column.
#[derive(Debug)]
pub enum Decoder {
    /// `boolean`
    Bool,
    /// `smallint`, which is stored, and sent, as an integer.
    Int2,
    /// `integer`, and `date` in days since 2000.
    Int4,
    /// `bigint`, and times and timestamps in microseconds (since 2000).
    Int8,
    /// `real`
    Float4,
    /// `double precision`
    Float8,
    /// `numeric`
    Numeric,
    /// `uuid`
    Uuid,
    /// Bytes as they are: `bytea`, and all kinds of text; lake tables exist in UTF-8 databases only.
    Bytes,
    /// `jsonb`, sent as text.
    Jsonb,
    /// A one-dimensional array.
    Array(Box<ArrayDecoder>),
}

/// Decodes arrays of one element type.
#[derive(Debug)]
pub struct ArrayDecoder {
    element: Decoder,
    element_type: pg_sys::Oid,
    length: i16,
    by_value: bool,
    align: std::ffi::c_char,
    memory: RowMemory,
    values: Vec<pg_sys::Datum>,
    nulls: Vec<bool>,
}

impl Decoder {
    /// The decoder for a column (or array element) of this type.
    pub fn new(type_oid: pg_sys::Oid) -> Result<Self> {
        Ok(match type_oid {
            pg_sys::BOOLOID => Self::Bool,
            pg_sys::INT2OID => Self::Int2,
            pg_sys::INT4OID | pg_sys::DATEOID => Self::Int4,
            pg_sys::INT8OID | pg_sys::TIMEOID | pg_sys::TIMESTAMPOID | pg_sys::TIMESTAMPTZOID => {
                Self::Int8
            }
            pg_sys::FLOAT4OID => Self::Float4,
            pg_sys::FLOAT8OID => Self::Float8,
            pg_sys::NUMERICOID => Self::Numeric,
            pg_sys::UUIDOID => Self::Uuid,
            pg_sys::BYTEAOID
            | pg_sys::TEXTOID
            | pg_sys::VARCHAROID
            | pg_sys::BPCHAROID
            | pg_sys::JSONOID => Self::Bytes,
            pg_sys::JSONBOID => Self::Jsonb,
            _ => match types::array_element(type_oid) {
                Some(element_type) => Self::Array(Box::new(ArrayDecoder::new(element_type)?)),
                None => {
                    return Err(LakeError::internal(format!(
                        "no decoder for type {}",
                        type_oid.to_u32()
                    )));
                }
            },
        })
    }

    /// Decodes one value that is not NULL. What it refers to lies in `memory` or in the current memory context.
    ///
    /// # Errors
    /// 08P01 if the server sent something else than the column's type.
    pub fn decode(&mut self, bytes: &[u8], memory: &mut RowMemory) -> Result<pg_sys::Datum> {
        Ok(match self {
            Self::Bool => pg_sys::Datum::from(u8::from_be_bytes(fixed(bytes)?) != 0),
            Self::Int2 => pg_sys::Datum::from(small_integer(bytes)?),
            Self::Int4 => pg_sys::Datum::from(i32::from_be_bytes(fixed(bytes)?)),
            Self::Int8 => pg_sys::Datum::from(i64::from_be_bytes(fixed(bytes)?)),
            // As `Float4GetDatum` (postgres.h): the bits of an int32, sign-extended.
            Self::Float4 => pg_sys::Datum::from(i32::from_be_bytes(fixed(bytes)?)),
            Self::Float8 => pg_sys::Datum::from(i64::from_be_bytes(fixed(bytes)?)),
            Self::Numeric => numeric(bytes, memory)?,
            Self::Uuid => memory.store(&fixed::<16>(bytes)?),
            Self::Bytes => memory.store_varlena(bytes)?,
            Self::Jsonb => jsonb(bytes)?,
            Self::Array(array) => array.decode(bytes)?,
        })
    }
}

impl ArrayDecoder {
    fn new(element_type: pg_sys::Oid) -> Result<Self> {
        let (mut length, mut by_value, mut align) = (0, false, 0);
        // SAFETY: a look-up of an existing type.
        unsafe {
            pg_sys::get_typlenbyvalalign(element_type, &mut length, &mut by_value, &mut align)
        };
        Ok(Self {
            element: Decoder::new(element_type)?,
            element_type,
            length,
            by_value,
            align,
            memory: RowMemory::default(),
            values: Vec::new(),
            nulls: Vec::new(),
        })
    }

    /// The format of `array_send` (utils/adt/arrayfuncs.c): dimensions, null flag, element type; size and lower bound of
    /// each dimension; length (-1: NULL) and bytes of each element. The server's element type may be another one (text
    /// for varchar and jsonb), so the column's is used.
    fn decode(&mut self, bytes: &[u8]) -> Result<pg_sys::Datum> {
        let mut reader = Reader(bytes);
        let dimensions = reader.i32()?;
        let _has_nulls = reader.i32()?;
        let _element_type = reader.i32()?;
        if dimensions == 0 {
            // SAFETY: an empty array of a type that exists.
            return Ok(pg_sys::Datum::from(unsafe {
                pg_sys::construct_empty_array(self.element_type)
            }));
        }
        if dimensions != 1 {
            return Err(LakeError::unsupported(
                "arrays of more than one dimension are not supported",
            ));
        }
        let count = usize::try_from(reader.i32()?).map_err(|_| malformed())?;
        let lower_bound = reader.i32()?;
        self.values.clear();
        self.nulls.clear();
        self.memory.begin_row();
        for _ in 0..count {
            let element = reader.element()?;
            self.nulls.push(element.is_none());
            self.values.push(match element {
                Some(element) => self.element.decode(element, &mut self.memory)?,
                None => pg_sys::Datum::from(0usize),
            });
        }
        let (mut sizes, mut lower_bounds) = ([count as i32], [lower_bound]);
        // SAFETY: `count` values and null flags, one dimension; the values are copied.
        let array = unsafe {
            pg_sys::construct_md_array(
                self.values.as_mut_ptr(),
                self.nulls.as_mut_ptr(),
                1,
                sizes.as_mut_ptr(),
                lower_bounds.as_mut_ptr(),
                self.element_type,
                self.length.into(),
                self.by_value,
                self.align,
            )
        };
        Ok(pg_sys::Datum::from(array))
    }
}

/// Takes the parts of a binary value one after the other.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or_else(malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn i32(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(fixed(self.take(4)?)?))
    }

    fn element(&mut self) -> Result<Option<&'a [u8]>> {
        match self.i32()? {
            -1 => Ok(None),
            length => self
                .take(usize::try_from(length).map_err(|_| malformed())?)
                .map(Some),
        }
    }
}

/// A value of fixed width.
fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N]> {
    bytes.try_into().map_err(|_| malformed())
}

fn small_integer(bytes: &[u8]) -> Result<i16> {
    if bytes.len() == 2 {
        return Ok(i16::from_be_bytes(fixed(bytes)?));
    }
    i16::try_from(i32::from_be_bytes(fixed(bytes)?)).map_err(|_| malformed())
}

/// Bits of a short numeric's header (utils/adt/numeric.c, `NUMERIC_SHORT`): sign, scale, sign and rest of the weight.
const NUMERIC_SHORT: u16 = 0x8000;
const NUMERIC_SHORT_NEGATIVE: u16 = 0x2000;
const NUMERIC_SHORT_SCALE_SHIFT: u32 = 7;
const NUMERIC_SHORT_MAX_SCALE: u16 = 0x3f;
const NUMERIC_SHORT_WEIGHT_NEGATIVE: u16 = 0x0040;
const NUMERIC_SHORT_WEIGHT_MASK: u16 = 0x003f;
/// Sign of a negative number in `numeric_send`'s format.
const NUMERIC_NEGATIVE: u16 = 0x4000;
/// Digits are in this base.
const NUMERIC_BASE: u16 = 10_000;

/// Makes the stored form of a numeric from `numeric_send`'s: number of digits, weight of the first, sign, scale, digits.
///
/// At most 38 decimal digits always have the short form; zeros at both ends are left out as `make_result` does.
fn numeric(bytes: &[u8], memory: &mut RowMemory) -> Result<pg_sys::Datum> {
    let mut words = bytes
        .chunks_exact(2)
        .map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    let mut word = || words.next().ok_or_else(malformed);
    let (count, weight, sign, scale) = (word()?, word()? as i16, word()?, word()?);
    if bytes.len() != 8 + 2 * usize::from(count)
        || (sign != 0 && sign != NUMERIC_NEGATIVE)
        || scale > NUMERIC_SHORT_MAX_SCALE
    {
        return Err(malformed());
    }
    let digits: &[u8] = &bytes[8..];
    let is_zero = |pair: &&[u8]| **pair == [0, 0];
    let leading = digits.chunks_exact(2).take_while(is_zero).count();
    let digits = &digits[2 * leading..];
    let trailing = digits.chunks_exact(2).rev().take_while(is_zero).count();
    let digits = &digits[..digits.len() - 2 * trailing];
    let mut header = NUMERIC_SHORT | (scale << NUMERIC_SHORT_SCALE_SHIFT);
    if !digits.is_empty() {
        let weight = weight - leading as i16;
        if !(-64..64).contains(&weight) {
            return Err(malformed());
        }
        header |= weight as u16 & NUMERIC_SHORT_WEIGHT_MASK;
        header |= if weight < 0 {
            NUMERIC_SHORT_WEIGHT_NEGATIVE
        } else {
            0
        };
        header |= if sign == NUMERIC_NEGATIVE {
            NUMERIC_SHORT_NEGATIVE
        } else {
            0
        };
    }
    let mut stored = [0u8; 2 + 2 * 16];
    let stored = stored.get_mut(..2 + digits.len()).ok_or_else(malformed)?;
    stored[..2].copy_from_slice(&header.to_ne_bytes());
    for (to, from) in stored[2..].chunks_exact_mut(2).zip(digits.chunks_exact(2)) {
        let digit = u16::from_be_bytes([from[0], from[1]]);
        if digit >= NUMERIC_BASE {
            return Err(malformed());
        }
        to.copy_from_slice(&digit.to_ne_bytes());
    }
    memory.store_varlena(stored)
}

fn jsonb(bytes: &[u8]) -> Result<pg_sys::Datum> {
    let text = CString::new(bytes).map_err(|_| malformed())?;
    // SAFETY: jsonb_in takes a C string; it raises if it is not JSON.
    unsafe {
        direct_function_call_as_datum(
            pg_sys::jsonb_in,
            &[Some(pg_sys::Datum::from(text.as_ptr()))],
        )
    }
    .ok_or_else(malformed)
}

fn malformed() -> LakeError {
    LakeError::new(
        pgrx::PgSqlErrorCode::ERRCODE_PROTOCOL_VIOLATION,
        "pgduck_server returned a value that does not have its column's type",
    )
}
