//! The query that a scan sends: what the plan keeps of it, and its text for the files and values of one execution.

use std::ffi::{CStr, CString};
use std::fmt::Write;

use lake_iceberg::table_schema::quote_identifier;
use pgduck_protocol::sql::quote_literal;
use pgrx::pg_sys;

use crate::catalog::files::ScanFile;
use crate::error::{LakeError, Result};

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

/// Files that EXPLAIN names before it goes over to counting.
const FILES_SHOWN: usize = 10;

/// One table's scan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScanQuery {
    /// Columns to fetch: attribute number and name. None: the rows are only counted.
    pub columns: Vec<(i16, String)>,
    /// Conditions that the server evaluates; all must hold.
    pub conditions: Vec<Sql>,
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

    fn write(&self, audience: Audience<'_>, out: &mut String) {
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
    /// The text of the query over some files.
    ///
    /// Files are given one by one, so that no other file of the directory is read; nothing is taken from their paths.
    pub fn text(&self, files: &[ScanFile], audience: Audience<'_>) -> String {
        let mut sql = "SELECT ".to_owned();
        if self.columns.is_empty() {
            sql.push_str("count(*)");
        }
        for (position, (_, name)) in self.columns.iter().enumerate() {
            sql.push_str(if position == 0 { "" } else { ", " });
            sql.push_str(&quote_identifier(name));
        }
        sql.push_str(" FROM read_parquet([");
        let shown = match audience {
            Audience::Server(_) => files.len(),
            Audience::User => files.len().min(FILES_SHOWN),
        };
        for (position, file) in files[..shown].iter().enumerate() {
            sql.push_str(if position == 0 { "" } else { ", " });
            sql.push_str(&quote_literal(&file.path));
        }
        if shown < files.len() {
            let _ = write!(sql, ", … {} more", files.len() - shown);
        }
        sql.push_str("], hive_partitioning=false)");
        for (position, condition) in self.conditions.iter().enumerate() {
            sql.push_str(if position == 0 { " WHERE " } else { " AND " });
            condition.write(audience, &mut sql);
        }
        sql
    }

    /// The query as a list of one String node, which plans can copy and print.
    pub fn to_plan(&self) -> Result<*mut pg_sys::List> {
        let conditions: Vec<Vec<_>> = self
            .conditions
            .iter()
            .map(|sql| sql.pieces.iter().map(encode_piece).collect())
            .collect();
        let json = serde_json::to_string(&(&self.columns, conditions)).map_err(|_| broken())?;
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
        let (columns, conditions): (Vec<(i16, String)>, Vec<Vec<EncodedPiece>>) =
            serde_json::from_slice(json.to_bytes()).map_err(|_| broken())?;
        let conditions = conditions
            .into_iter()
            .map(|pieces| Sql {
                pieces: pieces.into_iter().map(decode_piece).collect(),
            })
            .collect();
        Ok(Self {
            columns,
            conditions,
        })
    }
}

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
