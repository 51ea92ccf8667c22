//! How rows become bytes for the server.
//!
//! The encoding is a trait from the start: CSV covers every type; which encoding is used never changes what is stored.

use std::ffi::CStr;

use pgduck_protocol::csv;
use pgrx::{PgSqlErrorCode, pg_sys};

use crate::catalog::lake_table::{LakeTable, TableColumn};
use crate::error::{LakeError, Result};
use crate::pg::row_context::RowContext;
use crate::pg::tuple::Row;
use crate::pg::{numeric, varlena};
use crate::types;

/// Encodes rows into a buffer of whole rows.
pub trait RowEncoder {
    /// Appends one row. After an error the buffer holds the rows before it.
    fn encode(&mut self, row: &Row<'_>) -> Result<()>;

    /// The rows that were encoded since the last [`Self::clear`].
    fn encoded(&self) -> &[u8];

    /// Forgets the encoded rows.
    fn clear(&mut self);

    /// Field ids of the float columns in which no NaN was encoded since the last [`Self::begin_file`].
    fn fields_without_nan(&self) -> Vec<i32>;

    /// Starts to watch for NaN anew.
    fn begin_file(&mut self);
}

/// Rows as CSV, in the dialect of [`pgduck_protocol::csv`].
pub struct CsvEncoder {
    columns: Vec<CsvColumn>,
    rows: csv::RowEncoder,
    /// Where detoasted and printed values live while their row is encoded.
    context: RowContext,
    /// Text of the numeric at hand.
    scratch: Vec<u8>,
}

/// One column: where it is in the row and how its values are written.
struct CsvColumn {
    index: usize,
    name: String,
    field_id: i32,
    notation: Notation,
    /// Whether a float NaN has come: Iceberg's bounds leave NaN out, and DuckDB's statistics do not tell.
    has_nan: bool,
}

/// How the values of a PostgreSQL type are written.
enum Notation {
    Boolean,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Numeric,
    Date,
    Time,
    Timestamp,
    Text,
    Bytea,
    Uuid,
    /// The type's own output function.
    Output(pg_sys::Oid),
    Array(Box<ArrayNotation>),
}

/// How an array's elements are stored and written.
struct ArrayNotation {
    element: Notation,
    type_oid: pg_sys::Oid,
    length: i16,
    by_value: bool,
    align: std::ffi::c_char,
}

impl CsvEncoder {
    /// An encoder for the table's columns, in their order.
    pub fn new(table: &LakeTable) -> Result<Self> {
        let columns = table
            .columns
            .iter()
            .map(CsvColumn::new)
            .collect::<Result<_>>()?;
        Ok(Self {
            columns,
            rows: csv::RowEncoder::default(),
            context: RowContext::new(),
            scratch: Vec::new(),
        })
    }
}

impl RowEncoder for CsvEncoder {
    fn encode(&mut self, row: &Row<'_>) -> Result<()> {
        let Self {
            columns,
            rows,
            context,
            scratch,
        } = self;
        let encoded = context.run(|| {
            for column in columns.iter_mut() {
                match row.get(column.index) {
                    None => csv::FieldEncoder::null(rows),
                    // SAFETY: the datum is of the column's type, and alive while its row is.
                    Some(datum) => unsafe {
                        column.has_nan |= column.notation.is_nan(datum);
                        column.notation.encode(datum, rows, scratch)
                    }
                    .map_err(|refusal| refusal.error(&column.name))?,
                }
            }
            Ok(())
        });
        match encoded {
            Ok(()) => rows.end_row(),
            Err(_) => rows.abandon_row(),
        }
        encoded
    }

    fn encoded(&self) -> &[u8] {
        self.rows.buffer()
    }

    fn clear(&mut self) {
        self.rows.clear();
    }

    fn fields_without_nan(&self) -> Vec<i32> {
        let clean = |column: &&CsvColumn| {
            matches!(column.notation, Notation::Float4 | Notation::Float8) && !column.has_nan
        };
        self.columns
            .iter()
            .filter(clean)
            .map(|column| column.field_id)
            .collect()
    }

    fn begin_file(&mut self) {
        self.columns
            .iter_mut()
            .for_each(|column| column.has_nan = false);
    }
}

impl CsvColumn {
    fn new(column: &TableColumn) -> Result<Self> {
        let notation = match types::array_element(column.type_oid) {
            None => Notation::of_scalar(column.type_oid),
            Some(element) => Notation::of_array(element),
        };
        let name = column.iceberg.name.clone();
        match notation {
            Some(notation) => Ok(Self {
                index: column.attnum as usize - 1,
                name,
                field_id: column.iceberg.field_id,
                notation,
                has_nan: false,
            }),
            None => Err(types::unsupported(&name, column.type_oid, column.typmod)),
        }
    }
}

impl Notation {
    fn of_scalar(type_oid: pg_sys::Oid) -> Option<Self> {
        Some(match type_oid {
            pg_sys::BOOLOID => Notation::Boolean,
            pg_sys::INT2OID => Notation::Int2,
            pg_sys::INT4OID => Notation::Int4,
            pg_sys::INT8OID => Notation::Int8,
            pg_sys::FLOAT4OID => Notation::Float4,
            pg_sys::FLOAT8OID => Notation::Float8,
            pg_sys::NUMERICOID => Notation::Numeric,
            pg_sys::DATEOID => Notation::Date,
            pg_sys::TIMEOID => Notation::Time,
            pg_sys::TIMESTAMPOID | pg_sys::TIMESTAMPTZOID => Notation::Timestamp,
            pg_sys::TEXTOID | pg_sys::VARCHAROID | pg_sys::BPCHAROID | pg_sys::JSONOID => {
                Notation::Text
            }
            pg_sys::BYTEAOID => Notation::Bytea,
            pg_sys::UUIDOID => Notation::Uuid,
            pg_sys::JSONBOID => Notation::Output(pg_sys::Oid::from(pg_sys::F_JSONB_OUT)),
            _ => return None,
        })
    }

    fn of_array(type_oid: pg_sys::Oid) -> Option<Self> {
        let element = Self::of_scalar(type_oid)?;
        let (mut length, mut by_value, mut align) = (0, false, 0);
        // SAFETY: the element type exists; the three results are written.
        unsafe { pg_sys::get_typlenbyvalalign(type_oid, &mut length, &mut by_value, &mut align) };
        Some(Notation::Array(Box::new(ArrayNotation {
            element,
            type_oid,
            length,
            by_value,
            align,
        })))
    }

    /// Whether a value is a float NaN.
    fn is_nan(&self, datum: pg_sys::Datum) -> bool {
        match self {
            Notation::Float4 => f32::from_bits(datum.value() as u32).is_nan(),
            Notation::Float8 => f64::from_bits(datum.value() as u64).is_nan(),
            _ => false,
        }
    }

    /// Writes one value.
    ///
    /// # Safety
    /// `datum` must be a non-null datum of the notation's type.
    unsafe fn encode<F: csv::FieldEncoder>(
        &self,
        datum: pg_sys::Datum,
        out: &mut F,
        scratch: &mut Vec<u8>,
    ) -> std::result::Result<(), Refusal> {
        match self {
            Notation::Boolean => out.boolean(datum.value() as u8 != 0),
            Notation::Int2 => out.int(i64::from(datum.value() as i16)),
            Notation::Int4 => out.int(i64::from(datum.value() as i32)),
            Notation::Int8 => out.int(datum.value() as i64),
            Notation::Float4 => out.float4(f32::from_bits(datum.value() as u32)),
            Notation::Float8 => out.float8(f64::from_bits(datum.value() as u64)),
            Notation::Date => out.int(unix_day(datum.value() as i32)?),
            Notation::Timestamp => out.int(unix_microseconds(datum.value() as i64)?),
            Notation::Time => match datum.value() as i64 {
                microseconds if microseconds < USECS_PER_DAY => out.time(microseconds),
                _ => return Err(Refusal::Datetime("time 24:00:00")),
            },
            Notation::Numeric => {
                scratch.clear();
                // SAFETY: the caller's; so for the payloads below.
                numeric::append_text(unsafe { varlena::payload(datum) }, scratch)
                    .map_err(|numeric::NotFinite(name)| Refusal::Numeric(name))?;
                out.plain(scratch);
            }
            // SAFETY: as above.
            Notation::Text => out.text(unsafe { varlena::payload(datum) }),
            // SAFETY: as above.
            Notation::Bytea => out.blob(unsafe { varlena::payload(datum) }),
            // SAFETY: a uuid datum points to its 16 bytes (utils/uuid.h).
            Notation::Uuid => out.uuid(unsafe { &*datum.cast_mut_ptr::<[u8; 16]>() }),
            Notation::Output(function) => {
                // SAFETY: the output function of the datum's type returns a C string in the current memory context.
                let text =
                    unsafe { CStr::from_ptr(pg_sys::OidOutputFunctionCall(*function, datum)) };
                out.text(text.to_bytes());
            }
            Notation::Array(array) => {
                // SAFETY: the caller's.
                let elements = unsafe { array.elements(datum) }?;
                let mut list = out.begin_array().ok_or(Refusal::NestedArray)?;
                for element in elements {
                    match element {
                        None => csv::FieldEncoder::null(&mut list),
                        // SAFETY: an element of the array's element type.
                        Some(datum) => unsafe { array.element.encode(datum, &mut list, scratch) }?,
                    }
                }
                list.finish();
            }
        }
        Ok(())
    }
}

impl ArrayNotation {
    /// The elements of an array that Iceberg can hold as a list: one dimension (or none), counted from 1.
    ///
    /// # Safety
    /// `datum` must be an array with this element type.
    unsafe fn elements(
        &self,
        datum: pg_sys::Datum,
    ) -> std::result::Result<impl Iterator<Item = Option<pg_sys::Datum>>, Refusal> {
        let (mut values, mut nulls, mut count) = (std::ptr::null_mut(), std::ptr::null_mut(), 0);
        // SAFETY: the caller's; deconstruct_array allocates both arrays in the row's memory context, `count` entries each.
        let (values, nulls) = unsafe {
            let array = pg_sys::pg_detoast_datum(datum.cast_mut_ptr()).cast::<pg_sys::ArrayType>();
            // The lower bounds follow the dimensions, which follow the header (utils/array.h, ARR_LBOUND).
            let dimensions = (*array).ndim;
            let bounds = array.add(1).cast::<i32>();
            if dimensions > 1 {
                return Err(Refusal::Dimensions);
            }
            if dimensions == 1 && *bounds.add(1) != 1 {
                return Err(Refusal::LowerBound);
            }
            pg_sys::deconstruct_array(
                array,
                self.type_oid,
                i32::from(self.length),
                self.by_value,
                self.align,
                &mut values,
                &mut nulls,
                &mut count,
            );
            match count {
                0 => (&[][..], &[][..]),
                _ => (
                    std::slice::from_raw_parts(values, count as usize),
                    std::slice::from_raw_parts(nulls, count as usize),
                ),
            }
        };
        Ok(values
            .iter()
            .zip(nulls)
            .map(|(value, null): (&pg_sys::Datum, &bool)| (!null).then_some(*value)))
    }
}

/// A legal PostgreSQL value that Iceberg cannot hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// A date or time beyond what Iceberg and its readers take.
    Datetime(&'static str),
    /// A numeric that is no number.
    Numeric(&'static str),
    Dimensions,
    LowerBound,
    NestedArray,
}

impl Refusal {
    fn error(self, column: &str) -> LakeError {
        let (code, what) = match self {
            Refusal::Datetime(what) => (
                PgSqlErrorCode::ERRCODE_DATETIME_FIELD_OVERFLOW,
                what.to_owned(),
            ),
            Refusal::Numeric(name) => (
                PgSqlErrorCode::ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
                format!("numeric {name}"),
            ),
            Refusal::Dimensions => (
                PgSqlErrorCode::ERRCODE_ARRAY_ELEMENT_ERROR,
                "multi-dimensional array".to_owned(),
            ),
            Refusal::LowerBound => (
                PgSqlErrorCode::ERRCODE_ARRAY_ELEMENT_ERROR,
                "array with a lower bound other than 1".to_owned(),
            ),
            Refusal::NestedArray => (
                PgSqlErrorCode::ERRCODE_ARRAY_ELEMENT_ERROR,
                "array of arrays".to_owned(),
            ),
        };
        LakeError::new(code, format!("{what} is not allowed in iceberg tables"))
            .detail(format!("Column \"{column}\"."))
    }
}

/// Days from 1970-01-01 to PostgreSQL's epoch, 2000-01-01.
const EPOCH_DAYS: i64 = (pg_sys::POSTGRES_EPOCH_JDATE - pg_sys::UNIX_EPOCH_JDATE) as i64;
/// Microseconds of a day (datatype/timestamp.h).
const USECS_PER_DAY: i64 = 86_400_000_000;
/// 10000-01-01 in days since 1970: the first day that Iceberg's readers do not take.
const YEAR_10000: i64 = 2_932_897;

fn unix_day(postgres_day: i32) -> std::result::Result<i64, Refusal> {
    match postgres_day {
        i32::MIN => Err(Refusal::Datetime("date -infinity")),
        i32::MAX => Err(Refusal::Datetime("date infinity")),
        day => match i64::from(day) + EPOCH_DAYS {
            day if day < YEAR_10000 => Ok(day),
            _ => Err(Refusal::Datetime("date after 9999-12-31")),
        },
    }
}

fn unix_microseconds(postgres: i64) -> std::result::Result<i64, Refusal> {
    match postgres {
        i64::MIN => Err(Refusal::Datetime("timestamp -infinity")),
        i64::MAX => Err(Refusal::Datetime("timestamp infinity")),
        // PostgreSQL's timestamps end in the year 294276; the sum does not overflow.
        value => match value.saturating_add(EPOCH_DAYS * USECS_PER_DAY) {
            value if value < YEAR_10000 * USECS_PER_DAY => Ok(value),
            _ => Err(Refusal::Datetime("timestamp after 9999-12-31")),
        },
    }
}
