//! The logical type of a column, as far as an encoder has to know it.

use libduckdb_sys as ffi;

use super::owned_text;

/// How a decimal number or an enum is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Physical {
    /// One byte, unsigned.
    U8,
    /// Two bytes; signed in decimals, unsigned in enums.
    Two,
    /// Four bytes; signed in decimals, unsigned in enums.
    Four,
    /// Eight bytes, signed.
    Eight,
    /// Sixteen bytes, signed.
    Sixteen,
}

/// A logical type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Type {
    Boolean,
    TinyInt,
    SmallInt,
    Integer,
    BigInt,
    UTinyInt,
    USmallInt,
    UInteger,
    UBigInt,
    HugeInt,
    UHugeInt,
    Float,
    Double,
    Decimal {
        width: u8,
        scale: u8,
        physical: Physical,
    },
    Date,
    /// Microseconds since midnight.
    Time,
    /// Nanoseconds since midnight.
    TimeNs,
    TimeTz,
    /// Seconds since 1970.
    TimestampS,
    /// Milliseconds since 1970.
    TimestampMs,
    /// Microseconds since 1970.
    Timestamp,
    /// Nanoseconds since 1970.
    TimestampNs,
    /// Microseconds since 1970 UTC.
    TimestampTz,
    Interval,
    Varchar,
    /// `VARCHAR` with the alias `JSON`.
    Json,
    Blob,
    Bit,
    Uuid,
    Enum {
        physical: Physical,
        values: Vec<String>,
    },
    List(Box<Type>),
    Array(Box<Type>, usize),
    Struct(Vec<(String, Type)>),
    Map(Box<Type>, Box<Type>),
    Union(Vec<(String, Type)>),
    /// The type of a bare `NULL`.
    Null,
    /// Not known yet (depends on a parameter), or not known to this server.
    Unknown,
}

impl Type {
    /// Reads a logical type that DuckDB made for us, and destroys it. Null is `Unknown`.
    ///
    /// # Safety
    /// `raw` is null or a logical type that the caller has to destroy, and does not use any more.
    pub(super) unsafe fn from_owned(raw: ffi::duckdb_logical_type) -> Type {
        if raw.is_null() {
            return Type::Unknown;
        }
        let mut raw = raw;
        // SAFETY: not null, alive, and ours by this function's contract.
        unsafe {
            let ty = Type::read(raw);
            ffi::duckdb_destroy_logical_type(&mut raw);
            ty
        }
    }

    /// Reads a logical type.
    ///
    /// # Safety
    /// `raw` is a live logical type.
    unsafe fn read(raw: ffi::duckdb_logical_type) -> Type {
        // SAFETY: `raw` is alive by this function's contract; every child type and string that is asked for here is
        // made for us and goes through `from_owned` or `owned_text`, which destroy it.
        unsafe {
            match ffi::duckdb_get_type_id(raw) {
                ffi::DUCKDB_TYPE_DUCKDB_TYPE_BOOLEAN => Type::Boolean,
                ffi::DUCKDB_TYPE_DUCKDB_TYPE_TINYINT => Type::TinyInt,
                ffi::DUCKDB_TYPE_DUCKDB_TYPE_SMALLINT => Type::SmallInt,
                ffi::DUCKDB_TYPE_DUCKDB_TYPE_INTEGER => Type::Integer,
                ffi::DUCKDB_TYPE_DUCKDB_TYPE_BIGINT => Type::BigInt,
                ffi::DUCKDB_TYPE_DUCKDB_TYPE_UTINYINT => Type::UTinyInt,
                ffi::DUCKDB_TYPE_DUCKDB_TYPE_USMALLINT => Type::USmallInt,
                ffi::DUCKDB_TYPE_DUCKDB_TYPE_UINTEGER => Type::UInteger,
                ffi::DUCKDB_TYPE_DUCKDB_TYPE_UBIGINT => Type::UBigInt,
                ffi::DUCKDB_TYPE_DUCKDB_TYPE_HUGEINT => Type::HugeInt,
                ffi::DUCKDB_TYPE_DUCKDB_TYPE_UHUGEINT => Type::UHugeInt,
                ffi::DUCKDB_TYPE_DUCKDB_TYPE_FLOAT => Type::Float,
                ffi::DUCKDB_TYPE_DUCKDB_TYPE_DOUBLE => Type::Double,
                ffi::DUCKDB_TYPE_DUCKDB_TYPE_DATE => Type::Date,
                ffi::DUCKDB_TYPE_DUCKDB_TYPE_TIME => Type::Time,
                ffi::DUCKDB_TYPE_DUCKDB_TYPE_TIME_NS => Type::TimeNs,
                ffi::DUCKDB_TYPE_DUCKDB_TYPE_TIME_TZ => Type::TimeTz,
                ffi::DUCKDB_TYPE_DUCKDB_TYPE_TIMESTAMP_S => Type::TimestampS,
                ffi::DUCKDB_TYPE_DUCKDB_TYPE_TIMESTAMP_MS => Type::TimestampMs,
                ffi::DUCKDB_TYPE_DUCKDB_TYPE_TIMESTAMP => Type::Timestamp,
                ffi::DUCKDB_TYPE_DUCKDB_TYPE_TIMESTAMP_NS => Type::TimestampNs,
                ffi::DUCKDB_TYPE_DUCKDB_TYPE_TIMESTAMP_TZ => Type::TimestampTz,
                ffi::DUCKDB_TYPE_DUCKDB_TYPE_INTERVAL => Type::Interval,
                ffi::DUCKDB_TYPE_DUCKDB_TYPE_VARCHAR => {
                    let alias = owned_text(ffi::duckdb_logical_type_get_alias(raw));
                    if alias == "JSON" {
                        Type::Json
                    } else {
                        Type::Varchar
                    }
                }
                ffi::DUCKDB_TYPE_DUCKDB_TYPE_BLOB => Type::Blob,
                ffi::DUCKDB_TYPE_DUCKDB_TYPE_BIT => Type::Bit,
                ffi::DUCKDB_TYPE_DUCKDB_TYPE_UUID => Type::Uuid,
                ffi::DUCKDB_TYPE_DUCKDB_TYPE_DECIMAL => Type::Decimal {
                    width: ffi::duckdb_decimal_width(raw),
                    scale: ffi::duckdb_decimal_scale(raw),
                    physical: physical(ffi::duckdb_decimal_internal_type(raw)),
                },
                ffi::DUCKDB_TYPE_DUCKDB_TYPE_ENUM => Type::Enum {
                    physical: physical(ffi::duckdb_enum_internal_type(raw)),
                    values: (0..ffi::duckdb_enum_dictionary_size(raw))
                        .map(|at| owned_text(ffi::duckdb_enum_dictionary_value(raw, at.into())))
                        .collect(),
                },
                ffi::DUCKDB_TYPE_DUCKDB_TYPE_LIST => Type::List(Box::new(Type::from_owned(
                    ffi::duckdb_list_type_child_type(raw),
                ))),
                ffi::DUCKDB_TYPE_DUCKDB_TYPE_ARRAY => Type::Array(
                    Box::new(Type::from_owned(ffi::duckdb_array_type_child_type(raw))),
                    ffi::duckdb_array_type_array_size(raw) as usize,
                ),
                ffi::DUCKDB_TYPE_DUCKDB_TYPE_MAP => Type::Map(
                    Box::new(Type::from_owned(ffi::duckdb_map_type_key_type(raw))),
                    Box::new(Type::from_owned(ffi::duckdb_map_type_value_type(raw))),
                ),
                ffi::DUCKDB_TYPE_DUCKDB_TYPE_STRUCT => Type::Struct(
                    (0..ffi::duckdb_struct_type_child_count(raw))
                        .map(|at| {
                            let name = owned_text(ffi::duckdb_struct_type_child_name(raw, at));
                            let ty = Type::from_owned(ffi::duckdb_struct_type_child_type(raw, at));
                            (name, ty)
                        })
                        .collect(),
                ),
                ffi::DUCKDB_TYPE_DUCKDB_TYPE_UNION => Type::Union(
                    (0..ffi::duckdb_union_type_member_count(raw))
                        .map(|at| {
                            let name = owned_text(ffi::duckdb_union_type_member_name(raw, at));
                            let ty = Type::from_owned(ffi::duckdb_union_type_member_type(raw, at));
                            (name, ty)
                        })
                        .collect(),
                ),
                ffi::DUCKDB_TYPE_DUCKDB_TYPE_SQLNULL => Type::Null,
                _ => Type::Unknown,
            }
        }
    }
}

/// Width of the storage that stands behind a decimal or an enum.
fn physical(id: ffi::duckdb_type) -> Physical {
    match id {
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_UTINYINT => Physical::U8,
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_SMALLINT | ffi::DUCKDB_TYPE_DUCKDB_TYPE_USMALLINT => {
            Physical::Two
        }
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_INTEGER | ffi::DUCKDB_TYPE_DUCKDB_TYPE_UINTEGER => {
            Physical::Four
        }
        ffi::DUCKDB_TYPE_DUCKDB_TYPE_BIGINT => Physical::Eight,
        _ => Physical::Sixteen,
    }
}
