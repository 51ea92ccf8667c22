//! Which conditions DuckDB can evaluate exactly as PostgreSQL does, and their SQL.
//!
//! Whatever is not known to mean the same stays with PostgreSQL, which evaluates it on the fetched rows. Known to mean the
//! same are comparisons inside one family of types (see [`comparable`]) and what combines them: AND, OR, NOT, IS NULL,
//! IN. Expressions without columns are computed by PostgreSQL when the scan begins, and their values sent. DuckDB orders NaN above all numbers and equal to itself, -0 equal to 0, UUIDs by their bytes and text by its
//! UTF-8 bytes, as PostgreSQL does (text: under C collations only).

use std::ffi::CStr;

use lake_iceberg::quote_identifier;
use pgrx::{PgList, PgTupleDesc, pg_sys};

use crate::fdw::literal::ValueType;
use crate::fdw::operand::{
    Comparison, Operand, OperandKind, array_elements, comparable, comparison_operator,
};
use crate::fdw::scan_query::{self, Piece, Sql};
use crate::types;

/// Nesting of conditions beyond which they stay local; DuckDB refuses 1,000 levels (`max_expression_depth`).
const MAX_DEPTH: usize = 200;

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
                tag if tag == pg_sys::NodeTag::T_Var || is_row_independent(node) => self
                    .operand(node)
                    .filter(|operand| operand.value_type == ValueType::Bool)
                    .map(|operand| operand.sql),
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
        if comparison == Comparison::Equal
            && (left.may_be_float_zero() || right.may_be_float_zero())
        {
            let at_least = Sql::binary(left.sql.clone(), ">=", right.sql.clone());
            return Some(Sql::binary(
                at_least,
                "AND",
                Sql::binary(left.sql, "<=", right.sql),
            ));
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
        let exact = comparable(Comparison::Equal, expr.inputcollid, &left, &right)
            && !left.may_be_float_zero()
            && !right.may_be_float_zero();
        exact.then(|| Sql::binary(left.sql, "IS DISTINCT FROM", right.sql))
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
                let elements: Option<Vec<Operand>> =
                    array_elements(array_type, constant.constvalue)?
                        .into_iter()
                        .map(|element| Operand::constant(element_type, element))
                        .collect();
                return in_constants(expr.inputcollid, &scalar, operand, negated, &elements?);
            }
            let element = Operand::param(Sql::default(), element_type)?;
            if !self.is_param(array)
                || element.may_be_float_zero()
                || !comparable(Comparison::Equal, expr.inputcollid, &scalar, &element)
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
                return Operand::column(sql, var);
            }
            let value_type = ValueType::from_oid(pg_sys::exprType(node))?;
            if (*node).type_ == pg_sys::NodeTag::T_OpExpr && !is_row_independent(node) {
                return self.arithmetic(&*node.cast(), value_type);
            }
            if (*node).type_ == pg_sys::NodeTag::T_Const {
                let constant: &pg_sys::Const = &*node.cast();
                let value = (!constant.constisnull).then_some(constant.constvalue);
                return Operand::constant(value_type, value);
            }
            if !self.is_param(node) {
                return None;
            }
            let mut operand = Operand::param(Sql::default(), value_type)?;
            operand.sql = Sql {
                pieces: vec![Piece::Value {
                    number: self.param(node),
                }],
            };
            Some(operand)
        }
    }

    /// Arithmetic of integers with columns in it: the same in both, errors of overflow included. Divisors must be constants,
    /// since DuckDB's answer to a division by zero is NULL.
    unsafe fn arithmetic(
        &mut self,
        expr: &pg_sys::OpExpr,
        result_type: ValueType,
    ) -> Option<Operand> {
        // SAFETY: the list holds expressions.
        let args = unsafe { nodes(expr.args) };
        let [left, right] = args[..] else { return None };
        let operator = match (operator_name(expr.opno)?.as_slice(), result_type) {
            (_, ValueType::Int2) => return None,
            (name, _) if !result_type.is_integer() => match (name, result_type) {
                (b"||", ValueType::Text) => "||",
                _ => return None,
            },
            (b"+", _) => "+",
            (b"-", _) => "-",
            (b"*", _) => "*",
            // SAFETY: `right` is an expression.
            (b"/", _) if unsafe { is_plain_divisor(right) } => "//",
            // SAFETY: as above.
            (b"%", _) if unsafe { is_plain_divisor(right) } => "%",
            _ => return None,
        };
        if self.depth >= MAX_DEPTH {
            return None;
        }
        self.depth += 1;
        // SAFETY: as above.
        let operands = unsafe { self.operand(left).zip(self.operand(right)) };
        self.depth -= 1;
        let (left, right) = operands?;
        let of_result_type = |operand: Operand| {
            if operand.value_type == result_type {
                return Some(operand.sql);
            }
            // A smaller integer; text is text.
            let mut sql = prefixed("CAST(", operand.sql);
            sql.push_str(&format!(" AS {})", result_type.duckdb_name()));
            operand.value_type.is_integer().then_some(sql)
        };
        let sql = Sql::binary(of_result_type(left)?, operator, of_result_type(right)?);
        Some(Operand::computed(sql, result_type))
    }

    /// The SQL of a new value for one of the table's `columns`, of its very type, or `None` if PostgreSQL must compute it.
    ///
    /// # Safety
    /// As for [`Self::condition`].
    pub unsafe fn new_value(
        &mut self,
        value: *mut pg_sys::Node,
        columns: &PgTupleDesc<'_>,
        column: &pg_sys::FormData_pg_attribute,
        column_type: &str,
    ) -> Option<Sql> {
        // SAFETY: as promised by the caller.
        unsafe {
            let bare = strip_relabel(value);
            if column.attnotnull && !is_never_null(bare, columns) {
                return None;
            }
            if pg_sys::exprType(value) != column.atttypid {
                return None;
            }
            if let Some((sql, var)) = self.column(bare) {
                let is_same = var.vartype == column.atttypid && var.vartypmod == column.atttypmod;
                return is_same.then_some(sql);
            }
            let operand = self.operand(value)?;
            // PostgreSQL has dates and times that Iceberg has not: they must be refused row by row.
            if operand.value_type.is_datetime() {
                return None;
            }
            let mut sql = prefixed("CAST(", operand.sql);
            sql.push_str(&format!(" AS {column_type})"));
            Some(sql)
        }
    }

    /// Whether an expression's value can be computed when the scan begins.
    ///
    /// PostgreSQL computes the parts of an OR only as far as it needs them, so what might fail there, such as `$1::int` in
    /// `$1 = '' OR x = $1::int`, must not be computed beforehand. A condition of its own has no such order.
    unsafe fn is_param(&self, node: *mut pg_sys::Node) -> bool {
        // SAFETY: the caller's.
        unsafe { is_row_independent(node) && (self.depth <= 1 || is_infallible(node)) }
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

/// Whether computing an expression without columns can't fail: parameters, the clock, and comparisons of them.
///
/// # Safety
/// `node` is a valid expression.
unsafe fn is_infallible(node: *mut pg_sys::Node) -> bool {
    // SAFETY: casts follow the node's tag; lists hold expressions.
    unsafe {
        let all = |args| nodes(args).into_iter().all(|arg| is_infallible(arg));
        match (*node).type_ {
            pg_sys::NodeTag::T_Param
            | pg_sys::NodeTag::T_Const
            | pg_sys::NodeTag::T_SQLValueFunction => true,
            pg_sys::NodeTag::T_RelabelType => {
                is_infallible((*node.cast::<pg_sys::RelabelType>()).arg.cast())
            }
            pg_sys::NodeTag::T_NullTest => {
                is_infallible((*node.cast::<pg_sys::NullTest>()).arg.cast())
            }
            pg_sys::NodeTag::T_BooleanTest => {
                is_infallible((*node.cast::<pg_sys::BooleanTest>()).arg.cast())
            }
            pg_sys::NodeTag::T_BoolExpr => all((*node.cast::<pg_sys::BoolExpr>()).args),
            pg_sys::NodeTag::T_OpExpr => {
                let operator: &pg_sys::OpExpr = &*node.cast();
                let known =
                    |arg: *mut pg_sys::Node| ValueType::from_oid(pg_sys::exprType(arg)).is_some();
                comparison_operator(operator.opno).is_some()
                    && nodes(operator.args).into_iter().all(known)
                    && all(operator.args)
            }
            _ => false,
        }
    }
}

/// Whether an expression that [`Deparser::new_value`] takes cannot come to NULL.
///
/// # Safety
/// `node` is a valid expression on the table with these columns.
unsafe fn is_never_null(node: *mut pg_sys::Node, columns: &PgTupleDesc<'_>) -> bool {
    // SAFETY: casts follow the node's tag; the list holds expressions.
    unsafe {
        match (*node).type_ {
            pg_sys::NodeTag::T_Const => !(*node.cast::<pg_sys::Const>()).constisnull,
            pg_sys::NodeTag::T_Var => {
                let attnum = (*node.cast::<pg_sys::Var>()).varattno;
                let column = usize::try_from(attnum - 1)
                    .ok()
                    .and_then(|i| columns.get(i));
                column.is_some_and(|column| column.attnotnull)
            }
            pg_sys::NodeTag::T_OpExpr => nodes((*node.cast::<pg_sys::OpExpr>()).args)
                .into_iter()
                .all(|arg| is_never_null(arg, columns)),
            _ => false,
        }
    }
}

/// The name of a built-in operator.
fn operator_name(opno: pg_sys::Oid) -> Option<Vec<u8>> {
    if opno.to_u32() >= pg_sys::FirstGenbkiObjectId {
        return None;
    }
    // SAFETY: null or a palloc'd C string.
    unsafe {
        let name = pg_sys::get_opname(opno);
        (!name.is_null()).then(|| CStr::from_ptr(name).to_bytes().to_vec())
    }
}

/// Whether an expression is an integer constant other than 0, and than -1, by which the smallest integer cannot be divided.
///
/// # Safety
/// `node` is a valid expression.
unsafe fn is_plain_divisor(node: *mut pg_sys::Node) -> bool {
    // SAFETY: the cast follows the tag; integers are passed by value.
    unsafe {
        if (*node).type_ != pg_sys::NodeTag::T_Const {
            return false;
        }
        let constant: &pg_sys::Const = &*node.cast();
        let value = match constant.consttype {
            pg_sys::INT2OID => i64::from(constant.constvalue.value() as i16),
            pg_sys::INT4OID => i64::from(constant.constvalue.value() as i32),
            pg_sys::INT8OID => constant.constvalue.value() as i64,
            _ => return false,
        };
        !constant.constisnull && value != 0 && value != -1
    }
}

/// Takes the casts between text and varchar off, which change nothing.
///
/// # Safety
/// `node` is a valid expression; so is the result.
pub unsafe fn strip_relabel(mut node: *mut pg_sys::Node) -> *mut pg_sys::Node {
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

/// `IN` of constants.
fn in_constants(
    collation: pg_sys::Oid,
    scalar: &Operand,
    operand: &str,
    negated: bool,
    elements: &[Operand],
) -> Option<Sql> {
    let digits = elements.iter().fold(scalar.digits, |digits, element| {
        digits.union(element.digits)
    });
    let all = elements.iter().all(|element| {
        comparable(Comparison::Equal, collation, scalar, element) && !element.may_be_float_zero()
    });
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
