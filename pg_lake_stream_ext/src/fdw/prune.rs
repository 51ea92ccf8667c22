//! Which data files a scan can do without, by the bounds of their columns.
//!
//! Conditions of the form `column operator value`, `column = ANY (values)` and `column IS [NOT] NULL` are held against each
//! file's bounds with PostgreSQL's own comparison of the type. Anything else is taken as undecided.

use std::collections::HashMap;
use std::ffi::CString;

use lake_iceberg::ColumnStats;
use pgrx::{PgList, pg_sys};

use crate::catalog::fields;
use crate::catalog::files::FileRow;
use crate::error::Result;
use crate::fdw::deparse::strip_relabel;
use crate::fdw::literal::ValueType;
use crate::fdw::operand::{Comparison, array_elements, comparison_operator, is_c_collation};
use crate::pg::row_context::RowContext;
use crate::types;

/// `C_COLLATION_OID` (catalog/pg_collation.dat): by bytes, as the bounds are.
const C_COLLATION: u32 = 950;

/// Number of a btree family's comparison (access/nbtree.h).
const BTORDER_PROC: i16 = 1;

/// What the bounds of a file say of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// No row meets it.
    None,
    /// Every row meets it.
    All,
    /// Some may.
    Undecided,
}

/// The conditions of one scan.
pub struct Pruner {
    tests: Vec<Test>,
    /// Whether all conditions are in `tests`.
    is_complete: bool,
    context: RowContext,
}

/// One condition, on one column.
struct Test {
    attnum: i16,
    field_id: i32,
    kind: Kind,
}

enum Kind {
    Null,
    NotNull,
    Compare(Box<Compare>),
}

/// A comparison of a column with a value, or with each of several of which one must be equal.
struct Compare {
    operator: Operator,
    /// The type's comparison, of a column's value with the other value.
    function: pg_sys::FmgrInfo,
    input: pg_sys::FmgrInfo,
    input_param: pg_sys::Oid,
    is_float: bool,
    value: Value,
    /// The values in this execution.
    values: Vec<pg_sys::Datum>,
}

enum Value {
    Expression(*mut pg_sys::ExprState),
    Array(*mut pg_sys::ExprState, pg_sys::Oid),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Less,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    Greater,
}

impl Pruner {
    /// Takes the conditions apart. With `constants_only`, parameters are not looked at: in EXPLAIN they have no values.
    ///
    /// # Safety
    /// `clauses` are the conditions of a plan's scan of `varno`; `parent` is its state, being initialised.
    pub unsafe fn new(
        clauses: *mut pg_sys::List,
        varno: pg_sys::Index,
        parent: *mut pg_sys::PlanState,
        constants_only: bool,
    ) -> Self {
        let parent = (!constants_only).then_some(parent);
        let mut tests = Vec::new();
        let mut is_complete = true;
        // SAFETY: as promised by the caller.
        for clause in unsafe { PgList::<pg_sys::Node>::from_pg(clauses) }.iter_ptr() {
            // SAFETY: as above.
            match unsafe { Test::new(clause, varno, parent) } {
                Some(test) => tests.push(test),
                None => is_complete = false,
            }
        }
        Self {
            tests,
            is_complete,
            context: RowContext::new(),
        }
    }

    /// Computes the values for an execution.
    ///
    /// # Safety
    /// `context` is the scan's expression context.
    pub unsafe fn start(
        &mut self,
        relid: pg_sys::Oid,
        context: *mut pg_sys::ExprContext,
    ) -> Result<()> {
        if self.tests.is_empty() {
            return Ok(());
        }
        let ids: HashMap<i16, fields::FieldIds> = fields::of_table(relid)?;
        for test in &mut self.tests {
            test.field_id = ids.get(&test.attnum).map_or(0, |ids| ids.column);
            if let Kind::Compare(compare) = &mut test.kind {
                // SAFETY: as promised by the caller.
                unsafe { compare.compute(context) };
            }
        }
        Ok(())
    }

    /// What the bounds of a file say of all conditions together.
    pub fn verdict(&mut self, file: &FileRow) -> Verdict {
        let Self {
            tests,
            is_complete,
            context,
        } = self;
        let mut all = *is_complete;
        for test in tests {
            let stats = file
                .column_stats
                .iter()
                .find(|stats| stats.field_id == test.field_id);
            let verdict = match stats {
                Some(stats) => context.run(|| test.verdict(stats)),
                None => Verdict::Undecided,
            };
            match verdict {
                Verdict::None => return Verdict::None,
                Verdict::All => {}
                Verdict::Undecided => all = false,
            }
        }
        if all {
            Verdict::All
        } else {
            Verdict::Undecided
        }
    }
}

impl Test {
    unsafe fn new(
        clause: *mut pg_sys::Node,
        varno: pg_sys::Index,
        parent: Option<*mut pg_sys::PlanState>,
    ) -> Option<Self> {
        // SAFETY: casts follow the node's tag; lists hold expressions.
        unsafe {
            match (*clause).type_ {
                pg_sys::NodeTag::T_NullTest => {
                    let test: &pg_sys::NullTest = &*clause.cast();
                    let (attnum, _) = column(test.arg.cast(), varno).filter(|_| !test.argisrow)?;
                    let is_null = test.nulltesttype == pg_sys::NullTestType::IS_NULL;
                    Some(Self {
                        attnum,
                        field_id: 0,
                        kind: if is_null { Kind::Null } else { Kind::NotNull },
                    })
                }
                pg_sys::NodeTag::T_OpExpr => {
                    let expr: &pg_sys::OpExpr = &*clause.cast();
                    let args = PgList::<pg_sys::Node>::from_pg(expr.args);
                    let (left, right) = (args.get_ptr(0)?, args.get_ptr(1)?);
                    let operator = Operator::new(comparison_operator(expr.opno)?)?;
                    let (operator, (attnum, ty), value) = match column(left, varno) {
                        Some(column) => (operator, column, right),
                        None => (operator.commuted(), column(right, varno)?, left),
                    };
                    let value_type = pg_sys::exprType(value);
                    let value = Value::Expression(known_value(value, parent)?);
                    Compare::new(operator, ty, value_type, expr.inputcollid, value).map(|compare| {
                        Self {
                            attnum,
                            field_id: 0,
                            kind: Kind::Compare(Box::new(compare)),
                        }
                    })
                }
                pg_sys::NodeTag::T_ScalarArrayOpExpr => {
                    let expr: &pg_sys::ScalarArrayOpExpr = &*clause.cast();
                    let args = PgList::<pg_sys::Node>::from_pg(expr.args);
                    let (left, right) = (args.get_ptr(0)?, args.get_ptr(1)?);
                    if !expr.useOr || comparison_operator(expr.opno)? != Comparison::Equal {
                        return None;
                    }
                    let (attnum, ty) = column(left, varno)?;
                    let array_type = pg_sys::exprType(right);
                    let value_type = types::array_element(array_type)?;
                    let value = Value::Array(known_value(right, parent)?, array_type);
                    Compare::new(Operator::Equal, ty, value_type, expr.inputcollid, value).map(
                        |compare| Self {
                            attnum,
                            field_id: 0,
                            kind: Kind::Compare(Box::new(compare)),
                        },
                    )
                }
                _ => None,
            }
        }
    }

    fn verdict(&mut self, stats: &ColumnStats) -> Verdict {
        let nulls = stats.null_count;
        let has_no_null = nulls == Some(0);
        let is_all_null = nulls.is_some() && nulls == stats.value_count;
        match &mut self.kind {
            Kind::Null if has_no_null => Verdict::None,
            Kind::Null if is_all_null => Verdict::All,
            Kind::NotNull if is_all_null => Verdict::None,
            Kind::NotNull if has_no_null => Verdict::All,
            Kind::Null | Kind::NotNull => Verdict::Undecided,
            // Comparisons with NULL are not true.
            Kind::Compare(_) if is_all_null => Verdict::None,
            Kind::Compare(compare) => match compare.verdict(stats) {
                Verdict::All if !has_no_null => Verdict::Undecided,
                verdict => verdict,
            },
        }
    }
}

impl Compare {
    unsafe fn new(
        operator: Operator,
        column_type: pg_sys::Oid,
        value_type: pg_sys::Oid,
        collation: pg_sys::Oid,
        value: Value,
    ) -> Option<Self> {
        let family = ValueType::from_oid(column_type)?;
        ValueType::from_oid(value_type)?;
        // SAFETY: look-ups of types and functions that exist; FmgrInfo and the outputs are filled.
        unsafe {
            if family == ValueType::Text {
                let by_bytes = match operator {
                    Operator::Equal => pg_sys::get_collation_isdeterministic(collation),
                    _ => is_c_collation(collation),
                };
                if !by_bytes {
                    return None;
                }
            }
            let flags = pg_sys::TYPECACHE_BTREE_OPFAMILY as i32;
            let left = &*pg_sys::lookup_type_cache(column_type, flags);
            let right = &*pg_sys::lookup_type_cache(value_type, flags);
            let function = pg_sys::get_opfamily_proc(
                left.btree_opf,
                left.btree_opintype,
                right.btree_opintype,
                BTORDER_PROC,
            );
            if function == pg_sys::InvalidOid {
                return None;
            }
            let mut compare = Self {
                operator,
                function: std::mem::zeroed(),
                input: std::mem::zeroed(),
                input_param: pg_sys::InvalidOid,
                is_float: family.is_float(),
                value,
                values: Vec::new(),
            };
            let mut input = pg_sys::InvalidOid;
            pg_sys::fmgr_info(function, &mut compare.function);
            pg_sys::getTypeInputInfo(column_type, &mut input, &mut compare.input_param);
            pg_sys::fmgr_info(input, &mut compare.input);
            Some(compare)
        }
    }

    /// Computes the values; a NULL is none.
    unsafe fn compute(&mut self, context: *mut pg_sys::ExprContext) {
        let mut is_null = false;
        // SAFETY: the callers'; values live in the memory of the expression context's query or tuple, which stays until the
        // files have been chosen.
        self.values = unsafe {
            match self.value {
                Value::Expression(expression) => {
                    let value =
                        pg_sys::ExecEvalExprSwitchContext(expression, context, &mut is_null);
                    if is_null { vec![] } else { vec![value] }
                }
                Value::Array(expression, array_type) => {
                    let value =
                        pg_sys::ExecEvalExprSwitchContext(expression, context, &mut is_null);
                    match is_null {
                        true => vec![],
                        false => array_elements(array_type, value)
                            .unwrap_or_default()
                            .into_iter()
                            .flatten()
                            .collect(),
                    }
                }
            }
        };
    }

    fn verdict(&mut self, stats: &ColumnStats) -> Verdict {
        // Bounds leave NaN out, which PostgreSQL sorts above all numbers.
        let upper_counts = !self.is_float || stats.has_nan == Some(false);
        let lower = stats.lower.as_deref().and_then(|text| self.bound(text));
        let upper = stats
            .upper
            .as_deref()
            .filter(|_| upper_counts)
            .and_then(|text| self.bound(text));
        let mut verdict = Verdict::None;
        for value in std::mem::take(&mut self.values) {
            let lower = lower.map(|lower| self.compare(lower, value));
            let upper = upper.map(|upper| self.compare(upper, value));
            match self.operator.verdict(lower, upper) {
                Verdict::All => verdict = Verdict::All,
                Verdict::Undecided if verdict == Verdict::None => verdict = Verdict::Undecided,
                _ => {}
            }
            self.values.push(value);
        }
        verdict
    }

    /// A bound as a value of the column's type.
    fn bound(&mut self, text: &str) -> Option<pg_sys::Datum> {
        let text = CString::new(text).ok()?;
        // SAFETY: the type's input function; bounds are texts that it accepts.
        Some(unsafe {
            pg_sys::InputFunctionCall(
                &mut self.input,
                text.as_ptr().cast_mut(),
                self.input_param,
                -1,
            )
        })
    }

    fn compare(&mut self, bound: pg_sys::Datum, value: pg_sys::Datum) -> i32 {
        // SAFETY: a btree comparison function, called with values of its types.
        unsafe {
            pg_sys::FunctionCall2Coll(&mut self.function, C_COLLATION.into(), bound, value).value()
                as i32
        }
    }
}

impl Operator {
    fn new(comparison: Comparison) -> Option<Self> {
        Some(match comparison {
            Comparison::Equal => Self::Equal,
            Comparison::NotEqual => return None,
            Comparison::Order("<") => Self::Less,
            Comparison::Order("<=") => Self::LessOrEqual,
            Comparison::Order(">") => Self::Greater,
            Comparison::Order(_) => Self::GreaterOrEqual,
        })
    }

    /// The operator for exchanged sides.
    fn commuted(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::Equal => Self::Equal,
            Self::GreaterOrEqual => Self::LessOrEqual,
            Self::Greater => Self::Less,
        }
    }

    /// From how the bounds compare with the value; `None`: there is no bound.
    fn verdict(self, lower: Option<i32>, upper: Option<i32>) -> Verdict {
        let lower_is = |test: fn(i32) -> bool| lower.is_some_and(test);
        let upper_is = |test: fn(i32) -> bool| upper.is_some_and(test);
        let (none, all) = match self {
            Self::Less => (lower_is(|l| l >= 0), upper_is(|u| u < 0)),
            Self::LessOrEqual => (lower_is(|l| l > 0), upper_is(|u| u <= 0)),
            Self::Equal => (
                lower_is(|l| l > 0) || upper_is(|u| u < 0),
                lower == Some(0) && upper == Some(0),
            ),
            Self::GreaterOrEqual => (upper_is(|u| u < 0), lower_is(|l| l >= 0)),
            Self::Greater => (upper_is(|u| u <= 0), lower_is(|l| l > 0)),
        };
        match (none, all) {
            (true, _) => Verdict::None,
            (_, true) => Verdict::All,
            _ => Verdict::Undecided,
        }
    }
}

/// A column of the scanned table: its number and type.
unsafe fn column(node: *mut pg_sys::Node, varno: pg_sys::Index) -> Option<(i16, pg_sys::Oid)> {
    // SAFETY: the callers'; the cast follows the tag.
    unsafe {
        let node = strip_relabel(node);
        if (*node).type_ != pg_sys::NodeTag::T_Var {
            return None;
        }
        let var: &pg_sys::Var = &*node.cast();
        let is_ours = var.varno as pg_sys::Index == varno && var.varlevelsup == 0;
        (is_ours && var.varattno > 0).then_some((var.varattno, var.vartype))
    }
}

/// A value that is there when the scan begins, and that cannot fail to be computed.
unsafe fn known_value(
    node: *mut pg_sys::Node,
    parent: Option<*mut pg_sys::PlanState>,
) -> Option<*mut pg_sys::ExprState> {
    // SAFETY: the callers'.
    unsafe {
        let bare = strip_relabel(node);
        let is_known = match (*bare).type_ {
            pg_sys::NodeTag::T_Const => true,
            pg_sys::NodeTag::T_Param => parent.is_some(),
            _ => false,
        };
        let parent = parent.unwrap_or(std::ptr::null_mut());
        is_known.then(|| pg_sys::ExecInitExpr(node.cast(), parent))
    }
}
