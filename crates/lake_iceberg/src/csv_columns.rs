//! How a column travels in the CSV stream from PostgreSQL to DuckDB: the type that `read_csv`
//! declares for it, and the expression that turns what was read into the column's value.
//!
//! Dates and timestamps are numbers (days and microseconds since 1970-01-01), because DuckDB's text
//! forms differ from PostgreSQL's before year 1; bytes are base64; a list is a JSON array whose
//! elements are null or strings in the notation of the element's type. The expressions are exact for
//! every value PostgreSQL can send, year 4713 BC, `-0.0` and `NaN` included (DuckDB 1.5).

use crate::lake_type::LakeType;

impl LakeType {
    /// The type to declare in `read_csv`'s `columns = {…}`.
    pub fn csv_column_type(&self) -> String {
        match self {
            LakeType::Date => "INTEGER".into(),
            LakeType::Timestamp | LakeType::Timestamptz => "BIGINT".into(),
            LakeType::Binary | LakeType::List(_) => "VARCHAR".into(),
            other => other.duckdb_name(),
        }
    }

    /// The DuckDB expression for the column's value, where `input` is what `read_csv` gives: an
    /// expression of type [`LakeType::csv_column_type`].
    pub fn select_expression(&self, input: &str) -> String {
        match self {
            LakeType::List(list) => {
                let strings = format!("from_json({input}, '[\"VARCHAR\"]')");
                match list.element.expression_from_text("x") {
                    None => strings,
                    Some(element) => format!("list_transform({strings}, lambda x: {element})"),
                }
            }
            scalar => scalar
                .expression_from_csv(input)
                .unwrap_or_else(|| input.to_owned()),
        }
    }

    /// The conversion from [`LakeType::csv_column_type`] to the value; none if they are the same.
    fn expression_from_csv(&self, input: &str) -> Option<String> {
        match self {
            LakeType::Date => Some(format!("(DATE '1970-01-01' + {input})")),
            LakeType::Timestamp => Some(format!("make_timestamp({input})")),
            LakeType::Timestamptz => Some(format!("make_timestamptz({input})")),
            LakeType::Binary => Some(format!("from_base64({input})")),
            _ => None,
        }
    }

    /// The conversion from the same notation held in a `VARCHAR`; none for text itself.
    fn expression_from_text(&self, input: &str) -> Option<String> {
        match self.csv_column_type() {
            text if text == "VARCHAR" => self.expression_from_csv(input),
            csv_type => {
                let typed = format!("CAST({input} AS {csv_type})");
                Some(self.expression_from_csv(&typed).unwrap_or(typed))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars() {
        let cases = [
            (LakeType::Long, "BIGINT", "c0"),
            (
                LakeType::Decimal {
                    precision: 12,
                    scale: 2,
                },
                "DECIMAL(12,2)",
                "c0",
            ),
            (LakeType::Date, "INTEGER", "(DATE '1970-01-01' + c0)"),
            (LakeType::Timestamptz, "BIGINT", "make_timestamptz(c0)"),
            (LakeType::Binary, "VARCHAR", "from_base64(c0)"),
            (LakeType::String, "VARCHAR", "c0"),
        ];
        for (ty, csv_type, expression) in cases {
            assert_eq!(ty.csv_column_type(), csv_type);
            assert_eq!(ty.select_expression("c0"), expression);
        }
    }

    #[test]
    fn lists() {
        let strings = "from_json(c4, '[\"VARCHAR\"]')";
        let cases = [
            (LakeType::String, strings.to_owned()),
            (
                LakeType::Int,
                format!("list_transform({strings}, lambda x: CAST(x AS INTEGER))"),
            ),
            (
                LakeType::Binary,
                format!("list_transform({strings}, lambda x: from_base64(x))"),
            ),
            (
                LakeType::Timestamp,
                format!("list_transform({strings}, lambda x: make_timestamp(CAST(x AS BIGINT)))"),
            ),
        ];
        for (element, expression) in cases {
            let ty = LakeType::list(2, element);
            assert_eq!(ty.csv_column_type(), "VARCHAR");
            assert_eq!(ty.select_expression("c4"), expression);
        }
    }
}
