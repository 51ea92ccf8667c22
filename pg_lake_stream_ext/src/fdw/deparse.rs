//! Which conditions DuckDB can evaluate exactly as PostgreSQL does, and their SQL.
//!
//! Whatever is not known to mean the same stays with PostgreSQL, which evaluates it on the fetched rows. Known to mean the
//! same are comparisons inside one family of types (see [`ValueType`]) and what combines them: AND, OR, NOT, IS NULL,
//! IN. DuckDB orders NaN above all numbers and equal to itself, -0 equal to 0, UUIDs by their bytes and text by its
//! UTF-8 bytes, as PostgreSQL does (text: under C collations only).

use std::ffi::{CStr, c_char};

use lake_iceberg::table_schema::quote_identifier;
use pgrx::{PgList, pg_sys};

use crate::fdw::literal::{self, Decimal, MAX_DECIMAL_DIGITS, ValueType};
use crate::fdw::scan_query::{self, Piece, Sql};
use crate::types;

/// Nesting of conditions beyond which they stay local; DuckDB refuses 1,000 levels (`max_expression_depth`).
const MAX_DEPTH: usize = 200;
/// PostgreSQL adds this to a numeric's type modifier (`VARHDRSZ`, utils/adt/numeric.c).
const TYPMOD_OFFSET: i32 = 4;

/// Turns conditions on one table into SQL, and collects the parameters that they need.
pub struct Deparser {
    /// The table.
    relid: pg_sys::Oid,
    /// Its number in the query's range table.
    varno: pg_sys::Index,
    /// Expressions whose values are needed when the scan begins (`fdw_exprs`).
    pub params: Vec<*mut pg_sys::Node>,
    depth: usize,
}

/// One side of a comparison.
struct Operand {
    sql: Sql,
    value_type: ValueType,
    kind: OperandKind,
    digits: Digits,
}

/// Where an operand's value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OperandKind {
    Column,
    /// A constant; `ordinary` unless it is a date outside the years 1 to 9999.
    Constant {
        ordinary: bool,
    },
    Param,
}

/// Most digits before and after the point that a numeric operand has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Digits {
    integer: usize,
    scale: usize,
}

impl Digits {
    fn union(self, other: Digits) -> Digits {
        Digits {
            integer: self.integer.max(other.integer),
            scale: self.scale.max(other.scale),
        }
    }

    /// DuckDB compares decimals as one decimal that holds both; if there is none it fails or rounds.
    fn fits(self) -> bool {
        self.integer + self.scale <= MAX_DECIMAL_DIGITS
    }
}

/// The operators of the families, the same in both languages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Order(&'static str),
}

impl Deparser {
    /// For conditions on the table `relid`, which is `varno` in the query.
    pub fn new(relid: pg_sys::Oid, varno: pg_sys::Index) -> Self {
        Self {
            relid,
            varno,
            params: Vec::new(),
            depth: 0,
        }
    }

    /// The SQL of a condition, or `None` if it must stay with PostgreSQL.
    ///
    /// # Safety
    /// `clause` is a valid boolean expression on the table, as the planner has it before `setrefs.c`.
    pub unsafe fn condition(&mut self, clause: *mut pg_sys::Node) -> Option<Sql> {
        let params = self.params.len();
        // SAFETY: as promised by the caller.
        let sql = unsafe { self.boolean(clause) };
        if sql.is_none() {
            self.params.truncate(params);
        }
        sql
    }

    /// # Safety
    /// As for [`Self::condition`]; the same for all methods below.
    unsafe fn boolean(&mut self, node: *mut pg_sys::Node) -> Option<Sql> {
        if self.depth >= MAX_DEPTH {
            return None;
        }
        self.depth += 1;
        // SAFETY: every cast follows the node's tag; a tree's children are valid nodes.
        let sql = unsafe {
            match (*node).type_ {
                _ if is_row_independent(node) => self
                    .operand(node)
                    .filter(|o| o.value_type == ValueType::Bool)
                    .map(|o| o.sql),
                pg_sys::NodeTag::T_Var => self
                    .operand(node)
                    .filter(|o| o.value_type == ValueType::Bool)
                    .map(|o| o.sql),
                pg_sys::NodeTag::T_BoolExpr => self.bool_expr(&*node.cast()),
                pg_sys::NodeTag::T_OpExpr => self.comparison(&*node.cast()),
                pg_sys::NodeTag::T_DistinctExpr => self.distinct(&*node.cast()),
                pg_sys::NodeTag::T_ScalarArrayOpExpr => self.array_comparison(&*node.cast()),
                pg_sys::NodeTag::T_NullTest => self.null_test(&*node.cast()),
                pg_sys::NodeTag::T_BooleanTest => self.boolean_test(&*node.cast()),
                _ => None,
            }
        };
        self.depth -= 1;
        sql
    }

    unsafe fn bool_expr(&mut self, expr: &pg_sys::BoolExpr) -> Option<Sql> {
        let separator = match expr.boolop {
            pg_sys::BoolExprType::AND_EXPR => " AND ",
            pg_sys::BoolExprType::OR_EXPR => " OR ",
            _ => "",
        };
        let mut sql = Sql::from(if separator.is_empty() {
            "(NOT ".to_owned()
        } else {
            "(".to_owned()
        });
        // SAFETY: the list holds expressions.
        for (position, arg) in unsafe { nodes(expr.args) }.into_iter().enumerate() {
            if position > 0 {
                sql.push_str(separator);
            }
            // SAFETY: as above.
            sql.append(unsafe { self.boolean(arg) }?);
        }
        sql.push_str(")");
        Some(sql)
    }

    unsafe fn comparison(&mut self, expr: &pg_sys::OpExpr) -> Option<Sql> {
        // SAFETY: the list holds expressions.
        let args = unsafe { nodes(expr.args) };
        let comparison = comparison_operator(expr.opno)?;
        let [left, right] = args[..] else { return None };
        // SAFETY: as above.
        let (left, right) = unsafe { (self.operand(left)?, self.operand(right)?) };
        if !comparable(comparison, expr.inputcollid, &left, &right) {
            return None;
        }
        let operator = match comparison {
            Comparison::Equal => "=",
            Comparison::NotEqual => "<>",
            Comparison::Order(operator) => operator,
        };
        Some(Sql::binary(left.sql, operator, right.sql))
    }

    unsafe fn distinct(&mut self, expr: &pg_sys::DistinctExpr) -> Option<Sql> {
        // SAFETY: the list holds expressions.
        let args = unsafe { nodes(expr.args) };
        let [left, right] = args[..] else { return None };
        if comparison_operator(expr.opno)? != Comparison::Equal {
            return None;
        }
        // SAFETY: as above.
        let (left, right) = unsafe { (self.operand(left)?, self.operand(right)?) };
        comparable(Comparison::Equal, expr.inputcollid, &left, &right)
            .then(|| Sql::binary(left.sql, "IS DISTINCT FROM", right.sql))
    }

    /// `x = ANY (…)` and `x <> ALL (…)`; IN and NOT IN are these.
    unsafe fn array_comparison(&mut self, expr: &pg_sys::ScalarArrayOpExpr) -> Option<Sql> {
        // SAFETY: the list holds expressions.
        let args = unsafe { nodes(expr.args) };
        let [scalar, array] = args[..] else {
            return None;
        };
        let negated = match (comparison_operator(expr.opno)?, expr.useOr) {
            (Comparison::Equal, true) => false,
            (Comparison::NotEqual, false) => true,
            _ => return None,
        };
        // SAFETY: as above.
        let scalar = unsafe { self.operand(scalar)? };
        if scalar.kind != OperandKind::Column {
            return None;
        }
        let [Piece::Sql(operand)] = &scalar.sql.pieces[..] else {
            return None;
        };
        // SAFETY: `array` is an expression.
        let array_type = unsafe { pg_sys::exprType(array) };
        let element_type = ValueType::from_oid(types::array_element(array_type)?)?;
        // SAFETY: casts follow the node's tag.
        unsafe {
            if (*array).type_ == pg_sys::NodeTag::T_Const {
                let constant: &pg_sys::Const = &*array.cast();
                if constant.constisnull {
                    return Some(Sql::from(scan_query::UNKNOWN.to_owned()));
                }
                let mut elements = Vec::new();
                for element in array_elements(array_type, constant.constvalue)? {
                    let element = constant_operand(element_type, element)?;
                    elements.push(element);
                }
                return self.in_constants(expr.inputcollid, &scalar, operand, negated, &elements);
            }
            let param = Operand {
                sql: Sql::default(),
                value_type: element_type,
                kind: OperandKind::Param,
                digits: Digits::default(),
            };
            if !is_row_independent(array)
                || element_type == ValueType::Numeric
                || !comparable(Comparison::Equal, expr.inputcollid, &scalar, &param)
            {
                return None;
            }
        }
        let operand = operand.clone();
        let number = self.param(array);
        Some(Sql {
            pieces: vec![Piece::InArray {
                number,
                operand,
                negated,
            }],
        })
    }

    fn in_constants(
        &self,
        collation: pg_sys::Oid,
        scalar: &Operand,
        operand: &str,
        negated: bool,
        elements: &[Operand],
    ) -> Option<Sql> {
        let digits = elements.iter().fold(scalar.digits, |digits, element| {
            digits.union(element.digits)
        });
        let all = elements
            .iter()
            .all(|element| comparable(Comparison::Equal, collation, scalar, element));
        if !all || !digits.fits() {
            return None;
        }
        let literals: Option<Vec<String>> = elements
            .iter()
            .map(|element| match &element.sql.pieces[..] {
                [Piece::Sql(text)] => Some(text.clone()),
                _ => None,
            })
            .collect();
        Some(Sql::from(scan_query::in_list(operand, negated, &literals?)))
    }

    unsafe fn null_test(&mut self, test: &pg_sys::NullTest) -> Option<Sql> {
        if test.argisrow {
            return None;
        }
        let arg: *mut pg_sys::Node = test.arg.cast();
        // SAFETY: `arg` is an expression. A column may be of any type here.
        let mut sql = match unsafe { self.column(arg) } {
            Some((sql, _)) => sql,
            // SAFETY: as above.
            None => unsafe { self.boolean(arg)? },
        };
        let is_null = test.nulltesttype == pg_sys::NullTestType::IS_NULL;
        sql.push_str(if is_null {
            " IS NULL)"
        } else {
            " IS NOT NULL)"
        });
        Some(prefixed("(", sql))
    }

    unsafe fn boolean_test(&mut self, test: &pg_sys::BooleanTest) -> Option<Sql> {
        // SAFETY: the argument is a boolean expression.
        let mut sql = unsafe { self.boolean(test.arg.cast())? };
        sql.push_str(match test.booltesttype {
            pg_sys::BoolTestType::IS_TRUE => " IS NOT DISTINCT FROM TRUE)",
            pg_sys::BoolTestType::IS_NOT_TRUE => " IS DISTINCT FROM TRUE)",
            pg_sys::BoolTestType::IS_FALSE => " IS NOT DISTINCT FROM FALSE)",
            pg_sys::BoolTestType::IS_NOT_FALSE => " IS DISTINCT FROM FALSE)",
            pg_sys::BoolTestType::IS_UNKNOWN => " IS NULL)",
            _ => " IS NOT NULL)",
        });
        Some(prefixed("(", sql))
    }

    /// One side of a comparison: a column, a constant, or anything whose value is the same for all rows.
    unsafe fn operand(&mut self, node: *mut pg_sys::Node) -> Option<Operand> {
        // SAFETY: casts follow the node's tag.
        unsafe {
            let node = strip_relabel(node);
            if let Some((sql, var)) = self.column(node) {
                let value_type = ValueType::from_oid(var.vartype)?;
                let digits = match value_type {
                    ValueType::Numeric => numeric_digits(var.vartypmod)?,
                    _ => Digits::default(),
                };
                return Some(Operand {
                    sql,
                    value_type,
                    kind: OperandKind::Column,
                    digits,
                });
            }
            let value_type = ValueType::from_oid(pg_sys::exprType(node))?;
            if (*node).type_ == pg_sys::NodeTag::T_Const {
                let constant: &pg_sys::Const = &*node.cast();
                let value = (!constant.constisnull).then_some(constant.constvalue);
                return constant_operand(value_type, value);
            }
            // How many digits a numeric will have is not known, so it cannot be known whether DuckDB can compare it.
            if value_type == ValueType::Numeric || !is_row_independent(node) {
                return None;
            }
            let sql = Sql {
                pieces: vec![Piece::Value {
                    number: self.param(node),
                }],
            };
            Some(Operand {
                sql,
                value_type,
                kind: OperandKind::Param,
                digits: Digits::default(),
            })
        }
    }

    /// A column of the table, of any type; `None` for anything else.
    unsafe fn column(&self, node: *mut pg_sys::Node) -> Option<(Sql, &pg_sys::Var)> {
        // SAFETY: the cast follows the tag; get_attname returns a palloc'd C string.
        unsafe {
            if (*node).type_ != pg_sys::NodeTag::T_Var {
                return None;
            }
            let var: &pg_sys::Var = &*node.cast();
            if var.varno as pg_sys::Index != self.varno || var.varlevelsup != 0 || var.varattno < 1
            {
                return None;
            }
            let name = CStr::from_ptr(pg_sys::get_attname(self.relid, var.varattno, false));
            Some((Sql::from(quote_identifier(name.to_str().ok()?)), var))
        }
    }

    /// Number of the parameter with this expression.
    fn param(&mut self, node: *mut pg_sys::Node) -> usize {
        // SAFETY: both are valid nodes.
        let known = self
            .params
            .iter()
            .position(|param| unsafe { pg_sys::equal(param.cast(), node.cast()) });
        known.unwrap_or_else(|| {
            self.params.push(node);
            self.params.len() - 1
        })
    }
}

/// A constant of a type, or NULL.
///
/// # Safety
/// `value` is a valid value of the type.
unsafe fn constant_operand(value_type: ValueType, value: Option<pg_sys::Datum>) -> Option<Operand> {
    let mut digits = Digits::default();
    let mut ordinary = true;
    let sql = match value {
        None => literal::null(value_type),
        Some(value) => {
            if value_type == ValueType::Numeric {
                // SAFETY: as promised by the caller; here and below.
                let decimal = unsafe { Decimal::new(value)? };
                digits = Digits {
                    integer: decimal.integer_digits,
                    scale: decimal.scale,
                };
            }
            if value_type == ValueType::Date {
                ordinary = literal::is_ordinary_date(value);
            }
            // SAFETY: as above.
            unsafe { literal::value(value_type, value)? }
        }
    };
    Some(Operand {
        sql: Sql::from(sql),
        value_type,
        kind: OperandKind::Constant { ordinary },
        digits,
    })
}

/// Whether DuckDB's comparison of two operands is PostgreSQL's.
fn comparable(
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
        if collation == pg_sys::InvalidOid
            || pg_sys::GetDatabaseEncoding() != pg_sys::pg_enc::PG_UTF8 as i32
        {
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

#[cfg(not(feature = "pg18"))]
fn is_c_collation(collation: pg_sys::Oid) -> bool {
    unsafe extern "C-unwind" {
        // utils/adt/pg_locale.c; not in pgrx's bindings.
        fn lc_collate_is_c(collation: pg_sys::Oid) -> bool;
    }
    // SAFETY: a look-up of a collation that exists.
    unsafe { lc_collate_is_c(collation) }
}

/// PostgreSQL 18 has no function that tells; the two collations that are C in every database are known by their OIDs.
#[cfg(feature = "pg18")]
fn is_c_collation(collation: pg_sys::Oid) -> bool {
    /// `C_COLLATION_OID` and `POSIX_COLLATION_OID` (catalog/pg_collation.dat).
    const C_COLLATIONS: [u32; 2] = [950, 951];
    C_COLLATIONS.contains(&collation.to_u32())
}

/// The comparison that a built-in operator is; its meaning follows from the types of its operands.
fn comparison_operator(opno: pg_sys::Oid) -> Option<Comparison> {
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

/// Whether an expression has one value for all rows of the scan and can be computed when the scan begins.
///
/// # Safety
/// `node` is a valid expression.
unsafe fn is_row_independent(node: *mut pg_sys::Node) -> bool {
    // SAFETY: as promised by the caller.
    unsafe {
        !pg_sys::contain_var_clause(node)
            && !pg_sys::contain_volatile_functions(node)
            && !pg_sys::contain_subplans(node)
    }
}

/// Takes the casts between text and varchar off, which change nothing.
///
/// # Safety
/// `node` is a valid expression; so is the result.
unsafe fn strip_relabel(mut node: *mut pg_sys::Node) -> *mut pg_sys::Node {
    let is_text =
        |type_oid: pg_sys::Oid| type_oid == pg_sys::TEXTOID || type_oid == pg_sys::VARCHAROID;
    // SAFETY: the cast follows the tag.
    unsafe {
        while (*node).type_ == pg_sys::NodeTag::T_RelabelType {
            let relabel: &pg_sys::RelabelType = &*node.cast();
            if !is_text(relabel.resulttype) || !is_text(pg_sys::exprType(relabel.arg.cast())) {
                break;
            }
            node = relabel.arg.cast();
        }
    }
    node
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

/// The nodes of a list.
///
/// # Safety
/// `list` is null or a list of nodes.
unsafe fn nodes(list: *mut pg_sys::List) -> Vec<*mut pg_sys::Node> {
    // SAFETY: as promised by the caller.
    unsafe { PgList::<pg_sys::Node>::from_pg(list) }
        .iter_ptr()
        .collect()
}

fn prefixed(prefix: &str, sql: Sql) -> Sql {
    let mut prefixed = Sql::from(prefix.to_owned());
    prefixed.append(sql);
    prefixed
}
