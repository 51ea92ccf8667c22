//! Which PostgreSQL type a DuckDB type is sent as. OIDs: PostgreSQL's `pg_type.dat`.

use crate::duck::Type;

/// OIDs of the types that the server sends or accepts.
pub mod oid {
    pub const BOOL: u32 = 16;
    pub const BYTEA: u32 = 17;
    pub const INT8: u32 = 20;
    pub const INT2: u32 = 21;
    pub const INT4: u32 = 23;
    pub const TEXT: u32 = 25;
    pub const JSON: u32 = 114;
    pub const FLOAT4: u32 = 700;
    pub const FLOAT8: u32 = 701;
    pub const UNKNOWN: u32 = 705;
    pub const BPCHAR: u32 = 1042;
    pub const VARCHAR: u32 = 1043;
    pub const DATE: u32 = 1082;
    pub const TIME: u32 = 1083;
    pub const TIMESTAMP: u32 = 1114;
    pub const TIMESTAMPTZ: u32 = 1184;
    pub const INTERVAL: u32 = 1186;
    pub const TIMETZ: u32 = 1266;
    pub const NUMERIC: u32 = 1700;
    pub const UUID: u32 = 2950;
    pub const JSONB: u32 = 3802;
}

/// A PostgreSQL type as `RowDescription` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PgType {
    /// Its OID.
    pub oid: u32,
    /// `pg_type.typlen`: bytes of a fixed-length type, -1 for others.
    pub length: i16,
    /// Type modifier; -1 if there is none.
    pub modifier: i32,
    /// For arrays: OID of the elements.
    pub element: Option<u32>,
}

impl PgType {
    /// The type as which a DuckDB type is sent.
    pub fn of(ty: &Type) -> PgType {
        if let Some(scalar) = scalar(ty) {
            return scalar;
        }
        if let Type::List(child) | Type::Array(child, _) = ty
            && let Some(element) = scalar(child)
            && let Some(oid) = array_of(element.oid)
        {
            return PgType {
                oid,
                length: -1,
                modifier: element.modifier,
                element: Some(element.oid),
            };
        }
        plain(oid::JSON, -1)
    }
}

/// A type without modifier.
fn plain(oid: u32, length: i16) -> PgType {
    PgType {
        oid,
        length,
        modifier: -1,
        element: None,
    }
}

/// The type of a scalar; `None` for nested types.
fn scalar(ty: &Type) -> Option<PgType> {
    Some(match ty {
        Type::Boolean => plain(oid::BOOL, 1),
        Type::Blob => plain(oid::BYTEA, -1),
        Type::BigInt | Type::UInteger => plain(oid::INT8, 8),
        Type::TinyInt | Type::SmallInt | Type::UTinyInt => plain(oid::INT2, 2),
        Type::Integer | Type::USmallInt => plain(oid::INT4, 4),
        Type::Varchar | Type::Enum { .. } | Type::Bit | Type::Null | Type::Unknown => {
            plain(oid::TEXT, -1)
        }
        Type::Json => plain(oid::JSON, -1),
        Type::Float => plain(oid::FLOAT4, 4),
        Type::Double => plain(oid::FLOAT8, 8),
        Type::Date => plain(oid::DATE, 4),
        Type::Time | Type::TimeNs => plain(oid::TIME, 8),
        Type::TimeTz => plain(oid::TIMETZ, 12),
        Type::Timestamp | Type::TimestampS | Type::TimestampMs | Type::TimestampNs => {
            plain(oid::TIMESTAMP, 8)
        }
        Type::TimestampTz => plain(oid::TIMESTAMPTZ, 8),
        Type::Interval => plain(oid::INTERVAL, 16),
        Type::Uuid => plain(oid::UUID, 16),
        Type::HugeInt | Type::UHugeInt | Type::UBigInt => plain(oid::NUMERIC, -1),
        Type::Decimal { width, scale, .. } => PgType {
            modifier: (i32::from(*width) << 16 | i32::from(*scale)) + 4,
            ..plain(oid::NUMERIC, -1)
        },
        Type::List(_) | Type::Array(..) | Type::Struct(_) | Type::Map(..) | Type::Union(_) => {
            return None;
        }
    })
}

/// The array type of an element type.
fn array_of(element: u32) -> Option<u32> {
    Some(match element {
        oid::BOOL => 1000,
        oid::BYTEA => 1001,
        oid::INT8 => 1016,
        oid::INT2 => 1005,
        oid::INT4 => 1007,
        oid::TEXT => 1009,
        oid::JSON => 199,
        oid::FLOAT4 => 1021,
        oid::FLOAT8 => 1022,
        oid::DATE => 1182,
        oid::TIME => 1183,
        oid::TIMESTAMP => 1115,
        oid::TIMESTAMPTZ => 1185,
        oid::INTERVAL => 1187,
        oid::NUMERIC => 1231,
        oid::TIMETZ => 1270,
        oid::UUID => 2951,
        _ => return None,
    })
}
