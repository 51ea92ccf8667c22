//! The query that a scan sends: what the plan keeps of it, and its text for the files and values of one execution.

use std::ffi::{CStr, CString};
use std::fmt::Write;

use lake_iceberg::table_schema::quote_identifier;
use pgrx::pg_sys;

use crate::error::{LakeError, Result};
use crate::live_rows::{LiveRows, Selection};

/// A piece of a condition's SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Text as it is sent.
    Sql(String),
    /// The value that parameter `number` (from 0) has when the scan begins.
    Value {
        /// Position in the plan's `fdw_exprs`.
        number: usize,
    },
    /// `operand IN (…)` or `operand NOT IN (…)` of the elements that array parameter `number` has when the scan begins.
    InArray {
        /// Position in the plan's `fdw_exprs`.
        number: usize,
        /// Left side.
        operand: String,
        /// `NOT IN`.
        negated: bool,
    },
}

/// SQL with places for values that are not known before the scan begins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sql {
    /// The pieces, in order.
    pub pieces: Vec<Piece>,
}

/// The values that the parameters have in one execution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParamValue {
    /// Of [`Piece::Value`]: a literal.
    Scalar(String),
    /// Of [`Piece::InArray`]: a literal an element, or `None` for a NULL array.
    Array(Option<Vec<String>>),
}

/// Where a text of the query goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience<'a> {
    /// The server: everything in full, with these values.
    Server(&'a [ParamValue]),
    /// EXPLAIN: values as `$n`, and of many files only the first.
    User,
}

/// One table's scan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScanQuery {
    /// Columns to fetch: attribute number and name. None: the rows are only counted.
    pub columns: Vec<(i16, String)>,
    /// Conditions that the server evaluates; all must hold.
    pub conditions: Vec<Sql>,
    /// Whether the rows' files and positions are fetched as well, after the columns.
    pub with_positions: bool,
    /// What the server does to the rows, instead of returning them.
    pub change: Option<Change>,
}

/// A DELETE or UPDATE that the server does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// Whether its number of rows is the command's.
    pub sets_tag: bool,
    /// New values by column name; none in a DELETE.
    pub values: Option<Vec<(String, Sql)>>,
}

impl From<String> for Sql {
    fn from(text: String) -> Self {
        Self {
            pieces: vec![Piece::Sql(text)],
        }
    }
}

impl Sql {
    /// Adds text at the end.
    pub fn push_str(&mut self, text: &str) {
        if let Some(Piece::Sql(last)) = self.pieces.last_mut() {
            last.push_str(text);
        } else {
            self.pieces.push(Piece::Sql(text.to_owned()));
        }
    }

    /// Adds other SQL at the end.
    pub fn append(&mut self, other: Sql) {
        for piece in other.pieces {
            match piece {
                Piece::Sql(text) => self.push_str(&text),
                value => self.pieces.push(value),
            }
        }
    }

    /// `(left operator right)`
    pub fn binary(left: Sql, operator: &str, right: Sql) -> Sql {
        let mut sql = Sql::from("(".to_owned());
        sql.append(left);
        sql.push_str(&format!(" {operator} "));
        sql.append(right);
        sql.push_str(")");
        sql
    }

    /// Appends the text.
    pub fn write(&self, audience: Audience<'_>, out: &mut String) {
        for piece in &self.pieces {
            match piece {
                Piece::Sql(text) => out.push_str(text),
                Piece::Value { number } => match audience {
                    Audience::Server(values) => match values.get(*number) {
                        Some(ParamValue::Scalar(literal)) => out.push_str(literal),
                        _ => out.push_str("NULL"),
                    },
                    Audience::User => {
                        let _ = write!(out, "${}", number + 1);
                    }
                },
                Piece::InArray {
                    number,
                    operand,
                    negated,
                } => match audience {
                    Audience::Server(values) => match values.get(*number) {
                        Some(ParamValue::Array(Some(elements))) => {
                            out.push_str(&in_list(operand, *negated, elements))
                        }
                        _ => out.push_str(UNKNOWN),
                    },
                    Audience::User => {
                        let (operator, quantifier) = if *negated {
                            ("<>", "ALL")
                        } else {
                            ("=", "ANY")
                        };
                        let _ =
                            write!(out, "({operand} {operator} {quantifier} (${}))", number + 1);
                    }
                },
            }
        }
    }
}

/// The truth value that is neither true nor false.
pub const UNKNOWN: &str = "CAST(NULL AS BOOLEAN)";

/// `operand = ANY (elements)`, or `operand <> ALL (elements)` if negated, with PostgreSQL's meaning of no elements.
pub fn in_list(operand: &str, negated: bool, elements: &[String]) -> String {
    match (elements.is_empty(), negated) {
        (true, false) => "FALSE".to_owned(),
        (true, true) => "TRUE".to_owned(),
        (false, _) => {
            let operator = if negated { "NOT IN" } else { "IN" };
            format!("({operand} {operator} ({}))", elements.join(", "))
        }
    }
}

impl ScanQuery {
    /// All conditions; empty if there are none.
    pub fn condition(&self, audience: Audience<'_>) -> String {
        let mut condition = String::new();
        for (position, sql) in self.conditions.iter().enumerate() {
            condition.push_str(if position == 0 { "" } else { " AND " });
            sql.write(audience, &mut condition);
        }
        condition
    }

    /// The text of the query over the live rows of some files.
    pub fn text(&self, rows: &LiveRows<'_>, audience: Audience<'_>) -> String {
        let condition = self.condition(audience);
        let names: Vec<String> = self
            .columns
            .iter()
            .map(|(_, name)| quote_identifier(name))
            .collect();
        let names = names.join(", ");
        let list = match self.returns_rows() {
            true => names.as_str(),
            false => "1",
        };
        let selection = Selection {
            list,
            with_positions: self.with_positions,
            condition: &condition,
        };
        let rows = match audience {
            Audience::Server(_) => rows.select(selection),
            Audience::User => rows.select_for_people(selection),
        };
        match self.returns_rows() {
            true => rows,
            false => format!("SELECT count(*) FROM ({rows})"),
        }
    }

    /// Whether rows are fetched, rather than counted.
    pub fn returns_rows(&self) -> bool {
        !self.columns.is_empty() || self.with_positions
    }

    /// The query as a list of one String node, which plans can copy and print.
    pub fn to_plan(&self) -> Result<*mut pg_sys::List> {
        let encode = |sql: &Sql| -> Vec<_> { sql.pieces.iter().map(encode_piece).collect() };
        let conditions: Vec<Vec<_>> = self.conditions.iter().map(encode).collect();
        let change = self.change.as_ref().map(|change| {
            let values = change.values.as_ref().map(|values| {
                let values = values.iter();
                values
                    .map(|(column, sql)| (column, encode(sql)))
                    .collect::<Vec<_>>()
            });
            (change.sets_tag, values)
        });
        let query = (&self.columns, conditions, self.with_positions, change);
        let json = serde_json::to_string(&query).map_err(|_| broken())?;
        let json = CString::new(json).map_err(|_| broken())?;
        // SAFETY: pstrdup copies the string into the planner's context, where the node and the list are made as well.
        unsafe {
            let node = pg_sys::makeString(pg_sys::pstrdup(json.as_ptr()));
            Ok(pg_sys::lappend(std::ptr::null_mut(), node.cast()))
        }
    }

    /// The reverse of [`Self::to_plan`].
    ///
    /// # Safety
    /// `list` is the `fdw_private` list of a plan that [`Self::to_plan`] went into.
    pub unsafe fn from_plan(list: *mut pg_sys::List) -> Result<Self> {
        // SAFETY: the list's one element is a String node.
        let json = unsafe {
            let node: *mut pg_sys::String = pg_sys::list_nth(list, 0).cast();
            CStr::from_ptr((*node).sval)
        };
        let (columns, conditions, with_positions, change): EncodedQuery =
            serde_json::from_slice(json.to_bytes()).map_err(|_| broken())?;
        let decode = |pieces: Vec<EncodedPiece>| Sql {
            pieces: pieces.into_iter().map(decode_piece).collect(),
        };
        let conditions = conditions.into_iter().map(decode).collect();
        let change = change.map(|(sets_tag, values)| Change {
            sets_tag,
            values: values.map(|values| {
                let values = values.into_iter();
                values
                    .map(|(column, pieces)| (column, decode(pieces)))
                    .collect()
            }),
        });
        Ok(Self {
            columns,
            conditions,
            with_positions,
            change,
        })
    }
}

/// A query as it is kept.
type EncodedQuery = (
    Vec<(i16, String)>,
    Vec<Vec<EncodedPiece>>,
    bool,
    Option<(bool, Option<Vec<(String, Vec<EncodedPiece>)>>)>,
);

/// A piece as it is kept: text or operand, parameter number, and for arrays whether negated.
type EncodedPiece = (String, Option<usize>, Option<bool>);

fn encode_piece(piece: &Piece) -> EncodedPiece {
    match piece {
        Piece::Sql(text) => (text.clone(), None, None),
        Piece::Value { number } => (String::new(), Some(*number), None),
        Piece::InArray {
            number,
            operand,
            negated,
        } => (operand.clone(), Some(*number), Some(*negated)),
    }
}

fn decode_piece(encoded: EncodedPiece) -> Piece {
    match encoded {
        (text, None, _) => Piece::Sql(text),
        (_, Some(number), None) => Piece::Value { number },
        (operand, Some(number), Some(negated)) => Piece::InArray {
            number,
            operand,
            negated,
        },
    }
}

fn broken() -> LakeError {
    LakeError::internal("broken scan query in a plan")
}
